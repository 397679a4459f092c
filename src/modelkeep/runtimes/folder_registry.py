"""A registry that is a folder: ``NAME.../VERSION/metadata.json`` beside the model file, and pointers to the latest.

``latest.json`` (``latest_version``) and a link ``latest`` are both in use, and need not agree.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PureWindowsPath
from typing import Any

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Lineage
from modelkeep.runtimes.registries import Entry, Fetched, finite

METADATA, POINTER, LINK = "metadata.json", "latest.json", "latest"
ENDINGS = (".skops", ".txt", ".lgb", ".zip", ".joblib", ".pkl", ".pickle")
MOST = 10 * 2**20


class FolderRegistry:
    """The versions under ``root``; the path between it and a version's own folder is the model's name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def entries(self) -> list[Entry]:
        """Every version, by name and then by its folder's name, which is read as its age."""
        places: dict[Path, list[Path]] = {}
        for file in sorted(self._root.rglob(METADATA)):
            inside = file.parent.relative_to(self._root).parents
            if not file.parent.is_symlink() and not any((self._root / part).is_symlink() for part in list(inside)[:-1]):
                places.setdefault(file.parent.parent, []).append(file.parent)
        return [entry for model, versions in sorted(places.items()) for entry in self._of(model, versions)]

    def fetch(self, entry: Entry, folder: Path) -> Fetched:
        """Copy one version's file, whatever its problems. Raises BadArtifact when there is none."""
        place = self._root / entry.name / entry.version
        file = _model(place)
        if file is None:
            raise BadArtifact(f"{entry.name}@{entry.version}: {entry.absent}", remedy="choose another version")
        path = folder / file.name
        shutil.copyfile(file, path)
        said = _read(place / METADATA)
        source = f"{place.relative_to(self._root)} of the folder {self._root.name}"
        return Fetched(
            entry=entry, path=path, lineage=Lineage(source=source), note=f"trained at {said.get('trained_at', '?')}"
        )

    def _of(self, model: Path, versions: list[Path]) -> list[Entry]:
        newest, remarks = _latest(model, versions)
        name = model.relative_to(self._root).as_posix()
        return [_entry(place, name, newest=place.name == newest, remarks=remarks) for place in versions]


def _entry(place: Path, name: str, *, newest: bool, remarks: tuple[str, ...]) -> Entry:
    problems: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    try:
        metrics, problems = finite(_read(place / METADATA).get("metrics", {}))
    except BadArtifact as broken:
        problems = (broken.message,)
    return Entry(
        name=name,
        version=place.name,
        newest=newest,
        metrics=metrics,
        absent="" if _model(place) else f"there is no model file beside {METADATA} ({', '.join(ENDINGS)})",
        problems=problems,
        remarks=remarks if newest else (),
    )


def _latest(model: Path, versions: list[Path]) -> tuple[str, tuple[str, ...]]:
    """Which version the pointers name, and what is wrong with them; the youngest folder when they say nothing."""
    known = {place.name for place in versions}
    said: dict[str, str] = {}
    remarks = []
    if (model / POINTER).is_file():
        pointer = _read(model / POINTER)
        path = str(pointer.get("latest_path", ""))
        said[POINTER] = str(pointer.get("latest_version") or PureWindowsPath(path).name)
        if "\\" in path:
            remarks.append(f"{POINTER} holds the path of another system: {path}")
    link = _link(model / LINK)
    if link:
        said[LINK] = PureWindowsPath(link).name
        if not (model / LINK).is_dir():
            remarks.append(f"{LINK!r} is a link that leads nowhere: {link}")
    if len(set(said.values())) > 1:
        named = ", ".join(f"{who} names {version}" for who, version in said.items())
        remarks.append(f"the pointers disagree: {named}; name the version that you mean")
    for named_by, version in said.items():
        if version not in known:
            remarks.append(f"{named_by} names {version}, which is not there")
    found = next((version for version in said.values() if version in known), max(known))
    return found, tuple(remarks)


def _link(link: Path) -> str:
    """Where a link leads; some copies hold its target as text."""
    if link.is_symlink():
        return str(link.readlink())
    if link.is_file() and link.stat().st_size < 4096:
        return link.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _model(place: Path) -> Path | None:
    files = [file for file in sorted(place.iterdir()) if file.suffix in ENDINGS and file.is_file()]
    return next((file for file in files if file.stem == "model"), files[0] if len(files) == 1 else None)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object; the bare words NaN and Infinity are read, as other tools write them. Raises BadArtifact."""
    if file.stat().st_size > MOST:
        raise BadArtifact(f"{file.name} has {file.stat().st_size:,} bytes, at most {MOST:,} are read")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as cause:
        raise BadArtifact(f"{file.name} cannot be read: {cause}") from None
    if not isinstance(found, dict):
        raise BadArtifact(f"{file.name} holds {type(found).__name__}, not an object")
    return found
