"""What speaks against learning from rows, and against what was learned: each raises with its reason in words."""

import math
from collections.abc import Mapping, Sequence

from modelkeep.errors import BadInput, Refused
from modelkeep.nouns import Retrain, Value
from modelkeep.runtimes.formulas import formula, leak
from modelkeep.runtimes.training import Trained, TrainingRows

MIXED = (0.35, 0.65)
"""Held-out rows whose median moment lies between these shares of all moments, and that begin early, are random ones."""
_FORCE = "mend the data, or train despite it with --force"


def distinct(columns: Mapping[str, Sequence[Value]], *, what: str) -> None:
    """Raise Refused when all rows are the same: nothing can be learned from one distinct row."""
    n = max((len(values) for values in columns.values()), default=0)
    if n > 1 and all(len(set(values)) <= 1 for values in columns.values()):
        raise Refused(
            f"all {n:,} rows of {what} are the same", remedy="one distinct row teaches nothing: give real rows"
        )


def groups_of(found: TrainingRows) -> int:
    """How many different entities there are: groups where the recipe names them, else keys."""
    return len(set(found.groups or found.keys))


def rows(found: TrainingRows, policy: Retrain) -> None:
    """Raise Refused when there are too few rows or entities, when all are the same, or when a truth is not finite."""
    n, least = len(found.truth), policy.least
    if n < least:
        raise Refused(
            f"{n:,} labelled rows, need more than {least - 1:,}",
            remedy="give more data, or lower retrain.least in the policy",
        )
    lengths = {name: len(values) for name, values in found.columns.items()} | {
        "keys": len(found.keys),
        "at": len(found.at),
    }
    for name, length in lengths.items():
        if length != n:
            raise BadInput(f"{name!r} has {length:,} entries for {n:,} rows")
    distinct(found.columns, what="the prepared table")
    if len(set(found.truth)) < 2:
        raise Refused(f"the label is {found.truth[0]!r} in all {n:,} rows", remedy="give rows with different outcomes")
    bad = [i for i, value in enumerate(found.truth) if isinstance(value, float) and not math.isfinite(value)]
    if bad:
        raise Refused(f"the label is {found.truth[bad[0]]!r} in row {bad[0] + 1:,} and {len(bad) - 1:,} more")
    entities = len(set(found.keys))
    if entities < policy.entities:
        raise Refused(
            f"{entities} different entities, need at least {policy.entities}",
            remedy="what so few have in common says nothing of others: give data of more (retrain.entities)",
        )


def formulas(found: TrainingRows) -> None:
    """Raise Refused when the label is a formula of the inputs, alone or together, naming them."""
    for name, values in found.columns.items():
        said = leak(values, found.truth)
        if said:
            raise Refused(f"input {name!r} {said} the label: the answer leaks into the question", remedy=_FORCE)
    said = formula(found.columns, found.truth)
    if said:
        raise Refused(
            f"the label is a formula of its inputs: {said}",
            remedy="a model would learn the formula, not the world: use an outcome that was observed, or --force",
        )


def result(trained: Trained, found: TrainingRows, *, policy: Retrain | None) -> None:
    """Raise Refused for metrics that are no numbers, a random split of rows with moments, or too few groups."""
    several = {"": trained.metrics, **trained.rivals}
    for who, metrics in several.items():
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise Refused(
                    f"the metric {name!r}{f' of {who}' if who else ''} is {value}",
                    remedy="a metric that is no number says nothing: mend the trainer or the held-out data",
                )
    moving = len(set(found.at)) > 1
    if trained.split == "random" and moving:
        raise Refused(
            "the held-out rows were drawn at random from rows with moments: the model was tested on its own past",
            remedy='split by time (split="time", with the horizon left out between) or by group (split="group")',
        )
    if not trained.split and _looks_random(trained, found):
        raise Refused(
            "the held-out rows lie among those that were learned from, and the trainer declares no split",
            remedy='split by time or by group, and say so: Trained(split="time")',
        )
    groups = groups_of(found)
    if policy is not None and trained.split == "group" and groups < policy.groups:
        raise Refused(
            f"held out by group, and there are {groups} groups; need at least {policy.groups}",
            remedy="give data of more entities, or lower retrain.groups in the policy",
        )


def _looks_random(trained: Trained, found: TrainingRows) -> bool:
    """Whether the moments of the held-out rows are spread over the whole span of the training."""
    held = [value for value in trained.sample.get(trained.time, []) if isinstance(value, int | float)]
    if not trained.time or len(held) < 20 or len(held) > 0.9 * len(found.at):
        return False
    ordered = sorted(found.at)
    held.sort()
    share = [sum(at <= value for at in ordered) / len(ordered) for value in (held[0], held[len(held) // 2])]
    return share[0] < 0.1 and MIXED[0] < share[1] < MIXED[1]
