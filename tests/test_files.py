"""Files and folders that appear whole: what is on disk, in which order, when a write returns."""

import errno
import os
import resource
from pathlib import Path

import pytest

from tamis.base.files import make_folder, replace_folder, whole_file, write_atomically
from tamis.store.places import move_files, remove_named
from tamis.store.unwritable import CannotWriteError, storing_file


@pytest.fixture
def disk(monkeypatch):
    """Return the names, in order, of what was flushed, and of what was renamed or removed as `> name`."""
    done: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink")}

    def flushed(descriptor):
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real["fsync"](descriptor)

    def moved(name):
        def move(*paths, **more):
            done.append(f"> {Path(paths[-1]).name}")
            real[name](*paths, **more)

        return move

    monkeypatch.setattr(os, "fsync", flushed)
    for name in ("replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, moved(name))
    return done


def test_a_file_is_on_disk_before_it_has_its_name_and_its_name_before_the_write_returns(tmp_path, disk):
    (tmp_path / "folder").mkdir()
    with whole_file(tmp_path / "folder" / "file") as draft:
        draft.write_text("new")
    assert disk == [draft.name, "> file", "folder"]


def test_what_can_be_fetched_again_is_not_flushed(tmp_path, disk):
    with whole_file(tmp_path / "file", flushed=False) as draft:
        draft.write_text("new")
    assert disk == ["> file"]


def test_the_names_of_new_folders_are_on_disk_too(tmp_path, disk):
    (tmp_path / "there").mkdir()
    write_atomically(tmp_path / "there" / "a" / "b" / "file", b"new")
    assert {"there", "a"} <= set(disk[:2])
    assert disk[-2:] == ["> file", "b"]
    assert (tmp_path / "there" / "a" / "b" / "file").read_bytes() == b"new"
    del disk[:]
    make_folder(tmp_path / "there" / "a")
    assert disk == []


def test_a_folder_that_replaces_another_is_on_disk_before_it_has_its_name(tmp_path, disk):
    for content in ("old", "new"):
        del disk[:]
        with replace_folder(tmp_path / "made") as draft:
            (draft / "file").write_text(content)
        names = [name for name in disk if name in ("file", ".made.draft", "> made", tmp_path.name)]
        assert names == ["file", ".made.draft", "> made", tmp_path.name]
    assert (tmp_path / "made" / "file").read_text() == "new"


def test_a_file_system_that_flushes_no_folder_fails_no_write(tmp_path, monkeypatch):
    real = os.fsync

    def of_files_alone(descriptor):
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", of_files_alone)
    write_atomically(tmp_path / "folder" / "file", b"new")
    with replace_folder(tmp_path / "made") as draft:
        (draft / "file").write_text("new")
    assert (tmp_path / "folder" / "file").read_bytes() == (tmp_path / "made" / "file").read_bytes() == b"new"
    monkeypatch.setattr(os, "fsync", lambda _: os.stat(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "file", b"new")


def test_what_is_moved_or_erased_stays_so(tmp_path, disk):
    (tmp_path / "a.lance").mkdir()
    (tmp_path / "a.lance" / "rows").touch()
    (tmp_path / "a.lance" / "more").touch()
    remove_named(tmp_path, ["a.lance/rows", "a.lance/gone"])
    assert disk[-1] == "a.lance"
    move_files(tmp_path, "a.lance", "damaged/a.lance")
    assert {"damaged", tmp_path.name} <= set(disk[-2:])


def test_a_write_that_fails_leaves_what_was_there_and_no_draft(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file"):
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_file_for_which_there_is_no_room_is_named(tmp_path, code):
    def fail():
        raise OSError(code, os.strerror(code))

    with pytest.raises(OSError, match="file") as caught, whole_file(tmp_path / "file"):
        fail()
    assert caught.value.filename == str(tmp_path / "file")
    with pytest.raises(OSError, match="made") as caught, replace_folder(tmp_path / "made"):
        fail()
    assert caught.value.filename == str(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []
    said = f"file cannot be written .{os.strerror(code)}"
    with pytest.raises(CannotWriteError, match=said), storing_file(tmp_path / "file"):
        fail()


def test_what_fails_for_another_reason_is_not_said_of_the_file_that_is_storing_file(tmp_path):
    with pytest.raises(OSError, match="Input") as caught, whole_file(tmp_path / "file"):
        raise OSError(errno.EIO, "Input/output error")
    assert caught.value.filename is None


def test_a_limit_on_the_size_of_files_is_named_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (8192, 8192))
    said = r"file cannot be written \(File too large; .*`ulimit -f`"
    with pytest.raises(CannotWriteError, match=said), storing_file(tmp_path / "file"):
        raise OSError(errno.EFBIG, "File too large")
