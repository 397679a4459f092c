"""Places where a test may end the process as ``kill -9`` would: right before or after something becomes durable.

Set ``MODELKEEP_FAILPOINT=name`` in the environment of a process that is to die there.
"""

import os
from typing import Final

KILLED: Final = 137
"""The exit status of a process that was ended by SIGKILL."""


def failpoint(name: str) -> None:
    """End the process at once, without clean-up, when the environment names this point; otherwise do nothing.

    >>> failpoint("release.promoted")
    """
    if os.environ.get("MODELKEEP_FAILPOINT") == name:
        os._exit(KILLED)
