"""How a scikit-learn estimator, however it was stored, answers rows."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Field, Outputs, Signature
from modelkeep.runtimes import matrix
from modelkeep.runtimes.classes import text_of
from modelkeep.runtimes.formats import Answer, Opened
from modelkeep.runtimes.runners.plan import Plan

Make: TypeAlias = Callable[[Any], Any]
"""What turns rows, or a matrix of the signature's inputs, into the matrix that the estimator takes."""


def opened(model: Any, signature: Signature, *, coded: bool) -> Opened:
    """An estimator that answers rows; it cannot tell what each input contributes. Raises BadArtifact."""
    reason = f"a {type(model).__name__} does not tell what its inputs contribute"
    named = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    answer, table = answering(model, signature, coded=coded)

    def plan(names: tuple[str, ...]) -> Plan | None:
        known = matrix.columns_of(signature, named, coded=coded) or names
        # Only registering asks for it: a server that serves plans never reads an estimator.
        reading = import_module("modelkeep.runtimes.runners.reading")
        found: Plan | None = reading.read(model, signature, names=known, coded=coded)
        return found

    return Opened(answer=answer, matrix=table, unexplained=reason, plan=plan)


def answering(
    model: Any, signature: Signature, *, coded: bool
) -> tuple[Answer, Callable[[matrix.Matrix], Outputs] | None]:
    """What asks ``model`` with rows, and with a matrix of the signature's inputs where all of them are numbers.

    It gets a float64 matrix when all inputs are numbers or booleans, else an object matrix.

    Raises BadArtifact when it cannot predict, or takes other inputs than the signature names.
    """
    if not callable(getattr(model, "predict", None)):
        raise BadArtifact(f"a {type(model).__name__} has no predict()", remedy="save the fitted model, or its pipeline")
    named = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    columns = matrix.columns_of(signature, named, coded=coded)
    _check_width(model, columns)
    for part in _parts(model, seen=set()):
        _settle(part)
    ask = partial(_classes, output=signature.output) if signature.classifies else _numbers
    table = None if coded else matrix.reordered(columns, signature)
    return ask(model, _make(columns, signature, coded=coded)), None if table is None else ask(model, table)


def scoring(
    model: Any, signature: Signature, *, coded: bool, columns: tuple[str, ...]
) -> Callable[[Sequence[Features]], NDArray[np.float64]]:
    """What asks ``model`` for one number a row: the chance of the last of two classes, else what it predicts.

    ``columns`` are its inputs in order (empty: those that it names, else all of the signature's). Raises BadArtifact.
    """
    named = tuple(str(name) for name in getattr(model, "feature_names_in_", ())) or columns
    order = matrix.columns_of(signature, named, coded=coded)
    _check_width(model, order)
    for part in _parts(model, seen=set()):
        _settle(part)
    make = _make(order, signature, coded=coded)
    if not chances(model):
        return lambda rows: np.asarray(model.predict(make(rows)), dtype=np.float64).reshape(len(rows))
    if len(model.classes_) != 2:
        raise BadArtifact(f"it tells {len(model.classes_)} classes apart, a member of an ensemble two")
    return lambda rows: np.asarray(model.predict_proba(make(rows)), dtype=np.float64)[:, -1]


def chances(model: Any) -> bool:
    """Whether an estimator answers probabilities of classes."""
    return getattr(model, "classes_", None) is not None and callable(getattr(model, "predict_proba", None))


def _make(columns: tuple[str, ...] | None, signature: Signature, *, coded: bool) -> Make:
    numeric = frozenset(field.name for field in signature.inputs if field.numeric)
    inside = [field for field in signature.inputs if columns is None or field.name in columns]
    plain = coded or all(field.numeric for field in inside)
    return matrix.numbers(columns, {}) if plain else matrix.objects(columns, numeric)


def _settle(part: Any) -> None:
    """Make an estimator take arrays without a word: rows come in the order of its names."""
    part.__dict__.pop("feature_names_in_", None)  # left in, every call would warn that an array has no names
    places = getattr(part, "_transformer_to_input_indices", None)
    if places and hasattr(part, "transformers_"):  # columns picked by name can be picked from a data frame only
        part.transformers_ = [
            # One column picked by itself goes in as a list of values, as a vectorizer of texts wants it.
            (
                name,
                inner,
                places[name][0] if isinstance(picked, str | int) and name in places else places.get(name, picked),
            )
            for name, inner, picked in part.transformers_
        ]
    if getattr(part, "n_jobs", None) not in {None, 1}:
        part.n_jobs = 1  # threads of its own would cost a single row more than they bring


def _numbers(model: Any, make: Make) -> Callable[[Any], Outputs]:
    def answer(rows: Any) -> Outputs:
        found = np.asarray(model.predict(make(rows)), dtype=np.float64)
        return Outputs(values=[*found.reshape(len(rows)).tolist()])

    return answer


def _classes(model: Any, make: Make, *, output: Field) -> Callable[[Any], Outputs]:
    known = getattr(model, "classes_", None)
    if known is None or not callable(getattr(model, "predict_proba", None)):
        # Such a model (a linear SVM, say) answers classes without probabilities.
        return lambda rows: Outputs(values=[text_of(value, output) for value in model.predict(make(rows))])
    labels = [text_of(value, output) for value in known]

    def answer(rows: Any) -> Outputs:
        chances = np.asarray(model.predict_proba(make(rows)), dtype=np.float64)
        best = chances.argmax(axis=1)
        return Outputs(values=[labels[place] for place in best], scores=chances.max(axis=1).tolist())

    return answer


def _check_width(model: Any, columns: tuple[str, ...] | None) -> None:
    width = getattr(model, "n_features_in_", None)
    if columns is not None and width is not None and width != len(columns):
        raise BadArtifact(
            f"the model takes {width} inputs, the signature names {len(columns)}: {', '.join(columns[:10])}",
            remedy="give the columns that it was fitted on, in that order; --key and --time name what is no input",
        )


def _parts(thing: Any, *, seen: set[int]) -> Iterator[Any]:
    """The estimator and every estimator inside it (steps, transformers, members of an ensemble)."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    inside: Any = ()
    if hasattr(thing, "get_params") and hasattr(thing, "__dict__"):
        yield thing
        inside = thing.__dict__.values()
    elif isinstance(thing, dict):
        inside = thing.values()
    elif isinstance(thing, list | tuple) or (isinstance(thing, np.ndarray) and thing.dtype == object):
        inside = list(thing.flat) if isinstance(thing, np.ndarray) else thing
    for part in inside:
        if not isinstance(part, str | bytes | int | float | type):
            yield from _parts(part, seen=seen)
