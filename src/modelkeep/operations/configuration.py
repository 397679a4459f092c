"""The configuration as it is in force, with sources and without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from modelkeep.operations.act import Operation
from modelkeep.settings import Shown, listing

if TYPE_CHECKING:
    from modelkeep.app import App


class ShowConfiguration(Struct, frozen=True, kw_only=True):
    """Nothing to say: every key."""


class Configuration(Struct, frozen=True, kw_only=True):
    """Every key with its value (secrets masked) and where the value came from."""

    file: str
    settings: tuple[Shown, ...]


def show_configuration(app: App, _: ShowConfiguration) -> Configuration:
    """Show every setting in force, where its value came from, and no secret."""
    file = app.settings.file
    return Configuration(file=str(file) if file else "", settings=tuple(listing(app.settings)))


OPERATIONS = (
    Operation(
        name="configuration", method="GET", path="/v1/config", request=ShowConfiguration, result=Configuration,
        run=show_configuration, words=("config", "show"),
    ),
)  # fmt: skip
