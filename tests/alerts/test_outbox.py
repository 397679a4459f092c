import pytest

from modelkeep.alerts.channels import WebhookChannel
from modelkeep.errors import Unavailable
from modelkeep.nouns import Rule


def deliveries(house):
    return [(d.channel, d.event, d.state) for a in house.alerts() for d in a.deliveries]


def test_a_receiver_that_is_down_for_an_hour_gets_everything_once_it_is_back(house, receiver):
    house.channels["hook"] = WebhookChannel("hook", receiver.url)
    house.open(Rule(name="high", reading="x", condition="value > 0.2", severity="critical", channels=("hook",)))
    receiver.status = 503
    house.see(0.5)
    for _ in range(60):
        house.wait(minutes=1)
        house.book.deliver(house.store)
    (alert,) = house.alerts()
    assert alert.deliveries[0].state == "waiting"
    assert "503" in alert.deliveries[0].error
    assert 5 < alert.deliveries[0].attempts < 20
    house.restart()
    house.see(0.1)
    house.wait(minutes=6)
    house.see(0.1)
    receiver.status = 200
    house.wait(minutes=11)
    house.book.deliver(house.store)
    house.book.deliver(house.store)
    house.book.deliver(house.store)
    assert [(body["event"], body["alert"]) for body in receiver.taken] == [
        ("open", alert.id), ("escalate", alert.id), ("resolve", alert.id),
    ]  # fmt: skip
    assert {state for _, _, state in deliveries(house)} == {"sent"}
    assert len({body["key"] for body in receiver.taken}) == 3
    house.wait(2)
    assert house.book.deliver(house.store) == 0


def test_a_process_that_dies_after_sending_sends_again_with_the_same_key(house, receiver):
    house.channels["hook"] = WebhookChannel("hook", receiver.url)

    class Died(BaseException):
        pass

    class Dying(WebhookChannel):
        def send(self, message):
            super().send(message)
            raise Died

    house.channels["hook"] = Dying("hook", receiver.url)
    house.open(Rule(name="high", reading="x", condition="value > 0.2", channels=("hook",)))
    with pytest.raises(Died):
        house.see(0.5)
    house.channels["hook"] = WebhookChannel("hook", receiver.url)
    house.restart()
    assert house.book.deliver(house.store) == 1
    assert len({body["key"] for body in receiver.taken}) == 1
    assert len(receiver.taken) == 2


def test_what_a_receiver_refuses_is_dead_and_goes_to_another_channel(house, receiver):
    house.channels["hook"] = WebhookChannel("hook", receiver.url)
    house.open(Rule(name="high", reading="x", condition="value > 0.2", channels=("hook",)))
    receiver.status = 404
    house.see(0.5)
    assert deliveries(house) == [("hook", "open", "dead"), ("kept", "open", "waiting")]
    house.book.deliver(house.store)
    assert deliveries(house) == [("hook", "open", "dead"), ("kept", "open", "sent")]
    assert house.events == ["open"]
    house.wait(1)
    house.book.deliver(house.store)
    assert len(receiver.seen) == 1


def test_a_broken_channel_does_not_hold_up_another_one(house):
    class Broken:
        name = "broken"
        tried = 0

        def send(self, message):
            self.tried += 1
            raise ZeroDivisionError("a fault of its own")

    broken = Broken()
    house.channels = {"broken": broken, "kept": house.channel}
    house.open(*house.rules)
    house.see(0.5, house.reading(0.7, subject="m@3"))
    assert house.events == ["open", "open"]
    assert broken.tried == 1
    assert ("broken", "open", "waiting") in deliveries(house)


def test_a_channel_that_was_taken_away_leaves_no_message_waiting(house):
    class Down:
        name = "down"

        def send(self, message):
            raise Unavailable("not now")

    house.channels = {"down": Down()}
    house.open(*house.rules)
    house.see(0.5)
    house.channels = {"kept": house.channel}
    house.restart()
    house.wait(1)
    house.book.deliver(house.store)
    house.book.deliver(house.store)
    assert deliveries(house) == [("down", "open", "dead"), ("kept", "open", "sent")]
