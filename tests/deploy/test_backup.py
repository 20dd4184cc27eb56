"""Backup and restore as docs/deploy.md says: a dump and a home of one moment, or the home alone."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from projects import SmallProject, make_project
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


def restore(database: Database, name: str, path: Path | None) -> str:
    """A new database with the dump, or with nothing; its address."""
    database.execute(f"CREATE DATABASE {name}")
    url = database.url(name)
    if path:
        command = [database.server.bin_path / "pg_restore", "--no-owner", f"--dbname={url}", path]
        subprocess.run(command, check=True, capture_output=True)
    return url


def test_a_dump_and_a_home_of_one_moment_come_back_and_so_does_the_home_alone(
    tmp_path, encoder_cache, database, monkeypatch
):
    monkeypatch.setenv("TAMIS_POSTGRES_URL", database.url())
    project = make_project(tmp_path / "project", encoder_cache)
    project.tamis("materialize")
    dump(database, tmp_path / "dump")
    shutil.copytree(project.root, tmp_path / "both")
    shutil.copytree(project.root, tmp_path / "alone")
    shutil.rmtree(project.root)

    monkeypatch.setenv("TAMIS_POSTGRES_URL", restore(database, "restored_both", tmp_path / "dump"))
    back = SmallProject(tmp_path / "both")
    assert back.json("plan") == [], "nothing has to be made again"
    assert back.json("audit")["status"] == "green"
    assert back.json("health", "--only", "tables", "dagster")["healthy"]

    monkeypatch.setenv("TAMIS_POSTGRES_URL", restore(database, "restored_alone", None))
    back = SmallProject(tmp_path / "alone")
    assert "logged again" in back.tamis("materialize").stderr
    assert back.json("audit")["status"] == "green"
