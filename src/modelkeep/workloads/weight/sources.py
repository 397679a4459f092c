"""Public data of weighed objects."""

import csv
import io
import zipfile
from pathlib import Path

from modelkeep import Source, Value

SOURCES = (
    Source(
        name="diamonds",
        url="https://files.pythonhosted.org/packages/c5/7a/0ffb626172083659f2d425a2bdd14815281c80890a116b4547fe7f5d76ec/"
        "plotnine-0.15.9-py3-none-any.whl",
        sha256="36f4526235b3ddd9ea379dd677093ea2ee1b58ab98adec1bde891930283448cd",
        licence="MIT (the package plotnine 0.15.9, which carries the file)",
        about="53,940 real diamonds: length, width, height in mm and weight in carat",
        file="diamonds.parquet",
        convert="modelkeep.workloads.weight.sources:diamonds",
        size=1_573_070,
    ),
)


def diamonds(path: Path) -> dict[str, list[Value]]:
    """The stones of plotnine's ``diamonds.csv``; a length of 0 was not measured, and is unknown here."""
    with zipfile.ZipFile(path) as wheel:
        rows = list(csv.DictReader(io.StringIO(wheel.read("plotnine/data/diamonds.csv").decode())))
    sides = {"length_mm": "x", "width_mm": "y", "height_mm": "z"}
    return {
        "object_id": [f"stone-{place}" for place in range(1, len(rows) + 1)],
        "material": ["diamond"] * len(rows),
        **{ours: [float(row[theirs]) or None for row in rows] for ours, theirs in sides.items()},
        "weight_ct": [float(row["carat"]) for row in rows],
    }
