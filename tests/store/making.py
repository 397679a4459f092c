"""Small nouns for the store's tests."""

from typing import Any

from modelkeep.nouns import Alert, Block, Delivery, Job, Outcome, Prediction, Reading
from modelkeep.profile import LATENCY_EDGES, Column, Profile
from modelkeep.store.seams import Folded

HOUR = 3600.0


def prediction(number: int, **fields: Any) -> Prediction:
    known: dict[str, Any] = {
        "id": f"7-{number}",
        "model": "demand",
        "version": 1,
        "role": "champion",
        "features": {"hour": number, "rain": 0.25, "day": "mon", "open": True, "gap": None},
        "output": float(number),
        "at": 1000.0 * number,
        "target": 1000.0 * number,
        "seconds": 0.001,
        "key": f"entity {number % 3}",
    }
    return Prediction(**(known | fields))


def block(first: int, **fields: Any) -> Block:
    """Four rows, the first of them number ``first``."""
    known: dict[str, Any] = {
        "writer": 7,
        "first": first,
        "model": "demand",
        "version": 1,
        "role": "champion",
        "at": 1000.0 + first,
        "seconds": 0.001,
        "features": [{"hour": first + row, "rain": 0.25, "day": "mon", "open": True, "gap": None} for row in range(4)],
        "keys": ["", "a", "b", "a"],
        "requests": [f"request {row}" for row in range(4)],
    }
    return Block(**(known | fields))


def told(number: int, value: Any, *, at: float = 1e6, **fields: Any) -> Outcome:
    return Outcome(value=value, at=at, prediction=f"7-{number}", **fields)


def told_by_key(key: str, *, target: float, value: Any, at: float = 1e6, model: str = "demand") -> Outcome:
    return Outcome(value=value, at=at, model=model, key=key, target=target)


def folded(count: int, *, hour: float = 0.0, version: int = 1, role: str = "champion", columns: int = 2) -> Folded:
    import numpy as np

    latency = np.zeros(len(LATENCY_EDGES) + 1)
    latency[3] = count
    some = {f"x{i}": Column(n=count, counts=np.full(122, float(count)), sums=np.full(122, 0.5)) for i in range(columns)}
    profile = Profile(n=count, latency=latency, columns=some)
    return Folded(model="demand", version=version, role=role, hour=hour, profile=profile)


def reading(name: str, subject: str, *, at: float, value: float = 1.0) -> Reading:
    return Reading(name=name, subject=subject, value=value, level="ok", at=at, facts={"n": 3, "why": "x"})


def alert(id: str, *, opened: float, state: Any = "open", due: float | None = None) -> Alert:
    deliveries = () if due is None else (Delivery(channel="log", event="open", state="waiting", due=due),)
    return Alert(
        id=id,
        rule="r",
        subject="demand@1",
        severity="high",
        kind="k",
        message="m",
        state=state,
        opened=opened,
        changed=opened,
        deliveries=deliveries,
    )


def job(id: str, *, due: float = 0.0, task: str = "release", subject: str = "") -> Job:
    return Job(id=id, task=task, due=due, created=due, subject=subject)
