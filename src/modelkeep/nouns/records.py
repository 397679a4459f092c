"""Records: what was asked and answered, and what really happened."""

from __future__ import annotations

from msgspec import Struct

from modelkeep.nouns.decisions import Role
from modelkeep.nouns.models import Features, Output


class Prediction(Struct, frozen=True, kw_only=True):
    """One answer of one version, or its failure; the same record for both.

    ``id`` is ``writer-seq`` (two integers: the process that recorded it, and its count). ``at`` is when it was asked,
    ``target`` the moment that it is about (``at`` unless the request names another). ``of`` is, for a shadow, the id
    of the prediction that was answered for the same input. ``references`` are the automatic baselines' answers for the
    same key, in the order of ``profile.REFERENCES`` (None where unknown), filled in by the recorder. ``stand_in`` is
    the version that answered when ``error`` says why ``version`` did not (0 = the automatic baseline).
    A prediction that was made elsewhere has the id that its service has ``given`` it, and a ``flag`` in words when
    something about it is odd (a moment in the future); its ``seconds`` are NaN when nobody measured them.
    """

    id: str
    model: str
    version: int
    role: Role
    features: Features
    output: Output | None
    at: float
    target: float
    seconds: float
    key: str = ""
    subject: str | None = None
    score: float | None = None
    interval: tuple[float, float] | None = None
    error: str | None = None
    stand_in: int | None = None
    of: str | None = None
    request: str = ""
    references: tuple[Output | None, ...] = ()
    given: str = ""
    flag: str = ""


class Outcome(Struct, frozen=True, kw_only=True):
    """What really happened, told by prediction id, or by model + key + the moment that it is about.

    ``at`` is when it became known. Telling the same value twice changes nothing; another value is a correction: all
    revisions are kept, the newest counts. ``value`` None withdraws the outcome. ``tolerance`` is the largest distance
    in seconds between ``target`` and that of its prediction, where it is not the policy's.
    """

    value: Output | None
    at: float
    prediction: str | None = None
    model: str | None = None
    key: str = ""
    target: float | None = None
    source: str = ""
    tolerance: float | None = None


class Match(Struct, frozen=True, kw_only=True):
    """A prediction joined with the newest revision of its outcome; ``number`` grows in the order of joining."""

    number: int
    prediction: str
    of: str | None
    model: str
    version: int
    role: Role
    key: str
    at: float
    target: float
    output: Output | None
    value: Output
    told: float
    revision: int
    references: tuple[Output | None, ...] = ()
