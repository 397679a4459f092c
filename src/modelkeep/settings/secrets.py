"""Secrets by reference: ``env:NAME`` or ``file:/path``, looked up when used, masked whenever shown."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from modelkeep.errors import BadSettings

MASK = "********"


class Secret(Struct, frozen=True, kw_only=True):
    """Where a secret stands, never the secret itself.

    ``reference`` is ``env:NAME`` or ``file:/path``; for an address (a webhook's URL) it may also be the URL itself,
    whose path and query are then masked. ``key`` is the setting that it came from, for error texts.

    >>> print(Secret(reference="https://hooks.example.com/T0/abc", key="alerts.channels.ops.url"))
    https://hooks.example.com/********
    """

    reference: str
    key: str

    def reveal(self, environ: Mapping[str, str] = os.environ) -> str:
        """The secret's text, without the line break that editors add to files.

        Raises BadSettings when the variable is unset, or the file cannot be read or is empty.
        """
        scheme, _, rest = self.reference.partition(":")
        if scheme == "env":
            text, remedy = environ.get(rest, ""), f"set the environment variable {rest}"
        elif scheme == "file":
            try:
                text, remedy = Path(rest).read_text(encoding="utf-8").strip(), f"write the secret into {rest}"
            except (OSError, UnicodeDecodeError) as cause:
                raise BadSettings(f"{self.key}: cannot read {rest}: {cause}") from None
        else:
            return self.reference
        if not text:
            raise BadSettings(f"{self.key}: {self.reference} holds nothing", remedy=remedy)
        return text

    def __str__(self) -> str:
        if self.reference.startswith(("env:", "file:")):
            return f"{MASK} (from {self.reference})"
        scheme, _, rest = self.reference.partition("://")
        host = rest.partition("/")[0].rpartition("@")[2].partition("?")[0]
        return f"{scheme}://{host}/{MASK}"

    def __repr__(self) -> str:
        return f"Secret({self})"
