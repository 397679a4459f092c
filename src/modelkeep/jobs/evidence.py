"""From records to the judge's events: what a champion and a challenger did, in the order it is judged in."""

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from modelkeep.nouns import Match, Output, Policy, Prediction, Version
from modelkeep.quantities import DAY
from modelkeep.rollout.rounds import (
    MANY_ENTITIES,
    Compared,
    Event,
    Graded,
    GradedPair,
    Served,
    Yardstick,
    yardstick,
)
from modelkeep.store.seams import Ledger

_PAGE: Final = 1000
_PAGES: Final = 20
_RECENT: Final = 2000
_MONTH: Final = 30 * DAY
_BROKEN = re.compile(r"answered .*(where a (finite number|class) is due|values for \d+ rows|which is not in 0\.\.1)")


class Arms(Struct, frozen=True, kw_only=True):
    """Who is compared with whom: numbers of the versions, and what one answer looks like.

    ``chances`` says that answers are probabilities of what is told as 0 or 1: their loss is the squared error (Brier).
    The size of the error would favour a version that always answers the commoner of the two.
    """

    model: str
    champion: int
    challenger: int
    classes: bool
    chances: bool = False


class Cursor(Struct, frozen=True, kw_only=True):
    """How far the records of a trial have been judged.

    ``place`` is that of the last prediction, ``joined`` the number of the last match; labels of predictions before the
    moment ``mature`` have been judged, except those that came later.
    """

    since: float
    place: int
    joined: int = 0
    mature: float = 0.0


class Read(Struct, frozen=True, kw_only=True):
    """Events of the trial since the cursor, the cursor after them, and whether more are waiting."""

    events: tuple[Event, ...]
    cursor: Cursor
    more: bool = False


def arms(champion: Version, challenger: Version) -> Arms:
    """The arms of a trial."""
    return Arms(
        model=champion.model,
        champion=champion.number,
        challenger=challenger.number,
        classes=champion.signature.classifies,
        chances=champion.signature.chances,
    )


def opening(ledger: Ledger, model: str, *, at: float) -> Cursor:
    """The cursor of a trial that begins now: behind the newest prediction."""
    return Cursor(since=at, place=ledger.records.place(model), mature=at)


# --------------------------------------------------------------------------------------------- before the trial


def measure(ledger: Ledger, champion: Version, *, policy: Policy, at: float) -> Yardstick:
    """The yardstick of a trial, from the champion's newest records: service times and errors."""
    seconds = [p.seconds for p in _recent(ledger, champion) if p.error is None]
    classes, chances = champion.signature.classifies, champion.signature.chances
    errors: list[float] = []
    if not classes:
        ripe = at - policy.horizon  # labels that come before are not like the others
        rows = ledger.records.labelled(champion.model, start=ripe - _MONTH, end=ripe, limit=_RECENT)
        matches = [match for _, match in rows if match.version == champion.number and match.role == "champion"]
        known = (_error(m.output, m.value, classes=False, chances=chances) for m in matches)
        errors = [abs(e) for e in known if e is not None]
    cap = 1.0 if chances else None
    found = yardstick(seconds, errors, classes=classes, grain=policy.guards.grain, cap=cap)
    if found.usual is None and not classes:
        return replace(found, usual=champion.baseline.metrics.get("brier" if chances else "mae"))
    return found


