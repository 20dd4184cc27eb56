"""Fingerprints follow the bytes and nothing else."""

import hashlib
import os
import threading

import pytest

from tamis.base.errors import TransientError
from tamis.corpus import Shard, ShardChangedError, ShardGoneError, fingerprint_shard, is_settled, shards
from tamis.graph.snapshot import stamp_of


def shard(path, kind="file"):
    return Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind=kind, path=path)


def test_a_file_is_hashed_by_its_bytes(tmp_path):
    path = tmp_path / "a.txt"
    data = os.urandom(3_000_000)
    path.write_bytes(data)
    assert fingerprint_shard(shard(path)) == hashlib.sha256(data).hexdigest()


def test_edit_under_an_unchanged_size_and_date_is_seen(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    before, times = fingerprint_shard(shard(path)), path.stat()
    path.write_text("new")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint_shard(shard(path)) != before


def package(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return fingerprint_shard(shard(folder, "package"))


def test_a_package_is_hashed_by_paths_and_bytes_of_its_sources(tmp_path):
    files = {"__init__.py": "", "a.py": "x = 1", "sub/b.py": "y = 2"}
    reference = package(tmp_path / "one", files)
    assert package(tmp_path / "two", {**files, "data.json": "{}", "__pycache__/a.pyc": "."}) == reference
    assert package(tmp_path / "three", {**files, "a.py": "x = 2"}) != reference
    assert package(tmp_path / "four", {"__init__.py": "", "a.py": "x = 1", "sub/c.py": "y = 2"}) != reference


def test_a_file_that_grows_while_it_is_hashed_raises(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(40_000_000))
    done = threading.Event()

    def write():
        with path.open("ab", buffering=0) as file:
            while not done.is_set():
                file.write(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(ShardChangedError) as caught:
            fingerprint_shard(shard(path))
    finally:
        done.set()
        writer.join()
    assert isinstance(caught.value, TransientError)
    assert fingerprint_shard(shard(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["file", "package"])
def test_what_is_gone_is_named(tmp_path, kind):
    with pytest.raises(ShardGoneError, match="web__gone"):
        fingerprint_shard(shard(tmp_path / "gone", kind))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_changes_once_it_may(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    path.chmod(0)
    closed = fingerprint_shard(shard(path))
    path.chmod(0o600)
    assert closed == shards.UNREADABLE != fingerprint_shard(shard(path))


def test_settled_is_older_than_the_given_time(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    now = path.stat().st_mtime
    assert not is_settled(path, 2.0, now + 1.9)
    assert is_settled(path, 2.0, now + 2.0)
    assert is_settled(path, 2.0, now - 3600)
    assert is_settled(path, 0.0, now)
    assert not is_settled(tmp_path / "gone", 0.0, now)


@pytest.mark.parametrize("changed", ["alone.py", "package/inner/a.py"])
def test_a_changed_module_of_a_package_has_another_stamp(tmp_path, changed):
    """Also where the package is a single file."""
    for name in ("alone.py", "package/__init__.py", "package/inner/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = shard(tmp_path / changed.partition("/")[0], kind="package")
    before = stamp_of(found)
    assert stamp_of(found) == before
    (tmp_path / changed).write_text("WORDS = 2")
    assert stamp_of(found) != before
