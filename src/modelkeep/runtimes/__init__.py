"""A model file becomes a ``Predict``: recognised by content, looked at without running it, verified, loaded, guarded.

Formats: scikit-learn by skops, LightGBM's text, ensembles of members without code, a plain Python
callable, ONNX, and pickle or joblib with explicit trust.

Whoever asks many rows asks a ``Loaded``: ``predict`` with rows as dictionaries, or, much cheaper, ``matrix`` with a
float64 matrix of the signature's inputs (``columns``) where the version offers it:

    if loaded.matrix is not None:
        table = np.array([[math.nan if v is None else v for v in values] for values in rows], dtype=np.float64)
        outputs = loaded.matrix(table)  # Outputs: one value (and score, interval) a row, as from ``predict``

A category's value goes in as ``loaded.codes[name].get(value, UNSEEN)``, and None as NaN. The hot path asks
``loaded.flat(numbers, n)``: the same of ``array("d")`` with the values of ``n`` rows behind each other.
"""

from modelkeep.runtimes.ensemble import Ensemble, Linear, Member, linear_bytes, pack_ensemble
from modelkeep.runtimes.explaining import Contribution, Explanation
from modelkeep.runtimes.formats import RUNTIMES, UNSEEN, Inspected, Opened, inspect
from modelkeep.runtimes.loading import Loaded, load
from modelkeep.runtimes.packing import pack_features
from modelkeep.runtimes.signatures import example, infer_signature
from modelkeep.runtimes.tables import read_table
from modelkeep.runtimes.training import Trained, TrainingRows

__all__ = [
    "RUNTIMES",
    "UNSEEN",
    "Contribution",
    "Ensemble",
    "Explanation",
    "Inspected",
    "Linear",
    "Loaded",
    "Member",
    "Opened",
    "Trained",
    "TrainingRows",
    "example",
    "infer_signature",
    "inspect",
    "linear_bytes",
    "load",
    "pack_ensemble",
    "pack_features",
    "read_table",
]
