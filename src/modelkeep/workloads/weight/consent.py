"""Who has consented that estimates are kept, and what is kept of them.

A user is known under a random token: predictions carry it (so that a canary stays with a user), and it is joined to the
user in one dataset alone. Taking that row away leaves measurements of objects that nobody can be found by. Who has
consented is known to the product (``App.say_consent``); this workload keeps no words on it of its own.
"""

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from modelkeep import Dataset, Field, NotFound, Operation, Personal, stamp

if TYPE_CHECKING:
    from modelkeep import App, Prediction, Rooms

MODEL = "weight"
MOST = 10_000
User = Annotated[str, Meta(description="Whom it is about: your own id of the person", min_length=1, max_length=200)]

PEOPLE = (Field(name="user", kind="text"), Field(name="token", kind="text"))
RECORD = (
    Field(name="model_version", kind="text"),
    Field(name="estimated_weight", kind="number", unit="g"),
    Field(name="material", kind="text", nullable=True),
    Field(name="please_weigh", kind="boolean"),
    Field(name="prediction", kind="text", nullable=True),
)
"""What is kept of every estimate beside its ``timestamp``: three fields that are required, and three more."""
REFUSALS = (Field(name="check", kind="text"), Field(name="tier", kind="text"))


def people(rooms: "Rooms") -> Dataset:
    """The token of each user."""
    return rooms.datasets.open("weight.people", columns=PEOPLE, time="at", key=("user",))


def records(rooms: "Rooms") -> Dataset:
    """The record of every estimate; ``prediction`` only where there is consent."""
    return rooms.datasets.open("weight.estimates", columns=RECORD, time="timestamp")


def refusals(rooms: "Rooms") -> Dataset:
    """Photos that were refused, and for what: nothing else of them is kept."""
    return rooms.datasets.open("weight.refusals", columns=REFUSALS, time="at")


def granted(rooms: "Rooms", user: str) -> bool:
    """Whether the user's newest word is a consent; without a word it is none."""
    said = _said(rooms, user) if user else ()
    return bool(said and said[-1].granted)


def token_of(rooms: "Rooms", user: str, *, make: bool = False) -> str:
    """The token of a user, made when ``make`` asks for it, or an empty text."""
    known = people(rooms).read(where={"user": user}, columns=("token",))["token"]
    if known or not make:
        return str(known[-1]) if known else ""
    token = uuid.uuid4().hex
    people(rooms).append({"at": [rooms.clock.now()], "user": [user], "token": [token]})
    return token


# ------------------------------------------------------------------------------------------------- acts


class SayConsent(Struct, frozen=True, kw_only=True):
    """Whether estimates of a user may be kept from now on."""

    user: User
    granted: bool
    by: Annotated[str, Meta(description="Who says so", max_length=200)] = ""


class OneUser(Struct, frozen=True, kw_only=True):
    """Which user."""

    user: User


class Said(Struct, frozen=True, kw_only=True):
    """One word on consent."""

    granted: bool
    at: datetime
    by: str


class ConsentView(Struct, frozen=True, kw_only=True):
    """Whether a user consents now, and what was said when, oldest first."""

    user: str
    granted: bool
    history: tuple[Said, ...]


class EstimateRecord(Struct, frozen=True, kw_only=True):
    """The record of one estimate: three fields that are required, and three more."""

    timestamp: datetime
    model_version: str
    estimated_weight: float
    material: str
    please_weigh: bool
    prediction: str


class Weighed(Struct, frozen=True, kw_only=True):
    """A recorded prediction of a user: what was asked, answered and weighed (grams)."""

    prediction_id: str
    at: datetime
    version: str
    features: dict[str, float | int | str | bool | None]
    estimated_weight: float | None
    actual_weight: float | None


class Held(Struct, frozen=True, kw_only=True):
    """Everything that is kept of a user; ``photos`` are never kept. ``size_bytes`` is that of the rest as JSON."""

    user: str
    consents: tuple[Said, ...]
    estimates: tuple[EstimateRecord, ...]
    predictions: tuple[Weighed, ...]
    photos: tuple[str, ...] = ()
    complete: bool = True
    size_bytes: int = 0


class Deleted(Struct, frozen=True, kw_only=True):
    """What is gone, and what stays and why."""

    user: str
    consents: int
    estimates: int
    tokens: int
    unlinked_predictions: int
    stays: str


def say_consent(app: "App", request: SayConsent) -> ConsentView:
    """Grant or withdraw a user's consent that estimates are kept; it holds from the next estimate on."""
    app.say_consent(request.user, granted=request.granted, by=request.by)
    return show_consent(app, OneUser(user=request.user))


def show_consent(app: "App", request: OneUser) -> ConsentView:
    """Show whether a user consents, and every word on it."""
    history = _said(app.rooms, request.user)
    return ConsentView(user=request.user, granted=bool(history and history[-1].granted), history=history)


