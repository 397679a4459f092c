"""The inputs of ``drilling-life``: what each channel of a machine says of its wear."""

from __future__ import annotations

import math

import numpy as np

from modelkeep.workloads.drilling import channels
from modelkeep.workloads.drilling.sessions import Floats

WIDTH, LONGER, START = 15, (30, 60), 20


def features(machines: channels.Machines) -> dict[str, Floats]:
    """The model's inputs at each row, from that row and those before it of the same machine."""
    found: dict[str, list[Floats]] = {}
    for span in machines.spans:
        values = machines.values[span]
        mean, known = channels.rolling(values, WIDTH), np.isfinite(values)
        total = np.cumsum(np.where(known, values, 0.0), axis=0)
        count = np.cumsum(known, axis=0)
        place = np.minimum(np.arange(len(values)), START - 1)
        own = np.where(count[place] > 0, total[place] / np.maximum(count[place], 1), math.nan)
        parts = {"mean": mean, "trend": channels.slopes(values, WIDTH), "change": mean - own}
        parts |= {f"trend{width}": channels.slopes(values, width) for width in LONGER}
        for part, block in parts.items():
            for i, name in enumerate(machines.names):
                found.setdefault(f"{name}_{part}", []).append(block[:, i])
        scale = 1.0 if machines.counted else 3600.0
        found.setdefault("age", []).append((machines.at[span] - machines.at[span.start]) / scale)
    return {name: np.concatenate(blocks) for name, blocks in found.items()}
