"""A place that keeps files by their digest and loads versions of them, as the store's files would."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from modelkeep.nouns import Signature, Value, Version
from modelkeep.runtimes import Loaded, infer_signature, load


class Keeper:
    """Keeps bytes and loads versions of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest

    def load(self, data: bytes, signature: Signature, **fields: object) -> Loaded:
        plain = {"model": "m", "number": 1, "size": len(data), "created": 0.0, "runtime": "skops"}
        version = Version(artifact=self.put(data), signature=signature, **(plain | fields))
        return load(version, self.folder.joinpath)


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path)


@pytest.fixture
def signature_of() -> Callable[..., Signature]:
    """A signature inferred from columns with the output ``y`` of this truth."""

    def infer(columns: dict[str, list[Value]], truth: object, **more: object) -> Signature:
        return infer_signature({**columns, "y": np.asarray(truth).tolist()}, output="y", **more)

    return infer
