"""How every command ends, and words of people as values. It is imported for ``up``, too: no cyclopts here."""

from __future__ import annotations

import sys
from collections.abc import Callable

from modelkeep.edge.refusals import Failure, failure
from modelkeep.errors import BadInput, ModelkeepError, Unavailable

DONE, REFUSED, USAGE, AWAY, STOPPED = 0, 1, 2, 3, 130


class Refused(Exception):
    """A server's refusal, as it came over HTTP."""

    def __init__(self, failure: Failure, status: int) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.status = status


class Wrongly(Exception):
    """The command was written wrongly; the text says how to write it."""


def guarded(act: Callable[[], int]) -> int:
    """Run a command's body; a refusal becomes words on stderr and an exit code, never a traceback."""
    try:
        return act()
    except Wrongly as error:
        complain(str(error))
        return USAGE
    except Refused as error:
        _explain(error.failure)
        return AWAY if error.status in {503, 504} else REFUSED
    except ModelkeepError as error:
        _explain(failure(error, ""))
        return AWAY if isinstance(error, Unavailable) else REFUSED
    except FileNotFoundError as error:
        complain(f"no file {error.filename!r}")
        return REFUSED
    except BrokenPipeError:
        # Whoever read the output (head, less) has seen enough.
        sys.stderr.close()
        return DONE


def complain(message: str, remedy: str = "") -> None:
    """Say on stderr what is wrong, and what to do about it."""
    sys.stderr.write(f"error: {message}\n")
    if remedy:
        sys.stderr.write(f"  {remedy}\n")


def _explain(failure: Failure) -> None:
    complain(failure.message, failure.remedy)
    if len(failure.problems) > 1:
        for problem in failure.problems:
            sys.stderr.write(f"  - {problem}\n")


def scalar(text: str) -> float | int | str | bool | None:
    """A value as people type it: JSON where it is JSON's number, boolean or null, else the text itself.

    >>> scalar("3"), scalar("true"), scalar("gold")
    (3, True, 'gold')
    """
    words: dict[str, bool | None] = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip('"') if text.startswith('"') else text


def pairs(texts: tuple[str, ...], what: str) -> dict[str, float | int | str | bool | None]:
    """``name=value`` words as a mapping. Raises BadInput for a word without ``=``."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput(f"{what} {text!r}: expected name=value", remedy="for example age=30 plan=gold")
        found[name] = scalar(value)
    return found
