"""Decisions: what the owner of a model wants, and which versions answer now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from modelkeep.quantities import DAY, WEEK

Role = Literal["champion", "canary", "shadow", "fallback"]


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

    def picks(self, keys: Sequence[str]) -> list[int]:
        """The places of the keys for which the challenger answers, as ``pick`` says of each; quicker for many.

        >>> rollout = Rollout(model="m", champion=1, challenger=2, mode="canary", share=0.5)
        >>> keys = [f"entity {place}" for place in range(100)]
        >>> rollout.picks(keys) == [place for place, key in enumerate(keys) if rollout.pick(key) == (2, "canary")]
        True
        """
        if self.mode != "canary" or self.challenger is None:
            return []
        salted, number, share = _salted(f"{self.model}@{self.challenger}"), int.from_bytes, self.share
        found = []
        for place, key in enumerate(keys):
            draw = salted.copy()
            draw.update(key.encode())
            if number(draw.digest(), "big") / _ARMS < share:
                found.append(place)
        return found


_ARMS = 2**64


def arm(salt: str, key: str) -> float:
    """A number in [0, 1), uniform over keys and fixed for a salt and key.

    >>> 0 <= arm("m@2", "entity 1") < 1
    True
    """
    draw = _salted(salt).copy()
    draw.update(key.encode())
    return int.from_bytes(draw.digest(), "big") / _ARMS


@lru_cache(maxsize=256)
def _salted(salt: str) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=8, key=salt.encode()[:64])
