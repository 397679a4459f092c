"""How long from telling an outcome until accuracy is right, over HTTP on a real server with history in its store.

Usage: python benchmarks/serving/outcome_to_accuracy.py [--predictions 20000] [--outcomes 50]
Budget: at most 5 s. The floor beside it is a bare GET of the same accuracy, without an outcome.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from modelkeep import App, settings
from modelkeep.edge import server
from modelkeep.runtimes import packing

MODEL = """
def predict(rows):
    return [2.0 * row["x"] for row in rows]
"""


def measure(app: App, *, predictions: int, outcomes: int) -> None:
    with server.running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        publish(client)
        ids = fill(client, predictions)
        waits, floors = [], []
        for place, known in enumerate(ids[-outcomes:]):
            before = accuracy(client)["sample_size"]
            began = time.perf_counter()
            client.post("/v1/outcomes", json={"prediction_id": known, "actual": float(place)}).raise_for_status()
            while accuracy(client)["sample_size"] != before + 1:
                if time.perf_counter() - began > 5:
                    raise SystemExit("not right after 5 s")
            waits.append(time.perf_counter() - began)
            began = time.perf_counter()
            accuracy(client)
            floors.append(time.perf_counter() - began)
        print(f"{predictions:,} predictions with outcomes kept, then {outcomes} outcomes told one by one")
        for name, values in (("outcome told -> accuracy right", waits), ("floor: one GET of accuracy", floors)):
            p95 = statistics.quantiles(values, n=20)[-1]
            print(
                f"{name:32} median {statistics.median(values) * 1e3:7.1f} ms   p95 {p95 * 1e3:7.1f} ms   "
                f"worst {max(values) * 1e3:7.1f} ms"
            )
        print(f"budget 5 s: {'held' if max(waits) <= 5 else 'MISSED'}")


def publish(client: httpx.Client) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.py"
        path.write_text(MODEL)
        file = (
            client.put("/v1/files", content=packing.pack(path, function="predict", use="model"))
            .raise_for_status()
            .json()["digest"]
        )
    signature = {"inputs": [{"name": "x", "kind": "number"}], "output": {"name": "y", "kind": "number"}}
    body = {"file": file, "trust": True, "signature": signature}
    client.post("/v1/models/doubler/versions", json=body).raise_for_status()
    client.post("/v1/models/doubler/releases", json={"number": 1}).raise_for_status()
    while client.post("/v1/models/doubler/predict", json={"features": {"x": 1.0}}).is_error:
        time.sleep(0.05)


def fill(client: httpx.Client, predictions: int) -> list[str]:
    ids = []
    for start in range(0, predictions, 1000):
        rows = [{"features": {"x": float(i)}, "key": f"entity {i % 500}"} for i in range(start, start + 1000)]
        answers = (
            client.post("/v1/models/doubler/predict", json={"rows": rows}).raise_for_status().json()["predictions"]
        )
        ids += [answer["prediction_id"] for answer in answers]
    for start in range(0, predictions - 1000, 1000):
        told = [{"prediction_id": known, "actual": 1.0} for known in ids[start : start + 1000]]
        client.post("/v1/outcomes", json={"outcomes": told}).raise_for_status()
    return ids


def accuracy(client: httpx.Client) -> dict[str, int]:
    return client.get("/v1/models/doubler/accuracy?window=7d").raise_for_status().json()


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("--predictions", type=int, default=20_000)
    reader.add_argument("--outcomes", type=int, default=50)
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = {"server.listen": [0], "logs.console": "false", "server.trust": "true"}
        app = App.open(settings.load(folder=Path(folder), flags=flags, environ={}))
        measure(app, predictions=given.predictions, outcomes=given.outcomes)


if __name__ == "__main__":
    main()
