"""The commands as cyclopts knows them: imported when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

from modelkeep.edge.cli import ABOUT, GROUPS
from modelkeep.edge.cli.usage import STOPPED, USAGE, complain, guarded


def build() -> App:
    """The whole command line."""
    # Plain text: rendering Markdown would load two parsers that no sentence here needs.
    app = App(name="modelkeep", help=ABOUT, help_format="plaintext", result_action="return_value")
    for place, (title, commands) in enumerate(GROUPS.items()):
        group = Group(title, sort_key=place)
        for order, (name, (module, summary)) in enumerate(commands.items()):
            app.command(f"{module}:{name}", name=name, help=summary, group=group, sort_key=order)
    return app


def run(tokens: Sequence[str]) -> int:
    """Run one command and answer its exit code."""
    return guarded(lambda: _run(tokens))


def _run(tokens: Sequence[str]) -> int:
    app = build()
    if not any(tokens[0] in commands for commands in GROUPS.values()) and tokens[0][:1] != "-":
        workloads = importlib.import_module("modelkeep.edge.cli.workloads")
        for commands in workloads.theirs(tokens).values():
            app.command(commands)
    try:
        code = app(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        complain(" ".join(str(error).split()), "modelkeep COMMAND --help tells how it is written")
        return USAGE
    except KeyboardInterrupt:
        return STOPPED
    return code if isinstance(code, int) else 0
