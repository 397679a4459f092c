"""What the product writes about itself: one JSON object a line, to the console and to a file at once.

Every line has ``timestamp`` (ISO-8601, UTC), ``level``, ``logger``, ``message``, ``module``, ``function`` and ``line``,
``exception`` when there was one, and whatever the caller gave as ``extra`` (``request_id``, ``user_id``,
``model_name``). A terminal gets the same events written for eyes.
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from logging.handlers import RotatingFileHandler
from typing import TextIO

from msgspec import json

from modelkeep.clock import Clock, SystemClock
from modelkeep.errors import BadSettings
from modelkeep.quantities import iso
from modelkeep.settings import MASK, Secret, Settings

QUIET = ("uvicorn.access", "httpx", "httpcore", "urllib3", "urllib3.connectionpool")
_TELLING = ("token", "password", "secret", "authorization", "api_key", "cookie")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
"""What every record has, and the line again, as other handlers and uvicorn put it on a record: no ``extra``."""
_SHORTEST = 4  # a shorter secret would mask half of every line
_encode = json.Encoder(enc_hook=str, decimal_format="number").encode


class Journal:
    """The log of one process, from ``keep`` until ``close``, which leaves logging as it was."""

    def __init__(self, handlers: Sequence[logging.Handler], level: int) -> None:
        root = logging.getLogger()
        self._handlers = handlers
        self._levels = {name: logging.getLogger(name).level for name in QUIET}
        self._level = root.level
        root.setLevel(level)
        for handler in handlers:
            root.addHandler(handler)
        for name in QUIET:
            logging.getLogger(name).setLevel(max(level, logging.WARNING))

    def close(self) -> None:
        """Write out what is held and let go of the files."""
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(self._level)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


def keep(settings: Settings, *, clock: Clock | None = None, console: TextIO | None = sys.stderr) -> Journal:
    """Log to ``console`` (None = nowhere) and to ``logs/`` in the data folder, until the journal is closed.

    The file is rotated at ``logs.size`` bytes and ``logs.keep`` old ones are kept. Times are ``clock``'s, or the
    machine's. Raises BadSettings when the file cannot be opened.
    """
    masks = _known(settings)
    handlers: list[logging.Handler] = []
    if console is not None:
        screen = logging.StreamHandler(console)
        screen.setFormatter(_Lines(clock, masks=masks, pretty=console.isatty()))
        handlers.append(screen)
    if settings.logs.file:
        path = settings.folder / "logs" / settings.logs.file
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            file = RotatingFileHandler(
                path, maxBytes=settings.logs.size, backupCount=settings.logs.keep, encoding="utf-8"
            )
        except OSError as cause:
            raise BadSettings(f"logs.file ({settings.source('logs.file')}): cannot write {path}: {cause}") from None
        file.setFormatter(_Lines(clock, masks=masks, pretty=False))
        handlers.append(file)
    return Journal(handlers, logging.getLevelNamesMapping()[settings.logs.level.upper()])


class _Lines(logging.Formatter):
    """One JSON object a line; for eyes (``pretty``) what structlog draws of the same."""

    def __init__(self, clock: Clock | None, *, masks: Sequence[str], pretty: bool) -> None:
        super().__init__()
        self._clock = None if isinstance(clock, SystemClock) else clock
        self._masks = masks
        # structlog brings rich along, for a terminal: a server that writes to a file starts without both.
        self._eyes = import_module("structlog").dev.ConsoleRenderer() if pretty else None

    def format(self, record: logging.LogRecord) -> str:
        """A record as its line, secrets masked."""
        event = {
            "timestamp": iso(record.created if self._clock is None else self._clock.now()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
        }
        own = tuple(event)
        for key, value in vars(record).items():
            if key not in _STANDARD:
                event[f"{key}_" if key in own else key] = _masked(key, value)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            event["stack_info"] = record.stack_info
        return _without(_encode(event).decode() if self._eyes is None else self._drawn(event), self._masks)

    def _drawn(self, event: dict[str, object]) -> str:
        event["event"] = event.pop("message")
        for key in ("module", "function", "line"):
            del event[key]
        assert self._eyes is not None  # noqa: S101 - it is asked for here only
        return str(self._eyes(None, "", event))


def _masked(key: str, value: object) -> object:
    return MASK if value and any(word in key.lower() for word in _TELLING) else value


def _without(line: str, masks: Iterable[str]) -> str:
    for secret in masks:
        line = line.replace(secret, MASK)
    return line


def _known(settings: Settings) -> list[str]:
    """The texts of all secrets that are set, as they could stand in a line (JSON escapes included)."""
    channels = settings.alerts.channels.values()
    references = [settings.server.token, *(c.url for c in channels), *(c.secret for c in channels)]
    found: set[str] = set()
    for secret in references:
        if isinstance(secret, Secret):
            try:
                text = secret.reveal()
            except BadSettings:
                continue  # whoever needs it will say so
            found |= {text, json.encode(text).decode()[1:-1]}
    return sorted((text for text in found if len(text) >= _SHORTEST), key=len, reverse=True)
