"""Where bytes of a person's name stand in files, and taking them out of texts where they stand.

A text (a log) is changed in its place, byte for byte: whoever is appending to it goes on undisturbed. Names are looked
for as they are, as JSON writes them, and as an address writes them.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from modelkeep.store import durable

CLEAR = 4
"""A shorter name, or a number of fewer than ``DIGITS`` digits, is only looked for in quotes: bare it says nothing."""
DIGITS = 6
_WORD, _JOINT = "[A-Za-z0-9_]", "[.@-]"
_HEAD = 4096


class Name(Struct, frozen=True, kw_only=True):
    """How a name may be written; ``bare`` when it is unmistakable without quotes."""

    spellings: tuple[bytes, ...]
    bare: bool

    @property
    def needles(self) -> tuple[bytes, ...]:
        """The bytes to look for."""
        if self.bare:
            return self.spellings
        return tuple(mark + one + mark for one in self.spellings for mark in (b'"', b"'"))


def written(subject: str) -> Name:
    """The spellings of a name.

    >>> written("user42").bare, written("42").needles
    (True, (b'"42"', b"'42'"))
    """
    texts = (subject, json.dumps(subject)[1:-1], json.dumps(subject, ensure_ascii=False)[1:-1], quote(subject, safe=""))
    least = DIGITS if subject.isdigit() else CLEAR
    return Name(spellings=tuple(dict.fromkeys(text.encode() for text in texts)), bare=len(subject) >= least)


def files(folders: Iterable[Path], *, aside: Iterable[Path] = ()) -> Iterator[Path]:
    """Every file below some folders, once, but those ``aside`` and below them."""
    left, seen = tuple(aside), set[Path]()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path in seen or not path.is_file() or path.is_symlink() or any(path.is_relative_to(one) for one in left):
                continue
            seen.add(path)
            yield path


def count(path: Path, name: Name) -> int:
    """How often a name stands in a file; 0 when the file went away meanwhile."""
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                return 0
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                text = _text(view)
                return sum(len(_alone(view, one)) if text else _places(view, one) for one in name.needles)
    except (FileNotFoundError, ValueError):
        return 0


def blacken(path: Path, name: Name) -> int:
    """Write ``#`` over a name where it stands in a text, by itself; how often it did."""
    try:
        with path.open("r+b") as file:
            if not file.seek(0, 2):
                return 0
            with mmap.mmap(file.fileno(), 0) as view:
                spans = [span for needle in name.needles for span in _alone(view, needle)]
                for start, end in spans:
                    view[start:end] = b"#" * (end - start)
                if spans:
                    view.flush()
    except (FileNotFoundError, ValueError):
        return 0
    return len(spans)


def write_down(path: Path, content: bytes) -> None:
    """Keep a small file for its owner's eyes alone, on disk when this returns; what was there is overwritten."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    durable.sync_folder(path.parent)


def destroy(path: Path) -> None:
    """Overwrite a small file and take it away."""
    try:
        with path.open("r+b") as file:
            size = file.seek(0, 2)
            file.seek(0)
            file.write(b"\0" * size)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)


def _places(view: mmap.mmap, needle: bytes) -> int:
    found, place = 0, view.find(needle)
    while place >= 0:
        found += 1
        place = view.find(needle, place + len(needle))
    return found


def alone(needle: str) -> str:
    """The pattern of a name by itself, not as a part of another one; a quoted one is not matched with its quotes.

    >>> bool(re.search(alone("ann"), "of ann.")), bool(re.search(alone("ann"), "of ann.b, anna, ann@x"))
    (True, False)
    """
    if needle[0] in "\"'":
        return f"(?<={needle[0]}){re.escape(needle[1:-1])}(?={needle[0]})"
    before = f"(?<!{_WORD})(?<!{_WORD}{_JOINT})"
    return f"{before}{re.escape(needle)}(?!{_WORD})(?!{_JOINT}{_WORD})"


def _alone(view: mmap.mmap, needle: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(alone(needle.decode()).encode(), view)]


def _text(view: mmap.mmap) -> bool:
    """Whether a file is a text, where names stand apart; in other files they touch what is around them."""
    return b"\0" not in view[:_HEAD]
