import io
import json
import logging

import pytest
from msgspec import structs

from modelkeep import journal
from modelkeep.clock import ManualClock
from modelkeep.settings import MASK, Secret, Settings
from modelkeep.settings.sections import ChannelSettings, LogsSettings, ServerSettings

KEYS = {"timestamp", "level", "logger", "message", "module", "function", "line"}
log = logging.getLogger("modelkeep.test")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def kept(tmp_path):
    opened = []

    def keep(console=None, clock=None, **changes):
        settings = structs.replace(Settings(folder=tmp_path), **changes)
        opened.append(journal.keep(settings, clock=clock, console=console or io.StringIO()))
        return tmp_path / "logs" / settings.logs.file

    yield keep
    for one in opened:
        one.close()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.row("OBS-01")
def test_every_line_is_json_with_the_seven_keys(kept):
    path = kept()
    log.info("fine %s", "indeed")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError:
        log.exception("odd")
    fine, odd = lines(path)
    assert set(fine) == KEYS
    assert (fine["message"], fine["level"], fine["logger"]) == ("fine indeed", "info", "modelkeep.test")
    assert (fine["module"], fine["function"]) == (
        "test_journal",
        "test_every_line_is_json_with_the_seven_keys",
    )
    assert isinstance(fine["line"], int)
    assert fine["timestamp"].endswith("Z")
    assert set(odd) == KEYS | {"exception"}
    assert "ZeroDivisionError: by zero" in odd["exception"]


@pytest.mark.row("OBS-02", "OBS-03")
def test_extra_fields_are_fields_of_the_line(kept):
    path = kept()
    extra = {
        "request_id": "r1",
        "user_id": "u1",
        "model_name": "churn",
        "a": 1,
        "odd": {1, 2}.__class__,
        "nan": float("nan"),
    }
    log.info("x", extra=extra)
    log.info("y", extra={"level": "mine"})
    first, second = lines(path)
    assert (first["request_id"], first["user_id"], first["model_name"], first["a"]) == ("r1", "u1", "churn", 1)
    assert first["nan"] is None
    assert (second["level"], second["level_"]) == ("info", "mine")


@pytest.mark.row("OBS-04")
def test_console_and_file_hold_the_same_events(kept):
    screen = io.StringIO()
    path = kept(screen, logs=LogsSettings(file="ml-service.log"))
    log.warning("both")
    assert path.name == "ml-service.log"
    assert [json.loads(line) for line in screen.getvalue().splitlines()] == lines(path)


def test_a_terminal_gets_lines_for_eyes(kept):
    screen = Terminal()
    kept(screen)
    log.warning("both", extra={"model_name": "churn"})
    assert "both" in screen.getvalue()
    assert "churn" in screen.getvalue()
    assert not screen.getvalue().startswith("{")


@pytest.mark.row("OBS-06")
def test_noisy_loggers_are_quiet(kept):
    path = kept()
    for name in ("httpcore", "urllib3.connectionpool", "httpx"):
        logging.getLogger(name).info("noise")
        logging.getLogger(name).warning("signal")
    assert [line["message"] for line in lines(path)] == ["signal"] * 3


def test_secrets_are_masked_wherever_they_turn_up(kept, monkeypatch):
    monkeypatch.setenv("TOKEN", "open sesame")
    monkeypatch.setenv("HOOK", 'https://hooks.test/"quoted"')
    token = ServerSettings(token=Secret(reference="env:TOKEN", key="server.token"))
    hook = ChannelSettings(kind="webhook", url=Secret(reference="env:HOOK", key="alerts.channels.ops.url"))
    screen = Terminal()
    path = kept(screen, server=token, alerts=structs.replace(Settings().alerts, channels={"ops": hook}))
    log.info("header open sesame", extra={"authorization": "Bearer x", "sent": 'https://hooks.test/"quoted"'})
    try:
        raise ValueError("open sesame")
    except ValueError:
        log.exception("failed")
    text = path.read_text() + screen.getvalue()
    assert "sesame" not in text
    assert "quoted" not in path.read_text()
    assert "Bearer" not in text
    assert lines(path)[0]["authorization"] == MASK


def test_times_are_the_clock_s(kept):
    path = kept(clock=ManualClock(0.5))
    log.info("then")
    assert lines(path)[0]["timestamp"] == "1970-01-01T00:00:00.500Z"


def test_the_file_is_rotated_and_so_many_are_kept(kept):
    path = kept(logs=LogsSettings(size=10_000, keep=2))
    for _ in range(300):
        log.info("x" * 100)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, f"{path.name}.1", f"{path.name}.2"]
    assert all(p.stat().st_size <= 10_000 for p in path.parent.iterdir())


def test_level_and_closing_leave_logging_as_it_was(tmp_path):
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("httpx").level)
    one = journal.keep(Settings(folder=tmp_path, logs=LogsSettings(level="debug")), console=None)
    log.debug("seen")
    one.close()
    log.error("not written any more")
    assert [line["message"] for line in lines(tmp_path / "logs" / "modelkeep.log")] == ["seen"]
    assert (root.level, list(root.handlers), logging.getLogger("httpx").level) == before


def test_what_repeats_the_line_is_left_out(kept):
    path = kept()
    log.info("up", extra={"color_message": "\x1b[1mup\x1b[0m", "port": 1})
    (line,) = lines(path)
    assert (line["message"], line["port"]) == ("up", 1)
    assert not {"color_message", "message_", "asctime"} & line.keys()
