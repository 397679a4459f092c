import msgspec
import pytest

from modelkeep.alerts.book import Book
from modelkeep.errors import BadSettings, Conflict, NotFound
from modelkeep.nouns import Rule

HIGH = Rule(name="high", reading="x", condition="value > 0.2")


def rule(**more):
    return msgspec.structs.replace(HIGH, **more)


def test_an_alert_opens_once_lasts_and_resolves_once(house):
    (opened,) = house.see(0.5, detail="x is 0.5", n=80, interval=(0.4, 0.6))
    assert (opened.state, opened.subject, opened.rule) == ("open", "m@2", "high")
    for _ in range(5):
        house.wait(minutes=1)
        assert house.see(0.6, detail="x is 0.6") == []
    (alert,) = house.alerts()
    assert alert.readings[0].value == 0.6
    assert alert.changed > alert.opened
    assert "x is 0.6" in alert.message
    house.wait(minutes=1)
    assert house.see(0.1) == []
    house.wait(minutes=5)
    (resolved,) = house.see(0.1)
    assert (resolved.id, resolved.state, resolved.resolved) == (opened.id, "resolved", house.clock.now())
    house.wait(minutes=10)
    assert house.see(0.1) == []
    assert house.events == ["open", "resolve"]


def test_a_condition_that_comes_back_within_the_hold_does_not_resolve(house):
    house.see(0.5)
    for value in (0.1, 0.1, 0.5, 0.1, 0.1, 0.5):
        house.wait(minutes=2)
        assert house.see(value) == []
    assert [a.state for a in house.alerts()] == ["open"]


@pytest.mark.row("ALR-01")
def test_the_message_says_what_since_when_how_bad_who_why_and_the_repair(house):
    house.open(
        Rule(
            name="drift", reading="error_drift", condition="level >= warning", severity="warning", holds=0.0,
            summary="{subject} errs more: {detail}", advice=("look at {model}",), command="modelkeep rollback {model}",
        )
    )  # fmt: skip
    others = [
        house.reading(0.2, name="missing", level="warning", detail="age: 20 % missing"),
        house.reading(5.2, name="bias", interval=(4.0, 6.0), unit="min"),
        house.reading(0.1, name="skill"),
        house.reading(0.4, name="types", level="warning", subject="other@1", detail="not ours"),
    ]
    drift = house.reading(
        32.0, name="error_drift", level="warning", n=640, interval=(20.0, 44.0), unit="%", detail="32 % above training"
    )
    (alert,) = house.see(drift, *others)
    text = alert.message
    assert text.startswith("m@2 errs more: 32 % above training\nSince 2023-11-14T22:13:20.000Z")
    assert "error_drift of m@2 = 32 %, 95 % interval 20 to 44, n = 640" in text
    assert text.index("age: 20 % missing") < text.index("the world changed") < text.index("5.2 min too high")
    assert "not ours" not in text
    assert text.endswith("Repair: modelkeep rollback m")
    assert (alert.advice, alert.command) == (("look at m",), "modelkeep rollback m")
    assert [r.name for r in alert.readings] == ["error_drift", "missing", "skill", "bias"]
    assert set(alert.system) == {"load", "memory_percent", "process_mb"}


def test_a_condition_must_hold_without_a_break_and_a_restart_does_not_matter(house):
    house.open(rule(holds=600.0))
    house.see(0.5)
    house.wait(minutes=6)
    house.see(0.1)
    house.wait(minutes=1)
    house.see(0.5)
    house.wait(minutes=5)
    assert house.see(0.5) == []
    house.restart()
    house.wait(minutes=4)
    assert house.see(0.5) == []
    house.wait(minutes=2)
    assert len(house.see(0.5)) == 1


