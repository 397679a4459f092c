"""What an app is with its extensions: product and workloads as one set of tasks, schedules, rules and probes.

Two that want one name are refused here, when the app is opened, and both are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from modelkeep.alerts import rules as alert_rules
from modelkeep.errors import BadInput, BadSettings, NotFound
from modelkeep.extending import Extension
from modelkeep.jobs.persons import Personal
from modelkeep.jobs.probing import Probing
from modelkeep.jobs.rooms import Task
from modelkeep.jobs.schedule import Schedule
from modelkeep.nouns import Policy, Rule

T = TypeVar("T")
PRODUCT = "the product"


def tasks(extensions: Sequence[Extension], own: Mapping[str, Task]) -> dict[str, Task]:
    """The product's own tasks and those of the extensions. Raises BadSettings for two of one name."""
    return _together("task", own, others={each.name: each.tasks for each in extensions})


def schedules(
    extensions: Sequence[Extension], own: Mapping[str, Schedule], *, tasks: Mapping[str, Task]
) -> dict[str, Schedule]:
    """The product's own schedules and those of the extensions.

    Raises BadSettings for two of one name, for one that can never fire, and for one whose task there is not.
    """
    for extension in extensions:
        for name, schedule in extension.schedules.items():
            try:
                schedule.check(name)
            except BadInput as wrong:
                raise BadSettings(f"workload {extension.name}: schedule {wrong}") from None
            if schedule.task not in tasks:
                missing = NotFound("task", schedule.task, known=tasks)
                said = f"workload {extension.name}: schedule {name}: {missing.message}"
                raise BadSettings(said, remedy=missing.remedy)
    return _together("schedule", own, others={each.name: each.schedules for each in extensions})


def rules(extensions: Sequence[Extension], known: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules that are known, changed and followed by those of the extensions.

    Raises BadSettings for rules that cannot be read, and for a rule that two extensions set.
    """
    owners: dict[str, str] = {}
    for extension in extensions:
        if not extension.rules:
            continue
        try:
            found = alert_rules.parse(extension.rules, source=f"workload {extension.name}", known=known)
        except BadInput as wrong:
            raise BadSettings(str(wrong)) from None
        for name in _set(known, found):
            if name in owners:
                raise _twice("rule", name, owners=(owners[name], extension.name))
            owners[name] = extension.name
        known = found
    return known


def probes(extensions: Sequence[Extension]) -> tuple[Probing, ...]:
    """Every probe with the name of its workload."""
    return tuple(Probing(workload=each.name, probe=probe) for each in extensions for probe in each.probes)


def personals(extensions: Sequence[Extension]) -> tuple[Personal, ...]:
    """Every place where workloads keep rows about people."""
    return tuple(personal for each in extensions for personal in each.personal)


def policies(extensions: Sequence[Extension]) -> list[tuple[str, Policy]]:
    """Every policy with the name of its workload. Raises BadSettings when two are for one model."""
    owners: dict[str, str] = {}
    for extension in extensions:
        for policy in extension.policies:
            if policy.model in owners:
                raise _twice("policy of the model", policy.model, owners=(owners[policy.model], extension.name))
            owners[policy.model] = extension.name
    return [(each.name, policy) for each in extensions for policy in each.policies]


def _together(kind: str, own: Mapping[str, T], *, others: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    found = dict(own)
    owners = dict.fromkeys(own, PRODUCT)
    for workload, more in others.items():
        for name, thing in more.items():
            if name in owners:
                raise _twice(kind, name, owners=(owners[name], workload))
            owners[name], found[name] = workload, thing
    return found


def _set(before: tuple[Rule, ...], after: tuple[Rule, ...]) -> Iterator[str]:
    """The names of the rules that were added, changed or taken away."""
    was, now = {rule.name: rule for rule in before}, {rule.name: rule for rule in after}
    for name in was | now:
        if was.get(name) is not now.get(name):
            yield name


def _twice(kind: str, name: str, *, owners: tuple[str, str]) -> BadSettings:
    said = " and ".join(owner if owner == PRODUCT else f"workload {owner}" for owner in owners)
    return BadSettings(f"the {kind} {name!r} is set by {said}", remedy="rename one, or leave one out of workloads")
