"""The folders that libraries expect of a user: a home, one for temporary files, and a name.

A service, a cron job or a container may run as a number without a name and without HOME, and TMPDIR may name
a folder that is gone or too long for a socket. Libraries fail of that in many ways, each late.
"""

import contextlib
import os
import pwd
import re
import stat
import tempfile
from pathlib import Path

from tamis.base.errors import PermanentError
from tamis.base.progress import visible_name

SOCKET_BYTES = 107
"""The longest path of a Unix socket."""
SHORT = ("/tmp", "/var/tmp", "/dev/shm")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINE_BREAKS = "\n\r\x0b\x0c\x85\u2028\u2029"


class NoTemporaryFolderError(PermanentError):
    """There is no folder for temporary files; names what TMPDIR says."""

    def __init__(self, named: str | None) -> None:
        said = f"TMPDIR names {named!r}, which cannot be written" if named else "TMPDIR is not set"
        super().__init__(
            f"there is no folder for temporary files: {said}, and no usual one can be written either; set "
            "TMPDIR to a folder that this user may write to"
        )


class LongTemporaryFolderError(PermanentError):
    """The folder for temporary files has too long a path for the sockets of a service."""

    def __init__(self, folder: str, most: int) -> None:
        super().__init__(
            f"the path of TMPDIR is too long for a Unix socket: {folder} has "
            f"{len(os.fsencode(folder))} bytes, and at most {most} work; set TMPDIR to a folder with a "
            "shorter path, such as /tmp"
        )


def complete_user() -> list[str]:
    """Set what this process lacks of HOME, USER, TMPDIR and a place for caches, for its children, too.

    Returns what to say of it.

    Raises `NoTemporaryFolderError`.
    """
    said = _complete_temporary_folder()
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)  # an empty one would mean the root of the disk
    if not _has_name():
        os.environ["USER"] = str(os.getuid())
    if not _has_home():
        folder = private_folder("home")
        named = os.environ.get("HOME")
        why = f"HOME names {named!r}, which cannot be used" if named else "this user has no home folder"
        os.environ["HOME"] = str(folder)
        said.append(f"{why}; caches are kept in {folder} (set HOME to keep them elsewhere)")
    if not _can_be_made(cache := Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")):
        folder = private_folder("cache")
        os.environ["XDG_CACHE_HOME"] = str(folder)  # HOME stays: credentials and what was accepted are there
        said.append(
            f"{cache} cannot be written; caches are kept in {folder} (set XDG_CACHE_HOME to keep them "
            "elsewhere)"
        )
    return said


def private_folder(name: str) -> Path:
    """Return a folder below that for temporary files which belongs to this user alone; it is made at need.

    Others can write beside it, so one that is somebody else's, a link, or open to others is not used.
    """
    folder = Path(tempfile.gettempdir()) / f"tamis-{os.getuid()}-{name}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix=f"tamis-{name}-"))


def socket_folder(more: int) -> Path:
    """Return a folder for sockets whose names take `more` bytes: that for temporary files, or a short one.

    Raises `LongTemporaryFolderError`.
    """
    own = tempfile.gettempdir()
    for folder in (own, os.environ.get("XDG_RUNTIME_DIR", own), *SHORT):
        if len(os.fsencode(folder)) + more <= SOCKET_BYTES and os.access(folder, os.W_OK | os.X_OK):
            return Path(folder)
    raise LongTemporaryFolderError(own, SOCKET_BYTES - more)


def _complete_temporary_folder() -> list[str]:
    named = os.environ.get("TMPDIR")
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise NoTemporaryFolderError(named) from error
    if not named or os.path.realpath(named) == os.path.realpath(found):
        return []
    os.environ["TMPDIR"] = found  # libraries that are not Python's go by the variable alone
    return [f"TMPDIR names {named!r}, which cannot be written; {found} is used in its place"]


def _has_name() -> bool:
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return True
    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def _can_be_made(folder: Path) -> bool:
    """Return whether a folder can be written, or made where it is missing."""
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def _has_home() -> bool:
    """Return whether there is a home folder; the root of the disk is none where it cannot be written."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or not os.path.isdir(home):
        return False
    return os.path.realpath(home) != "/" or os.access("/", os.W_OK)


class PathError(PermanentError):
    """A folder that cannot be worked in, for its name or the length of its path; says what to do."""

    def __init__(self, path: Path, problem: str, cure: str) -> None:
        shown = visible_name(os.fsencode(path).decode("utf-8", "backslashreplace"))
        super().__init__(f"the path {shown} {problem}; {cure}")


def require_plain(path: Path, cure: str) -> None:
    """Raise `PathError` for a path that is no UTF-8 or has line breaks or other control characters."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not valid UTF-8 (byte 0x{error.object[error.start]:02x}), which databases require"
        raise PathError(path, problem, cure) from error
    if found := _CONTROL.search(str(path)):
        what = "a line break" if found[0] in _LINE_BREAKS else f"the control character {found[0]!r}"
        raise PathError(path, f"contains {what}, which databases and logs do not take", cure)


def require_short(path: Path, most: int, cure: str) -> None:
    """Raise `PathError` for a path of more than so many bytes."""
    if (found := len(os.fsencode(path))) > most:
        raise PathError(path, f"has {found} bytes, and at most {most} work, since SQLite takes no more", cure)
