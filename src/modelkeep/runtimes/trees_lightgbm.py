"""The format ``lightgbm``: a Booster's own text file (``Booster.save_model``).

Category inputs are coded in the order that the file carries (``pandas_categorical``), else in the order of the
signature's categories; a value that training did not have, and None, become NaN.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import lightgbm
import numpy as np
from numpy.typing import NDArray

from modelkeep.errors import BadArtifact
from modelkeep.nouns import Features, Outputs, Signature
from modelkeep.runtimes import lightgbm_text, matrix
from modelkeep.runtimes.classes import labels
from modelkeep.runtimes.formats import Contributions, Inspected, Opened
from modelkeep.runtimes.lightgbm_text import Sound
from modelkeep.runtimes.runners import grown
from modelkeep.runtimes.runners.plan import Plan

Floats: TypeAlias = NDArray[np.float64]


def inspect(data: bytes, *, trust: bool) -> Inspected:
    """Check the text's structure in Python, so that the library's parser only ever sees a whole, sound file."""
    del trust  # a file of trees holds no code
    head = lightgbm_text.checked(data).head
    return Inspected(runtime="lightgbm", inputs=head.named, classifies=head.classifies)


def open_model(path: Path, signature: Signature, *, coded: bool, runtime: str) -> Opened:
    """Load the trees. Raises BadArtifact when their inputs or classes do not fit the signature."""
    del runtime
    sound = lightgbm_text.checked(path.read_bytes())
    trees = Trees(sound, signature, coded=coded)
    known = labels(signature.output, max(trees.classes, 2)) if signature.classifies else []

    def plan(names: tuple[str, ...]) -> Plan | None:
        order, codes = trees.order or names, {name: dict(table) for name, table in trees.codes.items()}
        return grown.read(sound, names=order, codes=codes, labels=tuple(known))

    if not signature.classifies:
        return Opened(
            answer=trees.numbers,
            explain=trees.explain,
            matrix=trees.tabled(_numbers),
            codes=trees.codes,
            plan=plan,
        )

    def chosen(chances: Floats) -> Outputs:
        if chances.ndim == 1:
            chances = np.column_stack((1.0 - chances, chances))
        best = chances.argmax(axis=1)
        return Outputs(values=[known[place] for place in best], scores=chances.max(axis=1).tolist())

    return Opened(
        answer=lambda rows: chosen(trees.plain(rows)),
        explain=trees.explain,
        matrix=trees.tabled(chosen),
        codes=trees.codes,
        plan=plan,
    )


def _numbers(found: Floats) -> Outputs:
    return Outputs(values=[*found.tolist()])


class Trees:
    """Trees in memory, asked in one thread: a row takes microseconds, and starting threads would cost more.

    ``columns`` are the inputs in order when the file names none (empty: all of the signature's). ``link`` is the space
    in which the trees add up: ``identity``, ``log``, ``logit``, ``softmax`` or another that the objective has.
    Raises BadArtifact.
    """

    def __init__(self, sound: Sound, signature: Signature, *, coded: bool, columns: tuple[str, ...] = ()) -> None:
        head = sound.head
        order = matrix.columns_of(signature, head.named or columns, coded=coded)
        if order is not None and len(order) != len(head.features):
            raise BadArtifact(f"the model takes {len(head.features)} inputs, the signature names {len(order)}")
        self.link, self.classes = head.link, head.classes
        self.order = order
        self._booster = lightgbm.Booster(model_str=sound.text)
        self.codes = _codes(signature, sound.categories)
        self._make = matrix.numbers(order, self.codes)
        self._table = None if coded else matrix.reordered(order, signature, codes=self.codes)

    def numbers(self, rows: Sequence[Features]) -> Outputs:
        """Answers in the output's unit; kept to one call, because it runs for every single request."""
        return Outputs(values=self._booster.predict(self._make(rows), num_threads=1).tolist())  # type: ignore[union-attr]

    def tabled(self, read: Callable[[Floats], Outputs]) -> Callable[[Floats], Outputs] | None:
        """What answers a matrix of the signature's inputs, its plain answers read by ``read``."""
        table = self._table
        if table is None:
            return None
        return lambda rows: read(cast("Floats", self._booster.predict(table(rows), num_threads=1)))

    def plain(self, rows: Sequence[Features]) -> Floats:
        """Answers in the output's unit; probabilities for classes, of shape (rows, classes) when more than two."""
        return cast("Floats", self._booster.predict(self._make(rows), num_threads=1))

    def raw(self, rows: Sequence[Features]) -> Floats:
        """The sums of the trees' leaves."""
        return cast("Floats", self._booster.predict(self._make(rows), num_threads=1, raw_score=True))

    def explain(self, row: Features) -> Contributions:
        """SHAP values of the trees for one row (Lundberg et al. 2018, as LightGBM computes them)."""
        found = cast("Floats", self._booster.predict(self._make([row]), num_threads=1, pred_contrib=True))
        parts = np.asarray(found, dtype=np.float64).reshape(self.classes, -1)
        best = parts[int(parts.sum(axis=1).argmax())].tolist()
        names = self.order or tuple(row)
        return Contributions(base=best[-1], inputs=dict(zip(names, best[:-1], strict=True)), link=self.link)


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
