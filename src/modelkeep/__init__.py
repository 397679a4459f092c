"""Modelkeep keeps machine-learning models true in production: serve, remember, notice, tell, put right.

Everything public is named here and imported when it is first used, so ``import modelkeep`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelkeep import settings
    from modelkeep.app import App
    from modelkeep.clock import Clock, ManualClock, SystemClock
    from modelkeep.errors import (
        BadArtifact,
        BadFeatures,
        BadInput,
        BadSettings,
        BelowPolicy,
        Conflict,
        LeaseLost,
        ModelFailed,
        ModelkeepError,
        NotFound,
        Problem,
        Refused,
        StoreUnavailable,
        TimedOut,
        Unavailable,
    )
    from modelkeep.jobs.rooms import Again, Done, Rooms, Run, Task
    from modelkeep.nouns import (
        Act,
        Alert,
        Baseline,
        Features,
        Field,
        Guards,
        Job,
        Kind,
        Lineage,
        Outcome,
        Output,
        Policy,
        Prediction,
        Reading,
        Retrain,
        Rollout,
        Rule,
        Signature,
        Trial,
        Value,
        Version,
    )
    from modelkeep.quantities import duration, iso, moment, seconds
    from modelkeep.runtimes.training import Trained, TrainingRows
    from modelkeep.settings import Settings

__all__ = [
    "Act",
    "Again",
    "Alert",
    "App",
    "BadArtifact",
    "BadFeatures",
    "BadInput",
    "BadSettings",
    "Baseline",
    "BelowPolicy",
    "Clock",
    "Conflict",
    "Done",
    "Features",
    "Field",
    "Guards",
    "Job",
    "Kind",
    "LeaseLost",
    "Lineage",
    "ManualClock",
    "ModelFailed",
    "ModelkeepError",
    "NotFound",
    "Outcome",
    "Output",
    "Policy",
    "Prediction",
    "Problem",
    "Reading",
    "Refused",
    "Retrain",
    "Rollout",
    "Rooms",
    "Rule",
    "Run",
    "Settings",
    "Signature",
    "StoreUnavailable",
    "SystemClock",
    "Task",
    "TimedOut",
    "Trained",
    "TrainingRows",
    "Trial",
    "Unavailable",
    "Value",
    "Version",
    "duration",
    "iso",
    "moment",
    "seconds",
    "settings",
]

_ERRORS = (
    "BadArtifact BadFeatures BadInput BadSettings BelowPolicy Conflict LeaseLost ModelFailed ModelkeepError NotFound "
    "Problem Refused StoreUnavailable TimedOut Unavailable"
)
_NOUNS = (
    "Act Alert Baseline Features Field Guards Job Kind Lineage Outcome Output Policy Prediction Reading Retrain "
    "Rollout Rule Signature Trial Value Version"
)
_PLACES = {
    "modelkeep.app": "App",
    "modelkeep.clock": "Clock ManualClock SystemClock",
    "modelkeep.errors": _ERRORS,
    "modelkeep.jobs.rooms": "Again Done Rooms Run Task",
    "modelkeep.nouns": _NOUNS,
    "modelkeep.quantities": "duration iso moment seconds",
    "modelkeep.runtimes.training": "Trained TrainingRows",
    "modelkeep.settings": "Settings",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name == "settings":
        return import_module("modelkeep.settings")
    if name not in _MODULES:
        raise AttributeError(f"module 'modelkeep' has no attribute {name!r}")
    found = getattr(import_module(_MODULES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
