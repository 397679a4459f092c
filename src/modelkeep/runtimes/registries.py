"""Registries of other tools: what versions they hold, what speaks against each, and one version's file to take over.

Two kinds are read: an MLflow registry (``mlflow_registry``, needs the extra ``mlflow``), and a folder with one
``metadata.json`` a version (``folder_registry``). Nothing in them is changed, and nothing of a model is run.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

from msgspec import Struct

from modelkeep.errors import BadInput, NotFound, Unavailable
from modelkeep.nouns import Lineage, Signature


class Entry(Struct, frozen=True, kw_only=True):
    """One version in another tool's registry.

    ``absent`` says why its file cannot be had; ``problems`` what speaks against taking it over as it stands (metrics
    that are no numbers), ``remarks`` what else its owner should know. ``newest`` marks the version that its registry
    would hand out as the latest.
    """

    name: str
    version: str
    newest: bool = False
    metrics: dict[str, float] = {}
    absent: str = ""
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Fetched(Struct, frozen=True, kw_only=True):
    """One version's model file on this machine, with what its registry knows of it."""

    entry: Entry
    path: Path
    signature: Signature | None = None
    lineage: Lineage = Lineage()
    note: str = ""


class Registry(Protocol):
    """Another tool's registry."""

    def entries(self) -> list[Entry]:
        """Every version, by name and then oldest first. Raises Unavailable when the registry cannot be reached."""

    def fetch(self, entry: Entry, folder: Path) -> Fetched:
        """Bring one version's file into ``folder``, whatever its problems. Raises BadArtifact when it cannot be had."""


def opened(place: str) -> Registry:
    """The registry at ``place``: ``http://...`` or ``sqlite:///...`` or an MLflow ``.db`` file, or a folder.

    Raises BadInput for a place that is none, Unavailable naming the extra when MLflow's client is not installed.
    """
    path = Path(place)
    if place.startswith(("http://", "https://", "sqlite://")) or path.suffix in {".db", ".sqlite"}:
        try:
            module = importlib.import_module("modelkeep.runtimes.mlflow_registry")
        except ModuleNotFoundError as missing:
            if missing.name and missing.name.startswith("modelkeep"):
                raise
            raise Unavailable(
                f"reading an MLflow registry needs the package {missing.name}",
                remedy="install it: pip install 'modelkeep[mlflow]'",
            ) from None
        return cast("Registry", module.MlflowRegistry(place))
    if path.is_dir():
        module = importlib.import_module("modelkeep.runtimes.folder_registry")
        return cast("Registry", module.FolderRegistry(path))
    raise BadInput(
        f"{place!r} is no registry", remedy="give http://HOST:PORT, sqlite:///FILE, an MLflow .db file, or a folder"
    )


def chosen(entries: list[Entry], name: str, *, version: str = "") -> Entry:
    """The version asked for; without ``version`` the newest of that name. Raises NotFound naming near ones."""
    named = [entry for entry in entries if entry.name == name]
    if not named:
        raise NotFound("model", name, known={entry.name for entry in entries})
    if not version:
        return next((entry for entry in named if entry.newest), named[-1])
    found = next((entry for entry in named if entry.version == version), None)
    if found is None:
        raise NotFound("version", f"{name}@{version}", known=[f"{name}@{entry.version}" for entry in named])
    return found


def finite(metrics: Mapping[str, object]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The finite metrics, and one sentence for each that is not.

    >>> finite({"mae": 3.2, "r2": float("nan")})
    ({'mae': 3.2}, ("metric 'r2' is nan",))
    """
    kept, problems = {}, []
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value):
            kept[name] = float(value)
        else:
            problems.append(f"metric {name!r} is {value}")
    return kept, tuple(problems)
