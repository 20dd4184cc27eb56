"""Places of tables: a folder, or a prefix of an object store. The few verbs that LanceDB has no word for."""

import contextlib
import os
import shutil
import time
from collections.abc import Hashable, Sequence
from datetime import timedelta
from pathlib import Path

from tamis.base.files import flush_one
from tamis.store.remote.objects import ObjectFolder, lance_options

Place = Path | ObjectFolder
ENDING = ".manifest"
"""Of the files that are versions of a table."""


def connection_options(place: Place) -> tuple[str, dict[str, str] | None]:
    """Address and options by which LanceDB opens a place; a folder is made."""
    if isinstance(place, ObjectFolder):
        return place.url, lance_options()
    place.mkdir(parents=True, exist_ok=True)
    return str(place), None


def costs_a_request(place: Place) -> bool:
    """Whether looking at a place is worth remembering."""
    return isinstance(place, ObjectFolder)


def identity_of(place: Place) -> Hashable:
    """Return what differs once another folder has taken this one's place; None where nothing can tell."""
    if isinstance(place, ObjectFolder):
        return None
    try:
        status = os.stat(place)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def holds_files(place: Place, name: str, ending: str = "") -> bool:
    """Whether there is a file with this ending directly under `name`."""
    if isinstance(place, ObjectFolder):
        return place.holds_any(f"{name}/")
    try:
        with os.scandir(place / name) as entries:  # the first one will do: a busy table has thousands
            return any(entry.name.endswith(ending) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def stamp_of_versions(place: Place, name: str) -> Hashable | None:
    """Return a stamp that changes with each version of a table; None where it would cost a request.

    Each version is a file that comes whole into one folder. The names count, since two may come within a tick
    of the clock that dates the folder, and the latest version's file, since another table that is copied over
    this one may have as many versions. None, too, where there is no table.
    """
    if isinstance(place, ObjectFolder):
        return None
    path = os.path.join(place, name, "_versions")
    try:
        folder, names = os.stat(path), os.listdir(path)
        # Named by the versions that are left up to 2**64, so that the latest comes first.
        latest = os.stat(os.path.join(path, min((one for one in names if one.endswith(ENDING)), default="")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _changed(folder), hash(frozenset(names)), _changed(latest)


def _changed(status: os.stat_result) -> tuple[int, ...]:
    """Return what differs once a file was altered or replaced, whatever date it was given."""
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def names_of_files(place: Place, name: str) -> list[str]:
    """Return the names of the files directly under `name`, without it, sorted."""
    if isinstance(place, ObjectFolder):
        return sorted(one.removeprefix(f"{name}/") for one in place.listed(f"{name}/"))
    folder = place / name
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def names_of_folders(place: Place, name: str) -> list[str]:
    """Return the names of the folders directly under `name`, without it, sorted."""
    if isinstance(place, ObjectFolder):
        under = (one.removeprefix(f"{name}/") for one in place.listed(f"{name}/"))
        return sorted({one.partition("/")[0] for one in under if "/" in one})
    folder = place / name
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def read_file(place: Place, name: str) -> bytes:
    """Return the bytes of a small file; raises `FileNotFoundError`."""
    return place.read(name) if isinstance(place, ObjectFolder) else (place / name).read_bytes()


def remove_named(place: Place, names: Sequence[str]) -> None:
    """Remove files; of one that cannot be removed nothing is said, so the caller looks again."""
    if isinstance(place, ObjectFolder):
        place.delete(names)
        return
    for name in names:
        with contextlib.suppress(OSError):
            (place / name).unlink()
    for folder in {(place / name).parent for name in names}:
        with contextlib.suppress(OSError):
            flush_one(folder)


def stamp_of_files(folder: Path, name: str) -> Hashable:
    """Return what differs once a file anywhere under `name` came, went or was altered (.3 ms for 100)."""
    found: list[tuple[str, tuple[int, ...]]] = []
    unseen = [os.fspath(folder / name)]
    while unseen:
        try:
            with os.scandir(unseen.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        unseen.append(entry.path)
                    else:
                        found.append((entry.path, _changed(entry.stat())))
        except FileNotFoundError:  # another process removed it: the next stamp differs
            continue
    return frozenset(found)


def last_arrival(place: Place, name: str) -> float:
    """Return when anything under `name` last came or changed, in seconds of the epoch; 0 for nothing.

    On a disk the time of the change of the file counts: a copy may keep the date of writing of its original.
    """
    if isinstance(place, ObjectFolder):
        return max((one.modified.timestamp() for one in place.listed(f"{name}/").values()), default=0.0)
    last = 0.0
    for path in (place / name).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the draft of a copy has been renamed
            last = max(last, path.stat().st_ctime)
    return last


def count_files(place: Place, name: str, ending: str) -> int:
    """How many files with this ending there are directly under `name`."""
    if isinstance(place, ObjectFolder):
        return sum(one.endswith(ending) for one in place.listed(f"{name}/"))
    return sum(1 for _ in (place / name).glob(f"*{ending}"))


def file_ages(folder: Path, ending: str) -> list[timedelta]:
    """Return the ages of the files with this ending directly in a folder, in no order."""
    now = time.time()
    return [timedelta(seconds=now - file.stat().st_mtime) for file in folder.glob(f"*{ending}")]


def remove_files(place: Place, name: str) -> None:
    """Remove everything under `name`."""
    if isinstance(place, ObjectFolder):
        place.delete(place.listed(f"{name}/"))
    else:
        shutil.rmtree(place / name)


def move_files(place: Place, name: str, to: str) -> None:
    """Move everything under `name` to under `to`, which must be new."""
    if isinstance(place, ObjectFolder):
        found = list(place.listed(f"{name}/"))
        for one in found:
            place.write(f"{to}{one.removeprefix(name)}", place.read(one))
        place.delete(found)
    else:
        (place / to).parent.mkdir(exist_ok=True)
        (place / name).rename(place / to)
        for folder in {(place / name).parent, (place / to).parent}:
            flush_one(folder)


def anywhere(place: Place) -> Place:
    """The place as another process finds it."""
    return place if isinstance(place, ObjectFolder) else place.absolute()
