"""Caps and digests, conditions over facts, wordings of one's own, and what people say of alerts."""

import msgspec
import pytest

from modelkeep.alerts import rules
from modelkeep.alerts.conditions import holds
from modelkeep.alerts.verdicts import false_alerts
from modelkeep.errors import BadInput, Conflict
from modelkeep.nouns import Alert, Reading, Rule

DAY = 86400.0


def capped(name, **more):
    return Rule(name=name, reading=name, condition="value > 0", cap=5, **more)


@pytest.mark.row("ALR-19")
def test_the_sixth_alert_of_a_device_goes_into_one_digest_and_none_is_lost(house):
    names = [f"r{i}" for i in range(8)]
    house.open(*(capped(name) for name in names))
    for name in names:
        house.see(1.0, name=name, subject="drilling/d1", detail=f"{name} is high")
        house.wait(minutes=1)
    assert house.events == ["open"] * 5
    house.see(1.0, name="r0", subject="drilling/d2")  # another device has a limit of its own
    assert house.events == ["open"] * 6
    house.wait(minutes=31)
    house.see(1.0, name="r7", subject="drilling/d1")
    assert len(house.channel.sent) == 7
    digest = house.channel.sent[-1]
    assert digest.rule == "digest"
    assert all(f"{name} is high" in digest.message for name in names[5:])
    late = [a for a in house.alerts(active=True) if a.rule in names[5:] and a.subject == "drilling/d1"]
    assert {a.digest for a in late} == {digest.alert}
    assert len(late) == 3
    # A restart changes nothing, and the digest is not sent again while nothing is added.
    house.restart()
    house.wait(2)
    house.see(1.0, name="r6", subject="drilling/d1")
    assert len(house.channel.sent) == 7


def test_what_is_added_later_is_told_later_and_the_digest_ends_with_its_alerts(house):
    names = [f"r{i}" for i in range(7)]
    house.open(*(capped(name) for name in names))
    for name in names[:6]:
        house.see(1.0, name=name)
    house.wait(1)
    house.see(1.0, name="r0")  # the digest is sent
    house.see(1.0, name="r6", detail="r6 came late")
    sent = len(house.channel.sent)
    house.wait(5)
    house.see(1.0, name="r6", detail="r6 came late")
    assert len(house.channel.sent) == sent + 1
    assert "r6 came late" in house.channel.sent[-1].message
    for name in names:
        house.see(-1.0, name=name)
    house.wait(1)
    for name in names:
        house.see(-1.0, name=name)
    house.see(-1.0, name="r0")
    assert house.alerts(active=True) == []


THRESHOLDS = """
[[rule]]
name = "critical_health"
reading = "health"
condition = "value < 30 and confidence >= 0.6"
severity = "critical"

[[rule]]
name = "high_health"
reading = "health"
condition = "value >= 30 and value < 50 and confidence >= 0.6"
severity = "high"

[[rule]]
name = "medium_health"
reading = "health"
condition = "value >= 50 and value < 70 and confidence >= 0.6"
severity = "medium"
"""


@pytest.mark.row("ALR-20")
def test_health_scores_open_alerts_by_threshold(house):
    house.open(*rules.parse(THRESHOLDS, source="mine"))
    opened = {
        score: [a.severity for a in house.see(score, name="health", subject=f"d/{score}", facts={"confidence": 0.9})]
        for score in (29.0, 49.0, 69.0, 71.0)
    }
    assert opened == {29.0: ["critical"], 49.0: ["high"], 69.0: ["medium"], 71.0: []}


@pytest.mark.row("ALR-21")
def test_an_uncertain_score_pages_nobody(house):
    house.open(*rules.parse(THRESHOLDS, source="mine"))
    assert house.see(20.0, name="health", subject="d/1", facts={"confidence": 0.59}) == []
    assert house.see(20.0, name="health", subject="d/2") == []  # no confidence is known at all
    assert len(house.see(20.0, name="health", subject="d/3", facts={"confidence": 0.6})) == 1
    # An absent fact does not resolve what is open either.
    house.wait(1)
    assert house.see(20.0, name="health", subject="d/3") == []
    assert [a.subject for a in house.alerts(active=True)] == ["d/3"]


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("value > 1 and n >= 10", True),
        ("value > 1 and n > 10", False),
        ("value > 9 or n >= 10", True),
        ("value > 9 or n > 10 or share == 0.5", True),
        ("value > 1 and absent > 1", None),
        ("value > 9 and absent > 1", False),
        ("value > 1 or absent > 1", True),
        ("value > 9 or absent > 1", None),
        ("word == 1", None),
        ("flag == 1", True),
        ("level >= warning and share < 1", True),
    ],
)
def test_conditions_join_comparisons_and_keep_unknown_apart(condition, met):
    facts = {"share": 0.5, "word": "yes", "flag": True}
    reading = Reading(name="x", subject="m", value=5.0, level="warning", at=0.0, n=10, facts=facts)
    assert holds(condition, reading) is met


