"""What a package may add to the rooms of an app: policies, rules, probes, tasks and schedules."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from modelkeep.errors import BadSettings
from modelkeep.jobs.persons import Personal
from modelkeep.jobs.recipes import Recipe
from modelkeep.jobs.rooms import Rooms, Task
from modelkeep.jobs.schedule import Schedule
from modelkeep.nouns import Policy, Reading

Probe: TypeAlias = Callable[[Rooms], Iterable[Reading]]
"""Looks at the world beyond predictions (a device's health, a table's age) and says what it sees; changes nothing."""

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "weight": "modelkeep.workloads.weight:WORKLOAD",
        "drilling": "modelkeep.workloads.drilling:WORKLOAD",
        "restaurants": "modelkeep.workloads.restaurants:WORKLOAD",
        "any": "modelkeep.workloads.any:WORKLOAD",
        "devices": "modelkeep.workloads.devices:WORKLOAD",
    }
)
"""The workloads that come with the product, by name, and where each stands."""


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a package adds to an app.

    ``policies`` are taken up for models that have none of their own yet; ``rules`` is TOML text of ``[[rule]]`` tables;
    ``probes`` run with every pass of the task ``watch``, and their readings are judged like all others; ``tasks`` are
    durable work by name, ``schedules`` when it runs; ``recipes`` what ``modelkeep train NAME`` can make, the main one
    first; ``personal`` where it keeps rows about people, for their export and erasure.
    """

    name: str
    policies: tuple[Policy, ...] = ()
    rules: str = ""
    probes: tuple[Probe, ...] = ()
    tasks: Mapping[str, Task] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    recipes: tuple[Recipe, ...] = ()
    personal: tuple[Personal, ...] = ()


_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


def find_all(names: Iterable[str], *, source: str = "default") -> tuple[Extension, ...]:
    """The extensions of the setting ``workloads``, in its order; ``source`` is where the setting came from.

    Raises BadSettings for one that there is not, or that cannot be imported, and for two of one name.
    """
    found: dict[str, Extension] = {}
    for name in names:
        extension = find(name, source=source)
        if extension.name in found:
            raise BadSettings(
                f"workloads ({source}): two are named {extension.name!r}", remedy="name each once, or rename your own"
            )
        found[extension.name] = extension
    return tuple(found.values())


def find(name: str, *, source: str = "default") -> Extension:
    """The extension of a name: a built-in workload, or ``module:attribute`` of an installed package.

    Raises BadSettings when there is none, naming those that come with the product.
    """
    place = BUILT_IN.get(name, name)
    module, colon, attribute = place.partition(":")
    known = f"one of {', '.join(BUILT_IN)}, or module:attribute of an installed package"
    if not (module and colon and attribute.isidentifier()):
        raise BadSettings(f"workloads ({source}) names {name!r}", remedy=known)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as missing:
        raise BadSettings(f"the workload {name!r} cannot be imported: {missing}", remedy=known) from None
    if isinstance(found, Extension) and not _NAME.fullmatch(found.name):
        raise BadSettings(
            f"the workload {name!r} is named {found.name!r}", remedy="use lower-case letters, digits and dashes"
        )
    if not isinstance(found, Extension):
        raise BadSettings(f"the workload {name!r} is {type(found).__name__}, not a Workload", remedy=known)
    return found


def comes_along(extension: Extension) -> bool:
    """Whether it is one of the product's own (and not another of the same name)."""
    module, _, attribute = BUILT_IN.get(extension.name, "").partition(":")
    return bool(module) and getattr(sys.modules.get(module), attribute, None) is extension
