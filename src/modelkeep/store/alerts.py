"""The shelf of alerts with their deliveries."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from modelkeep.errors import NotFound
from modelkeep.nouns import Alert
from modelkeep.store.tables import alerts, upsert


class SqlAlerts:
    """``seams.Alerts`` over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, alert: Alert) -> None:
        """See ``seams.Alerts.put``."""
        due = min((d.due for d in alert.deliveries if d.state == "waiting"), default=None)
        body = msgspec.json.encode(alert).decode()
        row = {"id": alert.id, "state": alert.state, "opened": alert.opened, "due": due, "body": body}
        self._connection.execute(upsert(alerts), row)

    def get(self, id: str) -> Alert:
        """See ``seams.Alerts.get``."""
        body = self._connection.execute(select(alerts.c.body).where(alerts.c.id == id)).scalar()
        if body is None:
            newest = select(alerts.c.id).order_by(alerts.c.opened.desc()).limit(1000)
            raise NotFound("alert", id, known=self._connection.execute(newest).scalars())
        return _alert(body)

    def all(self, *, active: bool = False, limit: int = 200) -> list[Alert]:
        """See ``seams.Alerts.all``."""
        c = alerts.c
        query = select(c.body).order_by(c.opened.desc(), c.id.desc()).limit(limit)
        if active:
            query = query.where(c.state.in_(["open", "acknowledged"]))
        return [_alert(body) for body in self._connection.execute(query).scalars()]

    def due(self, now: float) -> list[Alert]:
        """See ``seams.Alerts.due``; the one that has waited longest first."""
        c = alerts.c
        query = select(c.body).where(c.due <= now).order_by(c.due, c.id)
        return [_alert(body) for body in self._connection.execute(query).scalars()]


def _alert(body: str) -> Alert:
    return msgspec.json.decode(body, type=Alert)
