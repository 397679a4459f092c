"""The bars of the workload `restaurants`; every protocol is stated where it is measured."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bar import Bar

from modelkeep import Trained, TrainingRows, Version
from modelkeep.runtimes import load
from modelkeep.runtimes.tables import read_table
from modelkeep.workloads.restaurants import daily, demand, fitting, sides

DAY = 86400.0
NAME = "restaurants"


def bars(data: Path) -> Iterator[Bar]:
    yield from recruit(data / "restaurant")


# ------------------------------------------------------------------------------------------------ daily demand


def recruit(folder: Path) -> Iterator[Bar]:
    """829 restaurants, 478 days. Nothing that was told after the moment of asking is used, bookings included."""
    visits = visits_of(folder)
    last = max(np.floor(daily.read_days(visits).day))
    yield from _demand(
        asked_for(visits, folder, first=int(last) - 38, step=39),
        "39-day block",
        "asked once, on 2017-03-15 06:00, for the 39 days up to 2017-04-22; learnt from labels told before",
        first=int(last) - 38,
        target=0.519,
    )
    yield from _demand(
        asked_for(visits, folder, first=int(last) - 55, step=7),
        "7 days ahead",
        "8 weekly origins, each asked once for 7 days; learnt once, from labels told before the first",
        first=int(last) - 55,
        target=0.493,
    )


def visits_of(folder: Path) -> dict:
    return sides.joined(
        read_table(folder / "recruit_air_visit.parquet"),
        stores=prefectures(read_table(folder / "recruit_air_store_info.parquet")),
        holidays=read_table(folder / "recruit_date_info.parquet"),
    )


def prefectures(stores: dict) -> dict:
    return stores | {"air_area_name": [str(area).partition(" ")[0] for area in stores["air_area_name"]]}


def asked_for(visits: dict, folder: Path, *, first: int, step: int) -> dict:
    """The visits with a moment of asking: from ``first`` on one origin every ``step`` days, before 1..step ahead."""
    days = daily.read_days(visits)
    ahead = 1 + np.random.default_rng(0).integers(0, step, len(days.day))
    origin = np.where(days.day >= first, first + (days.day - first) // step * step, days.day - ahead)
    asked = origin * DAY + daily.ASKED_AT
    names = [days.names[i] for i in days.who]
    booked = sides.booked_by(
        read_table(folder / "recruit_air_reserve.parquet"), names, days=days.day.astype(float), asked=asked
    )
    return visits | {"asked": asked.tolist(), "reserved": booked.tolist()}


def _demand(table: dict, what: str, protocol: str, *, first: int, target: float) -> Iterator[Bar]:
    began = time.perf_counter()
    rows = daily.prepare(table)
    prepared = time.perf_counter() - began
    cut = first * DAY + daily.ASKED_AT
    learn = np.flatnonzero(np.asarray(rows.told) <= cut)
    judge = np.flatnonzero(np.asarray(rows.at) >= cut)
    began = time.perf_counter()
    trained = demand.train(some(rows, learn))
    seconds = time.perf_counter() - began
    answers, low, high = asked(trained, rows, judge)
    truth = np.asarray(rows.truth, dtype=float)[judge]
    columns = {name: np.array(rows.columns[name], dtype=float)[judge] for name in ("weekday_last", "usual")}
    naive = np.where(np.isnan(columns["weekday_last"]), columns["usual"], columns["weekday_last"])
    baselines = {
        "seasonal naive": fitting.rmsle(np.expm1(naive), truth),
        "EWMA of the weekday": fitting.rmsle(np.expm1(columns["usual"]), truth),
    }
    print(f"  {what}: prepare {prepared:.1f} s, train {seconds:.1f} s, note: {trained.note}")
    measured = fitting.rmsle(answers, truth)
    yield Bar(
        workload=NAME, what=f"daily visitors, {what}: RMSLE", protocol=protocol, unit="RMSLE", target=target,
        reached=measured, baselines=baselines, n=len(truth), seconds=seconds,
    )  # fmt: skip
    inside = float(np.mean((truth >= low) & (truth <= high)))
    yield Bar(
        workload=NAME, what=f"daily visitors, {what}: distance of the 80 % interval's cover ({inside:.3f}) from .80",
        protocol=protocol, unit="share", target=0.03, reached=abs(inside - 0.8), baselines={}, n=len(truth),
        seconds=seconds,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ asking


def some(rows: TrainingRows, places: Sequence[int]) -> TrainingRows:
    """Some of the rows."""
    picked = [int(place) for place in places]
    lists = {
        name: [values[i] for i in picked] if (values := getattr(rows, name)) else []
        for name in ("truth", "keys", "at", "targets", "told", "groups")
    }
    return TrainingRows(columns=fitting.taken(rows.columns, picked), **lists)


def asked(trained: Trained, rows: TrainingRows, places: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the packed file answers to rows, through the product's own loading; and the interval's ends."""
    version = Version(
        model="m", number=1, artifact="file", size=1, runtime=trained.runtime or "", signature=trained.signature,
        created=0.0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(trained.path.read_bytes())
        predict = load(version, Path(folder).joinpath).predict
        names = [field.name for field in trained.signature.inputs]
        values, ends = [], []
        for start in range(0, len(places), 2000):
            picked = places[start : start + 2000]
            found = predict([{name: rows.columns[name][i] for name in names} for i in picked])
            values += found.values
            ends += found.intervals or [(np.nan, np.nan)] * len(picked)
    low, high = np.array(ends, dtype=float).T
    return np.array(values), low, high
