"""A source's file in the user's cache: downloaded when it is not there, used only if its bytes are the pinned ones.

Nothing is downloaded unless somebody asks. A download that broke off goes on where it was; a file whose SHA-256 is not
the source's is thrown away.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from modelkeep.errors import BadArtifact, BadInput, Unavailable
from modelkeep.workload import Source

Moved: TypeAlias = Callable[[int, int], None]
"""Hears how many bytes have arrived, and of how many (0: nobody said)."""
MIRROR = "MODELKEEP_DATA_MIRROR"
"""The environment variable that names another place for the files, checked by the same digests."""
TIMEOUT = httpx.Timeout(30.0)


def unheard(_done: int, _size: int) -> None:
    """Nobody looks."""


def cache() -> Path:
    """The user's folder for downloads. Raises Unavailable when the extra ``data`` is not installed."""
    return Path(_pooch().os_cache("modelkeep")) / "data"


def address(source: Source, mirror: str = "") -> str:
    """Where the file is asked for: its owner's place, or the file of the same name below ``mirror``.

    Raises BadInput for a mirror that is no http address.
    """
    if not mirror:
        return source.url
    if not mirror.startswith(("http://", "https://")):
        raise BadInput(f"the mirror {mirror!r} is no address", remedy="give one such as http://127.0.0.1:8080/data")
    return f"{mirror.rstrip('/')}/{source.url.rpartition('/')[2]}"


def kept(source: Source, folder: Path) -> Path:
    """Where the source's file stands in the cache."""
    return folder / f"{source.sha256[:16]}-{source.url.rpartition('/')[2]}"


def here(source: Source, folder: Path) -> bool:
    """Whether the cache has the file, with the pinned bytes."""
    path = kept(source, folder)
    return path.is_file() and digest(path) == source.sha256


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(source: Source, *, folder: Path, mirror: str = "", moved: Moved = unheard) -> Path:
    """The source's file in ``folder``, from there or from the network.

    Raises BadArtifact naming the digest that was expected and the one that came, and Unavailable naming the address,
    what happened and how to do without the network.
    """
    url = address(source, mirror)

    def fetch(_url: str, target: str, _pooch: Any) -> None:
        part = kept(source, folder).with_suffix(".part")
        _arrive(source, url=url, part=part, moved=moved)
        part.replace(target)

    folder.mkdir(parents=True, exist_ok=True)
    path = kept(source, folder)
    pooch = _pooch()
    pooch.get_logger().setLevel("WARNING")
    found = pooch.retrieve(url, known_hash=f"sha256:{source.sha256}", fname=path.name, path=folder, downloader=fetch)
    return Path(found)


def _arrive(source: Source, *, url: str, part: Path, moved: Moved) -> None:
    """Bring the bytes to ``part``, going on with those that are there already."""
    try:
        with httpx.Client(timeout=TIMEOUT, follow_redirects=True) as client:
            _receive(client, source, url=url, part=part, moved=moved)
    except (httpx.RequestError, httpx.InvalidURL) as cause:
        got = part.stat().st_size if part.exists() else 0
        begun = f" after {got:,} bytes, which are kept: the same command goes on from there" if got else ""
        raise Unavailable(
            f"{url} cannot be read: {str(cause) or type(cause).__name__}{begun}", remedy=_without(source, part)
        ) from None
    found = digest(part)
    if found != source.sha256:
        part.unlink()
        raise BadArtifact(
            f"{url} is not what it was: expected SHA-256 {source.sha256}, got {found}",
            remedy="nothing was kept; use another mirror, or ask whoever publishes it",
        )


def _receive(client: httpx.Client, source: Source, *, url: str, part: Path, moved: Moved) -> None:
    begun = part.stat().st_size if part.exists() else 0
    asked = {"range": f"bytes={begun}-"} if begun else {}
    # Compressed on the way, neither its size nor a place to go on from would be the file's.
    with client.stream("GET", url, headers={"accept-encoding": "identity", **asked}) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is here; the digest decides
        if answer.status_code >= 400:
            raise Unavailable(
                f"{url} answers {answer.status_code} {answer.reason_phrase}".rstrip(), remedy=_without(source, part)
            )
        goes_on = begun > 0 and answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = begun if goes_on else 0
        size = done + int(answer.headers.get("content-length", "0"))
        with part.open("ab" if goes_on else "wb") as out:
            for chunk in answer.iter_raw():
                done += len(chunk)
                if done > source.size:
                    break  # it cannot be the file: whoever sends more must not fill the disk
                out.write(chunk)
                moved(done, size)


def _without(source: Source, part: Path) -> str:
    place = part.with_name(kept(source, part.parent).name)
    return f"try again later, name a mirror ({MIRROR} or --mirror), or fetch it elsewhere and put it at {place}"


def _pooch() -> Any:
    """The library that keeps the cache; it comes with the extra ``data``."""
    try:
        return importlib.import_module("pooch")
    except ModuleNotFoundError:
        raise Unavailable(
            "fetching public data needs the package pooch", remedy="install it: pip install 'modelkeep[data]'"
        ) from None