@pytest.mark.parametrize("condition", ["value > 1 and", "and value > 1", "value > 1 xor n > 2", "value > 1 n > 2", ""])
def test_what_is_no_condition_is_refused(condition):
    with pytest.raises(BadInput):
        holds(condition, Reading(name="x", subject="m", value=5.0, level="ok", at=0.0))


DRIFT = '''
[[rule]]
name = "drift_told"
reading = "error_drift"
condition = "level >= warning"
severity = "warning"
text = """
Model Drift Detected: {model}
Restaurant ID: {restaurant_id}
Training MAE: {training_mae:.2f}
Recent MAE: {recent_mae:.2f}
Degradation: {degradation_pct:.1f}%
Action: Model retraining recommended"""
'''


@pytest.mark.row("ALR-17")
def test_the_drift_text_is_a_title_and_exactly_five_lines(house):
    house.open(*rules.parse(DRIFT, source="mine"))
    facts = {"restaurant_id": "123", "training_mae": 10.004, "recent_mae": 13.256, "degradation_pct": 32.46}
    (alert,) = house.see(32.46, name="error_drift", subject="demand@1", level="warning", facts=facts)
    title, *lines = alert.message.split("\n")
    assert title == "Model Drift Detected: demand"
    assert lines == [
        "Restaurant ID: 123",
        "Training MAE: 10.00",
        "Recent MAE: 13.26",
        "Degradation: 32.5%",
        "Action: Model retraining recommended",
    ]
    (bare,) = house.see(32.46, name="error_drift", subject="other@1", level="warning")
    assert "Training MAE: unknown" in bare.message


def test_a_text_with_no_name_in_braces_is_refused():
    with pytest.raises(BadInput, match="text: expected names of places or facts in braces"):
        rules.parse('[[rule]]\nname="a"\nreading="x"\ncondition="value > 1"\ntext="{0}"', source="mine")
    with pytest.raises(BadInput, match="cap: expected a whole number"):
        rules.parse('[[rule]]\nname="a"\nreading="x"\ncondition="value > 1"\ncap=-1', source="mine")


def test_an_alert_can_be_marked_false_before_and_after_it_is_resolved(house):
    (first,) = house.see(0.5)
    with house.store.write() as ledger:
        assert house.book.resolve(ledger, first.id, false=True).false
    (second,) = house.see(0.5, subject="m@3")
    with house.store.write() as ledger:
        house.book.resolve(ledger, second.id)
        with pytest.raises(Conflict):
            house.book.resolve(ledger, second.id)
        marked = house.book.resolve(ledger, second.id, false=True)
    assert (marked.false, marked.state) == (True, "resolved")


def closed(number, *, rule="r", false=False, **more):
    return Alert(
        id=str(number), rule=rule, subject="m", severity="warning", kind="k", message="", state="resolved", opened=0.0,
        changed=0.0, resolved=DAY, false=false, **more,
    )  # fmt: skip


@pytest.mark.row("QUA-04")
def test_three_false_alerts_of_ten_are_red_and_name_the_worst_rule():
    alerts = [closed(i, rule="noisy" if i < 2 else "r", false=i < 3) for i in range(10)]
    reading = false_alerts(alerts, now=2 * DAY)
    assert (reading.value, reading.level, reading.n) == (0.3, "critical", 10)
    assert (reading.facts["rule"], reading.facts["of_rule"]) == ("noisy", 2)
    assert "'noisy'" in reading.detail
    assert "30%" in reading.detail
    assert false_alerts([closed(i, false=i < 2) for i in range(10)], now=2 * DAY).level == "ok"


def test_too_few_verdicts_and_notices_say_nothing():
    assert false_alerts([closed(1)], now=2 * DAY).level == "unknown"
    notices = [msgspec.structs.replace(closed(i, false=True), severity="info") for i in range(10)]
    assert false_alerts(notices, now=2 * DAY).level == "unknown"
    assert false_alerts([closed(i) for i in range(10)], now=99 * DAY).level == "unknown"


def test_every_built_in_page_is_about_the_model_having_rotted_or_something_broken():
    pages = {rule.name for rule in rules.DEFAULT if rule.severity in {"high", "critical"}}
    assert "skill_fallen" in pages
    assert not pages & {"world_changed", "level_shifted", "novelty", "below_baseline", "error_drift"}
