"""A stranger's table as training rows: no column is known beforehand but the label's."""

from collections.abc import Mapping, Sequence

from modelkeep import BadInput, Output, TrainingRows, Value, moment
from modelkeep.workloads.any.columns import Roles, moments, roles, truths
from modelkeep.workloads.any.history import history

DAY = 86400.0


def prepare(table: dict[str, list[Value]]) -> TrainingRows:
    """Rows of any table with a label column, oldest first.

    Columns are recognised by their names (see ``columns``): the label is required; entity, moment of the question,
    moment that it is about and moment at which the label was known are used where they are. All other columns are
    inputs as they stand; a column of dates becomes its hour, its weekday, and the seconds until it. A table without
    inputs but dates gets the entity's own history. Rows without a label are left out.

    Raises BadInput naming the column that is missing or wrong.
    """
    named = roles(table)
    rows = _plain(table)
    return rows if named.inputs or not named.time else _with_history(rows)


def prepare_with_history(table: dict[str, list[Value]]) -> TrainingRows:
    """The same, with what was known of the entity's own labels at each row's moment among the inputs.

    Raises BadInput when the table has no moments: what was known before cannot be told then.
    """
    if not roles(table).time:
        raise BadInput("the table has no moments, so no row has a past", remedy="name them: --map event_time=COLUMN")
    return _with_history(_plain(table))


def _with_history(rows: TrainingRows) -> TrainingRows:
    return TrainingRows(
        columns={**rows.columns, **history(rows)},
        truth=rows.truth,
        keys=rows.keys,
        at=rows.at,
        targets=rows.targets,
        told=rows.told,
    )


def _plain(table: Mapping[str, Sequence[Value]]) -> TrainingRows:
    named = roles(table)
    size = len(table[named.label])
    kept = [i for i in range(size) if not _absent(table[named.label][i])]
    if not kept:
        raise BadInput(f"no row has a value in {named.label!r}")
    at = moments([table[named.time][i] for i in kept], named.time) if named.time else [0.0] * len(kept)
    order = sorted(range(len(kept)), key=at.__getitem__)
    places, at = [kept[i] for i in order], [at[i] for i in order]

    def column(name: str) -> list[Value]:
        values = table[name]
        return [values[i] for i in places]

    told = moments(column(named.told), named.told) if named.told else []
    about = moments(column(named.about), named.about) if named.about and named.time else []
    return TrainingRows(
        columns=_inputs(named, {name: column(name) for name in (*named.inputs, *filter(None, (named.about,)))}, at=at),
        truth=truths(column(named.label)),
        keys=[str(value) for value in column(named.key)] if named.key else [""] * len(places),
        at=at,
        targets=about,
        told=[max(known, asked) for known, asked in zip(told, at, strict=True)] if told else [],
    )


def _inputs(named: Roles, columns: Mapping[str, list[Value]], *, at: Sequence[float]) -> dict[str, list[Value]]:
    found: dict[str, list[Value]] = {}
    for name, values in columns.items():
        dated = _moments(values)
        if dated is None:
            found[name] = _plain_values(values)
            continue
        found[f"{name}_hour"] = [None if m is None else float(m // 3600 % 24) for m in dated]
        found[f"{name}_weekday"] = [None if m is None else float((m // DAY + 3) % 7) for m in dated]
        if named.time:
            found[f"{name}_ahead"] = [None if m is None else m - asked for m, asked in zip(dated, at, strict=True)]
    return found


def _moments(values: Sequence[Value]) -> list[float | None] | None:
    """The values as moments when every one is the text of a date or time, else None."""
    known: dict[Value, float | None] = {None: None}
    for value in values:
        if value in known:
            continue
        if not isinstance(value, str) or len(value) < len("2020-01-01") or value[4:5] != "-":
            return None
        try:
            known[value] = moment(value)
        except BadInput:
            return None
    return [known[value] for value in values] if len(known) > 1 else None


def _plain_values(values: list[Value]) -> list[Value]:
    """Numbers as floats (a column may hold 3 today and 3.5 tomorrow), true and false and texts as they are."""
    return [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]


def _absent(value: Output | None) -> bool:
    return value is None or value != value  # noqa: PLR0124 - a NaN is not itself
