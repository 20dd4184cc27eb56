"""A disk that runs full in the middle of a run, and one that may only be read: said clearly, nothing lost."""

import contextlib
import os
import shutil
import sqlite3
import subprocess

import pytest
from projects import SmallProject
from soundness import versions

DISK = "size=200m"


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(place)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"this user may not mount a small disk: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def on_disk(built, disk, encoder_cache) -> SmallProject:
    """The same project, nothing made yet but the encoder."""
    shutil.copytree(built.root, disk / "project", ignore=shutil.ignore_patterns(".tamis"))
    shutil.copytree(encoder_cache, disk / "project" / ".tamis" / "cache")
    return SmallProject(disk / "project")


def leave_only(disk, free_bytes: int):
    """Fill the disk but for this many bytes; returns what fills it."""
    state = os.statvfs(disk)
    ballast = disk / "ballast"
    with ballast.open("wb") as stream:
        stream.write(bytes(state.f_bavail * state.f_frsize - free_bytes))
    return ballast


@pytest.mark.parametrize("free_bytes", [0, 300_000, 2_000_000, 3_000_000, 4_000_000])
def test_a_full_disk_is_named_and_with_room_again_the_run_ends_as_if_undisturbed(
    built, disk, encoder_cache, free_bytes
):
    project = on_disk(built, disk, encoder_cache)
    ballast = leave_only(disk, free_bytes)
    failed = project.tamis("materialize", code=1)
    assert f"the disk that holds {project.home.root} is full" in failed.stderr
    assert "free some space" in failed.stderr
    assert "TAMIS_HOME" in failed.stderr
    assert "Traceback" not in failed.stderr
    ballast.unlink()
    project.tamis("materialize")
    assert versions(project) == versions(built)
    assert project.json("audit")["status"] == "green"
    assert not list(project.home.root.glob(".probe-*"))


def test_a_disk_that_may_only_be_read_is_named_and_what_reads_still_works(built, disk, encoder_cache):
    shutil.copytree(built.root, disk / "project")
    project = SmallProject(disk / "project")
    (project.root / "landing" / "cooking.jsonl").unlink()
    for path in project.home.dagster.rglob("*.db"):  # at rest: without the logs of SQLite
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not list(project.home.dagster.rglob("*-wal"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    failed = project.tamis("materialize", code=2)
    assert f"{project.home.root} cannot be written (Read-only file system)" in failed.stderr
    assert "mount its disk for writing" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert project.json("status", code=1)["documents"] == 180, "what was lost is held back"
    assert "documents" in project.tamis("plan", code=1).stdout
    assert project.json("audit")["status"] == "amber"
    failed = project.tamis("export", "uniform", code=2)
    assert f"{project.home.root} cannot be written (Read-only file system)" in failed.stderr
    subprocess.run(["mount", "-o", f"remount,rw,{DISK}", str(disk)], check=True)
    assert versions(project) == versions(built)
    project.tamis("materialize", "--allow-removal", "landing")
    assert project.store.count("documents") == 120
