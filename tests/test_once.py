"""What workers share is made once, and a test that changes it is found."""

import pytest
from once import altered, once


def make(folder):
    (folder / "lance").mkdir(parents=True)
    (folder / "lance" / "rows").write_text("rows")
    (folder / "settings").write_text("settings")


def test_it_is_made_once(tmp_path):
    calls = []
    for _ in range(2):
        once(tmp_path / "shared", lambda folder: (calls.append(folder), make(folder)))
    assert len(calls) == 1
    assert altered(tmp_path / "shared") == []


def test_what_was_not_made_to_its_end_is_made_again(tmp_path):
    def broken(folder):
        make(folder)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        once(tmp_path / "shared", broken)
    assert (once(tmp_path / "shared", make) / "settings").exists()


def test_a_file_that_was_changed_added_or_deleted_is_named(tmp_path):
    shared = once(tmp_path / "shared", make)
    (shared / "lance" / "rows").write_text("other rows")
    (shared / "added").touch()
    (shared / "settings").unlink()
    assert altered(shared) == ["added", "lance/rows", "settings"]
