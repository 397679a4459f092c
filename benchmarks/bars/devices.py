"""The bars of the workload ``devices``: failures caught under an alert budget, and anomalies in streams.

Failures: learned from what was told by 2015-05-01 (rows whose 14 days had passed), tested on every device day from then
on. Every day the devices that reported are ranked, the highest ceil(1 % of them) are alarms; a failure is caught when
its device was an alarm on one of the days in which "fails within 14 days" is true. ``precision`` counts alarmed devices
(an alarm is about a device, however many days it lasts): the share of the devices ever alarmed of which an alarm came
within 14 days of the failure; counted by device days (every day of an alarm is one) it stands beside that. Figures are
of the product's own seed; the mean over five seeds stands beside them.
"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import nab
import numpy as np
from bar import Bar

from modelkeep.workloads.devices import labels, ranking, training
from modelkeep.workloads.devices.budget import Caught, judged
from modelkeep.workloads.devices.features import features
from modelkeep.workloads.devices.fleet import fleet_of
from modelkeep.workloads.devices.streams import Stream

CUT = datetime(2015, 5, 1, tzinfo=UTC).timestamp()
SEEDS = (training.SEED, 2, 3, 4, 5)
PROTOCOL = "learned from what was told by 1 May 2015, tested May-Nov; 1 % of the reporting devices a day; 14 d horizon"


def bars(data: Path) -> Iterator[Bar]:
    """Every bar whose data is there."""
    if (data / "devices" / "device_failure.parquet").exists():
        yield from failures(data / "devices" / "device_failure.parquet")
    if (data / "devices" / "nab.parquet").exists():
        yield streams(data / "devices")


def failures(path: Path) -> Iterator[Bar]:
    """Failures caught, precision and average precision, the rule and the isolation forest beside them."""
    began = time.perf_counter()
    found = duckdb.sql(f"SELECT * FROM '{path}'")
    table = {
        name: list(values) for name, values in zip(found.columns, zip(*found.fetchall(), strict=True), strict=True)
    }
    fleet = fleet_of(table)
    columns, failed = features(fleet), labels.failures_of(table)
    truth, _ = labels.label(fleet, failed)
    learned, tested = fleet.at + labels.HORIZON <= CUT, fleet.at >= CUT
    names = np.array(fleet.names, dtype=object)
    held = {name: values[tested] for name, values in columns.items()}
    wanted = [device for device, moments in failed.items() if any(at >= CUT for at in moments)]

    def worth(scores: np.ndarray) -> Caught:
        return judged(scores, truth[tested], at=fleet.at[tested], devices=names[tested].tolist(), failed=wanted)

    rule = worth(training.rule(held))
    told: list[Caught] = []
    forests: list[Caught] = []
    for seed in SEEDS:
        inputs = {name: values[learned] for name, values in columns.items()}
        model = ranking.fit(inputs, truth[learned], devices=names[learned].tolist(), seed=seed)
        told.append(worth(model.chance(held)))
        forests.append(worth(model.forest_score(held)))
    seconds = time.perf_counter() - began
    own, forest = told[0], forests[0]
    for what, unit, target, field in (
        ("failures caught", "failures of 36", 17, "caught"),
        ("precision of alarmed devices", "share", 0.27, "hit_devices"),
        ("average precision of device days", "share", 0.119, "average_precision"),
    ):
        yield Bar(
            workload="devices",
            what=what,
            protocol=PROTOCOL,
            unit=unit,
            better="more",
            target=target,
            reached=float(getattr(own, field)),
            baselines={
                "rule": float(getattr(rule, field)),
                "isolation forest": float(getattr(forest, field)),
                "mean of five seeds": float(np.mean([getattr(one, field) for one in told])),
                **({"counted by device days": own.precision} if field == "hit_devices" else {}),
            },
            n=own.alarms,
            seconds=seconds,
        )


def streams(folder: Path) -> Bar:
    """The public benchmark's own score of the stream detector, one threshold for all series."""
    began = time.perf_counter()
    found = duckdb.sql(
        f"SELECT series, epoch(timestamp) AS moment, value FROM '{folder}/nab.parquet' ORDER BY series, moment"
    )
    rows = found.fetchnumpy()
    names = np.array(rows["series"], dtype=str)
    spans = json.loads((folder / "nab_windows.json").read_text())
    values, times, windows = {}, {}, {}
    for name in np.unique(names):
        mine = names == name
        values[name] = rows["value"][mine].astype(np.float64)
        times[name] = rows["moment"][mine].astype(np.float64)
        windows[name] = [_window(times[name], span) for span in spans[name]]
    ours = {name: _scores(values[name], times[name]) for name in values}
    reached, _ = nab.score(ours, windows)
    gaussian, _ = nab.score({name: nab.windowed_gaussian(series) for name, series in values.items()}, windows)
    return Bar(
        workload="devices",
        what="anomalies in 58 streams",
        protocol="standard profile, first 15 % of a series spared, one threshold for the corpus, causal and online",
        unit="NAB score",
        better="more",
        target=45.0,
        reached=reached,
        baselines={"windowed Gaussian": gaussian},
        n=len(rows["value"]),
        seconds=time.perf_counter() - began,
    )


def _window(times: np.ndarray, span: list[str]) -> tuple[int, int]:
    first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in span)
    return int(np.searchsorted(times, first)), int(np.searchsorted(times, last, side="right") - 1)


def _scores(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    stream = Stream()
    return np.array([stream.update(v, at=at).score for v, at in zip(values.tolist(), times.tolist(), strict=True)])
