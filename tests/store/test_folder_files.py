import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelkeep.errors import BadArtifact, NotFound, StoreUnavailable
from modelkeep.store.folder import FolderFiles


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    return FolderFiles(tmp_path / "files")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(data=st.binary(max_size=3000))
def test_bytes_come_back_under_their_digest(files: FolderFiles, data: bytes) -> None:
    digest = files.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert files.path(digest).read_bytes() == data
    assert files.size(digest) == len(data)
    assert digest in files.all()


def test_a_path_and_a_stream_are_taken_too(files: FolderFiles, tmp_path: Path) -> None:
    source = tmp_path / "model.bin"
    source.write_bytes(bytes(3_000_000))
    digest = files.put(source)
    assert files.put(io.BytesIO(bytes(3_000_000))) == digest
    assert files.all() == [digest]
    assert source.exists()


def test_nothing_is_left_of_a_stream_that_breaks(files: FolderFiles, tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreUnavailable, match="No space left"):
        files.put(Broken(b"x"))
    assert not list((tmp_path / "files").iterdir())


def test_what_a_killed_process_left_half_written_is_swept(files: FolderFiles, tmp_path: Path) -> None:
    assert files.sweep(0.0) == 0
    digest = files.put(b"model")
    part = tmp_path / "files" / ".0123456789abcdef.part"
    part.write_bytes(b"mod")
    written = part.stat().st_mtime
    assert files.sweep(written) == 0
    assert files.sweep(written + 1.0) == 3
    assert not part.exists()
    assert files.path(digest).read_bytes() == b"model"


def test_other_bytes_than_were_said_are_not_kept(files: FolderFiles, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"model").hexdigest()
    with pytest.raises(BadArtifact, match="has changed before it was kept"):
        files.put(b"modeL", digest=digest)
    assert not list((tmp_path / "files").iterdir())
    assert files.put(b"model", digest=digest) == digest


@pytest.mark.parametrize("change", [b"modeL", b"mode", b"", b"model "])
def test_changed_bytes_are_never_handed_out(files: FolderFiles, change: bytes) -> None:
    digest = files.put(b"model")
    place = files.path(digest)
    place.write_bytes(change)
    with pytest.raises(BadArtifact) as refused:
        files.path(digest)
    assert digest in str(refused.value)
    assert hashlib.sha256(change).hexdigest() in str(refused.value)
    assert files.put(b"model") == digest
    assert files.path(digest).read_bytes() == b"model"


@pytest.mark.parametrize(
    "digest", ["../../etc/passwd", "a" * 63, "A" * 64, "", "a" * 64, "/etc/passwd", "a" * 64 + "\n"]
)
def test_what_is_not_there_is_not_found(files: FolderFiles, digest: str) -> None:
    files.put(b"model")
    with pytest.raises(NotFound):
        files.path(digest)
    with pytest.raises(NotFound):
        files.size(digest)


def test_modes_are_for_owner_and_group(files: FolderFiles, tmp_path: Path) -> None:
    place = files.path(files.put(b"model"))
    assert place.stat().st_mode & 0o777 & ~0o640 == 0
    for folder in (place.parent, tmp_path / "files"):
        assert folder.stat().st_mode & 0o777 & ~0o750 == 0


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        FolderFiles(tmp_path / "file" / "x").put(b"model")
    assert FolderFiles(tmp_path / "none").all() == []
