"""Public data of customers."""

import zipfile
from pathlib import Path

from modelkeep import Source, Value

SOURCES = (
    Source(
        name="cdnow",
        url="https://files.pythonhosted.org/packages/c5/1f/ee6a471dcb5cb2f4dbc219023e07991f3b917875f9c8a5f5d77c00ddabca/"
        "Lifetimes-0.11.3-py3-none-any.whl",
        sha256="261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
        licence="MIT (the package lifetimes 0.11.3, which carries the file)",
        about="69,659 real purchases of 23,570 customers of the shop CDNOW, 1997 and 1998",
        file="cdnow.parquet",
        convert="modelkeep.workloads.restaurants.sources:cdnow",
        recipe="restaurants-churn",
        size=584_221,
    ),
)


def cdnow(path: Path) -> dict[str, list[Value]]:
    """The purchases of ``CDNOW_master.txt``: customer, day, pieces and dollars."""
    with zipfile.ZipFile(path) as wheel:
        lines = wheel.read("lifetimes/datasets/CDNOW_master.txt").decode().splitlines()[1:]
    rows = [line.split() for line in lines if line.strip()]
    return {
        "customer": [row[0] for row in rows],
        "date": [f"{row[1][:4]}-{row[1][4:6]}-{row[1][6:]}" for row in rows],
        "qty": [int(row[2]) for row in rows],
        "amount": [float(row[3]) for row in rows],
    }
