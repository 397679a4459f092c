"""The format ``lightgbm``: a Booster's own text file (``Booster.save_model``).

Category inputs are coded in the order that the file carries (``pandas_categorical``), else in the order of the
signature's categories; a value that training did not have, and None, become NaN.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Outputs, Signature
from modelkeep.runtimes import lightgbm_text, matrix
from modelkeep.runtimes.classes import labels
from modelkeep.runtimes.formats import Answer, Inspected


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Check the text's structure in Python, so that the library's parser only ever sees a whole, sound file."""
    del trust  # a file of trees holds no code
    head = lightgbm_text.checked(data).head
    return Inspected(runtime="lightgbm", data=data, inputs=head.named, classifies=head.classifies)


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Answer:
    """Load the trees. Raises BadArtifact when their inputs or classes do not fit the signature."""
    del runtime
    sound = lightgbm_text.checked(path.read_bytes())
    head = sound.head
    columns = matrix.columns_of(signature, head.named, coded=coded)
    if columns is not None and len(columns) != len(head.features):
        raise BadArtifact(f"the model takes {len(head.features)} inputs, the signature names {len(columns)}")
    booster = lightgbm.Booster(model_str=sound.text)
    make = matrix.numbers(columns, _codes(signature, sound.categories))

    # One thread: a row takes microseconds, and starting threads would cost more than all of its trees.
    ask: Callable[[Any], NDArray[np.float64]] = partial(booster.predict, num_threads=1)  # type: ignore[assignment]
    if not signature.classifies:
        return lambda rows: Outputs(values=ask(make(rows)).tolist())
    known = labels(signature.output, max(head.classes, 2))

    def chosen(rows: Sequence[Features]) -> Outputs:
        chances = ask(make(rows))
        if chances.ndim == 1:
            chances = np.column_stack((1.0 - chances, chances))
        best = chances.argmax(axis=1)
        return Outputs(values=[known[place] for place in best], scores=chances.max(axis=1).tolist())

    return chosen


def _codes(signature: Signature, kept: tuple[tuple[str, ...], ...]) -> matrix.Codes:
    codes = matrix.category_codes(signature)
    if not kept:
        return codes
    if len(kept) != len(codes):
        raise BadArtifact(f"the model has {len(kept)} category inputs, the signature {len(codes)}: {', '.join(codes)}")
    return {
        name: {value: float(code) for code, value in enumerate(values)}
        for name, values in zip(codes, kept, strict=True)
    }
