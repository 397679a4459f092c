"""A model file becomes a ``Predict``: recognised by content, looked at without running it, verified, loaded, guarded.

Formats: scikit-learn by skops, LightGBM's text, ensembles of members without code, a plain Python
callable, and pickle or joblib with explicit trust.
"""

from modelkeep.runtimes.ensemble import Ensemble, Linear, Member, linear_bytes, pack_ensemble
from modelkeep.runtimes.explaining import Contribution, Explanation
from modelkeep.runtimes.formats import RUNTIMES, Inspected, inspect
from modelkeep.runtimes.loading import Loaded, load
from modelkeep.runtimes.packing import pack_features
from modelkeep.runtimes.signatures import example, infer_signature
from modelkeep.runtimes.tables import read_table
from modelkeep.runtimes.training import Trained, TrainingRows

__all__ = [
    "RUNTIMES",
    "Contribution",
    "Ensemble",
    "Explanation",
    "Inspected",
    "Linear",
    "Loaded",
    "Member",
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
