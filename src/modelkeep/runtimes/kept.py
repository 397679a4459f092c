"""The rows that a version was trained on, kept as a file: the next version may learn from them too."""

import zlib
from pathlib import Path

import msgspec

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Value
from modelkeep.runtimes.training import TrainingRows

MOST_ROWS = 200_000
_MAGIC = b"modelkeep rows 1\n"


def write(path: Path, rows: TrainingRows) -> None:
    """Write rows, the newest MOST_ROWS of them. The same rows always give the same bytes."""
    path.write_bytes(_MAGIC + zlib.compress(msgspec.msgpack.encode(newest(rows)), level=6))


def read(path: Path) -> TrainingRows:
    """The rows of a file. Raises BadArtifact when it is none."""
    return decode(path.read_bytes(), name=path.name)


def decode(data: bytes, *, name: str) -> TrainingRows:
    """The rows in a file's bytes. Raises BadArtifact when there are none, naming the file."""
    if not data.startswith(_MAGIC):
        raise BadArtifact(f"{name} holds no training rows: it does not begin as such a file does")
    try:
        return msgspec.msgpack.decode(zlib.decompress(data[len(_MAGIC) :]), type=TrainingRows)
    except (ValueError, zlib.error, msgspec.DecodeError) as error:
        raise BadArtifact(f"{name} holds no training rows: {error}") from error


def together(old: TrainingRows, new: TrainingRows) -> TrainingRows:
    """Old and new rows by time; of rows of one key about one moment the newest counts, and the newest MOST_ROWS stay.

    A column that only one of them has is None in the other.
    """
    parts = [_filled(part) for part in (old, new)]
    names = list(dict.fromkeys([*parts[1].columns, *parts[0].columns]))
    counts = [len(part.truth) for part in parts]
    columns: dict[str, list[Value]] = {
        name: [v for part, n in zip(parts, counts, strict=True) for v in part.columns.get(name, [None] * n)]
        for name in names
    }
    whole = TrainingRows(
        columns=columns,
        truth=[*parts[0].truth, *parts[1].truth],
        keys=[*parts[0].keys, *parts[1].keys],
        at=[*parts[0].at, *parts[1].at],
        targets=[*parts[0].targets, *parts[1].targets],
        told=[*parts[0].told, *parts[1].told],
        groups=[*parts[0].groups, *parts[1].groups],
        code=new.code,
    )
    last = {name: i for i, name in enumerate(zip(whole.keys, whole.targets, strict=True)) if name[0]}
    seen = set(parts[1].at)  # a row without a key is known again by the moment at which it was asked
    kept = [
        i
        for i, key in enumerate(whole.keys)
        if (last[key, whole.targets[i]] == i if key else i >= counts[0] or whole.at[i] not in seen)
    ]
    kept.sort(key=whole.at.__getitem__)
    return picked(whole, kept[-MOST_ROWS:])


def newest(rows: TrainingRows) -> TrainingRows:
    """The newest MOST_ROWS rows, by when they were asked."""
    if len(rows.truth) <= MOST_ROWS:
        return rows
    order = sorted(range(len(rows.truth)), key=rows.at.__getitem__)[-MOST_ROWS:]
    return picked(rows, order)


def picked(rows: TrainingRows, places: list[int]) -> TrainingRows:
    """Some rows, in the order of ``places``."""
    return msgspec.structs.replace(
        rows,
        columns={name: [values[i] for i in places] for name, values in rows.columns.items()},
        truth=[rows.truth[i] for i in places],
        keys=[rows.keys[i] for i in places],
        at=[rows.at[i] for i in places],
        targets=[rows.targets[i] for i in places] if rows.targets else [],
        told=[rows.told[i] for i in places] if rows.told else [],
        groups=[rows.groups[i] for i in places] if rows.groups else [],
    )


def _filled(rows: TrainingRows) -> TrainingRows:
    """With every list as long as the rows; the group of a row without one is its key."""
    return msgspec.structs.replace(
        rows,
        keys=rows.keys or [""] * len(rows.truth),
        targets=rows.targets or rows.at,
        told=rows.told or rows.at,
        groups=rows.groups or rows.keys or [""] * len(rows.truth),
    )
