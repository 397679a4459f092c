"""Replays recorded flights through the real HTTP API, at the pace of a simulated clock that it moves itself."""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from msgspec import Struct

from modelkeep import ManualClock, iso
from modelkeep.workloads.flights.data import Flight

TICK = 3600.0
"""Simulated seconds between two requests: the flights of one hour are asked for together."""


class Moment(Struct, frozen=True, kw_only=True):
    """How far the replay is: the simulated time, and how many predictions and outcomes were sent so far."""

    at: float
    predictions: int = 0
    outcomes: int = 0


class Replay:
    """Sends each flight at its scheduled departure and its delay when it has landed.

    Args:
        flights: By scheduled departure; those before ``start`` are only waited for to land.
        clock: The server's clock, moved forward by the replay alone.
        place: File that remembers how far the replay came; a new one on it goes on from there.
    """

    def __init__(self, flights: Sequence[Flight], *, clock: ManualClock, place: Path) -> None:
        self._flights = flights
        self._departures = [f.departs for f in flights]
        self._landings = sorted((f for f in flights if f.arrives is not None), key=lambda f: f.arrives or 0.0)
        self._arrivals = [f.arrives or 0.0 for f in self._landings]
        self._clock = clock
        self._place = place

    def run(self, url: str, *, end: float, speed: float) -> Iterator[Moment]:
        """Play from the clock's moment to ``end`` at ``speed`` simulated seconds a second; yields after every tick.

        A server that is slower than ``speed`` slows the replay: nothing is left out. The clock stands still while a
        model is being trained, because five real seconds of work would else be five simulated days.
        """
        done = Moment(at=self._clock.now())
        began, start = time.perf_counter(), done.at
        with httpx.Client(base_url=url, timeout=60.0) as client, ThreadPoolExecutor(1) as beside:
            while done.at < end:
                at = min(done.at + TICK, end)
                time.sleep(max((at - start) / speed - (time.perf_counter() - began), 0.0))
                self._clock.advance_to(at)
                # Outcomes are answered when they are on disk; the hour's predictions are asked for meanwhile.
                landed = beside.submit(self._land, client, start=done.at, end=at)
                departed = self._depart(client, start=done.at, end=at)
                done = Moment(at=at, outcomes=done.outcomes + landed.result(), predictions=done.predictions + departed)
                self._remember(at)
                yield done
                began += self._trained(client)

    def _depart(self, client: httpx.Client, *, start: float, end: float) -> int:
        flights = self._flights[bisect_left(self._departures, start) : bisect_left(self._departures, end)]
        if flights:
            rows = [{"key": f.key, "for": iso(f.departs), "features": f.features} for f in flights]
            client.post("/v1/models/flights/predict", json={"rows": rows}).raise_for_status()
        return len(flights)

    def _land(self, client: httpx.Client, *, start: float, end: float) -> int:
        flights = self._landings[bisect_left(self._arrivals, start) : bisect_left(self._arrivals, end)]
        if flights:
            told = [{"model": "flights", "key": f.key, "for": iso(f.departs), "actual": f.delay} for f in flights]
            client.post("/v1/outcomes", json={"outcomes": told}).raise_for_status()
        return len(flights)

    def _trained(self, client: httpx.Client) -> float:
        """Wait until no training runs; the seconds that it took."""
        began = time.perf_counter()
        while client.get("/v1/jobs?task=retrain&state=running").raise_for_status().json()["jobs"]:
            time.sleep(0.1)
        return time.perf_counter() - began

    def _remember(self, at: float) -> None:
        fresh = self._place.with_suffix(".new")
        fresh.write_text(f"{at}\n")
        fresh.replace(self._place)


def reached(place: Path, start: float) -> float:
    """How far an earlier replay came (a moment), or ``start``."""
    return float(place.read_text()) if place.exists() else start
