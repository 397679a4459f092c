"""The bars of the workload `restaurants`; every protocol is stated where it is measured."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bar import Bar
from sklearn.metrics import average_precision_score, roc_auc_score

from modelkeep import Trained, TrainingRows, Version
from modelkeep.runtimes import load
from modelkeep.runtimes.tables import read_table
from modelkeep.workloads.restaurants import (
    columns,
    customer_training,
    customers,
    daily,
    demand,
    fitting,
    hourly,
    hourly_training,
    items,
    kitchen,
    kitchen_training,
    sides,
)

DAY = 86400.0
NAME = "restaurants"


def bars(data: Path) -> Iterator[Bar]:
    for part in (recruit, london, item_stock, delivery, cdnow):
        yield from part(data / "restaurant")


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
    known = {name: np.array(rows.columns[name], dtype=float)[judge] for name in ("weekday_last", "usual")}
    naive = np.where(np.isnan(known["weekday_last"]), known["usual"], known["weekday_last"])
    baselines = {
        "seasonal naive": fitting.rmsle(np.expm1(naive), truth),
        "EWMA of the weekday": fitting.rmsle(np.expm1(known["usual"]), truth),
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


# ------------------------------------------------------------------------------------------------ hourly orders


def london(folder: Path) -> Iterator[Bar]:
    """One takeaway, opening hours 10-22 UTC of every day; each hour asked 24 h ahead, told at its end."""
    rows = hourly.prepare(read_table(folder / ".." / "replay" / "w2_london_hourly_h24.parquet"))
    cut = max(rows.at) - 180 * DAY
    learn = np.flatnonzero(np.asarray(rows.told) <= cut)
    judge = np.flatnonzero(np.asarray(rows.at) >= cut)
    began = time.perf_counter()
    trained = hourly_training.train(some(rows, learn))
    seconds = time.perf_counter() - began
    answers, low, high = asked(trained, rows, judge)
    truth = np.asarray(rows.truth, dtype=float)[judge]
    rivals = {name: np.array(rows.columns[column], dtype=float)[judge] for name, column in
              (("same hour last week", "slot_last"), ("EWMA of the hour of the week", "usual"),
               ("EWMA .15 of the hour of the week", "slot_ewma_fast"),
               ("level x profile", "level_times_profile"))}  # fmt: skip
    print(f"  london: note {trained.note}; cover {np.mean((truth >= low) & (truth <= high)):.3f}")
    yield Bar(
        workload=NAME, what="orders an hour, 24 h ahead: Poisson deviance", unit="deviance", target=0.933,
        protocol="the last 180 days (2019-02 to 2019-08) asked 24 h ahead; learnt once, from hours told before",
        reached=hourly_training.deviance(answers, truth),
        baselines={name: hourly_training.deviance(values, truth) for name, values in rivals.items()},
        n=len(truth), seconds=seconds,
    )  # fmt: skip


def item_stock(folder: Path) -> Iterator[Bar]:
    """The 27 items that sold most before the last 180 days: what to prepare of each on each day, .8 of days served."""
    table = read_table(folder / "london_takeaway_orders.parquet")
    day = np.floor(columns.moments(table["ts"], "ts") / DAY).astype(int)
    quantity, last = np.array(table["qty"], dtype=float), int(day.max())
    names = np.array(table["item"])
    before = (day <= last - 180) & (day >= int(np.datetime64("2016-04-01").astype(int)))
    kinds, place = np.unique(names, return_inverse=True)
    best = np.argsort(-np.bincount(place[before], quantity[before], len(kinds)), kind="stable")[:27]
    worked, began = frozenset(day.tolist()), time.perf_counter()
    lost, naive, mean = [], [], []
    for item in best:
        by_day = dict(enumerate(np.bincount(day[place == item], quantity[place == item], last + 1).tolist()))
        sold = items.Sold(by_day=by_day, worked=worked, label=str(kinds[item]))
        for one in range(last - 179, last + 1):
            told = items.one_day(sold, today=one, day=one, service=0.8)
            real = by_day.get(one, 0.0)
            lost.append(pinball(told.prepare, real))
            naive.append(pinball(by_day.get(one - 7, 0.0), real))
            mean.append(pinball(told.predicted_quantity, real))
    yield Bar(
        workload=NAME, what="what to prepare of an item: pinball loss", unit="pieces", target=0.568,
        protocol="quantile .8 of each day of the last 180, the 27 items that sold most before; asked that morning",
        reached=float(np.mean(lost)),
        baselines={"same weekday last week": float(np.mean(naive)), "mean of 26 weekdays": float(np.mean(mean))},
        n=len(lost), seconds=time.perf_counter() - began,
    )  # fmt: skip


def pinball(said: float, real: float, share: float = 0.8) -> float:
    return max(share * (real - said), (share - 1) * (real - said))


# ------------------------------------------------------------------------------------------------ kitchen


def delivery(folder: Path) -> Iterator[Bar]:
    """45,593 deliveries without moments: five folds by rider, none on both sides."""
    rows = kitchen.prepare(read_table(folder / "delivery_time.parquet"))
    riders = sorted(set(rows.groups))
    fold_of = dict(zip(np.random.default_rng(0).permutation(riders).tolist(), np.arange(len(riders)) % 5, strict=True))
    fold = np.array([fold_of[rider] for rider in rows.groups])
    truth, answers, median, inside, began = np.asarray(rows.truth), np.zeros(len(fold)), 0.0, 0.0, time.perf_counter()
    for one in range(5):
        learn, judge = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        answers[judge], low, high = asked(kitchen_training.train(some(rows, learn)), rows, judge)
        median += np.abs(np.median(truth[learn]) - truth[judge]).sum() / len(truth)
        inside += float(((truth[judge] >= low) & (truth[judge] <= high)).sum()) / len(truth)
    print(f"  delivery: cover {inside:.3f}")
    yield Bar(
        workload=NAME, what="delivery minutes: MAE", unit="min", target=5.66, protocol="5 folds by rider",
        reached=float(np.abs(answers - truth).mean()), baselines={"median": float(median)}, n=len(truth),
        seconds=(time.perf_counter() - began) / 5,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ customers


def cdnow(folder: Path) -> Iterator[Bar]:
    """23,570 customers: learnt from looks told before 1998-03-31, judged by the 90 days after it (coming back)."""
    table = read_table(folder / "cdnow_transactions.parquet")
    purchases = customers.read_purchases(table)
    look = int(np.datetime64("1998-03-31").astype(int))
    past = [i for i, day in enumerate(table["date"]) if np.datetime64(str(day)[:10]).astype(int) <= look]
    began = time.perf_counter()
    trained = customer_training.train_churn(customers.prepare_churn(fitting.taken(table, past)))
    seconds = time.perf_counter() - began
    who, known = customers.features(purchases, look)
    later = (purchases.day > look) & (purchases.day <= look + customers.AWAY)
    back = np.bincount(purchases.who[later], minlength=len(purchases.names))[who] > 0
    rows = TrainingRows(
        columns={name: customers.optional(values) for name, values in known.items()}, truth=[*back.tolist()],
        keys=[""] * len(who), at=[0.0] * len(who),
    )  # fmt: skip
    stays = 1 - chance(trained, rows)
    print(f"  churn: {trained.note}; mean said {stays.mean():.3f}, true {back.mean():.3f}")
    shared = {
        "workload": NAME, "protocol": "looks every 30 days, labels told before 1998-03-31; judged by the 90 days after",
        "better": "more", "n": len(who), "seconds": seconds,
    }  # fmt: skip
    rule = -known["recency_days"]
    yield Bar(what="who comes back: AUC", unit="AUC", target=0.836, reached=roc_auc_score(back, stays),
              baselines={"recency": roc_auc_score(back, rule)}, **shared)  # fmt: skip
    yield Bar(what="who comes back: average precision", unit="AP", target=0.536,
              reached=average_precision_score(back, stays),
              baselines={"recency": average_precision_score(back, rule)}, **shared)  # fmt: skip


# ------------------------------------------------------------------------------------------------ asking


def chance(trained: Trained, rows: TrainingRows) -> np.ndarray:
    """The probability of true."""
    found = loaded(trained)(
        [dict(zip(rows.columns, row, strict=True)) for row in zip(*rows.columns.values(), strict=True)]
    )
    return np.array([s if v is True else 1 - s for v, s in zip(found.values, found.scores or [], strict=True)])


def loaded(trained: Trained):
    """The packed file, through the product's own loading."""
    folder = Path(tempfile.mkdtemp())
    (folder / "file").write_bytes(trained.path.read_bytes())
    version = Version(
        model="m", number=1, artifact="file", size=1, runtime=trained.runtime or "", signature=trained.signature,
        created=0.0,
    )  # fmt: skip
    return load(version, folder.joinpath).predict


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
    predict = loaded(trained)
    names = [field.name for field in trained.signature.inputs]
    values, ends = [], []
    for start in range(0, len(places), 2000):
        picked = places[start : start + 2000]
        found = predict([{name: rows.columns[name][i] for name in names} for i in picked])
        values += found.values
        ends += found.intervals or [(np.nan, np.nan)] * len(picked)
    low, high = np.array(ends, dtype=float).T
    return np.array(values), low, high
