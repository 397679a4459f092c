"""Changing the master key."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from modelkeep.jobs import rotating
from modelkeep.nouns import Job
from modelkeep.operations.act import By, Operation
from modelkeep.operations.jobs import JobView, view
from modelkeep.operations.training import Alone

if TYPE_CHECKING:
    from modelkeep.app import App


class Rotate(Struct, frozen=True, kw_only=True):
    """Who changes the key."""

    by: By = ""


def rotate_keys(app: App, request: Rotate) -> JobView:
    """Wrap every key under the newest master key, and seal records that lie in the clear.

    Set ``privacy.key`` to the new key and ``privacy.previous`` to the old one first; when this has ended, the old one
    opens nothing any more. Raises BadInput where nothing is encrypted.
    """
    now = app.rooms.clock.now()
    job = Job(id=f"rotate-{uuid.uuid4().hex[:12]}", task=rotating.TASK, due=now, created=now, by=request.by)
    if app.serving:
        with app.rooms.store.write() as ledger:
            ledger.jobs.add(job)
        app.wake()
        return view(job)
    run = Alone(job, app=app, say=lambda *_: None)
    done = rotating.rotate(app.rooms, run)
    ended = msgspec.structs.replace(
        run.job, state="done", result=Raw(msgspec.json.encode(done.result)), finished=app.rooms.clock.now()
    )
    return view(ended)


OPERATIONS = (
    Operation(
        name="rotate_keys", method="POST", path="/v1/privacy/rotations", request=Rotate, result=JobView,
        run=rotate_keys, words=("privacy", "rotate"), status=202,
    ),
)  # fmt: skip
