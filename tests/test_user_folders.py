"""What libraries expect of a user is there, or one line says what is missing."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs
import pytest

from tamis.base.files import user_cache
from tamis.base.user_folders import (
    LongTemporaryFolderError,
    NoTemporaryFolderError,
    complete_user,
    private_folder,
    socket_folder,
)

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Let temporary files go where the test can see them, and put everything back."""
    for name in ("HOME", "TMPDIR", "TAMIS_CACHE", "XDG_CACHE_HOME", "XDG_STATE_HOME", *NAMES):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "own"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def nobody(monkeypatch):
    """A user that is a number."""

    def unknown(_number: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_a_user_with_a_home_is_left_alone(tmp_path):
    assert complete_user() == []
    assert os.environ["HOME"] == str(tmp_path / "own")


def test_a_number_without_a_home_gets_a_private_one_and_a_name(tmp_path, nobody):
    (said,) = complete_user()
    home = Path(os.environ["HOME"])
    assert home.parent == tmp_path / "tmp"
    assert home.stat().st_mode & 0o777 == 0o700
    assert said.startswith(f"this user has no home folder; caches are kept in {home}")
    assert os.environ["USER"] == str(os.getuid())
    assert Path.home() == home
    assert user_cache().is_relative_to(home)
    assert complete_user() == [], "it has one now"


def test_without_a_home_the_library_keeps_its_cache_in_a_private_folder(tmp_path, nobody):
    with pytest.raises(RuntimeError):
        platformdirs.user_cache_dir("tamis")
    assert user_cache().parent == tmp_path / "tmp"


@pytest.mark.parametrize("named", ["relative", "/nonexistent/home", ""])
def test_a_home_that_is_none_is_named(monkeypatch, named):
    monkeypatch.setenv("HOME", named)
    monkeypatch.setattr("pwd.getpwuid", lambda number: (_ for _ in ()).throw(KeyError(number)))
    (said,) = complete_user()
    assert os.path.isdir(os.environ["HOME"])
    assert not named or f"HOME names {named!r}" in said


@pytest.mark.parametrize("home", ["cannot be written", "holds a file .cache", "with a cache elsewhere"])
def test_a_home_without_room_for_caches_keeps_what_else_is_in_it(tmp_path, monkeypatch, home):
    own, real = tmp_path / "own", os.access
    cache = own / ".cache"
    if home == "holds a file .cache":
        cache.touch()
    elif home == "cannot be written":  # as that of a service: root could write to it
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != own and real(path, mode))
    else:
        cache.touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches" / "mine"))
        assert complete_user() == []
        return
    (said,) = complete_user()
    folder = os.environ["XDG_CACHE_HOME"]
    assert said.startswith(f"{cache} cannot be written; caches are kept in {folder} (set XDG_CACHE_HOME ")
    assert os.environ["HOME"] == str(own)
    assert user_cache() == Path(folder) / "tamis"
    assert complete_user() == []


@pytest.mark.parametrize("taken", ["link", "file", "open to others"])
def test_a_folder_that_somebody_else_has_put_there_is_not_used(tmp_path, taken):
    place = tmp_path / "tmp" / f"tamis-{os.getuid()}-home"
    if taken == "link":
        place.symlink_to(tmp_path / "own")
    elif taken == "file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    assert private_folder("home") != place
    assert not private_folder("home").is_symlink()


@pytest.mark.parametrize("named", ["missing", "file"])
def test_a_tmpdir_that_cannot_be_used_is_replaced_for_all_libraries(tmp_path, monkeypatch, named):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / named))
    (said,) = complete_user()
    wrong, right = str(tmp_path / named), str(tmp_path / "tmp")
    assert said == f"TMPDIR names {wrong!r}, which cannot be written; {right} is used in its place"
    assert os.environ["TMPDIR"] == str(tmp_path / "tmp")
    assert complete_user() == []


def test_without_any_temporary_folder_a_line_says_so(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", lambda: (_ for _ in ()).throw(FileNotFoundError(2)))
    monkeypatch.setenv("TMPDIR", "/gone")
    with pytest.raises(NoTemporaryFolderError, match=r"names '/gone', which cannot be written.* set TMPDIR"):
        complete_user()


def test_sockets_go_where_their_path_is_short_enough(tmp_path, monkeypatch):
    assert socket_folder(10) == tmp_path / "tmp"
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'x' * 100}")
    assert len(str(socket_folder(20))) <= 87
    monkeypatch.setattr("tamis.base.user_folders.SHORT", ())
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(LongTemporaryFolderError, match="has 105 bytes, and at most 87 work; set TMPDIR"):
        socket_folder(20)


def test_a_command_says_it_in_a_line(tmp_path):
    environment = os.environ | {"TMPDIR": str(tmp_path / "gone")}
    ran = subprocess.run(
        [sys.executable, "-m", "tamis.cli", "--version"], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("tamis ")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"TMPDIR names '{tmp_path}/gone', which cannot be written; ")
