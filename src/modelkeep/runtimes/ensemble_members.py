"""A member of an ensemble, opened: rows in, one number a row in link space out, and what each input contributed."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact, BadFeatures, ModelFailed
from modelkeep.nouns import Features, Signature, Value
from modelkeep.runtimes import lightgbm_text
from modelkeep.runtimes.classes import word
from modelkeep.runtimes.ensemble import Linear, Link, Member, linear
from modelkeep.runtimes.formats import Contributions
from modelkeep.runtimes.runners.plan import Plan, Share

Floats: TypeAlias = NDArray[np.float64]
_EPSILON = 1e-12
"""A member's probability or amount is kept this far from where its link has no value."""


class Part(Struct, frozen=True, kw_only=True):
    """An opened member; ``unexplained`` says why ``explain`` must not be asked, or is empty."""

    name: str
    answer: Callable[[Sequence[Features]], Floats]
    explain: Callable[[Features], Contributions] | None = None
    unexplained: str = ""
    share: Callable[[tuple[str, ...]], Share] | None = None
    """The member as data, for a runner; it gets the names of the prepared inputs."""


def planned(share: Share, member: Member, *, runner: str, link: Link) -> Part:
    """A member that a runner answers. Raises BadArtifact when none can."""
    if share.plan is None:
        raise BadArtifact(f"member {member.name!r} has no plan")
    opening = import_module("modelkeep.runtimes.runners.opening")
    ask: Callable[[Sequence[Features]], Floats] = opening.singly(share.plan, runner)

    def answer(rows: Sequence[Features]) -> Floats:
        try:
            found = ask(rows)
        except BadFeatures as refusal:
            # The library would have failed on such a row: then the other members answer.
            raise ModelFailed(str(refusal)) from refusal
        return _linked(found, link) if share.carried else found

    part = Part(name=member.name, answer=answer)
    return _ranked(part, member.ranks) if member.ranks else part


def part_of(member: Member, signature: Signature, *, coded: bool, link: Link) -> Part:
    """Open a member. Raises BadArtifact when it does not fit the signature."""
    try:
        part = _OPEN[member.runtime](member, signature, coded=coded, link=link)
    except BadArtifact as error:
        raise BadArtifact(f"member {member.name!r}: {error.message}", remedy=error.remedy) from error
    return _ranked(part, member.ranks) if member.ranks else part


def _narrowed(signature: Signature, columns: tuple[str, ...], *, coded: bool) -> Signature:
    """The signature of a member alone: the inputs that it takes, in its order."""
    known = {field.name: field for field in signature.inputs}
    if coded or not columns:
        return signature
    if absent := [name for name in columns if name not in known]:
        raise BadArtifact(f"it takes {absent[0]!r}, which is no input of the signature")
    return structs.replace(signature, inputs=tuple(known[name] for name in columns))


def _linear(member: Member, signature: Signature, *, coded: bool, link: Link) -> Part:
    del link  # a straight line is fitted in link space
    line = linear(member.data)
    known = {field.name: field for field in signature.inputs}
    if not coded:
        _check_line(line, known.keys(), nullable={name for name, field in known.items() if field.nullable})
    names, weights = tuple(line.coefficients), np.array([*line.coefficients.values()], dtype=np.float64)
    means = np.array([line.means.get(name, np.nan) for name in names], dtype=np.float64)

    def answer(rows: Sequence[Features]) -> Floats:
        found = np.full(len(rows), line.intercept)
        if names:
            found += _filled(rows, names, means=means) @ weights
        for name, table in line.categories.items():
            found += [_weight(table, row.get(name)) for row in rows]
        return found

    def explain(row: Features) -> Contributions:
        values = _filled([row], names, means=means)[0] if names else means
        usual = np.where(np.isnan(means), 0.0, means)
        inputs = dict(zip(names, (weights * (values - usual)).tolist(), strict=True))
        inputs |= {name: _weight(table, row.get(name)) for name, table in line.categories.items()}
        return Contributions(base=line.intercept + float(weights @ usual), inputs=inputs)

    own = Share(name=member.name, data=member.data)
    return Part(name=member.name, answer=answer, explain=explain, share=lambda names: own)  # noqa: ARG005 - it names them


def _check_line(line: Linear, known: Any, *, nullable: set[str]) -> None:
    for name in (*line.coefficients, *line.categories):
        if name not in known:
            raise BadArtifact(f"it takes {name!r}, which is no input of the signature")
    for name in line.coefficients:
        if name in nullable and name not in line.means:
            raise BadArtifact(f"input {name!r} may be null", remedy=f"give what a null counts as: means[{name!r}]")


