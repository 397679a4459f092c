"""What is particular to mail, Slack and PagerDuty, on receivers that are real, and which channel is told of what."""

import json
import logging

import pytest
from channel_contract import MESSAGE
from msgspec.structs import replace

from modelkeep.alerts.channels import EmailChannel, Narrowed, PagerDutyChannel, SlackChannel, SwitchedOff, Taking
from modelkeep.alerts.channels.to_email import Relay
from modelkeep.errors import BadSettings, Refused, TimedOut, Unavailable
from modelkeep.nouns import Rule

OVER = replace(MESSAGE, key="a1-resolve", event="resolve", state="resolved", resolved="2023-11-14T23:13:20.000Z")


# ----------------------------------------------------------------------------------------------------- mail


def relay(mailbox, **more):
    known = {"username": "ops", "secret": lambda: "s3cret", "authority": mailbox.authority}
    return Relay(**{"host": "127.0.0.1", "port": mailbox.port, **known, **more})


def mailing(mailbox, *, to=("on@b.test",), timeout=5.0, **more):
    return EmailChannel(
        "mail", relay(mailbox, **more), sender="Keep <mk@a.test>", to=to, product="Ghosteam V5", timeout=timeout
    )


@pytest.mark.row("ALR-06")
def test_a_mail_has_the_guides_subject_and_body(mailbox):
    mailing(mailbox).send(replace(MESSAGE, system={"load": 0.5}))
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[CRITICAL] Ghosteam V5 Alert: modelFailure"
    head, _, rest = mail.get_content().replace("\r\n", "\n").partition("\n\n")
    assert head == (
        "Alert Type: modelFailure\nSeverity: critical\nMessage: first line\nsecond line \u00e4\n"
        "Timestamp: 2023-11-14T22:13:20.000Z"
    )
    told = json.loads(rest.removeprefix("Metadata: "))
    assert (told["alert"], told["subject"], told["value"], told["n"]) == ("a1", "m@2", 0.5, 80)
    assert told["system"] == {"load": 0.5}
    assert mail["To"] == "on@b.test"


def test_what_follows_answers_to_the_mail_that_opened(mailbox):
    channel = mailing(mailbox)
    for message in (MESSAGE, replace(MESSAGE, key="a1-escalate", event="escalate"), OVER):
        channel.send(message)
    first, escalated, over = mailbox.mails
    assert first["Message-ID"] == escalated["In-Reply-To"] == over["In-Reply-To"]
    assert escalated["Subject"].startswith("[CRITICAL, NOT ACKNOWLEDGED]")
    assert over["Subject"].startswith("[RESOLVED]")
    assert "Timestamp: 2023-11-14T23:13:20.000Z" in over.get_content()


def test_a_type_cannot_add_headers(mailbox):
    mailing(mailbox).send(replace(MESSAGE, type="odd\r\nBcc: all@b.test"))
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert "odd Bcc: all@b.test" in mail["Subject"]


def test_nothing_is_sent_in_the_clear(mailbox, tmp_path):
    from mailbox_server import Mailbox

    with pytest.raises(Refused, match="530"):  # the server demands STARTTLS
        mailing(mailbox, encryption="none", username="").send(MESSAGE)
    with pytest.raises(Unavailable, match="cannot be trusted"):
        mailing(mailbox, authority="").send(MESSAGE)
    plain = Mailbox(tmp_path, encrypted=False)
    try:
        with pytest.raises(Refused, match="STARTTLS"):
            mailing(plain).send(MESSAGE)
        assert plain.mails == []
        mailing(plain, encryption="none", username="").send(MESSAGE)
        assert len(plain.mails) == 1
    finally:
        plain.close()
    with pytest.raises(BadSettings, match="in the clear"):
        EmailChannel("m", Relay(host="mail.test", encryption="none", username="u"), sender="a@b", to=("c@d",))


def test_what_a_mail_server_answers_decides_whether_a_repeat_helps(mailbox):
    with pytest.raises(Refused, match="535"):
        mailing(mailbox, secret=lambda: "wrong").send(MESSAGE)
    mailbox.answer = "451 try later"
    with pytest.raises(Unavailable, match="451"):
        mailing(mailbox).send(MESSAGE)
    mailbox.answer = "552 too large"
    with pytest.raises(Refused, match="552"):
        mailing(mailbox).send(MESSAGE)
    mailbox.refused = {"gone@b.test"}
    with pytest.raises(Refused, match="550"):
        mailing(mailbox, to=("gone@b.test",)).send(MESSAGE)


