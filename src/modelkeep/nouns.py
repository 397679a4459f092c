"""The types that every room speaks. Frozen; their methods are pure.

What happens is a *record* (Prediction, Outcome). What we know is a *Reading*, folded from records or from a probe.
What we do is a *Job* or a *Rollout* change. Moments are seconds since 1970-01-01T00:00:00Z (float, UTC); durations
are seconds.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Raw, Struct

from modelkeep.errors import BadFeatures, Problem
from modelkeep.quantities import DAY, WEEK

Value: TypeAlias = float | int | str | bool | None
Features: TypeAlias = Mapping[str, Value]
Output: TypeAlias = float | int | str | bool
Facts: TypeAlias = dict[str, float | str | bool | None]
Kind = Literal["number", "integer", "boolean", "category", "text"]
Role = Literal["champion", "canary", "shadow", "fallback"]
Level = Literal["ok", "unknown", "warning", "critical"]
LEVELS: tuple[Level, ...] = ("ok", "unknown", "warning", "critical")
"""The better first; what is not known is worse than good and better than bad."""
Severity = Literal["info", "warning", "medium", "error", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "medium", "error", "high", "critical")
_LARGEST = sys.float_info.max
EXTERNAL = "external"
"""The runtime of a version that predicts elsewhere."""


# ---------------------------------------------------------------------------------------------- models


class Field(Struct, frozen=True, kw_only=True):
    """One input or the output of a model.

    ``low`` and ``high`` are inclusive bounds in ``unit``; ``categories`` are the values that the model was trained on
    (others are accepted and counted as new: quality, not refusal). ``nullable`` admits None. ``pii`` says that its
    values tell who somebody is: they stand in no log, no page and no error.
    """

    name: str
    kind: Kind
    unit: str = ""
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()
    nullable: bool = False
    pii: bool = False

    def expected(self) -> str:
        """What this field takes, in words.

        >>> Field(name="hour", kind="integer", low=0, high=23).expected()
        'integer 0..23'
        """
        bounds = "" if self.low is None and self.high is None else f" {_bound(self.low)}..{_bound(self.high)}"
        return f"{self.kind}{bounds}{f' {self.unit}' if self.unit else ''}{' or null' if self.nullable else ''}"

    def refusal(self, value: Value) -> str | None:
        """What is wrong with ``value`` (as "got" text), or None when it fits."""
        if value is None:
            return None if self.nullable else "null"
        if self.kind in {"category", "text"}:
            fits = isinstance(value, str)
        elif self.kind == "boolean":
            fits = isinstance(value, bool)
        else:
            fits = isinstance(value, int | float) and not isinstance(value, bool) and self._holds(value)
        return None if fits else unseen(value) if self.pii else _got(value)

    @property
    def numeric(self) -> bool:
        """True when its values are numbers, or true and false counted as 1 and 0."""
        return self.kind in {"number", "integer", "boolean"}

    def _holds(self, value: float) -> bool:
        # Not isfinite(): a whole number may be too large to become a float.
        if not -_LARGEST <= value <= _LARGEST or (self.kind == "integer" and value != int(value)):
            return False
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return False  # it could not be recorded as it is
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


class Signature(Struct, frozen=True, kw_only=True):
    """What a model takes and answers: named inputs in the model's own order, and one output."""

    inputs: tuple[Field, ...]
    output: Field

    @property
    def classifies(self) -> bool:
        """True when the output is a class, False when it is a number."""
        return self.output.kind not in {"number", "integer"}

    @property
    def chances(self) -> bool:
        """True when the output is the probability that something is so, and its truth is told as 0 or 1."""
        return self.output.kind == "number" and self.output.unit == "probability"

    @property
    def personal(self) -> frozenset[str]:
        """The names of the inputs that tell who somebody is."""
        return frozenset(field.name for field in self.inputs if field.pii)

    def problems(self, features: Features, row: int | None = None) -> list[Problem]:
        """Everything that is wrong with one row: missing, extra, wrong type, NaN, out of range. Empty when it fits."""
        found, present = [], 0
        for field in self.inputs:
            if field.name in features:
                present += 1
                got = field.refusal(features[field.name])
            else:
                got = None if field.nullable else "nothing"
            if got is not None:
                value = features.get(field.name)
                got = unseen(value) if isinstance(value, str) and self.personal else got  # it may be in the wrong field
                found.append(Problem(field=field.name, expected=field.expected(), got=got, row=row))
        if len(features) > present:
            known = {field.name for field in self.inputs}
            shown = unseen if self.personal else _got  # a misspelt name must not show whose it is
            found += [
                Problem(field=name, expected="no such field", got=shown(value), row=row)
                for name, value in features.items()
                if name not in known
            ]
        return found

    def check(self, rows: Sequence[Features]) -> None:
        """Raise BadFeatures naming each field of each row that does not fit (the first 100)."""
        single = len(rows) == 1
        problems = [p for i, row in enumerate(rows) for p in self.problems(row, None if single else i)]
        if problems:
            more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise BadFeatures(f"{problems[0]}{more}", problems=problems[:100])


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def unseen(value: Value) -> str:
    """A value of a field that is ``pii``, in an error: its type alone."""
    return "null" if value is None else f"another {type(value).__name__}"


