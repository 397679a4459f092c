"""A small workload, visitors of shops a day, with a trainer, a simulator, and recipes that do what must be refused."""

import random
import tempfile
from pathlib import Path

from modelkeep import (
    Ensemble,
    Field,
    Linear,
    Member,
    Policy,
    Recipe,
    Retrain,
    Signature,
    Trained,
    TrainingRows,
    Workload,
    iso,
    linear_bytes,
    moment,
    pack_ensemble,
)

DAY = 86400.0


def prepare(table):
    """Yesterday's visitors of each shop, and today's as the truth."""
    order = sorted(range(len(table["day"])), key=lambda i: (moment(str(table["day"][i])), table["shop"][i]))
    last, columns = {}, {"shop": [], "last": [], "rain": []}
    rain = table.get("rain") or [None] * len(order)
    truth, keys, at = [], [], []
    for i in order:
        shop, visits = table["shop"][i], float(table["visits"][i])
        if shop in last:
            for name, value in (("shop", shop), ("last", last[shop]), ("rain", rain[i])):
                columns[name].append(value)
            truth.append(visits)
            keys.append(shop)
            at.append(moment(str(table["day"][i])))
        last[shop] = visits
    return TrainingRows(columns=columns, truth=truth, keys=keys, at=at, told=[a + DAY for a in at])


def knowing(table):
    rows = prepare(table)
    rows.columns["mean"] = [sum(rows.truth) / len(rows.truth)] * len(rows.truth)
    return rows


def busy(table):
    """A label that is a rule of two inputs."""
    rows = prepare(table)
    truth = [
        last > 30 or (rain or 0) > 0.9 for last, rain in zip(rows.columns["last"], rows.columns["rain"], strict=True)
    ]
    return TrainingRows(columns=rows.columns, truth=truth, keys=rows.keys, at=rows.at)


def fit(rows, **fields):
    """0.3 of yesterday's visitors and 0.7 of the shop's mean, held out by time; beside yesterday's alone."""
    split = int(len(rows.truth) * 0.8)
    seen = {}
    for key, truth in zip(rows.keys[:split], rows.truth[:split], strict=True):
        seen.setdefault(key, []).append(truth)
    means = {key: sum(values) / len(values) for key, values in seen.items()}
    held, truth = rows.columns["last"][split:], rows.truth[split:]
    said = [0.3 * last + 0.7 * means.get(key, 0.0) for last, key in zip(held, rows.keys[split:], strict=True)]
    line = Linear(
        intercept=0.0, coefficients={"last": 0.3}, categories={"shop": {k: 0.7 * v for k, v in means.items()}}
    )
    member = Member(name="line", runtime="linear", data=linear_bytes(line))
    path = Path(tempfile.mkdtemp()) / "visits.zip"
    pack_ensemble(Ensemble(members=(member,), weights={"line": 1.0}, low=-6.0, high=6.0), path)
    signature = Signature(
        inputs=(
            Field(name="shop", kind="category", categories=tuple(sorted(means))),
            Field(name="last", kind="number", unit="people"),
            Field(name="rain", kind="number", unit="mm", nullable=True),
        ),
        output=Field(name="visits", kind="number", unit="people"),
    )
    plain = {
        "metrics": {"mae": mean_error(said, truth)},
        "rivals": {"persistence": {"mae": mean_error(held, truth)}},
        "split": "time",
        "sample": {
            **{name: values[split:] for name, values in rows.columns.items()},
            "visits": truth, "who": rows.keys[split:], "when": rows.at[split:],
        },
        "key": "who", "time": "when", "signature": signature,
    }  # fmt: skip
    return Trained(path=path, runtime="ensemble", **(plain | fields))


def mean_error(said, truth):
    return sum(abs(a - b) for a, b in zip(said, truth, strict=True)) / len(truth)


def random_split(rows):
    return fit(rows, split="random")


def by_group(rows):
    return fit(rows, split="group")


def no_number(rows):
    return fit(rows, rivals={"ewma": {"mae": float("nan")}})


def beaten(rows):
    return fit(rows, rivals={"ewma": {"mae": 0.5}, "mean": {"mae": 9.0}})


def coded(rows):
    """With feature code of its own: a request gives the logarithm."""
    folder = Path(tempfile.mkdtemp())
    (folder / "code.py").write_text(
        "def features(row):\n    return {'shop': row['shop'], 'last': row['last'] + 1, 'rain': None}\n"
    )
    return fit(rows, code=folder / "code.py")


def simulate(rows, seed):
    draw = random.Random(seed)
    table = {"day": [], "shop": [], "visits": [], "rain": []}
    for i in range(rows):
        table["day"].append(iso(1.6e9 + DAY * (i // 6))[:10])
        table["shop"].append(f"s{i % 6}")
        table["visits"].append(max(0, round(20 + 5 * (i % 6) + draw.gauss(0, 5))))
        table["rain"].append(round(draw.random(), 2))
    return table


COLUMNS = (
    Field(name="day", kind="text"),
    Field(name="shop", kind="category"),
    Field(name="visits", kind="number", unit="people", low=0, high=1000),
    Field(name="rain", kind="number", unit="mm", low=0, high=500, nullable=True),
)


def recipe(name, *, prepare="prepare", trainer="fit", **retrain):
    policy = Policy(model=name, retrain=Retrain(trainer=f"visiting:{trainer}", **retrain), horizon=DAY)
    return Recipe(
        model=name, summary="Visitors a day", columns=COLUMNS, prepare=f"visiting:{prepare}", policy=policy,
        simulate="visiting:simulate",
    )  # fmt: skip


WORKLOAD = Workload(
    name="visits",
    summary="visitors of shops",
    recipes=(
        recipe("visits-daily", history=True),
        recipe("visits-knowing", prepare="knowing"),
        recipe("visits-busy", prepare="busy"),
        recipe("visits-random", trainer="random_split"),
        recipe("visits-groups", trainer="by_group", groups=7),
        recipe("visits-entities", entities=7),
        recipe("visits-nan", trainer="no_number"),
        recipe("visits-beaten", trainer="beaten"),
        recipe("visits-coded", trainer="coded"),
    ),
)