def test_one_wrong_address_does_not_keep_the_mail_from_the_others(mailbox, caplog):
    mailbox.refused = {"gone@b.test"}
    mailing(mailbox, to=("gone@b.test", "on@b.test")).send(MESSAGE)
    assert len(mailbox.mails) == 1
    assert [record.refused for record in caplog.records if record.name == "modelkeep.alerts"] == [1]


def test_no_mail_server_is_unavailable_and_a_silent_one_times_out(mailbox):
    import socket

    with pytest.raises(Unavailable, match="cannot be reached"):
        mailing(mailbox, port=9).send(MESSAGE)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimedOut, match=r"within 0\.1 s"):
        mailing(mailbox, port=silent.getsockname()[1], timeout=0.1).send(MESSAGE)


@pytest.mark.parametrize("wrong", ["nobody", "a@b\nBcc: c@d", ""])
def test_what_is_no_address_is_refused_at_the_start(mailbox, wrong):
    with pytest.raises(BadSettings, match="no mail address"):
        mailing(mailbox, to=(wrong,))


def test_no_password_stands_in_an_error_or_a_log(mailbox, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Refused) as refused:
        mailing(mailbox, secret=lambda: "hush-hush").send(MESSAGE)
    mine = [record.getMessage() for record in caplog.records if record.name.startswith(("modelkeep", "httpx", "root"))]
    assert "hush-hush" not in str(refused.value) + "".join(mine)


# ---------------------------------------------------------------------------------------------------- Slack


@pytest.mark.row("ALR-07")
@pytest.mark.parametrize(
    ("severity", "colour"),
    [("info", "#36a64f"), ("warning", "#ff9900"), ("critical", "#ff0000"), ("strange", "#808080")],
)
def test_slack_gets_the_guides_attachment(receiver, severity, colour):
    SlackChannel("far", lambda: receiver.url, product="ML Service").send(replace(MESSAGE, severity=severity))
    (one,) = receiver.taken[0]["attachments"]
    assert one["color"] == colour
    assert one["title"] == "ML Service Alert: modelFailure"
    assert one["text"] == "first line\nsecond line \u00e4"
    assert one["fields"][:2] == [
        {"title": "Severity", "value": severity, "short": True},
        {"title": "Timestamp", "value": "2023-11-14T22:13:20.000Z", "short": True},
    ]
    assert one["footer"] == "ML Service"
    assert one["ts"] == 1_700_000_000


@pytest.mark.row("ALR-07")
def test_a_slack_that_answers_500_is_logged_and_tried_again_and_nothing_is_raised(house, receiver, caplog):
    house.channels["slack"] = SlackChannel("slack", lambda: receiver.url)
    house.open(Rule(name="high", reading="x", condition="value > 0.2", channels=("slack",)))
    receiver.status = 500
    house.see(0.5)
    assert "alert not delivered" in caplog.text
    receiver.status = 200
    house.wait(minutes=1)
    assert house.book.deliver(house.store) == 1
    assert len(receiver.taken) == 1


def test_nothing_in_a_slack_text_is_a_mention_or_a_link(receiver):
    SlackChannel("far", lambda: receiver.url).send(replace(MESSAGE, message="<!channel> & <http://x|y>"))
    assert receiver.taken[0]["attachments"][0]["text"] == "&lt;!channel&gt; &amp; &lt;http://x|y&gt;"


def test_slack_is_given_five_seconds_and_what_is_over_is_green(receiver):
    assert SlackChannel("far", lambda: receiver.url)._timeout == 5.0
    receiver.slow = True
    with pytest.raises(TimedOut):
        SlackChannel("far", lambda: receiver.url, timeout=0.1).send(MESSAGE)
    receiver.slow = False
    SlackChannel("far", lambda: receiver.url).send(OVER)
    assert receiver.taken[-1]["attachments"][0]["color"] == "#36a64f"
    assert receiver.taken[-1]["attachments"][0]["title"].startswith("Resolved: ")


# ------------------------------------------------------------------------------------------------ PagerDuty


