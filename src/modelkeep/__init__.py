"""Modelkeep keeps machine-learning models true in production: serve, remember, notice, tell, put right.

Everything public is named here and imported when it is first used, so ``import modelkeep`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelkeep import settings
    from modelkeep.app import App
    from modelkeep.client import AsyncClient, Client
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
    from modelkeep.extending import Extension, Probe
    from modelkeep.jobs.making import training_job
    from modelkeep.jobs.persons import Personal
    from modelkeep.jobs.recipes import check_no_future
    from modelkeep.jobs.rooms import Again, Done, Rooms, Run, Task
    from modelkeep.jobs.schedule import Schedule
    from modelkeep.nouns import (
        Act,
        Alert,
        Baseline,
        Features,
        Field,
        Guards,
        Job,
        Kind,
        Level,
        Lineage,
        Match,
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
    from modelkeep.operations.act import DurationText, MomentText, Operation, stamp
    from modelkeep.quantities import duration, iso, moment, seconds
    from modelkeep.runtimes.ensemble import Ensemble, Linear, Member, linear_bytes, pack_ensemble, read_ensemble
    from modelkeep.runtimes.explaining import Contribution, Explanation
    from modelkeep.runtimes.tables import read_table
    from modelkeep.runtimes.training import Trained, TrainingRows
    from modelkeep.settings import Settings
    from modelkeep.store.datasets import Appended, Dataset, Datasets
    from modelkeep.store.seams import Told
    from modelkeep.watch.baselines import backtest, scored
    from modelkeep.workload import Graph, Panel, Recipe, Row, Series, Source, Table, Workload

__all__ = [
    "Act",
    "Again",
    "Alert",
    "App",
    "Appended",
    "AsyncClient",
    "BadArtifact",
    "BadFeatures",
    "BadInput",
    "BadSettings",
    "Baseline",
    "BelowPolicy",
    "Client",
    "Clock",
    "Conflict",
    "Contribution",
    "Dataset",
    "Datasets",
    "Done",
    "DurationText",
    "Ensemble",
    "Explanation",
    "Extension",
    "Features",
    "Field",
    "Graph",
    "Guards",
    "Job",
    "Kind",
    "LeaseLost",
    "Level",
    "Lineage",
    "Linear",
    "ManualClock",
    "Match",
    "Member",
    "ModelFailed",
    "ModelkeepError",
    "MomentText",
    "NotFound",
    "Operation",
    "Outcome",
    "Output",
    "Panel",
    "Personal",
    "Policy",
    "Prediction",
    "Probe",
    "Problem",
    "Reading",
    "Recipe",
    "Refused",
    "Retrain",
    "Rollout",
    "Rooms",
    "Row",
    "Rule",
    "Run",
    "Schedule",
    "Series",
    "Settings",
    "Signature",
    "Source",
    "StoreUnavailable",
    "SystemClock",
    "Table",
    "Task",
    "TimedOut",
    "Told",
    "Trained",
    "TrainingRows",
    "Trial",
    "Unavailable",
    "Value",
    "Version",
    "Workload",
    "backtest",
    "check_no_future",
    "duration",
    "iso",
    "linear_bytes",
    "moment",
    "pack_ensemble",
    "read_ensemble",
    "read_table",
    "scored",
    "seconds",
    "settings",
    "stamp",
    "training_job",
]

_ERRORS = (
    "BadArtifact BadFeatures BadInput BadSettings BelowPolicy Conflict LeaseLost ModelFailed ModelkeepError NotFound "
    "Problem Refused StoreUnavailable TimedOut Unavailable"
)
_NOUNS = (
    "Act Alert Baseline Features Field Guards Job Kind Level Lineage Match Outcome Output Policy Prediction Reading "
    "Retrain Rollout Rule Signature Trial Value Version"
)
_PLACES = {
    "modelkeep.app": "App",
    "modelkeep.client": "AsyncClient Client",
    "modelkeep.clock": "Clock ManualClock SystemClock",
    "modelkeep.errors": _ERRORS,
    "modelkeep.extending": "Extension Probe",
    "modelkeep.jobs.making": "training_job",
    "modelkeep.jobs.persons": "Personal",
    "modelkeep.jobs.recipes": "check_no_future",
    "modelkeep.jobs.rooms": "Again Done Rooms Run Task",
    "modelkeep.jobs.schedule": "Schedule",
    "modelkeep.nouns": _NOUNS,
    "modelkeep.operations.act": "DurationText MomentText Operation stamp",
    "modelkeep.quantities": "duration iso moment seconds",
    "modelkeep.runtimes.ensemble": "Ensemble Linear Member linear_bytes pack_ensemble read_ensemble",
    "modelkeep.runtimes.explaining": "Contribution Explanation",
    "modelkeep.runtimes.tables": "read_table",
    "modelkeep.runtimes.training": "Trained TrainingRows",
    "modelkeep.settings": "Settings",
    "modelkeep.store.datasets": "Appended Dataset Datasets",
    "modelkeep.store.seams": "Told",
    "modelkeep.watch.baselines": "backtest scored",
    "modelkeep.workload": "Graph Panel Recipe Row Series Source Table Workload",
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