def _got(value: Value) -> str:
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"a whole number of {value.bit_length()} bits"  # Python refuses to write out the longest ones
    return f"{type(value).__name__} {str(value)[:80]!r}" if isinstance(value, str) else f"{value!r}"


class Baseline(Struct, frozen=True, kw_only=True):
    """What a version was worth when it was made: the yardstick of its life in production.

    ``metrics`` are those of held-out data (``mae``, ``rmse``, ``accuracy``, ``f1``, ``skill``, ...); ``reference`` is
    the digest of the file in ``Files`` with the encoded ``profile.Profile`` of that data, whose bins every later
    profile of the version shares. ``rivals`` are the metrics of simple baselines by name, on the same held-out data.
    """

    metrics: dict[str, float] = {}
    reference: str | None = None
    rivals: dict[str, dict[str, float]] = {}


class Lineage(Struct, frozen=True, kw_only=True):
    """Where a version comes from: data window (moments), rows, source, code, libraries with their versions.

    ``seconds`` is how long its training took. ``split`` says by what data was held out (``time``, ``group``).
    ``data_source`` is ``database`` (what this installation recorded), ``file`` (given by its owner) or ``sample`` (a
    simulator: not real); ``groups`` counts the different entities. ``history`` is the digest of the file with the rows
    that it was trained on, kept where the policy says so.
    """

    start: float | None = None
    end: float | None = None
    rows: int | None = None
    source: str = ""
    code: str = ""
    seconds: float | None = None
    libraries: dict[str, str] = {}
    split: str = ""
    data_source: Literal["", "database", "file", "sample"] = ""
    groups: int | None = None
    history: str | None = None


class Runner(Struct, frozen=True, kw_only=True):
    """What answers a version in place of the library that made it, because it does so faster and alike.

    ``name`` is ``linear``, or of trees ``compiled``, ``native`` or ``flattened``; ``plan`` the digest of the file in ``Files`` that it
    works on. On ``rows`` rows its answers were at most ``difference`` (relative) from the library's, and of the same
    class. ``one`` and ``hundred`` are its seconds for so many rows when the version was registered, ``library_one`` and
    ``library_hundred`` those of the library in the same minute.
    """

    name: str
    rows: int
    difference: float
    one: float
    hundred: float
    library_one: float
    library_hundred: float
    plan: str = ""


class Version(Struct, frozen=True, kw_only=True):
    """One registered model file with all that is needed to run and to judge it. Never changes.

    ``artifact`` and ``features`` are SHA-256 digests of files in ``Files``; ``features`` is the packed feature code
    that turns a request into the model's inputs, or None. ``below`` names the policy floors that it missed: such a
    version stays a candidate and is not released without force.
    """

    model: str
    number: int
    artifact: str
    size: int
    runtime: str
    signature: Signature
    created: float
    features: str | None = None
    baseline: Baseline = Baseline()
    lineage: Lineage = Lineage()
    below: tuple[str, ...] = ()
    note: str = ""
    runner: Runner | None = None

    @property
    def name(self) -> str:
        """``model@number``."""
        return f"{self.model}@{self.number}"

    @property
    def external(self) -> bool:
        """True when it runs elsewhere: its file here says what it takes and answers, and cannot be run."""
        return self.runtime == EXTERNAL