@pytest.mark.row("ALR-08")
def test_pagerduty_is_told_of_critical_alerts_alone_and_their_end_has_the_same_key(house, receiver):
    channel = PagerDutyChannel("duty", lambda: "r0uting", url=receiver.url)
    house.channels["duty"] = Narrowed(channel=channel, taking=Taking(least="critical"))
    house.open(
        Rule(name="mild", reading="x", condition="value > 0.2", severity="warning", keep=0),
        Rule(name="grave", reading="x", condition="value > 0.9", severity="critical", keep=0),
    )
    house.see(0.5)
    assert receiver.taken == []
    house.see(0.95)
    house.see(0.95)
    house.see(0.1)
    opened, over = receiver.taken
    grave = next(a for a in house.alerts() if a.rule == "grave")
    assert (opened["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == over["dedup_key"] == grave.id
    assert opened["routing_key"] == over["routing_key"] == "r0uting"
    payload = opened["payload"]
    assert payload["severity"] == "critical"
    assert payload["source"] == "m@2"
    assert payload["summary"].startswith("Modelkeep Critical Alert: performanceDegradation")
    assert payload["custom_details"]["rule"] == "grave"
    assert len(house.channel.sent) == 4  # the other channel heard of both


def test_a_summary_is_no_longer_than_pagerduty_takes(receiver):
    PagerDutyChannel("duty", lambda: "k", url=receiver.url).send(replace(MESSAGE, message="x" * 5000))
    assert len(receiver.taken[0]["payload"]["summary"]) == 1024


# ------------------------------------------------------------------------------------- who is told of what


@pytest.mark.row("ALR-05")
def test_a_channel_that_is_switched_off_is_told_nothing_and_a_broken_one_holds_nobody_up(house, receiver):
    house.channels["mail"] = SwitchedOff(name="mail")
    house.channels["slack"] = SlackChannel("slack", lambda: "http://127.0.0.1:9/gone")
    house.channels["slack too"] = SlackChannel("slack too", lambda: receiver.url)
    house.open(Rule(name="high", reading="x", condition="value > 0.2"))
    house.see(0.5)
    (alert,) = house.alerts()
    assert {d.channel: d.state for d in alert.deliveries} == {"kept": "sent", "slack": "waiting", "slack too": "sent"}
    assert len(receiver.taken) == 1


@pytest.mark.row("ALR-05")
def test_what_waited_for_a_channel_that_is_switched_off_goes_to_another(house):
    house.channels["slack"] = SlackChannel("slack", lambda: "http://127.0.0.1:9/gone")
    house.open(Rule(name="high", reading="x", condition="value > 0.2", channels=("slack",)))
    house.see(0.5)
    house.channels["slack"] = SwitchedOff(name="slack")
    house.restart()
    house.wait(minutes=1)
    house.book.deliver(house.store)
    house.book.deliver(house.store)
    (alert,) = house.alerts()
    assert [(d.channel, d.state) for d in alert.deliveries] == [("slack", "dead"), ("kept", "sent")]
    assert "switched off" in alert.deliveries[0].error


@pytest.mark.row("ALR-02")
@pytest.mark.parametrize(
    "kind",
    ["modelFailure", "performanceDegradation", "dataCollectionIssue", "systemOverload", "userExperienceImpact"],
)
def test_each_type_can_be_raised_and_routed_by_itself(house, receiver, kind):
    house.channels["mine"] = Narrowed(channel=SlackChannel("mine", lambda: receiver.url), taking=Taking(types=(kind,)))
    house.open(Rule(name=kind, reading="x", condition="value > 0.2", kind=kind))
    others = ("modelFailure", "userExperienceImpact")
    with house.store.write() as ledger:
        for other in others:
            house.book.raise_event(
                ledger, rule="hand", subject=other, kind=other, severity="error", message=f"{other} told"
            )
    house.see(0.5)
    titles = [body["attachments"][0]["title"] for body in receiver.taken]
    assert titles == [f"Modelkeep Alert: {kind}"] * (1 + (kind in others))
    assert len(house.channel.sent) == 3


def test_a_rule_whose_channels_do_not_take_its_alerts_tells_the_others(house, receiver):
    duty = PagerDutyChannel("duty", lambda: "k", url=receiver.url)
    house.channels["duty"] = Narrowed(channel=duty, taking=Taking(least="critical"))
    house.open(Rule(name="mild", reading="x", condition="value > 0.2", severity="warning", channels=("duty",)))
    house.see(0.5)
    assert receiver.taken == []
    assert [message.rule for message in house.channel.sent] == ["mild"]