def export_user(app: "App", request: OneUser) -> Held:
    """Give everything that is kept of a user.

    Raises NotFound when nothing is.
    """
    history = _said(app.rooms, request.user)
    token = token_of(app.rooms, request.user)
    if not history and not token:
        raise NotFound("user", request.user, known=())
    found, complete = _predictions(app.rooms, token)
    ids = {prediction.id for prediction, _ in found}
    held = Held(
        user=request.user,
        consents=history,
        estimates=tuple(one for one in _records(app.rooms) if one.prediction in ids),
        predictions=tuple(
            Weighed(
                prediction_id=one.id,
                at=stamp(one.at),
                version=f"{one.model}@{one.version}",
                features=dict(one.features),
                estimated_weight=None if one.output is None else float(one.output),
                actual_weight=told,
            )
            for one, told in found
        ),
        complete=complete,
    )
    return _sized(held)


def delete_user(app: "App", request: OneUser) -> Deleted:
    """Take away consents, estimates and the token of a user; measured objects stay, and nobody can be found by them.

    Raises NotFound when nothing is kept of the user.
    """
    history = _said(app.rooms, request.user)
    token = token_of(app.rooms, request.user)
    if not history and not token:
        raise NotFound("user", request.user, known=())
    found, _ = _predictions(app.rooms, token)
    ids = tuple(prediction.id for prediction, _ in found)
    gone = records(app.rooms).erase(where={"prediction": ids}) if ids else 0
    with app.rooms.store.write() as ledger:
        said = ledger.persons.forget_consents(request.user, at=app.rooms.clock.now())
    tokens = people(app.rooms).erase(where={"user": request.user})
    return Deleted(
        user=request.user,
        consents=said,
        estimates=gone,
        tokens=tokens,
        unlinked_predictions=len(ids),
        stays=f"{len(ids)} predictions (measurements of objects, no photo, no name) stay in the records without any "
        "way to the user; backups made before today hold the token until they expire"
        if ids
        else "nothing",
    )


def _said(rooms: "Rooms", user: str) -> tuple[Said, ...]:
    with rooms.store.read() as ledger:
        return tuple(Said(granted=one.granted, at=stamp(one.at), by=one.by) for one in ledger.persons.said(user))


def _predictions(rooms: "Rooms", token: str) -> tuple[list[tuple["Prediction", float | None]], bool]:
    """The newest predictions under a token with what was weighed, and whether these are all."""
    if not token:
        return [], True
    with rooms.store.read() as ledger:
        found = ledger.records.latest(MODEL, key=token, limit=MOST)
        told = [ledger.records.outcomes(prediction.id) for prediction in found]
    known = [None if not said or said[-1].value is None else float(said[-1].value) for said in told]
    return list(zip(found, known, strict=True)), len(found) < MOST


def _records(rooms: "Rooms") -> list[EstimateRecord]:
    told = records(rooms).read()
    rows: list[dict[str, Any]] = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
    return [
        EstimateRecord(
            timestamp=stamp(row["timestamp"]),
            model_version=row["model_version"],
            estimated_weight=row["estimated_weight"],
            material=row["material"] or "",
            please_weigh=row["please_weigh"],
            prediction=row["prediction"] or "",
        )
        for row in rows
    ]


# ----------------------------------------------------------------------- the product's own export and erasure


def _keys(rooms: "Rooms", user: str) -> tuple[tuple[str, str], ...]:
    token = token_of(rooms, user)
    return ((MODEL, token),) if token else ()


def _held(rooms: "Rooms", user: str) -> dict[str, list[dict[str, Any]]]:
    found = {"weight.people": people(rooms).read(where={"user": user})}
    ids = tuple(one.id for one, _ in _predictions(rooms, token_of(rooms, user))[0])
    if ids:
        found["weight.estimates"] = records(rooms).read(where={"prediction": ids})
    return {
        place: [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        for place, table in found.items()
        if any(table.values())
    }


def _erase(rooms: "Rooms", user: str) -> dict[str, int]:
    """The token last: it is what finds the rest when this is done again."""
    gone = 0
    ids = tuple(one.id for one, _ in _predictions(rooms, token_of(rooms, user))[0])
    if ids:
        gone = records(rooms).erase(where={"prediction": ids})
    return {"weight.estimates": gone, "weight.people": people(rooms).erase(where={"user": user})}


def _plant(rooms: "Rooms", user: str) -> None:
    token_of(rooms, user, make=True)


PERSONAL = Personal(held=_held, erase=_erase, keys=_keys, plant=_plant)


def _sized(held: Held) -> Held:
    from msgspec import json, structs  # noqa: PLC0415 - one use

    return structs.replace(held, size_bytes=len(json.encode(held)))


Method = Literal["GET", "POST", "DELETE"]


def _operation(name: str, method: Any, *, path: str, request: Any, result: Any, run: Any) -> Operation[Any, Any]:
    return Operation(name=name, method=method, path=path, request=request, result=result, run=run)


OPERATIONS = (
    _operation(
        "weight_consent", "POST", path="/api/weight/consent", request=SayConsent, result=ConsentView, run=say_consent
    ),
    _operation(
        "weight_show_consent", "GET", path="/api/weight/consent", request=OneUser, result=ConsentView, run=show_consent
    ),
    _operation(
        "weight_export_user", "GET", path="/api/weight/users/{user}", request=OneUser, result=Held, run=export_user
    ),
    _operation(
        "weight_delete_user",
        "DELETE",
        path="/api/weight/users/{user}",
        request=OneUser,
        result=Deleted,
        run=delete_user,
    ),
)
