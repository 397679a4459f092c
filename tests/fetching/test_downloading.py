"""A public set is fetched from a real server: whole, cut off, moved, changed, gone."""

import socket

import msgspec
import pytest

from modelkeep import BadArtifact, BadInput, Unavailable
from modelkeep.fetching import downloading

pytest.importorskip("pooch")


def test_a_file_is_fetched_once_and_then_kept(shop, cdnow, tmp_path):
    source, content = cdnow
    moved = []
    path = downloading.download(source, folder=tmp_path / "c", moved=lambda done, size: moved.append((done, size)))
    assert path.read_bytes() == content
    assert moved[-1] == (len(content), len(content))
    assert downloading.download(source, folder=tmp_path / "c") == path
    assert len(shop.asked) == 1
    assert downloading.here(source, tmp_path / "c")


def test_a_file_that_changed_in_the_cache_is_fetched_again(shop, cdnow, tmp_path):
    source, content = cdnow
    path = downloading.download(source, folder=tmp_path)
    path.write_bytes(b"rotten")
    assert not downloading.here(source, tmp_path)
    assert downloading.download(source, folder=tmp_path).read_bytes() == content


def test_other_bytes_are_refused_with_both_digests(shop, cdnow, tmp_path):
    source, content = cdnow
    shop.files["/packages/three.whl"] = content[:-1] + b"X"
    with pytest.raises(BadArtifact, match=f"expected SHA-256 {source.sha256}, got [0-9a-f]{{64}}"):
        downloading.download(source, folder=tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_a_longer_file_is_not_read_to_its_end(shop, cdnow, tmp_path):
    source, content = cdnow
    shop.files["/packages/three.whl"] = content + b"\0" * 1_000_000
    with pytest.raises(BadArtifact, match="is not what it was"):
        downloading.download(source, folder=tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_a_download_that_breaks_off_goes_on_where_it_was(shop, cdnow, tmp_path):
    source, content = cdnow
    shop.ways["/packages/three.whl"] = "cut"
    with pytest.raises(Unavailable, match=f"after {len(content) // 2} bytes, which are kept") as told:
        downloading.download(source, folder=tmp_path)
    assert source.url in str(told.value)
    shop.ways.clear()
    assert downloading.download(source, folder=tmp_path).read_bytes() == content
    assert shop.asked[-1][1] == f"bytes={len(content) // 2}-"


def test_a_server_without_ranges_sends_it_whole_again(shop, cdnow, tmp_path):
    source, content = cdnow
    shop.ways["/packages/three.whl"] = "cut"
    with pytest.raises(Unavailable):
        downloading.download(source, folder=tmp_path)
    shop.ways["/packages/three.whl"] = "no ranges"
    assert downloading.download(source, folder=tmp_path).read_bytes() == content


def test_redirects_are_followed_but_not_for_ever(shop, cdnow, tmp_path):
    source, content = cdnow
    shop.ways["/packages/moved.whl"] = "/packages/three.whl"
    moved = msgspec.structs.replace(source, url=f"{shop.url}/packages/moved.whl")
    assert downloading.download(moved, folder=tmp_path).read_bytes() == content
    shop.ways["/packages/loop.whl"] = "/packages/loop.whl"
    with pytest.raises(Unavailable, match=r"loop\.whl cannot be read"):
        downloading.download(msgspec.structs.replace(source, url=f"{shop.url}/packages/loop.whl"), folder=tmp_path)


@pytest.mark.parametrize(("way", "status"), [("", 404), ("broken", 503)])
def test_a_refusal_is_told_with_its_status(shop, cdnow, tmp_path, way, status):
    source, _ = cdnow
    shop.files.clear()
    shop.ways["/packages/three.whl"] = way
    with pytest.raises(Unavailable, match=f"{shop.url}/packages/three.whl answers {status}"):
        downloading.download(source, folder=tmp_path)


def test_without_a_network_the_address_and_the_remedy_are_told(cdnow, tmp_path):
    source, content = cdnow
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = msgspec.structs.replace(source, url=f"http://127.0.0.1:{closed.getsockname()[1]}/three.whl")
        with pytest.raises(Unavailable, match=gone.url) as told:
            downloading.download(gone, folder=tmp_path)
    assert "MODELKEEP_DATA_MIRROR" in told.value.remedy
    place = told.value.remedy.rpartition(" at ")[2]
    assert place == str(downloading.kept(gone, tmp_path))
    downloading.kept(gone, tmp_path).write_bytes(content)  # as the remedy says
    assert downloading.download(gone, folder=tmp_path).read_bytes() == content


def test_a_mirror_has_the_file_by_its_name(cdnow):
    source, _ = cdnow
    assert downloading.address(source, "http://mirror:80/data/") == "http://mirror:80/data/three.whl"
    with pytest.raises(BadInput, match="ftp"):
        downloading.address(source, "ftp://mirror")
