"""The decorator that records what a function predicts, whatever becomes of the recording."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, cast

from msgspec import Struct

from modelkeep.nouns import Output, Value

F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger("modelkeep.client")
LAST: ContextVar[str] = ContextVar("modelkeep_last_id", default="")
PLAIN = (bool, int, float, str)


class Recording(Protocol):
    """What records one prediction, and never raises."""

    def __call__(
        self,
        model: str,
        *,
        features: Mapping[str, Value],
        output: Output | None,
        key: str,
        seconds: float,
        error: str,
        at: float,
    ) -> str:
        """The record's id."""


class Recipe(Struct, frozen=True, kw_only=True):
    """How calls of a function become records of ``model``.

    ``key`` is the argument that names the entity; ``features`` and ``output`` make inputs and answer of what was given
    and returned. Without them the arguments are the inputs (a single mapping is its own), and the result is the answer.
    """

    model: str
    key: str = ""
    features: Callable[..., Mapping[str, Value]] | None = None
    output: Callable[[Any], Output] | None = None


def recorded(function: F, recipe: Recipe, *, record: Recording) -> F:
    """The function, recorded: it returns and raises what it did before."""
    signature = inspect.signature(function)

    def note(args: Any, kwargs: Any, *, began: tuple[float, float], result: Any = None, error: str = "") -> None:
        at, start = began
        seconds = time.perf_counter() - start
        try:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            features = _features(recipe, given, args=args, kwargs=kwargs)
            key = str(given.arguments.get(recipe.key, features.get(recipe.key, ""))) if recipe.key else ""
            answer = None if error else _answer(recipe, result)
            LAST.set(
                record(recipe.model, features=features, output=answer, key=key, seconds=seconds, error=error, at=at)
            )
        except Exception:  # noqa: BLE001 - a model's call: whatever is odd about it, recording must never break the function
            _log.exception("a prediction of %s could not be recorded", recipe.model)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            began = time.time(), time.perf_counter()
            try:
                result = await function(*args, **kwargs)
            except BaseException as fault:
                note(args, kwargs, began=began, error=f"{type(fault).__name__}: {fault}"[:2000])
                raise
            note(args, kwargs, began=began, result=result)
            return result

        return cast("F", awaited)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        began = time.time(), time.perf_counter()
        try:
            result = function(*args, **kwargs)
        except BaseException as fault:
            note(args, kwargs, began=began, error=f"{type(fault).__name__}: {fault}"[:2000])
            raise
        note(args, kwargs, began=began, result=result)
        return result

    return cast("F", called)


def _features(recipe: Recipe, given: inspect.BoundArguments, *, args: Any, kwargs: Any) -> dict[str, Value]:
    if recipe.features is not None:
        return {name: plain(value) for name, value in recipe.features(*args, **kwargs).items()}
    found: dict[str, Any] = {}
    for name, value in given.arguments.items():
        if isinstance(value, Mapping):
            found |= value
        elif name != recipe.key and isinstance(plain(value), (*PLAIN, type(None))):
            found[name] = value
    return {name: plain(value) for name, value in found.items()}


def _answer(recipe: Recipe, result: Any) -> Output:
    answer = plain(result if recipe.output is None else recipe.output(result))
    if not isinstance(answer, PLAIN):
        raise TypeError(f"{type(answer).__name__} is no answer that can be recorded: name it with output=")
    return answer


def plain(value: Any) -> Any:
    """A scalar of NumPy, or an array of one value, as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
