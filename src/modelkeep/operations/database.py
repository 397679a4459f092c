"""What the database does for this process, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.operations.act import Operation
from modelkeep.store.timing import Slow

if TYPE_CHECKING:
    from modelkeep.app import App


class ExplainStatements(Struct, frozen=True, kw_only=True):
    """How many."""

    limit: Annotated[int, Meta(ge=1, le=100, description="So many statements")] = 10


class Statements(Struct, frozen=True, kw_only=True):
    """The statements that took longest in all since this process began, each with the plan of its slowest run."""

    statements: tuple[Slow, ...]


def explain_statements(app: App, request: ExplainStatements) -> Statements:
    """List the database's slowest statements with their plans: how often each ran, and how long it took.

    Those of the process that answers. Statements that only read are run again for their plan on PostgreSQL (stopped
    after 5 s); values are in no text.
    """
    return Statements(statements=tuple(app.rooms.store.slowest(request.limit)))


OPERATIONS = (
    Operation(
        name="statements", method="GET", path="/v1/db/statements", request=ExplainStatements, result=Statements,
        run=explain_statements, words=("db", "explain"),
    ),
)  # fmt: skip
