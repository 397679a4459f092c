"""What a replay tells in the end: the table of events, and how good everybody was."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["retrain", "exclude", "keep", "roll_back", "notify", "refused", "running"]


class Test(Struct, frozen=True, kw_only=True):
    """A challenger against the champion on the same rows, or on comparable ones.

    ``champion`` and ``challenger`` are mean errors (of numbers capped at the champion's 99 % quantile; of classes the
    share of wrong answers), ``interval`` is that of their difference (95 %), ``n`` how many answers it stands on.
    """

    n: int
    champion: float
    challenger: float
    interval: tuple[float, float]
    method: str


class Decision(Struct, frozen=True, kw_only=True):
    """What was done about an event, when, why, and what came of it.

    ``kind``: ``retrain`` (a new version was promoted), ``keep`` (a new version was tried, and the champion kept),
    ``exclude``, ``roll_back``, ``notify`` (people were told, nothing else), ``refused`` (retraining was refused),
    ``running`` (not decided yet at the end). ``before`` and ``after`` are the mean errors of what was answered in the
    28 days before the event was detected and after the decision.
    """

    at: float
    kind: Kind
    detail: str
    version: int | None = None
    test: Test | None = None
    before: float | None = None
    after: float | None = None


class Happening(Struct, frozen=True, kw_only=True):
    """One event: since when it was so, when it was noticed, what caused it, and what was decided.

    ``event`` is the moment from which on the evidence stands, None where it does not tell. ``page`` says that people
    are woken (severity high or critical).
    """

    event: float | None
    detected: float
    resolved: float | None
    name: str
    subject: str
    severity: str
    page: bool
    cause: str
    detail: str
    decisions: tuple[Decision, ...]


class Scores(Struct, frozen=True, kw_only=True):
    """Mean errors over the same ``n`` rows: what was answered, version 1 left alone, and each automatic baseline.

    ``unit`` is that of the error (``wrong`` = share of wrong answers). ``metrics`` are further ones by who answered.
    ``at_once`` is the error of the rule "the same as last time" if labels came at once instead of when they did.
    """

    n: int
    unit: str
    kept: float
    frozen: float
    baselines: dict[str, float]
    at_once: float | None
    metrics: dict[str, dict[str, float]]

    @property
    def best(self) -> str | None:
        """The automatic baseline that errs least."""
        return min(self.baselines, key=self.baselines.__getitem__, default=None)


class Month(Struct, frozen=True, kw_only=True):
    """A part of the replay and the mean errors in it."""

    start: float
    n: int
    kept: float
    frozen: float
    best: float | None


class Report(Struct, frozen=True, kw_only=True):
    """The whole replay. Moments are seconds since 1970, ``seconds`` the real time that it took."""

    model: str
    recipe: str
    file: str
    start: float
    end: float
    trained_rows: int
    predictions: int
    outcomes: int
    refused: int
    versions: int
    champion: int
    pages: int
    notices: int
    pages_per_90_days: float
    below_baseline: tuple[str, ...]
    offers: tuple[str, ...]
    scores: Scores | None
    months: tuple[Month, ...]
    happenings: tuple[Happening, ...]
    seconds: float
    seconds_by_part: dict[str, float]

    @property
    def days(self) -> float:
        """How many days were played."""
        return (self.end - self.start) / 86400.0