class Outputs(Struct, frozen=True, kw_only=True):
    """What a model answers for a batch, column-wise; all columns have one entry per row.

    ``scores`` are probabilities in [0, 1] of the answered class; ``intervals`` are (low, high) in the output's unit.
    ``members`` are the answers of an ensemble's members by name: shown with the answer, never recorded. ``weights`` are
    theirs in each row; weighed in the space of ``link`` they give the answer. ``degraded`` says of each row which
    members were left out of it, and why; None when none was.
    """

    values: list[Output]
    scores: list[float] | None = None
    intervals: list[tuple[float, float]] | None = None
    members: dict[str, list[float]] | None = None
    weights: dict[str, list[float]] | None = None
    link: str = "identity"
    degraded: list[str] | None = None


Predict: TypeAlias = Callable[[Sequence[Features]], Outputs]
"""A loaded version, wherever it runs: a batch of rows in, one output a row. Raises ModelFailed."""


# ------------------------------------------------------------------------------------------- decisions


class Guards(Struct, frozen=True, kw_only=True):
    """Limits of the release judge, as HARM differences between candidate and control (RULES section 1).

    ``error`` is in points of error rate; ``latency`` are the allowed extra shares slower than 1.25 x p50, 1.25 x p95
    and 2 x p99 of the champion before the trial; ``loss`` is the allowed relative increase of the mean loss.
    ``alpha`` bounds the chance of rolling back a version within its limits, over all guards and any number of looks;
    ``beta`` bounds, per guard, the chance of promoting one beyond its limit. ``grain`` is the difference in seconds
    below which slower is nobody's harm, whatever the ratio.
    """

    error: float = 0.02
    latency: tuple[float, float, float] = (0.15, 0.05, 0.02)
    loss: float = 0.05
    alpha: float = 0.05
    beta: float = 0.01
    shares: tuple[float, float, float] = (0.4, 0.4, 0.2)
    grain: float = 0.002


class Trial(Struct, frozen=True, kw_only=True):
    """How a release walks: shadow first, then canary steps, judged at every look.

    ``canary`` are the shares of keys, one stage each; ``stage`` is the least time in each stage; ``shadow`` the least
    time in shadow (0 = no shadow stage); ``last`` the time after which an undecided trial is ``inconclusive``, and
    ``undecided`` what then happens.
    """

    shadow: float = DAY
    canary: tuple[float, ...] = (0.01, 0.1, 0.5)
    stage: float = DAY
    last: float = 14 * DAY
    undecided: Literal["hold", "roll_back"] = "hold"
    look: float = 60.0


class Retrain(Struct, frozen=True, kw_only=True):
    """How the model is trained anew: an importable ``module:function`` run in a process of its own.

    It gets the labelled records of the last ``window`` seconds (at least ``least`` rows) and returns a trained file.
    At most ``per_day`` trainings are started in 24 h, whatever asks for them. ``history`` keeps the rows with the
    version that was trained on them, and trains the next one on them too. A version whose data was held out by group
    stands on at least ``groups`` of them (one for each of five folds), and any on at least ``entities`` different keys.
    """

    trainer: str = ""
    window: float = 180 * DAY
    least: int = 101
    per_day: int = 1
    history: bool = False
    groups: int = 5
    entities: int = 0


class Privacy(Struct, frozen=True, kw_only=True):
    """What of people a model may remember.

    With ``consent`` ``required`` a prediction is recorded only when its subject has consented. ``required`` are the
    fields that the purpose needs: what is recorded may have twice as many. ``keep`` are the features that are recorded
    (all of them when empty); ``pii`` those that tell who somebody is, beside the fields that say so themselves.
    """

    consent: Literal["none", "required"] = "none"
    required: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    pii: tuple[str, ...] = ()


class Retention(Struct, frozen=True, kw_only=True):
    """How long records are kept, in seconds; 0 is for ever.

    ``hot`` is the age at which predictions go from the database to the archive (0 = the installation's), ``features``
    the age at which archived ones lose their features, and ``predictions`` the age at which they go for good, wherever
    they are. What is summed over them (profiles, accuracy by the hour) stays.
    """

    hot: float = 0.0
    features: float = 0.0
    predictions: float = 0.0


class Caching(Struct, frozen=True, kw_only=True):
    """Whether answers of the model are given again to equal inputs, how many, and for how many seconds.

    ``features`` does the same for what the model's feature code made of a row.
    """

    on: bool = False
    entries: int = 100
    ttl: float = 3600.0
    features: bool = False


