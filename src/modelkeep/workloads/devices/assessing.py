"""What is said of each device now: its newest readings, the inputs made of them, and its chance of failing."""

from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
from msgspec import Struct

from modelkeep import Dataset, NotFound, Rooms, Value, Version
from modelkeep.workloads.devices import keeping
from modelkeep.workloads.devices.features import features, metrics_of, names_of
from modelkeep.workloads.devices.fleet import DAY, Fleet, Floats, known, of_days
from modelkeep.workloads.devices.keeping import MODEL
from modelkeep.workloads.devices.readings import Taken
from modelkeep.workloads.devices.risk import Risk, recommendations, risk_level, rule_chance

RECENT = 5
STRANGE = 0.7
"""A metric is far from its usual when the signed logarithm moved by this much: about a doubling."""
RULE = "rule"


class Device(Struct, frozen=True, kw_only=True):
    """The newest that is known of one device.

    ``read`` is when it last said anything, ``days`` on how many days it did. ``metrics`` are the newest known values in
    their own units, ``recent`` the last five of each, oldest first; ``inputs`` what the model takes.
    """

    device: str
    read: float
    days: int
    metrics: dict[str, float]
    recent: dict[str, list[float]]
    inputs: dict[str, float | None]


class Assessed(Struct, frozen=True, kw_only=True):
    """What is said of a device: ``chance`` (0..1) by a version, or by the rule when ``version`` is None."""

    device: Device
    chance: float | None
    version: int | None
    risk: Risk
    anomaly: float | None
    strange: tuple[str, ...]
    confidence: float
    advice: tuple[str, ...]
    at: float

    @property
    def by(self) -> str:
        """What said it: the version's name, or the rule's."""
        return RULE if self.version is None else f"{MODEL}@{self.version}"


def devices(rooms: Rooms, *, only: str = "") -> list[Device]:
    """Every device that has ever said something within a year, or the one that is asked for, by name.

    Raises NotFound naming near ids when the one asked for has not.
    """
    if not only:
        return list(_all(rooms))
    found = newest(keeping.fleet(rooms, device=only, start=rooms.clock.now() - keeping.HISTORY))
    if not found:
        names = [str(row[0]) for row in keeping.dataset(rooms, "readings").sql("SELECT DISTINCT device_id FROM data")]
        raise NotFound("device", only, known=names)
    return found


_KEPT: WeakKeyDictionary[Dataset, tuple[tuple[int, int], list[Device]]] = WeakKeyDictionary()
"""What was made of a dataset, with its revision and the day: a page asks many times between two readings."""


