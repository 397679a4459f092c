"""Which recipe makes a model of a table: the one that is named, else the one whose columns it has."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from modelkeep.errors import BadInput, NotFound
from modelkeep.extending import BUILT_IN, find
from modelkeep.workload import Recipe, Workload

REPLAY = ("event_time", "entity", "label", "label_time")
"""The columns that every table in replay form has."""
GENERIC = "any"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A recipe, and the workload that it belongs to."""

    workload: Workload
    recipe: Recipe

    @property
    def name(self) -> str:
        """``workload/model``."""
        return f"{self.workload.name}/{self.recipe.model}"


def choose(columns: Collection[str], wanted: str = "", *, history: bool = False) -> Chosen:
    """The recipe for a table with these columns.

    ``wanted`` is ``WORKLOAD`` or ``WORKLOAD/MODEL``; ``any/NAME`` gives the generic model that name. Without it, the
    recipe of which the table has the most required columns, all of them, is taken; else the generic one, with the
    entity's ``history`` among its inputs when that is asked for.

    Raises NotFound naming near workloads or models, BadInput when the named recipe lacks a column.
    """
    if wanted:
        return _named(columns, wanted, history=history)
    fitting = [(_fit(chosen.recipe, columns), chosen) for chosen in _all() if chosen.workload.name != GENERIC]
    best = max(fitting, key=lambda pair: pair[0], default=None)
    if best is not None and best[0] > 0:
        return best[1]
    return _generic("", history=history)


def loaded(place: str) -> Callable[..., Any]:
    """The function at ``module:function`` of a recipe."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _named(columns: Collection[str], wanted: str, *, history: bool) -> Chosen:
    name, _, model = wanted.partition("/")
    if name == GENERIC:
        return _generic(model, history=history)
    workload = workload_of(name)
    recipes = {recipe.model: recipe for recipe in workload.recipes}
    if model and model not in recipes:
        raise NotFound(f"recipe of {name}", model, known=recipes)
    if not recipes:
        raise BadInput(f"the workload {name!r} has no recipe", remedy="try --workload any/NAME")
    if model:
        return Chosen(workload=workload, recipe=recipes[model])
    best = max(workload.recipes, key=lambda recipe: _fit(recipe, columns))  # the first of equals: the main one
    return Chosen(workload=workload, recipe=best)


def workload_of(name: str) -> Workload:
    """The workload of a name. Raises NotFound naming near ones."""
    if name not in BUILT_IN and ":" not in name:
        raise NotFound("workload", name, known=BUILT_IN)
    found = find(name)
    if not isinstance(found, Workload):
        raise BadInput(f"{name!r} is no workload")
    return found


def _generic(model: str, *, history: bool) -> Chosen:
    workload = workload_of(GENERIC)
    recipe = workload.recipes[1 if history else 0]
    if model:
        recipe = replace(recipe, model=model, policy=structs.replace(recipe.policy, model=model))
    return Chosen(workload=workload, recipe=recipe)


def _all() -> Iterator[Chosen]:
    for name in BUILT_IN:
        workload = workload_of(name)
        for recipe in workload.recipes:
            yield Chosen(workload=workload, recipe=recipe)


def _fit(recipe: Recipe, columns: Collection[str]) -> int:
    """How many required columns of a recipe the table has, of the form that it has whole; 0 when it has none whole."""
    own = tuple(field.name for field in recipe.columns if not field.nullable)
    replayed = all(name in columns for name in REPLAY)
    forms = [own, *recipe.forms] if replayed else [own]
    return max((len(form) for form in forms if form and all(name in columns for name in form)), default=0)