class Policy(Struct, frozen=True, kw_only=True):
    """What the owner of a model wants; versioned, and it comes back with a rollback.

    ``targets`` are floors (``accuracy``, ``precision``, ``recall``, ``f1``, ``r2``, ``skill``) or ceilings (``mae``,
    ``rmse``, ``mape``) of the baseline metrics that a version must meet to be released without force.
    ``horizon`` is the age in seconds at which a prediction's label counts as mature; ``tolerance`` the largest
    distance in seconds between an outcome's time and the prediction's target time; ``limit`` the longest a model may
    take for one call. ``quiet`` is the promise of the drift alarms: while nothing drifts, all models together raise a
    false one in the mean not more often than once in so many seconds.
    ``priority`` is that of requests which name none. ``lighter`` is the version that answers while the champion is
    overloaded (0 = the fallback). ``isolation``: ``auto`` runs a version that brings code in a process of its own,
    ``process`` every version, ``never`` none; such a process may hold ``memory`` bytes.
    """

    model: str
    number: int = 1
    targets: dict[str, float] = {}
    guards: Guards = Guards()
    trial: Trial = Trial()
    retrain: Retrain = Retrain()
    horizon: float = 0.0
    tolerance: float = 0.0
    limit: float = 30.0
    drift: float = 0.2
    window: float = WEEK
    quiet: float = 90 * DAY
    privacy: Privacy = Privacy()
    retention: Retention = Retention()
    priority: Literal["critical", "normal", "batch"] = "normal"
    lighter: int = 0
    isolation: Literal["auto", "process", "never"] = "auto"
    memory: int = 1024**3
    cache: Caching = Caching()
    since: float = 0.0


class Rollout(Struct, frozen=True, kw_only=True):
    """Which versions of a model answer now, and how one follows another.

    ``champion`` answers; ``challenger``, when there is one, either runs after the answer (``shadow``) or answers for a
    sticky ``share`` of keys (``canary``). ``fallback`` answers for whichever fails; None means the automatic baseline.
    ``trial`` names the release job; ``previous`` the champion before this one.
    """

    model: str
    champion: int
    challenger: int | None = None
    mode: Literal["shadow", "canary"] | None = None
    share: float = 0.0
    fallback: int | None = None
    previous: int | None = None
    policy: int = 1
    trial: str | None = None
    disabled: str = ""
    since: float = 0.0

    def pick(self, key: str) -> tuple[int, Role]:
        """The version and role that answer for ``key``: the same at every call, on every machine.

        A key that is in the canary at one share stays in it at every larger share. The draw of one trial says nothing
        about another's: the challenger salts it.

        >>> Rollout(model="m", champion=1).pick("anyone")
        (1, 'champion')
        """
        challenger = self.challenger
        if self.mode == "canary" and challenger is not None and arm(f"{self.model}@{challenger}", key) < self.share:
            return challenger, "canary"
        return self.champion, "champion"


