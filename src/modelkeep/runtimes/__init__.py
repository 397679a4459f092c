"""A model file becomes a ``Predict``: recognised by content, looked at without running it, verified, loaded, guarded.

Formats: scikit-learn by skops, LightGBM's text, a plain Python callable, and pickle or joblib with explicit trust.
"""

from modelkeep.runtimes.formats import RUNTIMES, Inspected, inspect
from modelkeep.runtimes.loading import Loaded, load
from modelkeep.runtimes.packing import pack_features
from modelkeep.runtimes.signatures import example, infer_signature
from modelkeep.runtimes.tables import read_table
from modelkeep.runtimes.training import Trained, TrainingRows

__all__ = [
    "RUNTIMES",
    "Inspected",
    "Loaded",
    "Trained",
    "TrainingRows",
    "example",
    "infer_signature",
    "inspect",
    "load",
    "pack_features",
    "read_table",
]