def test_unknown_neither_opens_nor_breaks_nor_resolves(house):
    house.open(rule(holds=600.0))
    assert house.see(None) == []
    house.see(0.5)
    house.wait(minutes=5)
    house.see(None)
    house.wait(minutes=6)
    assert len(house.see(0.5)) == 1
    for _ in range(10):
        house.wait(minutes=10)
        assert house.see(None) == []
    assert [a.state for a in house.alerts()] == ["open"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_number_is_unknown(house, value):
    house.open(rule(condition="value < 1"))
    with house.store.write() as ledger:
        assert house.book.evaluate(ledger, [house.reading(value, level="ok")]) == []


@pytest.mark.row("ALR-18")
def test_the_cooldown_lets_one_notification_through_a_day(house):
    house.see(0.5)
    house.wait(23)
    house.see(0.5)
    assert house.events == ["open"]
    assert [a.state for a in house.alerts(active=True)] == ["open"]
    house.wait(1, minutes=1)
    house.see(0.5)
    assert house.events == ["open", "open"]
    assert len({message.key for message in house.channel.sent}) == 2
    assert len(house.alerts()) == 1


@pytest.mark.row("ALR-18")
def test_an_alert_that_returns_within_the_cooldown_is_visible_but_silent(house):
    house.see(0.5)
    house.wait(1)
    house.see(0.1)
    house.wait(1)
    house.see(0.1)
    assert house.events == ["open", "resolve"]
    house.wait(21)
    (again,) = house.see(0.5)
    assert again.deliveries == ()
    assert [a.id for a in house.alerts(active=True)] == [again.id]
    house.restart()
    house.wait(1, minutes=1)
    house.see(0.5)
    assert house.events == ["open", "resolve", "open"]


@pytest.mark.row("ALR-23")
def test_acknowledging_stops_reminders_and_escalation(house):
    house.open(rule(severity="critical", escalate_after=600.0))
    (alert,) = house.see(0.5)
    with house.store.write() as ledger:
        found = house.book.acknowledge(ledger, alert.id, who="ada")
    assert (found.state, found.acknowledged_by) == ("acknowledged", "ada")
    house.wait(25)
    house.see(0.5)
    assert house.events == ["open"]
    assert [a.state for a in house.alerts(active=True)] == ["acknowledged"]
    house.see(0.1)
    house.wait(1)
    house.see(0.1)
    assert house.events == ["open", "resolve"]
    with house.store.write() as ledger, pytest.raises(Conflict):
        house.book.acknowledge(ledger, alert.id, who="bob")
    with house.store.write() as ledger, pytest.raises(NotFound):
        house.book.acknowledge(ledger, "nothing", who="bob")


@pytest.mark.row("ALR-23")
def test_a_critical_alert_that_nobody_takes_escalates_once(house):
    boss = type(house.channel)("boss")
    house.channels["boss"] = boss
    house.open(rule(severity="critical", channels=("kept",), escalate_after=600.0, escalate_to=("boss",)))
    house.see(0.5)
    house.wait(minutes=9)
    house.see(0.5)
    assert boss.sent == []
    house.restart()
    house.wait(minutes=2)
    house.see(0.5)
    house.wait(minutes=30)
    house.see(0.5)
    assert [message.event for message in boss.sent] == ["escalate"]
    assert house.events == ["open"]


def test_what_is_not_critical_never_escalates(house):
    house.open(rule(severity="error", escalate_after=60.0))
    house.see(0.5)
    house.wait(1)
    house.see(0.5)
    assert house.events == ["open"]


def test_a_version_that_no_longer_serves_resolves_and_opens_nothing(house):
    house.serve(2)
    house.see(0.5)
    house.serve(2, 3, mode="canary")
    assert house.see(0.5, subject="m@3")[0].state == "open"
    house.serve(3)
    (resolved,) = house.see(0.5)
    assert (resolved.subject, resolved.state) == ("m@2", "resolved")
    assert [a.subject for a in house.alerts(active=True)] == ["m@3"]


def test_actions_are_enqueued_with_the_alert_and_not_twice(house):
    house.train_by("mine:train")
    house.open(rule(actions=("retrain",)), rule(name="worse", condition="value > 0.4", actions=("retrain",)))
    alerts = house.see(0.5, detail="bad")
    with house.store.read() as ledger:
        (job,) = ledger.jobs.all()
    assert job.id == f"retrain-m-{alerts[0].id}"
    assert (job.task, job.subject, job.due) == ("retrain", "m", house.clock.now())
    assert msgspec.json.decode(job.arguments) == {"model": "m", "why": "bad", "by": f"alert {alerts[0].id}"}


@pytest.mark.parametrize(
    ("severity", "asked"), [("warning", [0, 1, 3, 7]), ("critical", [0, 1, 2, 3, 4, 5, 6, 7])]
)  # a page asks every time, a notice ever more rarely
def test_what_trainings_do_not_end_is_trained_more_rarely_unless_it_wakes_somebody(house, severity, asked):
    house.train_by("mine:train")
    house.open(rule(actions=("retrain",), severity=severity))
    trained = []
    for day in range(8):
        house.see(0.5)
        with house.store.write() as ledger:
            for job in ledger.jobs.all(state="waiting"):
                trained.append(day)
                ledger.jobs.cancel(job.id, house.clock.now())
        house.wait(24, minutes=1)
    assert trained == asked


@pytest.mark.parametrize(("trainer", "challenger"), [("mine:train", 3), ("", None)])
def test_nothing_is_trained_while_a_challenger_is_tried_or_without_a_trainer(house, trainer, challenger):
    house.train_by(trainer)
    house.open(rule(actions=("retrain",)))
    house.serve(2, challenger, mode="shadow" if challenger else None)
    assert len(house.see(0.5)) == 1
    with house.store.read() as ledger:
        assert ledger.jobs.all() == []


def test_alert_deliveries_and_jobs_are_kept_together_or_not_at_all(house):
    house.open(rule(actions=("retrain",)))

    house.train_by("mine:train")

    def look_and_die():
        with house.store.write() as ledger:
            house.book.evaluate(ledger, [house.reading(0.5)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        look_and_die()
    assert house.alerts() == []
    with house.store.read() as ledger:
        assert ledger.jobs.all() == []


def test_a_notice_is_born_resolved_and_told_once(house):
    with house.store.write() as ledger:
        alert = house.book.raise_event(
            ledger, rule="deployment", subject="m@3", kind="deployment", severity="info", message="m@3 answers"
        )
    assert (alert.state, alert.resolved) == ("resolved", house.clock.now())
    house.book.deliver(house.store)
    house.book.deliver(house.store)
    assert [message.message for message in house.channel.sent] == ["m@3 answers"]


def test_an_event_stays_open_until_it_is_settled(house):
    said = {"rule": "backup", "subject": "server", "kind": "systemOverload", "severity": "error"}
    with house.store.write() as ledger:
        first = house.book.raise_event(ledger, **said, message="it failed", advice=("look",), command="modelkeep jobs")
        again = house.book.raise_event(ledger, **said, message="it failed again")
    assert (again.id, again.message) == (first.id, "it failed again")
    house.see(0.1)
    assert [a.state for a in house.alerts()] == ["open"]
    with house.store.write() as ledger:
        assert house.book.settle(ledger, rule="backup", subject="server").state == "resolved"
        assert house.book.settle(ledger, rule="backup", subject="server") is None


def test_an_event_about_a_version_that_was_rolled_back_stays(house):
    house.serve(2)
    with house.store.write() as ledger:
        house.book.raise_event(
            ledger,
            rule="release_high",
            subject="m@3",
            kind="deployment",
            severity="high",
            message="m@3 was rolled back",
        )
    house.see(0.1)
    assert [a.state for a in house.alerts()] == ["open"]


def test_an_alert_whose_rule_was_removed_resolves(house):
    house.see(0.5)
    house.open(rule(name="other", condition="value > 7"))
    assert [a.state for a in house.see(0.5)] == ["resolved"]


def test_a_hand_can_resolve(house):
    (alert,) = house.see(0.5)
    with house.store.write() as ledger:
        house.book.resolve(ledger, alert.id)
    house.book.deliver(house.store)
    assert house.events == ["open", "resolve"]
    with house.store.write() as ledger, pytest.raises(Conflict):
        house.book.resolve(ledger, alert.id)


def test_a_rule_for_a_channel_that_there_is_not_is_refused(house):
    with pytest.raises(BadSettings, match=r"rule 'high'.*'slac'.*known: slack"):
        Book((rule(channels=("slac",)),), {"slack": house.channel}, clock=house.clock)
