"""What an act is: one definition from which REST, OpenAPI, the command line and the Python face follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Generic, Literal, Protocol, TypeVar, overload

from msgspec import Meta, Struct

from modelkeep import quantities
from modelkeep.errors import ModelkeepError

if TYPE_CHECKING:
    from modelkeep.app import App

Q = TypeVar("Q", bound=Struct)
A = TypeVar("A", bound=Struct)
Q_contra = TypeVar("Q_contra", bound=Struct, contravariant=True)
A_co = TypeVar("A_co", bound=Struct, covariant=True)
Method = Literal["GET", "POST", "PUT", "DELETE"]

MomentText = Annotated[
    str | float, Meta(description="ISO-8601 date or time (UTC without a zone), or seconds since 1970")
]
DurationText = Annotated[str, Meta(description="A duration such as 30s, 24h or 1h30m")]
ModelName = Annotated[str, Meta(description="Name of the model", min_length=1, max_length=200)]
Number = Annotated[int, Meta(description="Number of the version", ge=1, le=2**31)]
Why = Annotated[str, Meta(description="The reason, kept in the audit chain", max_length=2000)]
By = Annotated[str, Meta(description="Who asks, kept in the audit chain", max_length=200)]
Limit = Annotated[int, Meta(description="At most so many entries", ge=1, le=10_000)]


def allowed(_: object) -> str:
    """No result of this act is a finding against the user."""
    return ""


def harmless(_: object) -> bool:
    """No request of this act brings or names code."""
    return False


class TakeLines(Protocol[Q_contra, A_co]):
    """Does an act on some lines."""

    def __call__(self, app: App, lines: Sequence[tuple[int, bytes]], *, request: Q_contra) -> A_co:
        """What became of them."""


@dataclass(frozen=True, kw_only=True)
class Lines(Generic[Q, A]):
    """The same act on a stream of JSON lines, taken piece by piece so that its length does not matter.

    ``take`` gets some numbered lines (from 1) and the ``request`` that the query makes; ``join`` adds up two results.
    """

    take: TakeLines[Q, A]
    join: Callable[[A, A], A]


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[Q, A]):
    """One act of the product.

    ``path`` is a route template whose ``{names}`` are fields of the request; GET and DELETE take the other fields from
    the query string, POST and PUT from a JSON body. ``words`` are the command's words, empty when the command line has
    its own form, and ``also`` two other words under which a stranger looks first; ``plain`` names the fields that the
    command takes without dashes, in order (``model`` then ``number`` also reads ``model@number``). ``finding``
    says in words why a result is bad news (exit code 1), or "".
    ``hot`` acts have a route of their own. ``runs_code`` says of a request that code which it brings or names will run:
    a door then asks for more than a token. ``reveals`` says of one that it shows who people are: the same is asked.
    ``refusal`` shapes what leaves when the act is refused (the error, and when); without one it is the product's own
    shape. The HTTP status is the same either way.
    ``upload`` names the field that takes a file's bytes: over HTTP the body itself (``image/*`` or
    ``application/octet-stream``, the other fields in the query), a file of a form (``multipart/form-data``), or a
    Base64 text in a JSON body; on the command line a file's name.
    An act that is not ``essential`` is switched off while a model is overloaded: over HTTP it is refused then.
    ``patience`` is how many seconds a command waits for a server to do it.
    ``many`` names the field that a body which is a bare JSON list stands for; ``lines`` takes ``application/x-ndjson``.
    """

    name: str
    method: Method
    path: str
    request: type[Q]
    result: type[A]
    run: Callable[[App, Q], A]
    words: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    status: int = 200
    hot: bool = False
    runs_code: Callable[[Q], bool] = harmless
    reveals: Callable[[Q], bool] = harmless
    finding: Callable[[A], str] = allowed
    refusal: Callable[[ModelkeepError, float], Struct] | None = None
    upload: str = ""
    essential: bool = True
    patience: float = 60.0
    many: str = ""
    lines: Lines[Q, A] | None = None

    @property
    def doc(self) -> str:
        """What the act does: the docstring of its function."""
        return (self.run.__doc__ or "").strip()

    @property
    def summary(self) -> str:
        """The first sentence of ``doc``."""
        return self.doc.split("\n", 1)[0].rstrip(".")


@overload
def stamp(at: float) -> datetime: ...
@overload
def stamp(at: None) -> None: ...
def stamp(at: float | None) -> datetime | None:
    """A moment as it goes out: a UTC time, written with a Z."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def moment(value: str | float | None, field: str) -> float | None:
    """A moment as it comes in. Raises BadInput naming ``field``."""
    return None if value is None else quantities.moment(str(value), field)
