import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.alerts import rules
from modelkeep.alerts.conditions import KNOWN, holds, severity
from modelkeep.errors import BadInput
from modelkeep.nouns import SEVERITIES, Reading, Rule

DOCS = Path(__file__).parents[2] / "docs"


def reading(value, level="ok"):
    return Reading(name="x", subject="m", value=value, level=level, at=0.0)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_a_value_condition_is_what_python_says(value, limit):
    for sign in (">", ">=", "<", "<=", "==", "!="):
        assert holds(f"value {sign} {limit!r}", reading(value)) is eval(f"{value!r} {sign} {limit!r}")


@pytest.mark.parametrize("limit", KNOWN)
def test_levels_are_ordered_and_unknown_is_beside_them(limit):
    for level in KNOWN:
        assert holds(f"level >= {limit}", reading(1.0, level)) is (KNOWN.index(level) >= KNOWN.index(limit))
    assert holds(f"level >= {limit}", reading(None, "unknown")) is None
    assert holds("value > 0", reading(1.0, "unknown")) is None


@pytest.mark.row("ALR-03")
def test_one_ordered_scale_takes_every_name_and_no_other():
    assert SEVERITIES == ("info", "warning", "medium", "error", "high", "critical")
    assert [severity(name) for name in SEVERITIES] == list(SEVERITIES)
    with pytest.raises(BadInput, match="expected one of info, warning, medium, error, high, critical, got 'fatal'"):
        severity("fatal")


RULE = '[[rule]]\nname = "mine"\nreading = "mae"\ncondition = "value > 3"\n'


def test_a_file_adds_rules_and_changes_built_in_ones(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        RULE + 'holds = "1h30m"\n[[rule]]\nname="slow"\nseverity="high"\n[[rule]]\nname="silence"\ndisabled=true\n'
    )
    found = {rule.name: rule for rule in rules.load(path)}
    built_in = {rule.name: rule for rule in rules.DEFAULT}
    assert found["mine"] == Rule(name="mine", reading="mae", condition="value > 3", holds=5400.0)
    assert found["slow"].severity == "high"
    assert found["slow"].condition == built_in["slow"].condition
    assert set(found) == {*built_in, "mine"} - {"silence"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RULE + '\nseverty = "high"', r"mine.toml:6: severty: expected no such key.*did you mean 'severity'"),
        (RULE + 'for = "5m"', r"mine.toml:5: for: .*did you mean 'holds'"),
        (RULE + 'severity = "fatal"', r"mine.toml:5: severity: expected one of info.*got 'fatal'"),
        (RULE + 'holds = "3x"', r"mine.toml:5: holds: expected a duration.*got '3x'"),
        (RULE + "holds = -1", r"mine.toml:5: holds: expected a duration.*got -1"),
        (RULE + 'advice = "look"', r"mine.toml:5: advice: expected a list of texts, got 'look'"),
        (RULE + 'actions = ["dance"]', r"mine.toml:5: actions: expected any of retrain, roll_back, got 'dance'"),
        (RULE + 'summary = "{who}"', r"mine.toml:5: summary: expected only .*\{detail\}.* in braces, got \{who\}"),
        (RULE + 'summary = "{"', r"mine.toml:5: summary: expected text with"),
        (RULE + RULE, r"mine.toml:6: name: expected each name once, got 'mine'"),
        (RULE.replace("> 3", "~ 3"), r"mine.toml:4: condition: expected a condition such as .*got 'value ~ 3'"),
        (RULE.replace("> 3", "> many"), r"mine.toml:4: condition: expected a number after .*got 'many'"),
        (RULE.replace("value > 3", "level > bad"), r"mine.toml:4: condition: expected one of ok, warning, critical"),
        ('[[rule]]\nname = "a b"', r"mine.toml:2: name: expected a name"),
        (
            '\n[[rule]]\nname = "a"\nreading = "x"',
            r"mine.toml:2: condition: expected a condition for rule 'a', got nothing",
        ),
        ("[[rule]\n", r"mine.toml: not TOML: .*line 1"),
        ('[rules]\nx = "1"', r"mine.toml: expected \[\[rule\]\] tables only, got 'rules'"),
        ('rule = [{name = "a", reading = "x", condition = "y"}]', r"mine.toml:1: condition: expected"),
    ],
)
def test_a_bad_file_is_refused_with_line_key_and_remedy(text, said):
    with pytest.raises(BadInput) as refused:
        rules.parse(text, source="mine.toml", known=rules.DEFAULT)
    assert re.search(said, str(refused.value)), str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        rules.load(tmp_path / "none.toml")


@given(st.text(max_size=200))
def test_whatever_stands_in_a_file_is_a_rule_or_a_refusal(text):
    with contextlib.suppress(BadInput):
        assert isinstance(rules.parse(text, source="any.toml"), tuple)


def test_every_built_in_rule_gives_advice_and_a_command():
    for rule in rules.DEFAULT:
        assert rule.advice, rule.name
        assert rule.command.startswith("modelkeep "), rule.name


def test_every_field_and_every_built_in_rule_is_documented():
    text = (DOCS / "alerts.md").read_text()
    for word in (*rules.FIELDS, *(rule.name for rule in rules.DEFAULT), *SEVERITIES, *KNOWN):
        assert f"`{word}`" in text, f"docs/alerts.md does not describe {word}"


def test_every_built_in_rule_looks_at_a_documented_reading():
    text = (DOCS / "watching.md").read_text()
    for rule in rules.DEFAULT:
        assert f"`{rule.reading}`" in text, f"docs/watching.md does not describe {rule.reading}"