def arm(salt: str, key: str) -> float:
    """A number in [0, 1), uniform over keys and fixed for a salt and key.

    >>> 0 <= arm("m@2", "entity 1") < 1
    True
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=salt.encode()[:64]).digest()
    return int.from_bytes(digest, "big") / 2**64


# --------------------------------------------------------------------------------------------- records


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


# -------------------------------------------------------------------------------------- what we know


def model_of(subject: str) -> str:
    """The model of a subject: ``m`` for ``m@2`` and for ``m``.

    >>> model_of("churn@2")
    'churn'
    """
    return subject.partition("@")[0]


def about(subject: str, model: str | None) -> bool:
    """Whether a subject belongs to a model; every subject does when none is named (None or empty)."""
    return not model or model_of(subject) == model


def gravity(severity: Severity) -> Level:
    """How things stand while an alert of this severity is open: a notice changes nothing.

    >>> gravity("error"), gravity("high")
    ('warning', 'critical')
    """
    if severity == "info":
        return "ok"
    return "critical" if severity in {"high", "critical"} else "warning"


class Reading(Struct, frozen=True, kw_only=True):
    """One measured fact. NaN is never ``ok``; what cannot be known has value None and level ``unknown``.

    ``subject`` is ``model@version``, ``model``, or ``server``; ``interval`` a 95 % interval of the value; ``n`` how
    many observations it stands on; ``detail`` one sentence for a person; ``facts`` further numbers by name.
    """

    name: str
    subject: str
    value: float | None
    level: Level
    at: float
    n: int = 0
    interval: tuple[float, float] | None = None
    unit: str = ""
    detail: str = ""
    facts: Facts = {}


class Rule(Struct, frozen=True, kw_only=True):
    """When a reading becomes an alert, and what then happens.

    ``condition`` is ``level >= warning`` or ``value > 0.2``; it must hold for ``holds`` seconds before the alert opens;
    after a notification the same rule and subject stay quiet for ``cooldown`` seconds. ``actions`` are tasks to enqueue
    (``retrain``, ``roll_back``); ``advice`` are sentences for people; ``{subject}``, ``{model}``, ``{value}`` and
    ``{detail}`` are filled in.
    Once the condition no longer holds, it must stay so for ``keep`` seconds before the alert is resolved. A critical
    alert that nobody acknowledges is told again, ``escalate_after`` seconds after it opened, to ``escalate_to``.
    Without ``channels`` an alert goes to all of them, and so does an escalation without ``escalate_to``.
    With ``cap`` at most so many alerts of one subject are told within the cooldown; the others are grouped in a digest.
    ``text`` is the whole message in a wording of one's own; the numbers of the reading's facts may stand in it too.
    """

    name: str
    reading: str
    condition: str
    severity: Severity = "warning"
    kind: str = "performanceDegradation"
    holds: float = 0.0
    cooldown: float = DAY
    summary: str = "{detail}"
    actions: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    command: str = ""
    channels: tuple[str, ...] = ()
    keep: float = 300.0
    escalate_after: float = 300.0
    escalate_to: tuple[str, ...] = ()
    cap: int = 0
    text: str = ""


class Delivery(Struct, frozen=True, kw_only=True):
    """One message to one channel: waiting, sent, or failed for good; ``error`` is the last failure."""

    channel: str
    event: Literal["open", "resolve", "escalate"]
    state: Literal["waiting", "sent", "dead"]
    attempts: int = 0
    due: float = 0.0
    error: str = ""


class Alert(Struct, frozen=True, kw_only=True):
    """Something that a person should know, opened once and closed once; it survives restarts.

    ``false`` says that a person found nothing behind it; ``digest`` names the alert that told of it instead of it.
    """

    id: str
    rule: str
    subject: str
    severity: Severity
    kind: str
    message: str
    state: Literal["open", "acknowledged", "resolved"]
    opened: float
    changed: float
    resolved: float | None = None
    acknowledged_by: str = ""
    readings: tuple[Reading, ...] = ()
    system: dict[str, float] = {}
    advice: tuple[str, ...] = ()
    command: str = ""
    deliveries: tuple[Delivery, ...] = ()
    false: bool = False
    digest: str = ""


# ---------------------------------------------------------------------------------------- what we do


class Step(Struct, frozen=True, kw_only=True):
    """One finished step of a job: what, when, how long, and its evidence."""

    name: str
    at: float
    seconds: float = 0.0
    detail: str = ""
    evidence: Raw = Raw(b"null")


class Lease(Struct, frozen=True, kw_only=True):
    """Who runs a job, until when; ``token`` grows with each lease, so that a stale runner is recognised."""

    runner: str
    until: float
    token: int


class Job(Struct, frozen=True, kw_only=True):
    """Durable work. ``id`` makes it idempotent: enqueuing an id that exists changes nothing.

    ``arguments`` and ``memo`` are JSON of the task's own types; ``memo`` is what the task wants to remember between
    its runs. ``due`` is when it next runs; ``schedule`` names the schedule that made it, if one did.
    """

    id: str
    task: str
    due: float
    created: float
    arguments: Raw = Raw(b"{}")
    memo: Raw = Raw(b"null")
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    attempts: int = 0
    lease: Lease | None = None
    steps: tuple[Step, ...] = ()
    result: Raw = Raw(b"null")
    error: str = ""
    subject: str = ""
    schedule: str = ""
    by: str = ""
    finished: float | None = None


class Act(Struct, frozen=True, kw_only=True):
    """One entry of the audit chain; ``digest`` covers the entry and the digest before it."""

    number: int
    who: str
    what: str
    subject: str
    why: str
    at: float
    before: Raw = Raw(b"null")
    after: Raw = Raw(b"null")
    previous: str = ""
    digest: str = ""
