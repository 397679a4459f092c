"""Everything that can go wrong, as one tree. No HTTP here: the edge maps a class to a status.

::

    ModelkeepError
    ├── Refused                 the request cannot be done as asked; nothing was changed
    │   ├── BadInput            a value is missing, unexpected, of the wrong type or out of range
    │   │   └── BadFeatures     the features do not fit the model's signature
    │   ├── BadArtifact         a model file is broken, unknown, changed or not trusted
    │   ├── BadSettings         the configuration is unusable
    │   ├── NotFound            no such model, version, job, alert, ...
    │   ├── Conflict            it exists already, runs already, or the state forbids it
    │   └── BelowPolicy         a version misses its policy's floors
    ├── Unavailable             it cannot be done now; trying again later may help
    │   ├── StoreUnavailable    the store is locked, full or gone
    │   ├── TimedOut            it took longer than its limit
    │   └── Overloaded          more is asked for than can be answered; ``wait`` says when to try again
    ├── ModelFailed             a model raised, or answered what its signature forbids
    └── LeaseLost               another runner took the job over; this one must stop

Each error's text names the thing, the value and the remedy, and ``code`` is a stable word for programs.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Self

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with one field of a request.

    ``row`` is the zero-based position in a batch, or None for a single row.
    """

    field: str
    expected: str
    got: str
    row: int | None = None

    def __str__(self) -> str:
        place = "" if self.row is None else f"row {self.row}: "
        return f"{place}{self.field}: expected {self.expected}, got {self.got}"


class ModelkeepError(Exception):
    """Base of every error that the product raises on purpose."""

    code = "error"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class Refused(ModelkeepError):
    """The request cannot be done as asked; nothing was changed."""

    code = "refused"


class BadInput(Refused):
    """A value is missing, unexpected, of the wrong type or out of range."""

    code = "bad_input"

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, field: str, *, expected: str, got: str, remedy: str = "") -> Self:
        """The refusal of one field's value; its text is the problem's.

        >>> str(BadInput.of("share", expected="a number above 0", got="-1"))
        'share: expected a number above 0, got -1'
        """
        problem = Problem(field=field, expected=expected, got=got[:200])
        return cls(str(problem), problems=(problem,), remedy=remedy)


class BadFeatures(BadInput):
    """The features do not fit the model's signature; ``problems`` names each field."""

    code = "bad_features"


class BadArtifact(Refused):
    """A model file is broken, of unknown format, changed since it was registered, or not trusted."""

    code = "bad_artifact"


class BadSettings(Refused):
    """The configuration is unusable; the text names the key, the value and where it came from."""

    code = "bad_settings"


class NotFound(Refused):
    """No such thing; ``near`` holds the names that exist and look alike, or all when few exist."""

    code = "not_found"

    def __init__(self, kind: str, name: str, *, known: Iterable[str] = ()) -> None:
        names = sorted(set(known))
        self.near = tuple(get_close_matches(name, names, n=5, cutoff=0.5) or names[:10])
        remedy = f"known: {', '.join(self.near)}" if self.near else f"there is no {kind} yet"
        super().__init__(f"no {kind} {name!r}", remedy=remedy)


class Conflict(Refused):
    """It exists already, runs already, or the present state forbids it."""

    code = "conflict"


class BelowPolicy(Refused):
    """A version misses a floor of its model's policy, for example ``recall 0.40 < 0.50``."""

    code = "below_policy"


class Unavailable(ModelkeepError):
    """It cannot be done now; trying again later may help."""

    code = "unavailable"


class StoreUnavailable(Unavailable):
    """The store is locked, full or gone; the text says which.

    ``broken`` says that it was a connection that broke: what only reads may simply be done again.
    """

    code = "store_unavailable"
    broken = False


class TimedOut(Unavailable):
    """It took longer than its limit."""

    code = "timeout"


class Overloaded(Unavailable):
    """More is asked for than can be answered; ``wait`` is the number of seconds after which to try again."""

    code = "overloaded"

    def __init__(self, message: str, *, remedy: str = "", wait: float = 2.0) -> None:
        super().__init__(message, remedy=remedy)
        self.wait = wait


class ModelFailed(ModelkeepError):
    """A model raised, or answered what its signature forbids (NaN, wrong length).

    ``ended`` says that the process that it ran in is gone: asking again for parts of the batch would do no better.
    """

    code = "model_failed"

    def __init__(self, message: str, *, remedy: str = "", ended: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.ended = ended


class LeaseLost(ModelkeepError):
    """Another runner took the job over; this one must stop and change nothing more."""

    code = "lease_lost"
