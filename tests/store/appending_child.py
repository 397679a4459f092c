"""Appends to a dataset until it is ended; says each append once it is acknowledged."""

import sys
from pathlib import Path

from modelkeep import Datasets, Field

folder, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
columns = (
    Field(name="device", kind="text"),
    Field(name="amps", kind="number", nullable=True),
    Field(name="cycles", kind="integer", nullable=True),
    Field(name="on", kind="boolean", nullable=True),
    Field(name="mode", kind="category", nullable=True),
)
data = Datasets(folder / "datasets").open("drill.telemetry", columns=columns, time="at", key=("device", "at"))
size = 50 if name == "killed" else 1
for i in range(times):
    moments = [float(i * size + row) for row in range(size)]
    data.append({"at": moments, "device": [name] * size, "cycles": [i] * size})
    sys.stdout.write(f"{i}\n")
    sys.stdout.flush()
