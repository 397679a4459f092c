"""The shelves of versions, policies and rollouts. Nothing on them is ever changed or taken away."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, Table, func, insert, select

from modelkeep.errors import Conflict, NotFound
from modelkeep.nouns import Policy, Rollout, Version
from modelkeep.store import turns
from modelkeep.store.tables import policies, rollouts, versions


class SqlVersions:
    """``seams.Versions`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, version: Version) -> None:
        """See ``seams.Versions.add``."""
        self._add(versions, version)

    def get(self, model: str, number: int) -> Version:
        """See ``seams.Versions.get``."""
        c = versions.c
        body = self._connection.execute(select(c.body).where(c.model == model, c.number == number)).scalar()
        if body is not None:
            return msgspec.json.decode(body, type=Version)
        numbers = self._connection.execute(select(c.number).where(c.model == model)).scalars().all()
        if not numbers:
            raise NotFound("model", model, known=self.models())
        raise NotFound("version", f"{model}@{number}", known=[f"{model}@{known}" for known in numbers])

    def all(self, model: str | None = None) -> list[Version]:
        """See ``seams.Versions.all``."""
        query = select(versions.c.body).order_by(versions.c.model, versions.c.number)
        if model is not None:
            query = query.where(versions.c.model == model)
        return [msgspec.json.decode(body, type=Version) for body in self._connection.execute(query).scalars()]

    def models(self) -> list[str]:
        """See ``seams.Versions.models``."""
        query = select(versions.c.model).distinct().order_by(versions.c.model)
        return list(self._connection.execute(query).scalars())

    def add_policy(self, policy: Policy) -> None:
        """See ``seams.Versions.add_policy``."""
        self._add(policies, policy)

    def policies(self) -> dict[str, Policy]:
        """See ``seams.Versions.policies``."""
        query = select(policies.c.model, policies.c.body).order_by(policies.c.model, policies.c.number)
        newest = {row.model: row.body for row in self._connection.execute(query)}
        return {model: msgspec.json.decode(body, type=Policy) for model, body in newest.items()}

    def policy(self, model: str, number: int | None = None) -> Policy:
        """See ``seams.Versions.policy``."""
        c = policies.c
        query = select(c.body).where(c.model == model).order_by(c.number.desc()).limit(1)
        if number is not None:
            query = query.where(c.number == number)
        body = self._connection.execute(query).scalar()
        if body is not None:
            return msgspec.json.decode(body, type=Policy)
        numbers = self._connection.execute(select(c.number).where(c.model == model)).scalars().all()
        if number in {None, 1}:
            return Policy(model=model)
        raise NotFound("policy", f"{model} policy {number}", known=[f"{model} policy {n}" for n in (1, *numbers)])

    def _add(self, table: Table, noun: Version | Policy) -> None:
        c = table.c
        if self._connection.execute(select(c.number).where(c.model == noun.model, c.number == noun.number)).first():
            kind = table.name.removesuffix("s") if table is versions else "policy"
            raise Conflict(f"{kind} {noun.number} of {noun.model} exists already", remedy="add it with the next number")
        body = msgspec.json.encode(noun).decode()
        self._connection.execute(insert(table).values(model=noun.model, number=noun.number, body=body))


class SqlRollouts:
    """``seams.Rollouts`` over one connection: every rollout is a row, and the newest of a model is in force."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, model: str) -> Rollout | None:
        """See ``seams.Rollouts.get``."""
        return self._newest(model)[1]

    def _newest(self, model: str) -> tuple[int, Rollout | None]:
        c = rollouts.c
        query = select(c.turn, c.body).where(c.model == model).order_by(c.turn.desc()).limit(1)
        row = self._connection.execute(query).first()
        return (0, None) if row is None else (row.turn, msgspec.json.decode(row.body, type=Rollout))

    def all(self) -> list[Rollout]:
        """See ``seams.Rollouts.all``."""
        c = rollouts.c
        newest = select(func.max(c.number)).group_by(c.model)
        query = select(c.body).where(c.number.in_(newest)).order_by(c.model)
        return [msgspec.json.decode(body, type=Rollout) for body in self._connection.execute(query).scalars()]

    def put(self, rollout: Rollout, was: Rollout | None) -> None:
        """See ``seams.Rollouts.put``."""
        turn, kept = self._newest(rollout.model)
        if kept != was:
            found = "none" if kept is None else f"champion {kept.champion} since {kept.since:g}"
            raise Conflict(
                f"the rollout of {rollout.model} was changed meanwhile: it is now {found}",
                remedy="look at it again and repeat the act if it still makes sense",
            )
        body = msgspec.json.encode(rollout).decode()
        self._connection.execute(insert(rollouts).values(model=rollout.model, turn=turn + 1, body=body))
        turns.tell(self._connection)

    def history(self, model: str) -> list[Rollout]:
        """See ``seams.Rollouts.history``."""
        query = select(rollouts.c.body).where(rollouts.c.model == model).order_by(rollouts.c.turn)
        return [msgspec.json.decode(body, type=Rollout) for body in self._connection.execute(query).scalars()]

    def revision(self) -> int:
        """See ``seams.Rollouts.revision``."""
        return self._connection.execute(select(func.max(rollouts.c.number))).scalar() or 0
