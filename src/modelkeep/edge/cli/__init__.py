"""The command line.

Help must come in a quarter of a second, so it is written from the list below without importing anything: cyclopts and
rich alone take a third of a second. ``main`` imports them when a command is really run, and each command's module (with
the operations, and for local work the store) when it is that command. A test holds the list equal to the operations'
own sentences.

Exit codes: 0 done; 1 refused, or the answer is bad news; 2 the command was written wrongly; 3 it cannot be done now
(no server, store away); 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence

ACTS = "modelkeep.edge.cli.acts"
OWN = "modelkeep.edge.cli.own"
PRIVACY = "modelkeep.edge.cli.privacy"
FILES = "modelkeep.edge.cli.files"
PLAYING = "modelkeep.edge.cli.playing"
IMPORTING = "modelkeep.edge.cli.importing"
WORKLOADS = "modelkeep.edge.cli.workloads"
TRAINING = "modelkeep.edge.cli.training"
FETCHING = "modelkeep.edge.cli.fetching"
MIGRATING = "modelkeep.edge.cli.migrating"
LOADING = "modelkeep.edge.cli.loading"
SCORING = "modelkeep.edge.cli.scoring"
QUESTIONS = "modelkeep.edge.cli.questions"
RESTORING = "modelkeep.edge.cli.restoring"
PROVING = "modelkeep.edge.cli.proving"
BENCHING = "modelkeep.edge.cli.benching"
ABOUT = "Keeps machine-learning models true in production: serve, remember, notice, tell, put right."

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Begin": {
        "init": (OWN, "Make a data folder ready, and check that everything needed is there"),
        "up": (OWN, "Run the server until Ctrl-C"),
        "migrate": (
            MIGRATING,
            "Bring the database's schema up to this release, in one transaction; running servers may go on",
        ),
        "demo": (PLAYING, "Watch it live: real flights, simulated workloads, or a recorded file of yours"),
        "replay": (PLAYING, "Live through a recorded table on a simulated clock, and tell what happened"),
        "data": (FETCHING, "Public data for the workloads: list, get"),
        "drill": (PROVING, "Hurt a sandbox server in every way, and tell the platform's KPIs: kpis"),
    },
    "Models": {
        "models": (ACTS, "Models: list, show, loaded, unload, compress"),
        "model": (ACTS, "Show a model: its rollout, its policy and its versions"),
        "versions": (ACTS, "List the versions of a model with their metrics"),
        "version": (ACTS, "Show one version with its signature, metrics and lineage"),
        "register": (FILES, "Register a model file as the next version of its model"),
        "train": (
            TRAINING,
            "Train a workload's model on a table of your own, and say how it stands beside simple baselines",
        ),
        "recipes": (ACTS, "List what can be trained: each recipe with the columns that it takes"),
        "import": (
            IMPORTING,
            "Take a version over from an MLflow registry or a folder of versions, or list what is there",
        ),
        "verify": (ACTS, "Read a version's files again and compare them with the digests they were registered under"),
        "policy": (ACTS, "What the owner of a model wants: show, set"),
    },
    "Releases": {
        "release": (
            ACTS,
            "Release a version: validated, backed up, tried, judged, then promoted or rolled back, as durable work",
        ),
        "releases": (ACTS, "Releases and their evidence: list, show"),
        "rollback": (
            ACTS,
            "Roll a model back: end its trial, or bring back an earlier version whole, at once",
        ),
        "disable": (ACTS, "Stop a model from answering; callers get the reason, and its versions stay as they are"),
        "enable": (ACTS, "Let a disabled model answer again"),
        "emergency": (
            ACTS,
            "Take a failing model out: disable it, tell engineers and users, diagnose it, and bring back what is sound",
        ),
        "fallback": (ACTS, "Name the version that answers when the champion fails, is too slow or is disabled"),
        "rollouts": (ACTS, "List which versions answer now, or the past of one model"),
    },
    "Answers": {
        "predict": (FILES, "Ask a model for one answer or many; every answer is recorded"),
        "score": (
            SCORING,
            "Answer every row of a file with a model, in order, by several processes, as durable work",
        ),
        "bench": (BENCHING, "Ask the server as many clients do, and tell rates and percentiles: predict"),
        "explain": (TRAINING, "Tell what each input added to a model's answer; nothing is recorded"),
        "predictions": (QUESTIONS, "Predictions as they were recorded: list, show, review, load, archive, export"),
        "sql": (QUESTIONS, "Ask a question in SQL about everything that is recorded, archive included"),
        "outcome": (FILES, "Tell what really happened, for one prediction or many; safe to repeat"),
        "outcomes": (LOADING, "What really happened, from files: load"),
        "collection": (ACTS, "What waits and what is kept: stats, flush, off, on"),
        "feedback": (ACTS, "What people say of predictions: list, tell"),
        "performance": (
            ACTS,
            "Show how fast a model answers, how many a minute, and what share of the time it was there",
        ),
        "accuracy": (ACTS, "Measure accuracy over any window: exact for its bounds, however late the outcomes came"),
    },
    "Watching": {
        "status": (
            ACTS,
            "Say how everything stands: models, open alerts, work under way, and whether records are kept",
        ),
        "overload": (
            ACTS,
            "Say whether more is asked of any model than it can answer, and what was turned away",
        ),
        "readings": (ACTS, "What is known: list, series"),
        "check": (ACTS, "Does everything kept fit together: store; does what is live keep its targets: performance"),
        "alerts": (ACTS, "Alerts: list, raise, show, ack, resolve, rules"),
        "report": (
            ACTS,
            "Make a report: models, system, users, business, insights, recommendations, and where it was delivered",
        ),
        "diagnose": (ACTS, "What is wrong, and what to do about it: model, performance"),
        "reports": (ACTS, "Reports that are kept: list, show"),
        "timeline": (ACTS, "Tell what happened: acts, alerts and steps of jobs, newest first"),
        "acts": (ACTS, "Read the audit chain, newest first, and check that no entry was changed"),
    },
    "People": {
        "privacy": (PRIVACY, "People's data: consent, erase, erasure, verify, signer, export, accesses, rotate, key"),
        "compliance": (ACTS, "Check whether people are treated as promised: check"),
    },
    "Workloads": {
        "weight": (WORKLOADS, "Weight of an object from a photo or from measurements"),
        "drilling": (WORKLOADS, "Machine health, remaining life and predictive alerts from telemetry"),
        "restaurants": (WORKLOADS, "Demand, preparation time, churn, lifetime value and stock of many restaurants"),
        "any": (WORKLOADS, "Any team's own model, with no code of theirs"),
        "devices": (WORKLOADS, "Device failures, anomalies, health scores and maintenance"),
    },
    "Work": {
        "jobs": (ACTS, "Jobs and tasks: list, show, tasks, history, run, cancel, answers"),
        "maintenance": (ACTS, "Keep the house in order: vacuum, purge-history, purge-logs"),
        "archive": (ACTS, "Old predictions in files: list"),
        "backup": (
            ACTS,
            "Back up everything to one file: database, models' files, archive and datasets, while the server serves",
        ),
        "restore": (RESTORING, "Restore a backup of everything into an empty data folder, compared with what it was"),
        "backups": (ACTS, "Backups: list (of models), whole (of everything)"),
        "db": (ACTS, "The database: explain"),
        "config": (OWN, "The configuration: check, show"),
        "completion": (OWN, "Print the completion script of a shell: bash, zsh or fish"),
    },
}


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command and answer its exit code."""
    words = list(sys.argv[1:] if tokens is None else tokens)
    if words in ([], ["--help"], ["-h"], ["help"]):
        sys.stdout.write(overview())
        return 0
    words = _ordered(words)
    try:
        if words[0] == "up":
            gc.disable()  # what a server imports stays: a sixth of its start went into looking for garbage
            code: int | None = importlib.import_module("modelkeep.edge.cli.starting").run(words[1:])
            if code is not None:
                return code
        return int(importlib.import_module("modelkeep.edge.cli.tree").run(words))
    finally:
        gc.enable()


def _ordered(words: list[str]) -> list[str]:
    """Options that every command takes may stand before it, as in ``modelkeep -C data status``."""
    common: list[str] = []
    while words and words[0].startswith("-"):
        name, equals, _ = words[0].partition("=")
        size = {"-C": 2, "--folder": 2, "--server": 2, "--json": 1}.get(name, 0)
        if not size:
            break
        taken = 1 if equals else size
        common, words = common + words[:taken], words[taken:]
    return words + common if words else common


def overview() -> str:
    """Every command with what it does."""
    width = max(len(name) for commands in GROUPS.values() for name in commands) + 2
    lines = [ABOUT, "", "Usage: modelkeep COMMAND [OPTIONS]", ""]
    for title, commands in GROUPS.items():
        lines += [title, *(f"  {name:{width}}{summary}" for name, (_, summary) in commands.items()), ""]
    lines += [
        "Each has its own help: modelkeep COMMAND --help. Exit codes: 0 done, 1 refused or bad news, 2 written wrongly,"
    ]
    lines += ["3 cannot be done now.", ""]
    return "\n".join(lines)