def _filled(rows: Sequence[Features], names: tuple[str, ...], *, means: Floats) -> Floats:
    found = np.array([[row.get(name) for name in names] for row in rows], dtype=np.float64)
    gaps = np.isnan(found)
    if gaps.any():
        found = np.where(gaps, means, found)
        left = np.isnan(found).any(axis=0)
        if left.any():
            raise BadFeatures(f"{names[int(left.argmax())]!r} is null, and the linear member has no mean for it")
    return found


def _weight(table: dict[str, float], value: Value) -> float:
    key = word(value)
    return table[key] if key in table else table.get("", 0.0)


def _trees(member: Member, signature: Signature, *, coded: bool, link: Link) -> Part:
    sound = lightgbm_text.checked(member.data)
    if sound.head.classes > 1:
        raise BadArtifact(f"it tells {sound.head.classes} classes apart, a member of an ensemble two")
    columns = member.columns or sound.head.named
    own_signature = _narrowed(signature, columns, coded=coded)
    trees = import_module("modelkeep.runtimes.trees_lightgbm").Trees(sound, own_signature, coded=coded, columns=columns)
    own = trees.link  # what the objective itself answers in: log of a count, log-odds of a class
    same = own in {link, "identity"}

    def share(names: tuple[str, ...]) -> Share:
        codes = {name: dict(table) for name, table in trees.codes.items()}
        grown = import_module("modelkeep.runtimes.runners.grown")
        found: Plan | None = grown.read(sound, names=trees.order or names, codes=codes, labels=())
        if found is not None and same:
            found = structs.replace(found, head="identity")
        return Share(name=member.name, plan=found, carried=not same)

    if same:
        return Part(name=member.name, answer=trees.raw, explain=trees.explain, share=share)
    reason = f"member {member.name!r} answers by {own}, the ensemble by {link}: contributions do not add up"

    def answer(rows: Sequence[Features]) -> Floats:
        return _linked(trees.plain(rows), link)

    return Part(name=member.name, answer=answer, unexplained=reason, share=share)


def _skops(member: Member, signature: Signature, *, coded: bool, link: Link) -> Part:
    estimators = import_module("modelkeep.runtimes.estimators")
    skops = import_module("modelkeep.runtimes.sklearn_skops")
    model = skops.known_model(member.data)
    columns = member.columns or tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    own = _narrowed(signature, columns, coded=coded)
    score: Callable[[Sequence[Features]], Floats] = estimators.scoring(model, own, coded=coded, columns=columns)

    chances = bool(estimators.chances(model))

    def answer(rows: Sequence[Features]) -> Floats:
        return _linked(score(rows), link) if chances else score(rows)

    def share(names: tuple[str, ...]) -> Share:
        order = tuple(str(name) for name in getattr(model, "feature_names_in_", ())) or columns
        order = order or (names if coded else tuple(field.name for field in own.inputs))
        kind = structs.replace(own.output, kind="category" if chances else "number", categories=())
        alone = structs.replace(own, output=kind)
        reading = import_module("modelkeep.runtimes.runners.reading")
        found: Plan | None = reading.read(model, alone, names=order, coded=coded)
        if found is not None:
            found = structs.replace(found, labels=())  # a number: the chance of the last of two classes
        return Share(name=member.name, plan=found, carried=chances)

    reason = f"member {member.name!r} is a scikit-learn model, which does not tell what its inputs contribute"
    return Part(name=member.name, answer=answer, unexplained=reason, share=share)


def _linked(values: Floats, link: Link) -> Floats:
    """Answers in the output's own unit, carried into link space."""
    found = values
    if link == "logit":
        inside = values.clip(_EPSILON, 1.0 - _EPSILON)
        found = np.log(inside) - np.log1p(-inside)
    elif link == "log":
        found = np.log(values.clip(_EPSILON))
    elif link == "log1p":
        found = np.log1p(values.clip(_EPSILON - 1.0))
    return found


def _ranked(part: Part, table: tuple[float, ...]) -> Part:
    steps, place = np.unique(np.array(table, dtype=np.float64), return_inverse=True)
    # Scores that many rows share stand in the middle of the ranks that they take up.
    shares = np.bincount(place, np.linspace(0.0, 1.0, len(table))) / np.bincount(place)
    return Part(
        name=part.name,
        answer=lambda rows: np.interp(part.answer(rows), steps, shares),
        share=part.share,
        unexplained=f"member {part.name!r} answers ranks, and inputs do not add up to a rank",
    )


_OPEN: dict[str, Callable[..., Part]] = {"linear": _linear, "lightgbm": _trees, "skops": _skops}
