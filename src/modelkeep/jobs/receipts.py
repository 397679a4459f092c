"""Receipts of erasures: what went from which place, signed with a key of the installation.

The signature is Ed25519 (RFC 8032) over the statement's own bytes: whoever has the public key can check it, without the
store, and nobody can change a receipt or make one without the private key. It needs the extra ``privacy``; without it
an erasure is done all the same, and its receipt has no signature.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw, Struct, json

from modelkeep.errors import BadInput
from modelkeep.jobs.persons import Learned
from modelkeep.store.sealing import RECEIPTS
from modelkeep.store.seams import Ledger

_HEX = re.compile(rb"[0-9a-f]{64}")


class Statement(Struct, frozen=True, kw_only=True):
    """What a receipt says.

    ``person`` is the pseudonym; ``counts`` are rows (or places in a text) by place; ``models`` the versions that were
    trained while rows of the person were there, to be trained anew; ``searched`` how many files were looked through for
    the name afterwards, ``remains`` those that still hold it, and how often; ``folders`` the data folders of the
    servers that did their part, each with the files it looked through; ``unreached`` those that have not yet: they do
    it by themselves when their server runs, and the receipt is signed anew.
    """

    id: str
    person: str
    begun: float
    ended: float
    by: str
    counts: dict[str, int]
    models: tuple[Learned, ...]
    searched: int
    remains: dict[str, int]
    folders: dict[str, int] = {}
    unreached: tuple[str, ...] = ()


class Receipt(Struct, frozen=True, kw_only=True):
    """A statement with its signature and the public key that checks it (hex); both empty where it is not signed."""

    statement: Raw
    signature: str
    key: str = ""


def signed(ledger: Ledger, statement: Statement) -> Receipt:
    """The receipt of a statement."""
    body = json.encode(statement)
    ed25519 = _ed25519()
    if ed25519 is None:
        return Receipt(statement=Raw(body), signature="")
    private = ed25519.Ed25519PrivateKey.from_private_bytes(_seed(ledger, at=statement.ended))
    return Receipt(
        statement=Raw(body), signature=private.sign(body).hex(), key=private.public_key().public_bytes_raw().hex()
    )


def public(ledger: Ledger, *, at: float) -> str:
    """The public key of this installation as PEM. Raises BadInput without the package."""
    ed25519 = _needed()
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - an optional extra

    key = ed25519.Ed25519PrivateKey.from_private_bytes(_seed(ledger, at=at)).public_key()
    said: bytes = key.public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    return said.decode()


def genuine(receipt: Receipt, key: bytes) -> bool:
    """Whether the holder of a public key (32 bytes) signed a receipt as it is. Raises BadInput without the package."""
    ed25519 = _needed()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an optional extra

    body = json.encode(json.decode(bytes(receipt.statement), type=Statement))
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(receipt.signature), body)
    except (InvalidSignature, ValueError):
        return False
    return True


def own_key(ledger: Ledger) -> bytes:
    """The public key of this installation (32 bytes); empty when it has signed nothing yet."""
    seed = ledger.persons.keys.get(RECEIPTS)
    if seed is None:
        return b""
    found: bytes = _needed().Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return found


def key_of(content: bytes) -> bytes:
    """The public key in a file: PEM, or 64 hexadecimal digits. Raises BadInput for anything else."""
    ed25519 = _needed()
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 - an optional extra

    said = content.strip()
    if _HEX.fullmatch(said):
        return bytes.fromhex(said.decode())
    try:
        key = forms.load_pem_public_key(said)
    except ValueError:
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise BadInput.of("key", expected="an Ed25519 public key as `modelkeep privacy signer` gives it", got="another")
    found: bytes = key.public_bytes_raw()
    return found


def _seed(ledger: Ledger, *, at: float) -> bytes:
    return ledger.persons.keys.made([RECEIPTS], at=at)[RECEIPTS]


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an optional extra
    except ImportError:
        return None
    return ed25519


def _needed() -> Any:
    found = _ed25519()
    if found is None:
        raise BadInput("signatures need a package that is not installed", remedy="pip install modelkeep[privacy]")
    return found
