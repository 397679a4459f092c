"""A workload with what the kettles lack: files, deletions, lists, models, failing probes, a simulated panel."""

from typing import Annotated

from msgspec import Meta, Struct

from modelkeep import (
    Conflict,
    Graph,
    Operation,
    Outcome,
    Panel,
    Policy,
    Reading,
    Retrain,
    Row,
    Series,
    Table,
    Unavailable,
    Workload,
)


class Box(Struct, frozen=True, kw_only=True):
    """A box in a photo."""

    left: int
    top: int = 0


class Photo(Struct, frozen=True, kw_only=True):
    """A photo of a pot."""

    pot: Annotated[str, Meta(min_length=1)]
    photo: bytes
    boxes: tuple[Box, ...] = ()
    lids: bool = False


class Seen(Struct, frozen=True, kw_only=True, rename="camel"):
    """What was seen."""

    pot_name: str
    photo_size: int
    boxes: int
    lids: bool


class Some(Struct, frozen=True, kw_only=True):
    """Some pots."""

    pots: tuple[str, ...] = ()


class Gone(Struct, frozen=True, kw_only=True):
    """What went."""

    pots: tuple[str, ...]


class Which(Struct, frozen=True, kw_only=True):
    """One pot."""

    pot: str
    level: float = 0.0


class Level(Struct, frozen=True, kw_only=True):
    """What the model says."""

    level: float
    prediction: str
    state: str


class Wrapped(Struct, frozen=True, kw_only=True):
    """A refusal in this API's words."""

    ok: bool
    reason: str
    code: str
    at: float


def wrapped(error, at) -> Wrapped:
    return Wrapped(ok=False, reason=error.message, code=error.code, at=at)


def see(app, request: Photo) -> Seen:
    """See a pot in a photo."""
    return Seen(pot_name=request.pot, photo_size=len(request.photo), boxes=len(request.boxes), lids=request.lids)


def throw(app, request: Some) -> Gone:
    """Throw pots away."""
    if "gold" in request.pots:
        raise Conflict("the golden pot stays")
    return Gone(pots=request.pots)


def summary(app, request: Some) -> Gone:
    """Sum up all pots."""
    return Gone(pots=("all",))


def ask(app, request: Which) -> Level:
    """Ask the model how full a pot is, and tell it what came true."""
    (found,) = app.predict("doubler", [{"x": request.level, "plan": "gold"}], keys=[request.pot], request="pot")
    told = app.tell([Outcome(prediction=found.id, value=3.0, at=app.rooms.clock.now())])
    return Level(level=found.output, prediction=found.id, state=told[0].state)


def crash(app, request: Some) -> Gone:
    """Crash, as code with a defect does."""
    raise ZeroDivisionError("a defect")


def fine(rooms):
    yield Reading(name="pot_level", subject="pots/a", value=1.0, level="ok", at=rooms.clock.now(), n=1)


def away(rooms):
    yield Reading(name="pot_never", subject="pots/a", value=1.0, level="ok", at=rooms.clock.now(), n=1)
    raise Unavailable("the kitchen is closed")


def defective(rooms):
    raise KeyError("lid")


def lying(rooms):
    yield Reading(name="pot_lie", subject="pots/a", value=float("nan"), level="ok", at=rooms.clock.now())


def panel(app) -> Panel:
    lines = tuple(
        Series(name=f"pot <{n}>", points=tuple((1000.0 * i + n, None if i == 7 else float(i * n)) for i in range(200)))
        for n in range(6)
    )
    rows = tuple(
        Row(cells=(f"pot <b>{i}</b>", f"{i} l"), level=("ok", "warning", "critical", "unknown")[i % 4])
        for i in range(60)
    )
    return Panel(
        title="Pots & pans", about="How full <i>they</i> are.", simulated=True,
        tables=(Table(title="Pots", head=("Pot", "Level"), rows=rows), Table(title="Lids", head=("Lid",), rows=())),
        graphs=(Graph(title="Level", unit="l", lines=lines), Graph(title="None", unit="", lines=())),
    )  # fmt: skip


RULES = """
[[rule]]
name = "pot_full"
reading = "pot_level"
condition = "value > 9"
"""
WORKLOAD = Workload(
    name="pots",
    summary="How full pots are",
    operations=(
        Operation(
            name="pots_see", method="POST", path="/api/pots/{pot}/photo", request=Photo, result=Seen, run=see,
            upload="photo", refusal=wrapped,
        ),
        Operation(
            name="pots_throw", method="DELETE", path="/api/pots", request=Some, result=Gone, run=throw, refusal=wrapped,
        ),
        Operation(name="pots_summary", method="GET", path="/api/pots/summary", request=Some, result=Gone, run=summary),
        Operation(name="pots_ask", method="GET", path="/api/pots/{pot}", request=Which, result=Level, run=ask),
        Operation(name="pots_crash", method="GET", path="/api/pots/crash/now", request=Some, result=Gone, run=crash),
    ),
    probes=(fine, away, defective, lying),
    rules=RULES,
    policies=(Policy(model="pots-level", horizon=60.0, retrain=Retrain(least=7)),),
    panel=panel,
)  # fmt: skip
