"""What a recipe is: how one model is made from a table of raw data."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from modelkeep.nouns import Field, Policy, Value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one model of a workload is made from a table of raw data.

    ``model`` is the registered name. ``columns`` are what the table must hold, each with kind, unit and range; a
    nullable one may be absent. ``prepare`` (``module:function``) turns the table (a dict of columns, after ``--map``)
    into ``TrainingRows`` whose features at each row are computed from what was known at the row's moment ``at`` alone.
    ``policy`` names the trainer (``retrain.trainer``) that turns such rows into ``Trained``.
    ``simulate`` (``module:function``) makes a table of the same columns from a seed: ``simulate(rows, seed) -> table``.
    ``forms`` are further sets of columns by which a table in replay form (event_time, entity, label, label_time and
    raw features) is recognised as this recipe's. ``injections`` are faults by name (``module:function``, table ->
    table) that ``modelkeep replay --inject NAME`` puts into a recorded table. ``time`` names the column with the moment
    at which a raw row became known (empty: the first that holds moments).
    """

    model: str
    summary: str
    columns: tuple[Field, ...]
    prepare: str
    policy: Policy
    simulate: str = ""
    forms: tuple[tuple[str, ...], ...] = ()
    injections: Mapping[str, str] = field(default_factory=dict)
    time: str = ""


def check_no_future(recipe: Recipe, table: Mapping[str, Sequence[Value]]) -> str:
    """Prepare a table cut off at several moments, and compare: no row may change by what came after it.

    Answers what was compared, in words. Raises Refused naming each feature that knows the future, with an example.
    """
    module, _, function = recipe.prepare.partition(":")
    prepare = getattr(importlib.import_module(module), function)
    # Numbers are worked with there: a server that only serves recipes need not load that.
    return str(importlib.import_module("modelkeep.runtimes.future").check(prepare, table, time=recipe.time))
