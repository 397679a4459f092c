"""What we do: durable work, and the audit chain."""

from __future__ import annotations

from typing import Literal

from msgspec import Raw, Struct


class Step(Struct, frozen=True, kw_only=True):
    """One finished step of a job: what, when, how long, and its evidence."""

    name: str
    at: float
    seconds: float = 0.0
    detail: str = ""
    evidence: Raw = Raw(b"null")


class Lease(Struct, frozen=True, kw_only=True):
    """Who runs a job, until when; ``token`` grows with each lease, so that a stale runner is recognised."""

    runner: str
    until: float
    token: int


class Job(Struct, frozen=True, kw_only=True):
    """Durable work. ``id`` makes it idempotent: enqueuing an id that exists changes nothing.

    ``arguments`` and ``memo`` are JSON of the task's own types; ``memo`` is what the task wants to remember between
    its runs. ``due`` is when it next runs; ``schedule`` names the schedule that made it, if one did.
    """

    id: str
    task: str
    due: float
    created: float
    arguments: Raw = Raw(b"{}")
    memo: Raw = Raw(b"null")
    state: Literal["waiting", "running", "done", "failed", "cancelled"] = "waiting"
    attempts: int = 0
    lease: Lease | None = None
    steps: tuple[Step, ...] = ()
    result: Raw = Raw(b"null")
    error: str = ""
    subject: str = ""
    schedule: str = ""
    by: str = ""
    finished: float | None = None


class Act(Struct, frozen=True, kw_only=True):
    """One entry of the audit chain; ``digest`` covers the entry and the digest before it."""

    number: int
    who: str
    what: str
    subject: str
    why: str
    at: float
    before: Raw = Raw(b"null")
    after: Raw = Raw(b"null")
    previous: str = ""
    digest: str = ""
