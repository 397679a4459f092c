"""Which acts an app has: the product's and those of its workloads, each name and each route once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from starlette.routing import BaseRoute, compile_path

from modelkeep.edge import cli
from modelkeep.errors import BadSettings
from modelkeep.extending import BUILT_IN, Extension, comes_along
from modelkeep.operations import OPERATIONS, Operation
from modelkeep.workload import Workload

Act: TypeAlias = Operation[Any, Any]
PRODUCT = "the product"
YIELDS = frozenset({"/api/ml/health"})
"""Routes that the product gives up to a workload that has them: what it can say of them is less."""
_SAMPLE = "-0-"


class Owned(Struct, frozen=True, kw_only=True):
    """An act, and whose it is: ``the product``, or a workload's name."""

    act: Act
    owner: str

    @property
    def said(self) -> str:
        """The owner in a sentence."""
        return self.owner if self.owner == PRODUCT else f"workload {self.owner}"


def mounted(extensions: Sequence[Extension], routes: Sequence[BaseRoute] = ()) -> list[Act]:
    """Every act of product and workloads, the product's first; ``routes`` are what the product answers beside its acts.

    Raises BadSettings when two acts have one name or answer one path, naming both owners, and for an act that cannot
    be mounted: its path or its upload names a field that its request lacks.
    """
    found = [each for each in extensions if isinstance(each, Workload)]
    for each in found:
        if each.name not in BUILT_IN and any(each.name in commands for commands in cli.GROUPS.values()):
            raise BadSettings(f"a workload is named {each.name!r}, like a command", remedy="give it another name")
    own = [Owned(act=act, owner=PRODUCT) for act in OPERATIONS]
    theirs = [Owned(act=act, owner=each.name) for each in found for act in each.operations]
    _check([*own, *theirs], [path for route in routes if (path := getattr(route, "path", "")) not in YIELDS])
    for each in found:
        if not comes_along(each):  # those that do are looked at by a test: it takes longer than all else here
            whole(each)
    return [one.act for one in (*own, *theirs)]


def ordered(acts: Iterable[Act]) -> list[Act]:
    """Longer paths first (the name of a model may hold slashes, and must not swallow what follows it), then plain ones.

    ``/scores/summary`` so stands before ``/scores/{id}``.
    """
    return sorted(acts, key=lambda act: (-act.path.count("/"), [part[:1] == "{" for part in act.path.split("/")]))


def path_of(act: Act) -> str:
    """The route's template as Starlette takes it: names of models, versions and things may hold slashes."""
    path = act.path
    for name in ("model", "id", "name"):
        path = path.replace("{" + name + "}", "{" + name + ":path}")
    return path


def _check(found: Sequence[Owned], paths: Sequence[str]) -> None:
    names: dict[str, Owned] = {}
    for each in found:
        other = names.setdefault(each.act.name, each)
        if other is not each:
            raise _both(f"the act {each.act.name!r}", other, other=each)
    for place, each in enumerate(found):
        if each.owner == PRODUCT:
            continue
        for path in paths:
            if _meets(each.act.path, path):
                raise BadSettings(
                    f"the route {each.act.method} {each.act.path} of {each.said} is the product's own {path}",
                    remedy="give it a path of its own, or leave the workload out of workloads",
                )
        for other in found[:place]:
            if other.act.method == each.act.method and _same(other, each):
                raise _both(f"the route {each.act.method} {each.act.path}", other, other=each)


def _same(one: Owned, other: Owned) -> bool:
    """Whether two routes take one path. Within a workload a plain path may stand before a named one."""
    if one.owner == other.owner:
        return _blank(one.act.path) == _blank(other.act.path)
    return _near(one.act.path, other.act.path) and _meets(path_of(one.act), path_of(other.act))


def _near(one: str, other: str) -> bool:
    """Whether two templates begin alike; most do not, and need no closer look."""
    mine, theirs = _plain(one), _plain(other)
    return mine.startswith(theirs) or theirs.startswith(mine)


def _meets(one: str, other: str) -> bool:
    return _near(one, other) and any(_pattern(a).match(_blank(b)) for a, b in ((one, other), (other, one)))


@lru_cache(maxsize=1024)
def _pattern(path: str) -> re.Pattern[str]:
    return compile_path(path)[0]


@lru_cache(maxsize=1024)
def _plain(path: str) -> str:
    """What every path of a template begins with."""
    return path.partition("{")[0]


@lru_cache(maxsize=1024)
def _blank(path: str) -> str:
    return "/".join(_SAMPLE if part[:1] == "{" else part for part in path.split("/"))


def _both(what: str, one: Owned, *, other: Owned) -> BadSettings:
    return BadSettings(
        f"{what} is answered by {one.said} ({one.act.name}) and by {other.said} ({other.act.name})",
        remedy="rename one, or leave one out of workloads",
    )


def whole(workload: Workload) -> None:
    """Raise BadSettings for an act that cannot be mounted: a field is missing, a type cannot be read, it has no doc."""
    for act in workload.operations:
        _whole(act, f"the act {act.name!r} of workload {workload.name}")


def _whole(act: Act, said: str) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(act.request)}
    needed = [part[1:-1] for part in act.path.split("/") if part[:1] == "{"] + [act.upload] * bool(act.upload)
    missing = next((name for name in needed if name not in fields), None)
    if missing is not None or not act.path.startswith("/"):
        raise BadSettings(f"{said}: {act.path} needs the field {missing!r} in its request")
    for kind in (act.request, act.result):
        try:
            msgspec.json.Decoder(kind)
        except TypeError as wrong:
            raise BadSettings(f"{said}: {kind.__name__} cannot be read: {wrong}") from None
    if not act.doc:
        raise BadSettings(f"{said} has no docstring to describe it")