def _all(rooms: Rooms) -> list[Device]:
    data = keeping.dataset(rooms, "readings")
    now = rooms.clock.now()
    state = (data.revision, int(now // DAY))
    kept = _KEPT.get(data)
    if kept is None or kept[0] != state:
        kept = _KEPT[data] = (state, newest(keeping.fleet(rooms, start=now - keeping.HISTORY)))
    return kept[1]


def beside(rooms: Rooms, device: str, *, taken: Sequence[Taken]) -> Device:
    """A device as if it had just said ``taken`` (at least one reading, all of now), beside what it has said before."""
    kept = keeping.fleet(rooms, device=device, start=rooms.clock.now() - keeping.HISTORY)
    today = int(taken[0].at // DAY)
    fresh = {one.metric for one in taken}
    rows = [
        (device, int(at // DAY), metric, float(value), at)
        for metric, values in kept.metrics.items()
        for at, value in zip(kept.at.tolist(), values.tolist(), strict=True)
        if not np.isnan(value) and not (metric in fresh and int(at // DAY) == today)
    ]
    return newest(of_days([*rows, *((device, today, one.metric, one.value, one.at) for one in taken)]))[0]


def newest(fleet: Fleet) -> list[Device]:
    """The last row of each device of a fleet, with what came before it."""
    if not len(fleet):
        return []
    columns = features(fleet)
    ends = np.append(np.flatnonzero(np.diff(fleet.device)), len(fleet) - 1)
    starts = np.append(0, ends[:-1] + 1)
    found = []
    for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
        recent = {name: _known(values[first : last + 1]) for name, values in fleet.metrics.items()}
        found.append(
            Device(
                device=fleet.devices[int(fleet.device[last])],
                read=float(fleet.at[last]),
                days=last - first + 1,
                metrics={name: values[-1] for name, values in recent.items() if values},
                recent={name: values[-RECENT:] for name, values in recent.items() if values},
                inputs={name: known(float(values[last])) for name, values in columns.items()},
            )
        )
    return found


def _known(values: Floats) -> list[float]:
    return [float(value) for value in values if not np.isnan(value)]


def champion(rooms: Rooms) -> Version | None:
    """The version that answers, or None while there is none."""
    with rooms.store.read() as ledger:
        rollout = ledger.rollouts.get(MODEL)
        return None if rollout is None or rollout.disabled else ledger.versions.get(MODEL, rollout.champion)


def assess(rooms: Rooms, *, only: str = "") -> list[Assessed]:
    """Every device with its chance of failing, the likeliest first.

    A device is asked about once for each of its newest readings; what was said is kept and said again.
    """
    found = devices(rooms, only=only)
    version = champion(rooms)
    if version is None:
        return _sorted(by_rule(found, now=rooms.clock.now()))
    kept = keeping.dataset(rooms, "scored").sql(
        "SELECT device_id, read, chance, version FROM data WHERE version = ?", (version.number,)
    )
    said = {(str(device), float(read)): chance for device, read, chance, _ in kept}
    fresh = [one for one in found if (one.device, one.read) not in said]
    if fresh:
        said |= _ask(rooms, fresh, version=version)
    now = rooms.clock.now()
    return _sorted(_assessed(one, said.get((one.device, one.read)), version=version.number, now=now) for one in found)


def _sorted(found: Iterable[Assessed]) -> list[Assessed]:
    return sorted(found, key=lambda one: (one.chance is None, -(one.chance or 0.0), one.device.device))


def by_rule(found: Sequence[Device], *, now: float) -> list[Assessed]:
    """What the rule says of devices: points for limits that are crossed."""
    return [_assessed(one, rule_chance(one.metrics), version=None, now=now) for one in found]


def ask_once(rooms: Rooms, device: Device, *, version: Version) -> Assessed:
    """Ask about a device as it is given; nothing of it is kept but the record of the question."""
    answer = rooms.client.predict(MODEL, [inputs_of(device, version)], keys=[device.device])[0]
    number = answer.output
    chance = float(number) if isinstance(number, int | float) and not answer.error else None
    return _assessed(device, chance, version=version.number, now=rooms.clock.now())


def _ask(rooms: Rooms, fresh: Sequence[Device], *, version: Version) -> dict[tuple[str, float], float | None]:
    rows = [inputs_of(one, version) for one in fresh]
    answers = rooms.client.predict(MODEL, rows, keys=[one.device for one in fresh], targets=[one.read for one in fresh])
    found: dict[tuple[str, float], float | None] = {}
    for one, answer in zip(fresh, answers, strict=True):
        number = answer.output
        found[one.device, one.read] = float(number) if isinstance(number, int | float) and not answer.error else None
    keeping.dataset(rooms, "scored").append(
        {
            "device_id": [one.device for one in fresh],
            "read": [one.read for one in fresh],
            "chance": [found[one.device, one.read] for one in fresh],
            "version": [version.number] * len(fresh),
            "at": [rooms.clock.now()] * len(fresh),
        }
    )
    return found


def inputs_of(device: Device, version: Version) -> dict[str, Value]:
    """The row that a version takes; what the device never read is missing."""
    return {field.name: device.inputs.get(field.name) for field in version.signature.inputs}


def _assessed(device: Device, chance: float | None, *, version: int | None, now: float) -> Assessed:
    strange = tuple(name for name, moved in moves(device.inputs).items() if abs(moved) >= STRANGE)
    core = sum(name in device.metrics for name in _CORE) / len(_CORE)
    return Assessed(
        device=device,
        chance=chance,
        version=version,
        risk=risk_level(chance),
        anomaly=max((abs(moved) for moved in moves(device.inputs).values()), default=None),
        strange=strange,
        confidence=round(min(device.days / 30, 1.0) * max(core, 0.2) * (1.0 if version else 0.5), 3),
        advice=recommendations(device.metrics, chance=chance, strange=strange),
        at=now,
    )


_CORE = ("response_time", "error_rate", "battery_level", "signal_strength")


def moves(inputs: Mapping[str, float | None]) -> dict[str, float]:
    """How far each metric is from its device's usual (signed logarithm), where that is known."""
    found = {metric: inputs.get(names_of(metric)[-1]) for metric in metrics_of(inputs)}
    return {metric: moved for metric, moved in found.items() if moved is not None}
