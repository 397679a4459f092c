"""Channels as the configuration asks for them, in a real app; their secrets stay out of everything that is kept."""

import pytest

from modelkeep import App, ManualClock, settings
from modelkeep.alerts.channels import SwitchedOff
from modelkeep.errors import BadSettings
from modelkeep.operations import alerts, configuration

EVERY = """
[alerts.channels.mail]
kind = "email"
host = "127.0.0.1"
port = 9
username = "ops"
secret = "env:T_MAIL"
sender = "mk@a.test"
to = ["on@b.test"]

[alerts.channels.team]
kind = "slack"
url = "env:T_SLACK"
types = ["modelFailure"]

[alerts.channels.duty]
kind = "pagerduty"
secret = "env:T_DUTY"
url = "http://127.0.0.1:9/v2/enqueue"

[alerts.channels.off]
kind = "slack"
enabled = false
"""
SECRETS = {"T_MAIL": "mail-s3cret", "T_SLACK": "http://127.0.0.1:9/services/hush", "T_DUTY": "routing-k3y"}


@pytest.fixture
def configured(tmp_path, monkeypatch):
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)

    def build(text=EVERY):
        (tmp_path / "modelkeep.toml").write_text(text)
        flags = {"watch.every": "0s", "workloads": []}
        return settings.load(folder=tmp_path / "data", file=tmp_path / "modelkeep.toml", environ={}, flags=flags)

    return build


def told(app, kind, severity):
    wanted = alerts.RaiseAlert(type=kind, message="a trial", severity=severity, metrics={"queue": 3.0})
    return alerts.raise_alert(app, wanted)


@pytest.mark.row("ALR-05")
def test_every_kind_is_built_and_each_is_switched_by_itself(configured):
    with App.open(configured(), clock=ManualClock(1e9)) as app:
        assert set(app.rooms.book.channels) == {"mail", "team", "duty", "off"}
        assert isinstance(app.rooms.book.channels["off"], SwitchedOff)
        names = lambda alert: sorted(d.channel for d in alert.deliveries)  # noqa: E731
        assert names(told(app, "modelFailure", "critical")) == ["duty", "mail", "team"]
        assert names(told(app, "modelFailure", "warning")) == names(told(app, "modelFailure", "critical"))  # still open
        assert names(told(app, "systemOverload", "warning")) == ["mail"]


@pytest.mark.row("ALR-02")
def test_alerts_are_raised_by_hand_and_found_by_type(configured):
    with App.open(configured(), clock=ManualClock(1e9)) as app:
        for kind in ("dataCollectionIssue", "userExperienceImpact"):
            told(app, kind, "error")
        (one,) = alerts.list_alerts(app, alerts.ListAlerts(type="userExperienceImpact")).alerts
    assert (one.type, one.severity, one.subject) == ("userExperienceImpact", "error", "server")
    assert one.system_metrics["queue"] == 3.0
    assert {"load", "memory_percent"} <= set(one.system_metrics)


def test_no_secret_is_kept_or_shown(configured, tmp_path, caplog):
    with App.open(configured(), clock=ManualClock(1e9)) as app:
        told(app, "modelFailure", "critical")
        app.rooms.book.deliver(app.rooms.store)
        (one,) = alerts.list_alerts(app, alerts.ListAlerts()).alerts
        assert {d.state for d in one.deliveries} == {"waiting"}  # nobody listens on port 9
        shown = str(configuration.show_configuration(app, configuration.ShowConfiguration()))
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    said = "".join(r.getMessage() + str(r.__dict__) for r in caplog.records if r.name.startswith("modelkeep"))
    for secret in ("mail-s3cret", "hush", "routing-k3y"):
        assert secret.encode() not in kept
        assert secret not in shown + said + str(one)


@pytest.mark.parametrize(
    ("kind", "field"), [("slack", "url"), ("pagerduty", "secret"), ("email", "host"), ("webhook", "url")]
)
def test_what_a_kind_needs_is_asked_for_by_name(configured, kind, field):
    with pytest.raises(BadSettings, match=rf"alerts.channels.ops: {kind} without {field}"):
        configured(f'[alerts.channels.ops]\nkind = "{kind}"\n')


def test_the_log_is_told_of_what_would_reach_nobody(configured):
    narrow = '[alerts.channels.duty]\nkind = "pagerduty"\nsecret = "env:T_DUTY"\n'
    with App.open(configured(narrow), clock=ManualClock(1e9)) as app:
        assert [d.channel for d in told(app, "systemOverload", "warning").deliveries] == ["log"]
    off = '[alerts.channels.ops]\nkind = "slack"\nenabled = false\n'
    with App.open(configured(off), clock=ManualClock(1e9)) as app:
        assert set(app.rooms.book.channels) == {"ops", "log"}
