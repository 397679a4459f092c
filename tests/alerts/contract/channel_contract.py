"""What every channel must do; each implementation gives the fixture ``posted`` and passes all of it."""

from collections.abc import Callable

from msgspec import Struct

from modelkeep.alerts.channels import Channel, Message

MESSAGE = Message(
    key="a1-open", event="open", alert="a1", rule="high", subject="m@2", type="modelFailure", severity="critical",
    state="open", message="first line\nsecond line \u00e4", opened="2023-11-14T22:13:20.000Z", value=0.5,
    interval=(0.4, 0.6), n=80, advice=("look",), command="modelkeep rollback m",
)  # fmt: skip


class Posted(Struct, frozen=True, kw_only=True):
    """A channel, and what arrived at its far end: (key, event, severity, text) each."""

    channel: Channel
    arrived: Callable[[], list[tuple[str, str, str, str]]]


class ChannelContract:
    def test_a_message_arrives_whole(self, posted):
        posted.channel.send(MESSAGE)
        ((key, event, severity, text),) = posted.arrived()
        assert (key, event, severity) == ("a1-open", "open", "critical")
        assert "first line" in text
        assert "second line \u00e4" in text

    def test_messages_arrive_in_order_and_repeats_carry_the_same_key(self, posted):
        for _ in range(2):
            posted.channel.send(MESSAGE)
        assert [key for key, *_ in posted.arrived()] == ["a1-open", "a1-open"]

    def test_it_has_the_name_that_rules_use(self, posted):
        assert posted.channel.name == "far"
