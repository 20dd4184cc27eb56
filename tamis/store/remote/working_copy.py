"""Manifests, fitted things, checkpoints, pages and exports on an object store, copied to the home.

The store is the truth. Whoever writes, writes the file and then the object, before anything speaks of it. A
copy is brought up to date by listing the store once; then a file is what its object is, or unknown to the
store: left by a process that was killed before it could say so, and sent with the next writing. Checkpoints
and exports, the large ones, are fetched when they are asked for.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tamis.base.files import file_digest, whole_file
from tamis.store.remote.objects import ObjectFolder

_TABLE = "CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY, tag TEXT, state TEXT) WITHOUT ROWID"
ABSENT = ""
DROPPED = "dropped"
"""The state of a file that is not here and is not to be in the store either."""
KEPT = ("manifests", "fitted", "checkpoints", "reports", "exports")
"""Folders of the home that the store holds."""
ON_REQUEST = ("checkpoints/", "exports/")
AT_ONCE = 16
_Answer = TypeVar("_Answer")
_UNFINISHED = (".tmp", ".part", ".draft", ".former")


@dataclass(frozen=True, kw_only=True)
class Known:
    """An object, and the state of its file when both were the same; `ABSENT` while there is no file."""

    name: str
    tag: str
    state: str


class CopyIndex:
    """All that is known, by name under the home."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_lost(self) -> bool:
        """Whether nothing is known any more; a file that is no database goes."""
        if not self.path.exists():
            return True
        try:
            self.read()
        except sqlite3.OperationalError:  # in use, or a full disk: nothing is lost
            raise
        except sqlite3.DatabaseError:
            self.path.unlink()
            return True
        return False

    def read(self) -> dict[str, Known]:
        """Everything."""
        with self._open() as database:
            rows = database.execute("SELECT name, tag, state FROM objects").fetchall()
        return {name: Known(name=name, tag=tag, state=state) for name, tag, state in rows}

    def of(self, names: Iterable[str]) -> dict[str, Known]:
        """What is known of these."""
        with self._open() as database:
            query = "SELECT name, tag, state FROM objects WHERE name = ?"
            rows = [row for name in names for row in database.execute(query, (name,))]
        return {name: Known(name=name, tag=tag, state=state) for name, tag, state in rows}

    def below(self, folder: str) -> list[str]:
        """Names of the known objects of a folder."""
        with self._open() as database:
            query = "SELECT name FROM objects WHERE name > ? AND name < ?"
            return [name for (name,) in database.execute(query, (f"{folder}/", f"{folder}0"))]  # 0 follows /

    def note(self, known: Iterable[Known]) -> None:
        """Remember these, in place of what was known of them."""
        with self._open() as database:
            database.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?)",
                [(one.name, one.tag, one.state) for one in known],
            )

    def forget(self, names: Iterable[str]) -> None:
        """Remember nothing of these."""
        with self._open() as database:
            database.executemany("DELETE FROM objects WHERE name = ?", [(name,) for name in names])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.path, timeout=30)
        try:
            with database:
                database.execute(_TABLE)
                yield database
        finally:
            database.close()


def state_of(path: Path) -> str:
    """What changes with a file's content: size, time of writing, and number; `ABSENT` where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ABSENT
    return f"{found.st_size}.{found.st_mtime_ns}.{found.st_ino}"


class OnDisk:
    """The files of a home without an object store: they are where they are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def begin(self) -> None:
        """Nothing to know."""

    def refresh(self) -> None:
        """Nothing to bring up to date."""

    def publish(self, paths: Iterable[Path]) -> None:
        """Nothing to send."""

    def sweep(self) -> None:
        """Nothing to send, nothing to delete."""

    def fetch(self, path: Path) -> bool:
        """Whether a file or folder is there."""
        return path.exists()

    def names(self, folder: Path) -> set[str]:
        """Names of the files below a folder."""
        return {path.relative_to(self.root).as_posix() for path in _files_of(folder)}

    def drop(self, folder: Path) -> None:
        """Nothing that is not there."""

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.root / name).is_file()

    def digest(self, name: str) -> str | None:
        """SHA-256 of a file, None where there is none."""
        return file_digest(self.root / name) if self.holds(name) else None

    def still_kept(self) -> str:
        """Why what was removed can be read all the same; "" where it cannot."""
        return ""

    @contextmanager
    def read_again(self, *_folders: str) -> Iterator[Path]:
        """A folder with these folders of the home as they are stored."""
        yield self.root


