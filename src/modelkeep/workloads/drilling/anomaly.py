"""Anomalies: how far each channel is from the machine's own healthy start, with the channels named.

Robust z (Iglewicz & Hoaglin 1993): distance from the median of the healthy start in scaled MADs, of the mean of the
last fifteen rows, within each operating state. The alarm is on the mean of the top three channels, so one noisy sensor
is no alarm. Nothing is learned from labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from modelkeep import Value
from modelkeep.workloads.drilling import channels
from modelkeep.workloads.drilling.sessions import Floats

START = 400
"""Rows at the start of a machine's life that count as healthy (at most half of what there is)."""
LEAST = 30
WIDTH = 15
TOP = 3
ALARM = 4.5
"""Mean robust z of the top three channels. Chosen by looking at one pump testbed, where 7 % of normal rows pass it."""
_SIGMA = 1.4826
_FINEST = 1e-3


class Anomaly(Struct, frozen=True, kw_only=True):
    """A span of rows of one machine above the alarm: its worst score, and the channels that made it, worst first."""

    key: str
    start: float
    end: float
    rows: int
    score: float
    channels: tuple[str, ...]


class Scored(Struct, frozen=True, kw_only=True):
    """The anomaly score of every row of one machine (NaN where it is not known), and each channel's robust z."""

    key: str
    at: Floats
    score: Floats
    z: Floats
    names: tuple[str, ...]
    healthy: int

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """Which rows are above the alarm."""
        return np.nan_to_num(self.score) > ALARM

    @property
    def anomalies(self) -> tuple[Anomaly, ...]:
        """Spans of rows above the alarm."""
        on = np.concatenate(([False], self.alarm, [False]))
        edges = np.flatnonzero(on[1:] != on[:-1])
        return tuple(self._span(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))

    def _span(self, start: int, end: int) -> Anomaly:
        means = np.nan_to_num(self.z[start:end]).mean(axis=0)
        worst = np.argsort(-means)[:TOP]
        return Anomaly(
            key=self.key,
            start=float(self.at[start]),
            end=float(self.at[end - 1]),
            rows=end - start,
            score=float(np.nanmax(self.score[start:end])),
            channels=tuple(self.names[i] for i in worst if means[i] > ALARM / 2),
        )


def score(
    table: Mapping[str, Sequence[Value]],
    *,
    state: Sequence[int] = (),
    start: int = START,
    leave_out: Sequence[str] = (),
) -> tuple[Scored, ...]:
    """The anomaly scores of every machine of a table (see ``channels.read``).

    ``state`` is the operating state of each row (one for all when empty): every state has a healthy start of its own.
    ``start`` rows count as healthy, at most half of a machine's rows; a state with fewer than LEAST rows there is not
    known.
    """
    machines = channels.read(table, leave_out=leave_out)
    codes = np.array([state[i] for i in machines.order]) if state else np.zeros(len(machines.keys), dtype=np.int64)
    return tuple(_machine(machines, span, codes=codes[span], start=start) for span in machines.spans)


def _machine(machines: channels.Machines, span: slice, *, codes: NDArray[np.int64], start: int) -> Scored:
    values = machines.values[span]
    healthy = min(start, len(values) // 2)
    z = np.full(values.shape, np.nan)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        smooth = channels.rolling(values[rows], WIDTH)
        own = smooth[rows < healthy]
        if len(own) < LEAST:
            continue
        z[rows] = _robust(smooth, own[min(WIDTH, len(own) // 2) :])
    known = np.isfinite(z)
    ranked: Floats = np.sort(np.where(known, z, 0.0), axis=1)
    top = ranked[:, -min(TOP, len(machines.names)) :].mean(axis=1)
    return Scored(
        key=machines.keys[span.start],
        at=machines.at[span],
        score=np.where(known.any(axis=1), top, np.nan),
        z=z,
        names=machines.names,
        healthy=healthy,
    )


def _robust(smooth: Floats, own: Floats) -> Floats:
    middle = np.nanmedian(own, axis=0)
    spread = _SIGMA * np.nanmedian(np.abs(own - middle), axis=0)
    spread = np.maximum(spread, _FINEST * np.maximum(np.abs(middle), 1e-9))
    found: Floats = np.abs(smooth - middle) / spread
    return found
