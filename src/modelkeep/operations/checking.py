"""Checks that a script or a person runs: does what is live keep the floors of its policy?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from modelkeep.jobs import verifying
from modelkeep.nouns import Policy, Reading
from modelkeep.operations.act import By, Operation
from modelkeep.operations.models import sought
from modelkeep.profile import CEILINGS

if TYPE_CHECKING:
    from modelkeep.app import App

_NAMES = {"f1": "F1", "r2": "R2", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE"}


class CheckPerformance(Struct, frozen=True, kw_only=True):
    """Which model; without a name all of them."""

    model: Annotated[str, Meta(description="Only this model", max_length=200)] = ""


class Checked(Struct, frozen=True, kw_only=True):
    """One line for each target that is missed (``alerts``), kept (``met``) or not known (``unknown``)."""

    alerts: tuple[str, ...]
    met: tuple[str, ...]
    unknown: tuple[str, ...]


class CheckAll(Struct, frozen=True, kw_only=True):
    """How thoroughly, and whether to mend."""

    repair: Annotated[bool, Meta(description="Mend what can be mended without guessing")] = False
    quick: Annotated[bool, Meta(description="Leave out the sums, for which every record is read")] = False
    by: By = ""


class Findings(Struct, frozen=True, kw_only=True):
    """What does not fit together; ``mended`` ones do again, ``harmless`` ones only take space."""

    findings: tuple[verifying.Finding, ...]
    looked_at: tuple[str, ...]
    text: str


def check_performance(app: App, request: CheckPerformance) -> Checked:
    """Check the live figures of every model against the targets of its policy.

    Raises NotFound for an unknown model.
    """
    alerts: list[str] = []
    met: list[str] = []
    unknown: list[str] = []
    with app.rooms.store.read() as ledger:
        sought(ledger, request.model)
        for rollout in ledger.rollouts.all():
            if request.model in {"", rollout.model}:
                policy = ledger.versions.policy(rollout.model, rollout.policy)
                live = {r.name: r for r in ledger.readings.newest(f"{rollout.model}@{rollout.champion}")}
                for name in policy.targets:
                    _judged(name, live.get(name), policy=policy, alerts=alerts, met=met, unknown=unknown)
    return Checked(alerts=tuple(alerts), met=tuple(met), unknown=tuple(unknown))


def check_all(app: App, request: CheckAll) -> Findings:
    """Check whether everything that is kept fits together: database, files, rollouts, archive, counts and sums.

    Exit code 1 with findings that are not mended. With ``repair`` it mends what can be mended without guessing: files
    from backups, counts and sums from the records, files that nobody names are moved aside.
    """
    looked: list[str] = []
    found = tuple(verifying.findings(app.rooms, mend=request.repair, quick=request.quick, say=looked.append))
    if request.repair and any(one.mended for one in found):
        with app.rooms.store.write() as ledger:
            mended = sum(one.mended for one in found)
            ledger.acts.append(
                who=request.by, what="repair", subject="server", why=f"{mended} findings", at=app.rooms.clock.now()
            )
    return Findings(
        findings=found,
        looked_at=tuple(looked),
        text="; ".join(f"{one.kind} {one.subject}: {one.detail}" for one in found if _open(one)) or "all fits together",
    )


def _open(one: verifying.Finding) -> bool:
    return not one.mended and not one.harmless


def _amiss(found: Findings) -> str:
    return "" if not any(map(_open, found.findings)) else found.text


def _judged(
    name: str, reading: Reading | None, *, policy: Policy, alerts: list[str], met: list[str], unknown: list[str]
) -> None:
    target, what = policy.targets[name], _NAMES.get(name, name)
    of = "" if reading is None else f" of {reading.subject}"
    if reading is None or reading.value is None:
        why = "it was not measured yet" if reading is None else reading.detail
        unknown.append(f"UNKNOWN: {policy.model} {what}: {why}")
        return
    missed = reading.value > target if name in CEILINGS else reading.value < target
    side = "above" if name in CEILINGS else "below"
    if missed:
        alerts.append(f"ALERT: Model {what} ({reading.value:.2f}) {side} threshold ({target:g})")
    else:
        met.append(f"OK: Model {what}{of} ({reading.value:.2f}), threshold {target:g}, n = {reading.n}")


def _finding(found: Checked) -> str:
    return "\n".join(found.alerts)


OPERATIONS = (
    Operation(
        name="check", method="POST", path="/v1/check", request=CheckAll, result=Findings, run=check_all,
        words=("check", "store"), finding=_amiss,
    ),
    Operation(
        name="check_performance", method="GET", path="/v1/check/performance", request=CheckPerformance, result=Checked,
        run=check_performance, words=("check", "performance"), plain=("model",), finding=_finding,
    ),
)  # fmt: skip
