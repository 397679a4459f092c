"""The same model in a smaller file: what it says stays, what only describes its training goes, the rest is packed."""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping

from modelkeep.errors import Refused
from modelkeep.runtimes import archives, lightgbm_text

_TRAINING = re.compile(r"^(?:split_gain|internal_value|internal_weight|leaf_weight)=.*\n", re.MULTILINE)
"""Lines of a tree that predicting does not need; the counts stay, for they explain predictions."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def compacted(data: bytes, runtime: str) -> bytes:
    """The file of a model, smaller; the same file always gives the same bytes on one machine.

    Raises Refused for a format that has nothing to leave out.
    """
    make = _MAKE.get(runtime)
    if make is None:
        known = ", ".join(_MAKE)
        raise Refused(f"a {runtime} file has nothing that could be left out", remedy=f"it can be done for {known}")
    return make(data)


def _archive(data: bytes) -> bytes:
    """A zip archive whose members are packed; those that are files of trees without what they do not need."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, info in sorted(archives.members(data).items()):
            content = archives.read(data, name, limit=info.file_size)
            if content.startswith(b"tree\n"):
                content = _trees(content)
            elif content.startswith(b"PK\x03\x04"):
                content = _archive(content)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED, 9)
    return found.getvalue()


def _trees(data: bytes) -> bytes:
    """LightGBM's text with the lines that predictions and explanations are made of."""
    lightgbm_text.checked(data)
    text = data.decode("ascii")
    at = text.index("\nTree=0\n") + 1
    head, parts = text[:at], []
    sizes = [int(size) for size in re.findall(r"^tree_sizes=(.*)$", head, re.MULTILINE)[0].split(" ")]
    for size in sizes:
        parts.append(_TRAINING.sub("", text[at : at + size]))
        at += size
    sizes_line = f"tree_sizes={' '.join(str(len(part)) for part in parts)}"
    head = re.sub(r"^tree_sizes=.*$", sizes_line, head, flags=re.MULTILINE)
    _, found, categories = text[at:].rpartition("\npandas_categorical:")
    tail = "end of trees\n\nparameters:\n\nend of parameters\n"
    whole = (head + "".join(parts) + tail + (found + categories if found else "")).encode("ascii")
    lightgbm_text.checked(whole)
    return whole


def _packed(data: bytes) -> bytes:
    """A pickle in a stream of zlib, which joblib reads; one that is packed already stays as it is."""
    return zlib.compress(data, level=9) if data[:1] == b"\x80" else data


_MAKE: Mapping[str, Callable[[bytes], bytes]] = {
    "skops": _archive,
    "skops-trusted": _archive,
    "ensemble": _archive,
    "lightgbm": _trees,
    "pickle": _packed,
    "joblib": _packed,
}
