"""Backups of everything: making one, and listing those that there are. Restoring is a command of its own."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from modelkeep.errors import BadArtifact
from modelkeep.jobs import saving
from modelkeep.operations.act import By, Operation, Why, stamp
from modelkeep.operations.working import worked

if TYPE_CHECKING:
    from modelkeep.app import App


class Save(Struct, frozen=True, kw_only=True):
    """Why, and who asks."""

    why: Why = ""
    by: By = ""


class Saved(Struct, frozen=True, kw_only=True):
    """A backup of everything; ``state`` is ``running`` when it goes on without you (see ``modelkeep jobs show JOB``).

    ``rows`` counts those of every table. ``dropped`` are older backups that went, as the setting ``keeping.backups``
    says.
    """

    state: Literal["running", "done", "failed"]
    job: str
    path: str = ""
    bytes: int | None = None
    sha256: str = ""
    files: int | None = None
    rows: dict[str, int] = {}
    dropped: tuple[str, ...] = ()
    error: str = ""


class ListSaved(Struct, frozen=True, kw_only=True):
    """Nothing to say: all of them."""


class SavedView(Struct, frozen=True, kw_only=True):
    """One backup in the data folder. ``whole`` is false for one that cannot be read; then ``error`` says why."""

    name: str
    at: datetime | None
    bytes: int
    rows: int | None
    release: str
    whole: bool
    error: str = ""


class SavedList(Struct, frozen=True, kw_only=True):
    """Backups of everything, newest first."""

    backups: tuple[SavedView, ...]


def save(app: App, request: Save) -> Saved:
    """Back up everything to one file: database, models' files, archive and datasets, while the server serves.

    Bring it back with ``modelkeep restore FILE``.
    """
    job = worked(app, "save", arguments=saving.Save(), by=request.by, why=request.why)
    if job.state != "done":
        return Saved(state="failed" if job.state == "failed" else "running", job=job.id, error=job.error)
    done = msgspec.json.decode(job.result, type=saving.Saved)
    return Saved(
        state="done",
        job=job.id,
        path=done.path,
        bytes=done.size,
        sha256=done.sha256,
        files=done.files,
        rows=done.rows,
        dropped=done.dropped,
    )


def list_saved(app: App, request: ListSaved) -> SavedList:
    """List the backups of everything that are in the data folder, newest first."""
    del request
    found = []
    for path in saving.saved(app.rooms):
        size = path.stat().st_size
        try:
            held = saving.contents(path)
        except BadArtifact as wrong:
            found.append(
                SavedView(name=path.name, at=None, bytes=size, rows=None, release="", whole=False, error=str(wrong))
            )
            continue
        rows = sum(held.rows.values())
        found.append(
            SavedView(name=path.name, at=stamp(held.at), bytes=size, rows=rows, release=held.release, whole=True)
        )
    return SavedList(backups=tuple(found))


OPERATIONS = (
    Operation(
        name="save", method="POST", path="/v1/backups", request=Save, result=Saved, run=save, words=("backup",),
        finding=lambda found: f"failed: {found.error}" if found.state == "failed" else "",
    ),
    Operation(
        name="saved", method="GET", path="/v1/backups/whole", request=ListSaved, result=SavedList, run=list_saved,
        words=("backups", "whole"),
    ),
)  # fmt: skip