def requests_per_round(ledger: Ledger, champion: Version, *, share: float) -> int:
    """How many requests make one round of an entity in a canary of ``share``; 0 = every request is its own.

    Where a canary has few entities with many requests each, one bad entity would look like many bad requests.
    """
    keys = [p.key for p in _recent(ledger, champion) if p.key]
    entities = len(set(keys))
    if not entities or entities * share >= MANY_ENTITIES or len(keys) < 3 * entities:
        return 0
    return min(len(keys) // entities, 30)


def _recent(ledger: Ledger, champion: Version) -> list[Prediction]:
    found = ledger.records.latest(champion.model, limit=_RECENT)
    return [p for p in found if p.version == champion.number and p.role == "champion"]


# ------------------------------------------------------------------------------------------------ during it


def served(ledger: Ledger, arms: Arms, *, cursor: Cursor, measured: Yardstick) -> Read:
    """Calls since the cursor: errors, latency, and where versions differ."""
    events: list[Event] = []
    for _ in range(_PAGES):
        page = ledger.records.predictions(arms.model, after=cursor.place, limit=_PAGE)
        known = {p.id: p for _, p in page}
        events += [e for _, p in page for e in _called(ledger, arms, prediction=p, known=known, measured=measured)]
        if page:
            cursor = replace(cursor, place=page[-1][0])
        if len(page) < _PAGE:
            return Read(events=tuple(events), cursor=cursor)
    return Read(events=tuple(events), cursor=cursor, more=True)


def _called(
    ledger: Ledger, arms: Arms, *, prediction: Prediction, known: dict[str, Prediction], measured: Yardstick
) -> Iterator[Event]:
    harms = measured.harms(prediction.seconds, failed=prediction.error is not None)
    if prediction.role == "shadow" and prediction.of is not None:
        answered = known.get(prediction.of) or ledger.records.prediction(prediction.of)
        if answered is not None and {answered.version, prediction.version} == {arms.champion, arms.challenger}:
            yield _compared(arms, prediction, answered=answered, measured=measured)
    elif prediction.role == "canary" and prediction.version == arms.challenger:
        stop = _stop(prediction)
        yield Served(candidate=True, harms=harms, at=prediction.at, entity=prediction.key, stop=stop)
    elif prediction.role == "champion" and prediction.version == arms.champion:
        yield Served(candidate=False, harms=harms, at=prediction.at, entity=prediction.key)


def _compared(arms: Arms, shadow: Prediction, *, answered: Prediction, measured: Yardstick) -> Compared:
    mine = shadow.version == arms.challenger
    old, new = (answered, shadow) if mine else (shadow, answered)
    canary = answered.role == "canary" or not mine
    differ = None
    if old.error is None and new.error is None and old.output is not None and new.output is not None:
        differ = _differ(old.output, new.output, measured=measured)
    return Compared(
        # In a canary the calls themselves are judged in blocks; the pair then only tells whether answers differ.
        control=() if canary else measured.harms(old.seconds, failed=old.error is not None),
        candidate=() if canary else measured.harms(new.seconds, failed=new.error is not None),
        at=shadow.at,
        differ=differ,
        stop=_stop(new) if old.error is None and mine else "",
    )


def _stop(prediction: Prediction) -> str:
    broken = prediction.error is not None and _BROKEN.search(prediction.error)
    return f"{prediction.model}@{prediction.version} broke its signature: {prediction.error}" if broken else ""


def _differ(old: Output, new: Output, *, measured: Yardstick) -> float | None:
    if measured.classes:
        return float(old != new)
    if not measured.usual:
        return None
    return min(abs(float(new) - float(old)) / measured.usual, 1.0)


# -------------------------------------------------------------------------------------------------- labels


def graded(ledger: Ledger, arms: Arms, *, cursor: Cursor, now: float, horizon: float) -> Read:
    """Labels that may be judged by now, in the order of their predictions.

    With a ``horizon`` a label waits until its prediction is that old: labels of one kind that come sooner would else
    weigh more. Cohorts are then read at most 48 times in a horizon. What comes later than its cohort is judged when it
    comes; a correction of what was judged is not judged again.
    """
    mature = now - horizon
    if mature - cursor.mature < horizon / 48 or mature <= cursor.mature:
        return Read(events=(), cursor=cursor)
    cohort = [m for m in _pages(ledger, arms.model, after=0, since=max(cursor.mature, cursor.since)) if m.at < mature]
    fresh = _pages(ledger, arms.model, after=cursor.joined, since=cursor.since)
    late = [m for m in fresh if m.at < cursor.mature and m.revision == 1]
    joined = max((m.number for m in fresh), default=cursor.joined)
    matches = sorted((*late, *cohort), key=lambda m: (m.at, m.number))
    events = _marks(ledger, arms, matches=matches)
    return Read(events=tuple(events), cursor=replace(cursor, mature=mature, joined=joined))


def _pages(ledger: Ledger, model: str, *, after: int, since: float) -> list[Match]:
    found: list[Match] = []
    while page := ledger.records.matches(model, after=after, since=since, limit=_PAGE):
        found += page
        after = page[-1].number
        if len(page) < _PAGE:
            break
    return found


def _marks(ledger: Ledger, arms: Arms, *, matches: list[Match]) -> Iterator[Event]:
    known = {m.prediction: m for m in matches}
    paired = {m.of for m in matches if m.role == "shadow"}
    for match in matches:
        error = _error(match.output, match.value, classes=arms.classes, chances=arms.chances)
        if error is None:
            continue
        if match.role == "shadow" and match.of is not None:
            pair = _pair(ledger, arms, shadow=match, known=known.get(match.of))
            if pair is not None:
                yield pair
        elif match.prediction not in paired and _judged(arms, match):
            yield Graded(candidate=match.version == arms.challenger, error=error, at=match.at)


def _judged(arms: Arms, match: Match) -> bool:
    return (match.role, match.version) in {("champion", arms.champion), ("canary", arms.challenger)}


def _pair(ledger: Ledger, arms: Arms, *, shadow: Match, known: Match | None) -> GradedPair | None:
    answered = known or (ledger.records.prediction(shadow.of) if shadow.of else None)
    if answered is None or {answered.version, shadow.version} != {arms.champion, arms.challenger}:
        return None
    theirs, mine = (
        _error(each.output, shadow.value, classes=arms.classes, chances=arms.chances) for each in (answered, shadow)
    )
    if theirs is None or mine is None:
        return None
    old, new = (theirs, mine) if shadow.version == arms.challenger else (mine, theirs)
    return GradedPair(control=old, candidate=new, at=shadow.at)


def _error(answer: Output | None, truth: Output, *, classes: bool, chances: bool = False) -> float | None:
    """The signed error (of a chance its square with the sign), or 1 for wrong and 0 for right; None when unknown."""
    if answer is None:
        return None
    if classes:
        return float(answer != truth)
    if isinstance(answer, str | bool) or isinstance(truth, str | bool):
        return None
    error = float(answer) - float(truth)
    return error * abs(error) if chances else error
