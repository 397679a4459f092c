"""Prints one table of all bars and exits with 1 when one is missed.

    python benchmarks/bars/run.py [--only NAME] [--json FILE]

The data stand in the folder that PUBLIC_DATA names, else in ``shared/data`` beside the checkout; a bar whose data is
absent is skipped by name.
"""

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path

import msgspec
from bar import Bar
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
WORKLOADS = ("weight", "drilling", "restaurants", "any", "devices", "speed")
WIDTH = 170


def data() -> Path:
    """Where the data are."""
    named = os.environ.get("PUBLIC_DATA")
    return Path(named) if named else HERE.parents[2] / "shared" / "data"


def module_of(name: str):
    """The module with a workload's bars, or None when it has none."""
    if not (HERE / f"{name}.py").exists():
        return None
    # Loaded by its path: `any` and others are also names of what Python has.
    spec = importlib.util.spec_from_file_location(f"bars_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=WORKLOADS, help="only this workload")
    parser.add_argument("--json", type=Path, help="write the bars into this file, too")
    asked = parser.parse_args()
    place, found, skipped = data(), [], []
    console = Console(stderr=True)
    sys.path.insert(0, str(HERE))
    for name in [asked.only] if asked.only else WORKLOADS:
        module = module_of(name)
        if module is None or not place.is_dir():
            skipped.append(f"{name}: {'no bars yet' if module is None else f'no data folder {place.name!r}'}")
            continue
        console.print(f"{name} ...")
        began = time.perf_counter()
        try:
            for one in module.bars(place):
                console.print(f"  {one.what}: {one.reached:.4g} ({'met' if one.met else 'MISSED'} {one.target:g})")
                found.append(one)
        except FileNotFoundError as absent:
            skipped.append(f"{name}: {Path(str(absent.filename)).name} is absent")
        console.print(f"  {time.perf_counter() - began:.1f} s")
    show(found, skipped)
    if asked.json:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    return int(any(not one.met for one in found))


def show(found: list[Bar], skipped: list[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    table = Table(title="bars", title_justify="left")
    for name in ("workload", "what", "protocol", "baselines", "target", "reached", "verdict", "n", "s"):
        table.add_column(name, overflow="fold", justify="right" if name in {"target", "reached", "n", "s"} else "left")
    for one in found:
        sign = "<=" if one.better == "less" else ">="
        simple = ", ".join(f"{name} {value:.4g}" for name, value in one.baselines.items())
        verdict = "met" if one.met else "MISSED"
        verdict += f"; below baseline {', '.join(one.below)}" if one.below else ""
        table.add_row(
            one.workload, one.what, one.protocol, simple, f"{sign} {one.target:g}", f"{one.reached:.4g} {one.unit}",
            verdict, f"{one.n:,}", f"{one.seconds:.1f}",
        )  # fmt: skip
    console.print(table)
    for text in skipped:
        console.print(f"skipped {text}")


if __name__ == "__main__":
    sys.exit(main())
