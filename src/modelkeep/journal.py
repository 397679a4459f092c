"""What the product writes about itself: one JSON object a line, to the console and to a file at once.

Every line has ``timestamp`` (ISO-8601, UTC), ``level``, ``logger``, ``message``, ``module``, ``function`` and ``line``,
``exception`` when there was one, and whatever the caller gave as ``extra`` (``request_id``, ``user_id``,
``model_name``). A terminal gets the same events written for eyes.
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from logging.handlers import RotatingFileHandler
from typing import TextIO

import structlog
from msgspec import json
from structlog.typing import EventDict, WrappedLogger

from modelkeep.clock import Clock, SystemClock
from modelkeep.errors import BadSettings
from modelkeep.quantities import iso
from modelkeep.settings import MASK, Secret, Settings

QUIET = ("uvicorn.access", "httpx", "httpcore", "urllib3", "urllib3.connectionpool")
_TELLING = ("token", "password", "secret", "authorization", "api_key", "cookie")
_REPEATED = ("message", "asctime", "color_message")  # the line again, as other handlers and uvicorn put it on a record
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
        screen.setFormatter(_formatter(clock, masks=masks, pretty=console.isatty()))
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
        file.setFormatter(_formatter(clock, masks=masks, pretty=False))
        handlers.append(file)
    return Journal(handlers, logging.getLevelNamesMapping()[settings.logs.level.upper()])


def _formatter(clock: Clock | None, *, masks: Sequence[str], pretty: bool) -> logging.Formatter:
    def lined(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event.pop("_record")
        event.pop("_from_structlog", None)
        moment = record.created if clock is None or isinstance(clock, SystemClock) else clock.now()
        own = {
            "timestamp": iso(moment),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": event.pop("event"),
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
        }
        extra = {key: _masked(key, value) for key, value in event.items() if key not in _REPEATED}
        return own | {f"{key}_" if key in own else key: value for key, value in extra.items()}

    def written(_: WrappedLogger, __: str, event: EventDict) -> str:
        return _without(_encode(event).decode(), masks)

    def drawn(_: WrappedLogger, __: str, event: EventDict) -> str:
        event["event"] = event.pop("message")
        for key in ("module", "function", "line"):
            del event[key]
        return _without(eyes(None, "", event), masks)

    eyes = structlog.dev.ConsoleRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.processors.format_exc_info],
        processors=[lined, drawn if pretty else written],
    )


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
