"""``modelkeep WORKLOAD ACT``: the acts of the workloads, made when one of them is called for.

Built-in workloads stand in the list of commands; one's own is looked for in the setting ``workloads`` when the first
word is no command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App

from modelkeep import settings
from modelkeep.edge.cli.acts import command
from modelkeep.errors import BadSettings
from modelkeep.extending import BUILT_IN, find_all
from modelkeep.operations.act import Operation
from modelkeep.workload import Workload


def words(workload: str, operation: Operation[Any, Any]) -> str:
    """The act's word: its own ones, else its name without the workload's.

    >>> from modelkeep.operations import named
    >>> words("job", named("job_run")), words("any", named("job_run"))
    ('run', 'job-run')
    """
    prefix = f"{workload.replace('-', '_')}_"
    return "-".join(operation.words) or operation.name.removeprefix(prefix).replace("_", "-")


def made(workload: Workload) -> App:
    """The commands of a workload, one an act."""
    app = App(name=workload.name, help=workload.summary, help_format="plaintext", result_action="return_value")
    for operation in workload.operations:
        app.command(command(operation), name=words(workload.name, operation))
    return app


def theirs(tokens: Sequence[str]) -> dict[str, App]:
    """The commands of the workloads that are switched on and do not come with the product. Raises BadSettings."""
    found = settings.load(folder=_folder(tokens))
    others = [name for name in found.workloads if name not in BUILT_IN]
    extensions = find_all(others, source=found.source("workloads"))
    return {each.name: made(each) for each in extensions if isinstance(each, Workload)}


def _folder(tokens: Sequence[str]) -> Path | None:
    """The data folder that a command names."""
    for word, following in _pairs(tokens):
        name, equals, value = word.partition("=")
        if name in {"-C", "--folder"}:
            return Path(value if equals else following)
        if word.startswith("-C") and len(word) > 2:
            return Path(word[2:])
    return None


def _pairs(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield from zip(tokens, [*tokens[1:], ""], strict=True)


def __getattr__(name: str) -> App:
    """A built-in workload's commands by its name, for the lazy list in ``modelkeep.edge.cli``."""
    if name not in BUILT_IN:
        raise AttributeError(name)
    (found,) = find_all([name])
    if not isinstance(found, Workload):
        raise BadSettings(f"the workload {name!r} is {type(found).__name__}, not a Workload")
    return made(found)
