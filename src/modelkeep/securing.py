"""From the settings to what seals records: the master keys, read once, from files that nobody else can read."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from modelkeep.errors import BadSettings
from modelkeep.settings import Secret, Settings
from modelkeep.store.sealing import PLAIN, Sealer

LEAST = 32
"""A key has so many characters at least: it is made, not thought up."""


def sealer(settings: Settings) -> Sealer:
    """What seals the records of these settings. Without keys, nothing is sealed.

    Raises BadSettings for a key that is too short or that others can read, or when the package is not installed.
    """
    chosen = settings.privacy
    masters = [_master(ref) for ref in (chosen.key, chosen.previous) if ref is not None]
    return Sealer(masters, encrypts=chosen.encrypt) if masters else PLAIN


def _master(ref: Secret) -> bytes:
    text = ref.reveal()
    if len(text) < LEAST:
        raise BadSettings(
            f"{ref.key}: a key of {len(text)} characters is too short", remedy="make one: modelkeep privacy key FILE"
        )
    scheme, _, place = ref.reference.partition(":")
    if scheme == "file" and Path(place).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadSettings(f"{ref.key}: others can read the key file {place}", remedy=f"chmod 600 {place}")
    return hashlib.sha256(b"modelkeep master key " + text.encode()).digest()
