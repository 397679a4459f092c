import json
import logging

import pytest
from channel_contract import MESSAGE, ChannelContract, Posted

from modelkeep.alerts.channels import EmailChannel, LogChannel, PagerDutyChannel, SlackChannel, WebhookChannel
from modelkeep.alerts.channels.to_email import Relay
from modelkeep.errors import BadSettings, Refused, TimedOut, Unavailable
from modelkeep.settings import Secret


class TestLog(ChannelContract):
    @pytest.fixture
    def posted(self, caplog):
        caplog.set_level(logging.INFO, "modelkeep.alerts")
        held = lambda: [  # noqa: E731
            (r.alert_key, r.alert_event, r.alert_severity, r.getMessage()) for r in caplog.records
        ]
        return Posted(channel=LogChannel("far"), arrived=held)


class TestWebhook(ChannelContract):
    @pytest.fixture
    def posted(self, receiver):
        held = lambda: [(b["key"], b["event"], b["severity"], b["message"]) for b in receiver.taken]  # noqa: E731
        return Posted(channel=WebhookChannel("far", receiver.url), arrived=held)


class TestSlack(ChannelContract):
    @pytest.fixture
    def posted(self, receiver):
        def held():
            found = []
            for (one,) in (body["attachments"] for body in receiver.taken):
                fields = {field["title"]: field["value"] for field in one["fields"]}
                key = fields["Alert"]
                found.append((key, key.rpartition("-")[2], fields["Severity"], one["text"]))
            return found

        return Posted(channel=SlackChannel("far", lambda: receiver.url), arrived=held)


class TestPagerDuty(ChannelContract):
    @pytest.fixture
    def posted(self, receiver):
        def held():
            payloads = [body["payload"] for body in receiver.taken]
            details = [payload["custom_details"] for payload in payloads]
            return [(d["key"], d["event"], p["severity"], d["message"]) for d, p in zip(details, payloads, strict=True)]

        return Posted(channel=PagerDutyChannel("far", lambda: "k3y", url=receiver.url), arrived=held)


class TestEmail(ChannelContract):
    @pytest.fixture
    def posted(self, mailbox):
        def held():
            found = []
            for mail in mailbox.mails:
                text = mail.get_content().replace("\r\n", "\n")
                rest = json.loads(text.partition("Metadata: ")[2])
                severity = text.partition("Severity: ")[2].partition("\n")[0]
                found.append((rest["key"], rest["event"], severity, text))
            return found

        relay = Relay(
            host="127.0.0.1", port=mailbox.port, authority=mailbox.authority, username="ops", secret=lambda: "s3cret"
        )
        return Posted(channel=EmailChannel("far", relay, sender="mk@a.test", to=("on@b.test",)), arrived=held)


def test_a_log_line_is_one_line_at_the_severitys_level(caplog):
    LogChannel().send(MESSAGE)
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert "\n" not in record.getMessage()


def test_the_webhook_posts_json_with_a_key_and_the_secret(receiver):
    WebhookChannel("far", receiver.url, secret=lambda: "Bearer s3cret").send(MESSAGE)
    assert receiver.headers[0]["Authorization"] == "Bearer s3cret"
    assert receiver.headers[0]["Idempotency-Key"] == "a1-open"
    assert receiver.headers[0]["Content-Type"] == "application/json"
    assert receiver.taken[0]["interval"] == [0.4, 0.6]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (404, Refused),
        (410, Refused),
        (429, Unavailable),
        (408, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_what_a_receiver_answers_decides_whether_a_repeat_helps(receiver, status, error):
    receiver.status = status
    with pytest.raises(error, match=str(status)):
        WebhookChannel("far", receiver.url).send(MESSAGE)


def test_a_redirect_is_not_followed(receiver):
    receiver.status, receiver.location = 307, receiver.url + "/elsewhere"
    with pytest.raises(Refused, match="redirects are not followed"):
        WebhookChannel("far", receiver.url).send(MESSAGE)
    assert len(receiver.seen) == 1


def test_a_receiver_that_does_not_answer_times_out(receiver):
    receiver.slow = True
    with pytest.raises(TimedOut, match=r"within 0\.1 s"):
        WebhookChannel("far", receiver.url, timeout=0.1).send(MESSAGE)


def test_no_receiver_is_unavailable_and_no_secret_is_told(receiver):
    missing = Secret(reference="env:NO_SUCH_HOOK", key="alerts.channels.far.secret")
    with pytest.raises(Unavailable, match="set the environment variable NO_SUCH_HOOK"):
        WebhookChannel("far", receiver.url, secret=missing.reveal).send(MESSAGE)
    with pytest.raises(Unavailable) as refused:
        WebhookChannel("far", "http://user:s3cret@127.0.0.1:9/token").send(MESSAGE)
    assert "s3cret" not in str(refused.value)
    assert "token" not in str(refused.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "nonsense", "http://"])
def test_other_addresses_are_refused(url):
    with pytest.raises(BadSettings):
        WebhookChannel("far", url)


def test_the_payload_is_plain_json(receiver):
    WebhookChannel("far", receiver.url).send(MESSAGE)
    assert json.loads(json.dumps(receiver.taken[0])) == receiver.taken[0]
    assert receiver.taken[0]["opened"].endswith("Z")
