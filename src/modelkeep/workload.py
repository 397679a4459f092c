"""What a workload is: a kind of model with everything around it, from its columns to its page.

A workload is a package on the public face of Modelkeep. The built-in ones stand in ``modelkeep.workloads``; one of your
own is named in the setting ``workloads`` as ``package.module:ATTRIBUTE``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from modelkeep.extending import Extension
from modelkeep.jobs.recipes import Recipe
from modelkeep.nouns import Level
from modelkeep.operations.act import Operation

if TYPE_CHECKING:
    from modelkeep.app import App

__all__ = ["Graph", "Panel", "Recipe", "Row", "Series", "Source", "Table", "Workload", "workloads"]


class Source(Struct, frozen=True, kw_only=True):
    """A public data set: where its owner publishes it, its SHA-256, its licence, and what becomes of it here.

    ``convert`` (``module:function``) turns the downloaded file (a path) into the table (a dict of columns) of the
    recipe whose model is ``recipe`` (empty: the workload's main one). ``size`` is the file's in bytes: whoever sends
    more is cut off.
    """

    name: str
    url: str
    sha256: str
    licence: str
    about: str
    file: str
    convert: str = ""
    recipe: str = ""
    size: int = 1 << 30


class Row(Struct, frozen=True, kw_only=True):
    """One row of a panel's table: its cells as texts, and how things stand with what it tells of."""

    cells: tuple[str, ...]
    level: Level | None = None


class Table(Struct, frozen=True, kw_only=True):
    """A table of a panel; ``empty`` is said when there is no row."""

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    empty: str = "nothing yet"


class Series(Struct, frozen=True, kw_only=True):
    """A line of a panel's chart: (moment, value) by time; a value of None is a gap."""

    name: str
    points: tuple[tuple[float, float | None], ...]


class Graph(Struct, frozen=True, kw_only=True):
    """A chart of a panel over time."""

    title: str
    unit: str
    lines: tuple[Series, ...]


class Panel(Struct, frozen=True, kw_only=True):
    """What a workload's page shows: some words, tables and charts. ``simulated`` labels all of it as not real."""

    title: str
    about: str
    simulated: bool = False
    tables: tuple[Table, ...] = ()
    graphs: tuple[Graph, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Workload(Extension):
    """A kind of model with everything around it.

    ``operations`` become routes, OpenAPI and the commands ``modelkeep NAME ...``; ``recipes`` what
    ``modelkeep train NAME`` can make, the main one first; ``sources`` what ``modelkeep data get`` can fetch; ``panel``
    is the page ``/workloads/NAME``; ``play`` (``module:function``) sends simulated life through the workload's own acts
    for ``modelkeep demo``: ``play(app, at)`` is called for every simulated hour ``at`` (a moment) and goes on from
    where the store says it is.
    """

    summary: str
    operations: tuple[Operation[Any, Any], ...] = ()
    sources: tuple[Source, ...] = ()
    panel: Callable[[App], Panel] | None = None
    play: str = ""


def workloads(app: App) -> tuple[Workload, ...]:
    """The workloads among an app's extensions, in the order of the setting."""
    return tuple(extension for extension in app.extensions if isinstance(extension, Workload))