class WorkingCopy:
    """The files of a home whose truth is an object store."""

    def __init__(self, root: Path, objects: ObjectFolder) -> None:
        self.root, self.objects = root, objects
        self.index = CopyIndex(root / "cache" / "objects.db")

    def begin(self) -> None:
        """Take the folder for a copy from now on: what is there already was not known to the store."""
        self.index.read()

    def refresh(self) -> None:
        """Make the copy what the store holds; files that the store never knew stay.

        Where what the copy knew is lost with the cache, they go: nobody can tell them from what was removed
        in the store since, and sending them would bring back what was withdrawn.
        To be called while no process of this machine writes to the home.
        """
        forgotten = self.index.is_lost()
        known, listed = self.index.read(), self._listed()  # in this order: what comes between is unknown
        here = self._here() if forgotten else ()
        gone = [name for name in (*known, *here) if name not in listed]
        for name in gone:
            (self.root / name).unlink(missing_ok=True)
        stale = [
            name
            for name, tag in listed.items()
            if (one := known.get(name)) is None or one.tag != tag or self._is_news(name, one)
        ]
        wanted = [name for name in stale if not name.startswith(ON_REQUEST)]
        for name in set(stale).difference(wanted):
            (self.root / name).unlink(missing_ok=True)
        absent = [
            Known(name=name, tag=tag, state=ABSENT)
            for name, tag in listed.items()
            if name.startswith(ON_REQUEST) and (name in stale or name not in known)
        ]
        self._note(absent, gone)
        self._download(wanted)

    def publish(self, paths: Iterable[Path]) -> None:
        """Send files, and those in folders, that the store does not hold in this state."""
        names = [self._name(file) for path in paths for file in _files_of(path)]
        known = self.index.of(names)
        self._upload([name for name in names if self._is_news(name, known.get(name))])

    def sweep(self) -> None:
        """Make the store what the copy is: send what is new or changed, delete what was removed here."""
        known = self.index.read()
        here = self._here()
        removed = [
            name
            for name, one in known.items()
            # Nothing of Tamis removes manifests and lists of rows: one that is gone was lost here alone.
            if one.state != ABSENT
            and name not in here
            and not (name.startswith("manifests/") and name.endswith((".json", ".rows")))
        ]
        self._upload(sorted(name for name in here if self._is_news(name, known.get(name))))
        self.objects.delete(removed)
        self._note((), removed)

    def fetch(self, path: Path) -> bool:
        """Make a file or folder be there; False where the store has no such thing either."""
        name = self._name(path)
        wanted = [*self.index.of([name]), *self.index.below(name)]
        missing = [one for one in wanted if not (self.root / one).exists()]
        if not wanted and not path.exists():  # written elsewhere since the last look at the store
            there = self.objects.head(name) is not None
            missing = [name] if there else [f"{name}/{one}" for one in self.objects.below(name).listed()]
        self._download(missing)
        return path.exists()

    def names(self, folder: Path) -> set[str]:
        """Names of the files below a folder, here or in the store as far as this copy knows."""
        return {self._name(file) for file in _files_of(folder)}.union(self.index.below(self._name(folder)))

    def drop(self, folder: Path) -> None:
        """Have the next sweep delete what the store holds below a folder and was never fetched."""
        known = self.index.of(self.index.below(self._name(folder))).values()
        self._note([replace(one, state=DROPPED) for one in known if one.state == ABSENT])

    def holds(self, name: str) -> bool:
        """Whether the store holds an object of this name, as far as this copy knows, or else when asked."""
        return bool(self.index.of([name])) or self.objects.head(name) is not None

    def digest(self, name: str) -> str | None:
        """SHA-256 of what the store holds under a name, None where there is nothing."""
        try:
            return self.objects.digest(name)
        except FileNotFoundError:
            return None

    def still_kept(self) -> str:
        """What to do where the bucket keeps earlier versions, which Tamis cannot erase; else ""."""
        if not self.objects.keeps_versions():
            return ""
        bucket, _, prefix = self.objects.url.removeprefix("s3://").partition("/")
        return (
            f"bucket {bucket} keeps earlier versions of its objects, so removed data can still be read "
            f"there; list those versions with `aws s3api list-object-versions --bucket {bucket} --prefix "
            f"'{prefix}'`, and delete each with `aws s3api delete-object --version-id ...`, or all with a "
            "NoncurrentVersionExpiration rule"
        )

    @contextmanager
    def read_again(self, *folders: str) -> Iterator[Path]:
        """A folder with these folders of the home as the store holds them now, fetched for this alone."""
        if not folders:
            yield self.root
            return
        with tempfile.TemporaryDirectory(prefix="tamis-") as place:
            names = [f"{folder}/{name}" for folder in folders for name in self.objects.below(folder).listed()]
            _at_once(lambda name: self._get(name, Path(place) / name), names)
            yield Path(place)

    def _here(self) -> set[str]:
        """Names of all files of the copy."""
        return {self._name(file) for folder in KEPT for file in _files_of(self.root / folder)}

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _listed(self) -> dict[str, str]:
        """Tags of all objects of the kept folders, asked for at once."""
        found = _at_once(lambda folder: self.objects.below(folder).listed(), KEPT)
        return {
            f"{folder}/{name}": stored.tag
            for folder, names in zip(KEPT, found, strict=True)
            for name, stored in names.items()
        }

    def _is_news(self, name: str, known: Known | None) -> bool:
        return known is None or known.state != state_of(self.root / name)

    def _upload(self, names: Sequence[str]) -> None:
        self._note(_at_once(self._put, names))

    def _put(self, name: str) -> Known:
        path = self.root / name
        state = state_of(path)  # before: a file that changes meanwhile is sent again
        return Known(name=name, tag=self.objects.write(name, path), state=state)

    def _download(self, names: Sequence[str]) -> None:
        self._note(_at_once(lambda name: self._get(name, self.root / name), names))

    def _get(self, name: str, path: Path) -> Known:
        """Fetch an object; its file appears whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, flushed=False) as draft:
            stored = self.objects.download(name, draft)
            shutil.copymode(path, draft) if path.exists() else draft.chmod(0o644)
        return Known(name=name, tag=stored.tag, state=state_of(path))

    def _note(self, known: Sequence[Known], gone: Sequence[str] = ()) -> None:
        if gone:
            self.index.forget(gone)
        if known:
            self.index.note(known)


Files = OnDisk | WorkingCopy


def _files_of(path: Path) -> list[Path]:
    """A file, or all files below a folder, but those that are being written."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not _is_unfinished(name)]
        found += [Path(folder, name) for name in names if not _is_unfinished(name)]
    return found


def _is_unfinished(name: str) -> bool:
    return name.endswith(_UNFINISHED)


def _at_once(work: Callable[[str], _Answer], given: Sequence[str]) -> list[_Answer]:
    """The answers to several requests, made by some threads."""
    if len(given) < 2:
        return [work(one) for one in given]
    with ThreadPoolExecutor(min(AT_ONCE, len(given))) as pool:
        return list(pool.map(work, given))
