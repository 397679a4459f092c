"""The processing log of the guide: ``logs/ml/processing.log`` below the data folder, one line of key=value each."""

from __future__ import annotations

from modelkeep import Rooms, Value, iso

LARGEST = 5_000_000
"""Bytes after which the log is begun anew; the one before is kept beside it."""


def line(rooms: Rooms, what: str, **facts: Value) -> None:
    """Append a line such as ``2025-07-01T... features processing_time=0.120 cache_hit=false``."""
    path = rooms.folder / "logs" / "ml" / "processing.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LARGEST:
        path.replace(path.with_suffix(".log.1"))
    said = " ".join(f"{name}={_text(value)}" for name, value in facts.items())
    with path.open("a", encoding="utf-8") as log:
        log.write(f"{iso(rooms.clock.now())} {what} {said}\n")


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    return f'"{text}"' if " " in text else text.replace("\n", " ")
