"""Who stays before a version that runs in the event loop, and who is told at once to go."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelkeep.serving.admission.crowds import Crowd
from modelkeep.serving.admission.gates import FRESH, LINE, PRIORITIES, Gate, patience
from modelkeep.serving.admission.gradient import Limit
from modelkeep.serving.admission.pressure import Pressure


@dataclass(eq=False)
class Waiter:
    rank: int
    came: float


class Plain(Crowd):
    """The rule one by one: as it is told, without what makes it quick."""

    def _parted(self, waiting, left, *, room, at, ticks):
        each = self._each
        if each is None:
            return sorted(waiting, key=lambda one: one.rank), {}
        fresh = self._gate is None and at - self._rested < FRESH
        urgent = sum(one.rank == 0 for one in waiting)
        if urgent <= room or each * urgent < LINE:
            self._eased = at
        bounds = [patience(priority, fresh=fresh) for priority in PRIORITIES]
        bounds[0] = patience("critical", fresh=at - self._eased < FRESH)
        oldest = [0.0, 0.0, 0.0]
        longest = [patience(priority, fresh=True) for priority in PRIORITIES]
        for one in waiting[:left]:
            if one.came < at - longest[one.rank]:
                self._shut[one.rank] = at + FRESH
        known = {id(one) for one in waiting[:left]}
        stay, gone = [], {}
        for one in sorted(waiting, key=lambda one: one.rank):
            rank, priority = one.rank, PRIORITIES[one.rank]
            if id(one) in known:
                oldest[rank] = max(oldest[rank], at - one.came)
                goes = one.came < at - longest[rank]
            else:
                vain = oldest[rank] > bounds[rank] or at < self._shut[rank]
                goes = each * len(stay) > bounds[rank] or (rank > 0 and vain)
                if self._gate is not None and not goes:
                    goes = self._gate.throttles(priority, at=ticks)
                    if not goes:
                        self._gate.take(ticks)
            (gone.setdefault(priority, []) if goes else stay).append(one)
        return stay, gone


def gate(share):
    limit = Limit(hands=1, most=1000, own=0.001)
    return Gate("m", 1, limit=limit, pressure=Pressure(used=share), share=share)


turns = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), max_size=60),  # who comes, by priority
        st.integers(1, 8),  # how many are answered
        st.floats(0.001, 0.3),  # how long it takes
    ),
    min_size=1,
    max_size=30,
)


@given(turns, st.sampled_from([1.0, 0.7]))
def test_the_quick_rule_is_the_plain_one(turns, share):
    crowds = [(Crowd(), gate(share)), (Plain(), gate(share))]
    queues, at = [[], []], 100.0
    for ranks, room, seconds in turns:
        came = [Waiter(rank, at - 0.0001 * place) for place, rank in enumerate(ranks)]
        came.sort(key=lambda one: one.came)
        said = []
        for place, (crowd, own) in enumerate(crowds):
            queue = queues[place] + came
            queue, gone = crowd.thin(queue, room=room, at=at, gate=lambda own=own: own, ticks=at)
            said.append((queue, [(priority, str(refusal), them) for priority, refusal, them in gone]))
            queues[place] = queue[room:]
            crowd.turned(queues[place], done=min(room, len(queue)), room=room, at=at + seconds, ticks=at + seconds)
        assert said[0] == said[1]
        at += seconds
    views = [own.view(at) for _, own in crowds]
    assert views[0] == views[1]


class Even(Crowd):
    """A crowd that moves as fast as at first."""

    def _learn(self, each):
        if self._each is None:
            super()._learn(each)


@given(turns, st.integers(0, 2))
def test_for_whom_there_is_no_place_the_next_turn_would_have_found_none(turns, rank):
    crowd, own = Even(), gate(1.0)
    queue, at, full = [], 100.0, ()
    for ranks, room, seconds in turns:
        queue += [Waiter(one, at) for one in ranks]
        queue, _ = crowd.thin(queue, room=room, at=at, gate=lambda: own, ticks=at)
        queue, done = queue[room:], min(room, len(queue))
        at += seconds
        full = crowd.turned(queue, done=done, room=room, at=at, ticks=at)
    if full and full[rank]:
        late = Waiter(rank, at)
        aged = [one for one in queue if at - one.came > patience(PRIORITIES[one.rank], fresh=True)]
        _, gone = crowd.thin([*queue, late], room=room, at=at, gate=lambda: own, ticks=at)
        went = [one for _, _, them in gone for one in them]
        assert late in went or aged  # who has waited too long goes first, and may leave a place


def crowded():
    """A crowd with many before it, each of whom takes 10 ms; its gate, those who were left, and who finds no place."""
    crowd, own = Crowd(), gate(1.0)
    queue, full = [], ()
    for at in (100.0, 100.01, 100.02):
        queue, _ = crowd.thin([*queue, *(Waiter(1, at) for _ in range(20))], room=1, at=at, gate=lambda: own, ticks=at)
        queue = queue[1:]
        full = crowd.turned(queue, done=1, room=1, at=at + 0.01, ticks=at + 0.01)
    return crowd, own, queue, full


def test_what_is_urgent_finds_a_place_before_what_may_wait():
    _, _, queue, full = crowded()
    assert queue
    assert list(full) == [False, True, True]


def test_who_was_refused_early_is_counted_with_the_next_turn():
    crowd, own, queue, _ = crowded()
    before = own.shed["normal"], own.shed["batch"]
    crowd.thin(queue, room=1, at=100.05, gate=lambda: own, ticks=100.05, early={"normal": 7, "batch": 2})
    assert (own.shed["normal"] - before[0], own.shed["batch"] - before[1]) == (7, 2)
    assert "more batch ones would only wait" in str(crowd.refusal("batch", ticks=100.05))
    assert own.shed["batch"] - before[1] == 2  # a refusal by itself counts nothing


def test_who_stood_there_before_a_turn_that_failed_is_not_known_to_the_next():
    """Nobody of those may be answered again: the queue is what counts."""
    crowd, own, queue, _ = crowded()
    crowd.thin(queue, room=1, at=100.05, gate=lambda: own, ticks=100.05)  # ... and the turn does not come to its end
    stay, gone = crowd.thin([Waiter(1, 100.06)], room=0, at=100.06, gate=lambda: own, ticks=100.06)
    assert len(stay) + sum(len(them) for _, _, them in gone) == 1


def test_where_some_have_waited_in_vain_no_more_are_let_in_for_a_moment():
    crowd, own, at = Crowd(), gate(1.0), 100.0
    queue, vain = [], []
    for turn in range(400):
        at = 100.0 + turn / 100
        new = [Waiter(1, at), Waiter(1, at)] + [Waiter(2, at)] * (turn % 10 == 0)
        queue, gone = crowd.thin([*queue, *new], room=1, at=at, gate=lambda: own, ticks=at)
        vain += [(at, one) for _, _, them in gone for one in them if one not in new]
        queue = queue[1:]
        crowd.turned(queue, done=1, room=1, at=at + 0.01, ticks=at + 0.01)
    stood = sorted({when for when, one in vain if one.rank == 2})
    assert stood
    assert all(later - sooner > FRESH for sooner, later in pairwise(stood))
    crowd.thin([], room=1, at=at + 0.1, gate=lambda: own, ticks=at)  # all is quiet: whoever comes next finds a place
    crowd.turned([], done=0, room=1, at=at + 0.1, ticks=at)
    stay, gone = crowd.thin([Waiter(1, at), Waiter(2, at)], room=1, at=at + 0.1, gate=lambda: own, ticks=at)
    assert (len(stay), list(gone)) == (2, [])


def test_an_empty_place_has_room_for_all():
    crowd, own, _, _ = crowded()
    crowd.thin([], room=1, at=110.0, gate=lambda: own, ticks=110.0)
    assert not crowd.turned([], done=0, room=1, at=110.0, ticks=110.0)
    with pytest.raises(AssertionError):
        Crowd().refusal("normal", ticks=0.0)
