"""What only reads is done again when the store's connection breaks in the middle of it: nobody need notice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from modelkeep.errors import StoreUnavailable

T = TypeVar("T")
WITHIN = 5.0
"""So many seconds after the first fault it is told: connections may be ended one after the other for a while."""


def repeated(read: Callable[[], T]) -> T:
    """What ``read`` finds, from its beginning again after a broken connection: it must have no effects.

    A transaction that reads sees one moment, and a new connection another, so no part of it could be taken along.
    """
    until = 0.0
    while True:
        try:
            return read()
        except StoreUnavailable as fault:
            until = until or time.monotonic() + WITHIN
            if not fault.broken or time.monotonic() > until:
                raise
