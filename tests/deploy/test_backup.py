"""Backup and restore as docs/deploy.md says: the database first, then the home; all is there afterwards."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from small_project import SmallProject, make_project, sentences, write_jsonl
from stack import Database

pytestmark = pytest.mark.slow


@pytest.fixture
def database():
    with tempfile.TemporaryDirectory(prefix="tamis-backup-") as name:
        Path(name).chmod(0o755)
        found = Database(Path(name), "password")
        yield found
        found.control("stop")


def dump(database: Database, path: Path) -> None:
    """The command of the page, by this server's program."""
    program = database.server.bin_path / "pg_dump"
    command = [program, "--format=custom", f"--file={path}", database.url()]
    subprocess.run(command, check=True, capture_output=True)


def restore(database: Database, path: Path) -> str:
    """The dump in a new database; its address."""
    database.execute("CREATE DATABASE restored")
    url = database.url("restored")
    command = [database.server.bin_path / "pg_restore", "--no-owner", f"--dbname={url}", path]
    subprocess.run(command, check=True, capture_output=True)
    return url


def test_what_was_saved_is_what_comes_back_and_a_dump_before_the_copy_is_made_whole(
    tmp_path, encoder_cache, database, monkeypatch
):
    monkeypatch.setenv("TAMIS_POSTGRES_URL", database.url())
    project = make_project(tmp_path / "project", encoder_cache)
    project.tamis("materialize")
    dump(database, tmp_path / "dump")
    write_jsonl(project.root / "landing" / "late.jsonl", sentences("algebra", 30, 9))
    project.tamis("materialize")  # what came between the dump and the copy of the home
    shutil.copytree(project.root, tmp_path / "elsewhere")
    audited = project.json("audit")
    shutil.rmtree(project.root)

    monkeypatch.setenv("TAMIS_POSTGRES_URL", restore(database, tmp_path / "dump"))
    back = SmallProject(tmp_path / "elsewhere")
    assert back.json("plan") == [], "nothing has to be made again"
    assert "logged again" in back.tamis("materialize").stderr
    assert back.json("audit")["status"] == audited["status"] == "green"
    assert back.json("health", "--only", "tables", "dagster")["healthy"]
