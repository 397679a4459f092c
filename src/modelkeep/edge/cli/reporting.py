"""A report for eyes: its seven parts as tables and sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from modelkeep.jobs.reports import wording
from modelkeep.jobs.reports.parts import Report

_COLUMNS = (*wording.HEADS[:-1], f"~{wording.HEADS[-1]}")


def lines(content: bytes, *, table: Callable[[Sequence[Mapping[str, Any]], Sequence[str]], Iterator[str]]) -> list[str]:
    """The lines of a report; ``table`` makes those of rows with the named columns."""
    report = msgspec.json.decode(content, type=Report)
    found = [wording.title(report)]
    for head, figures, notes in wording.parts(report):
        found += ["", head]
        found += table([dict(zip(wording.HEADS, wording.texts(one), strict=True)) for one in figures], _COLUMNS)
        found += [f"- {note}" for note in notes]
    return found
