"""The home: where everything that Tamis makes lives, and the lock that keeps writers apart.

A folder; or an object store, with a working copy of its files in the folder. It can be moved or copied:
nothing read back from it is an absolute path. One writer at a time; readers pin table versions and never
wait.
"""

import contextlib
import fcntl
import functools
import json
import os
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tamis.base.errors import PermanentError
from tamis.base.files import write_atomically
from tamis.base.user_folders import require_plain, require_short
from tamis.store.remote.lock import HomeLockedError as HomeLockedError
from tamis.store.remote.lock import RemoteLock, holder_of
from tamis.store.remote.objects import ObjectFolder
from tamis.store.remote.working_copy import Files, OnDisk, WorkingCopy
from tamis.store.table_errors import DamagedTableError, UnknownTableError
from tamis.store.tables import Store

FORM = "2"
"""Form of a home: raised when a change of schema or of files cannot be read by what was written before."""
HEADS = "heads"
MARKER = "storage.url"
"""A file of a home that is a working copy: of what."""
PROJECT_MARKER = "manifests/project.name"
"""A file of a home that results were written to: of which project they are."""
ID_MARKER = "manifests/home.id"
"""A file with the id of the home, by which its runs and events in Dagster are known.

The id begins with the name that the project had when its home was begun: people see it as a tag.
"""
ID_COPY = "dagster/home.id"
"""Its copy next to the runs and events, should manifests/ be lost; a home in an object store has none."""
LONGEST_NAME = 50
"""Characters of that name: a tag of Dagster has at most 63."""
MOST_BYTES = 504 - len("/dagster/history/runs/00000000-0000-0000-0000-000000000000.db")
"""Of the path of a home, so that SQLite can open the log of a run and its journal."""
CURE = "rename or move the folder, or set TAMIS_HOME to another one"
_ID = re.compile("[a-z0-9][a-z0-9._-]{0,59}-[0-9a-f]{12}")
_OF_ADDRESSES = re.compile(r"\?|%[0-9A-Fa-f]{2}")
"""What SQLAlchemy does not take literally in the path of an SQLite database; Dagster does not escape it."""
_DESCRIPTORS: set[int] = set()
"""Lock files that threads of this process hold or wait for. Each thread opens the file itself: the kernel
keeps two open files apart, so threads exclude each other as processes do."""
_REMOTE: dict[Path, RemoteLock] = {}


@dataclass(frozen=True)
class Home:
    """Folders of one home; none is made before something is written to it.

    `url`: the prefix of an object store that holds all but the cache and the databases of others.
    """

    root: Path
    url: str | None = None

    @property
    def store(self) -> Store:
        """All tables, of one connection a process."""
        return _tables_at((self.root / "lance").absolute() if self.url is None else f"{self.url}/lance")

    @property
    def files(self) -> Files:
        """What keeps manifests, fitted things, checkpoints, pages and exports where they belong."""
        return OnDisk(self.root) if self.url is None else WorkingCopy(self.root, ObjectFolder(self.url))

    @property
    def place(self) -> str:
        """Return its folder or URL, as a person knows it."""
        return self.url or str(self.root)

    def publish(self, paths: Iterable[Path]) -> None:
        """Have files where the truth is, before anything speaks of them.

        Raises `LockLostError` where another machine has become the writer.
        """
        self._require_lock()
        self.files.publish(paths)

    def publish_all(self) -> None:
        """Have all that was written, changed or removed so where the truth is; raises `LockLostError`."""
        self._require_lock()
        self.files.sweep()

    @contextlib.contextmanager
    def as_stored(self, *folders: str) -> Iterator["Home"]:
        """The home with these folders as the object store holds them now, not as the working copy does."""
        with self.files.read_again(*folders) as root:
            yield replace(self, root=root)

    def require_store(self) -> None:
        """Raise `StorageUnavailableError`, or what else is wrong, unless the object store answers."""
        if self.url is not None:
            ObjectFolder(self.url).head(MARKER)

    def _require_lock(self) -> None:
        if lock := _REMOTE.get(self.root):
            lock.require()

    @property
    def manifests(self) -> Path:
        """Manifests and rows files."""
        return self.root / "manifests"

    @property
    def checkpoints(self) -> Path:
        """Weights of base models and finished trials, and the tokenizer."""
        return self.root / "checkpoints"

    @property
    def fitted(self) -> Path:
        """Small fitted things: potentials, sketch, grader."""
        return self.root / "fitted"

    @property
    def reports(self) -> Path:
        """HTML pages."""
        return self.root / "reports"

    @property
    def exports(self) -> Path:
        """Chosen documents as files."""
        return self.root / "exports"

    @property
    def cache(self) -> Path:
        """Resume state and derived models; safe to delete."""
        return self.root / "cache"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def mlflow(self) -> Path:
        """MLflow's database."""
        return self.root / "mlflow"

    def relative(self, path: Path) -> str:
        """A path under the home as a relative POSIX path, the only form that is ever stored."""
        return path.relative_to(self.root).as_posix()


class HomeElsewhereError(PermanentError):
    """The folder belongs to another place than the one that is configured; names both, and the ways out."""

    def __init__(self, home: Path, found: str, configured: str) -> None:
        self.home, self.found, self.configured = home, found, configured
        super().__init__(
            f"{home} contains {found}, but {configured}; correct [storage] url in tamis.toml or "
            "TAMIS_STORAGE_URL, or set TAMIS_HOME to another folder (docs/object-store.md explains how to "
            "move a home to or from an object store)"
        )


class HomeNotAFolderError(PermanentError):
    """Something that is no folder is in the place of the home, or of a folder above it."""

    def __init__(self, home: Path, found: Path) -> None:
        self.home, self.found = home, found
        what, cure = "is a file", "rename or remove the file"
        if found.is_symlink() and not found.exists():
            what = f"is a link to {found.readlink()}, which does not exist"
            cure = "mount or create that folder, remove the link"
        super().__init__(
            f"{home} cannot be the folder of results, because {found} {what}; {cure}, or set TAMIS_HOME to "
            "another folder"
        )


class HomePathError(PermanentError):
    """The path of the home means another one in the address of a database, and two homes would share it."""

    def __init__(self, home: Path, found: str) -> None:
        self.home, self.found = home, found
        super().__init__(
            f"the path {home} contains {found!r}, which has a meaning of its own in the addresses of "
            "databases, so Dagster and MLflow would keep theirs outside this folder; rename the folder, or "
            "set TAMIS_HOME to a path without '?' and without '%' before two hexadecimal digits"
        )


class HomeFormError(PermanentError):
    """The home was written by another version of Tamis; says how to rebuild it."""

    def __init__(self, home: str, found: str | None) -> None:
        self.home, self.found, self.expected = home, found, FORM
        written = "by Tamis 0.1" if found is None else f"in format {found}"
        super().__init__(
            f"{home} was written {written}, but this version of Tamis reads only format {FORM}; move the "
            "folder or prefix away and run `tamis materialize`, which rebuilds all results from your files; "
            "repeat any pins, approvals and withdrawals"
        )


class HomeOfAnotherError(PermanentError):
    """The home holds the results of another project."""

    def __init__(self, home: Home, found: str, project: str) -> None:
        self.home, self.found, self.project = home.place, found, project
        where = "give each project a storage url" if home.url else "set TAMIS_HOME to a folder"
        super().__init__(
            f"{home.place} contains the results of the project {found!r}, but tamis.toml describes "
            f"{project!r}, and results of two projects in one place would mix; {where} of its own. If you "
            f"only renamed the project, write {project} into {home.root / PROJECT_MARKER}"
        )


def claim(home: Home, project: str) -> None:
    """Note in the home its id and its project, under the writer's lock; raises as `require_own`."""
    require_own(home, project)
    marker = home.root / PROJECT_MARKER
    missing = {} if marker.exists() and marker.stat().st_size else {PROJECT_MARKER: project}
    known = home_id(home) or f"{project[:LONGEST_NAME]}-{uuid.uuid4().hex[:12]}"
    places = (ID_MARKER,) if home.url else (ID_MARKER, ID_COPY)
    missing |= {place: known for place in places if _id_in(home.root / place) != known}
    for name, content in missing.items():
        write_atomically(home.root / name, f"{content}\n".encode())
    if missing:
        home.publish([home.root / name for name in missing])


def home_id(home: Home) -> str:
    """Return the id of a home, "" for one to which nothing was written yet."""
    return _id_in(home.root / ID_MARKER) or _id_in(home.root / ID_COPY)


def _id_in(file: Path) -> str:
    try:
        found = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return found if _ID.fullmatch(found) else ""


def require_own(home: Home, project: str) -> None:
    """Raise `HomeOfAnotherError` where the home holds the results of another project."""
    with contextlib.suppress(FileNotFoundError):
        found = (home.root / PROJECT_MARKER).read_text(encoding="utf-8", errors="replace").strip()
        if found and found != project:
            raise HomeOfAnotherError(home, found, project)


def placed(home: Home) -> Home:
    """Return the home; raises `HomeElsewhereError` where its folder was begun for another place.

    Raises `HomeNotAFolderError`, `HomePathError`, `PathError`, and `HomeFormError` where another version of
    Tamis has written it.
    """
    require_plain(home.root, CURE)
    require_short(home.root, MOST_BYTES, CURE)
    if found := _OF_ADDRESSES.search(str(home.root)):
        raise HomePathError(home.root, found[0])
    there = next(path for path in (home.root, *home.root.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise HomeNotAFolderError(home.root, there)
    marker, configured = home.root / MARKER, "no object store is configured"
    if home.url is not None:
        configured = f"the settings say that results are stored in {home.url}"
    copy_of = marker.read_text().strip() if marker.exists() else None
    if copy_of is not None and copy_of != home.url:
        raise HomeElsewhereError(home.root, f"the working copy of {copy_of}", configured)
    if copy_of is None and home.url is not None and any((home.root / "lance").glob("*.lance")):
        raise HomeElsewhereError(home.root, "tables of its own", configured)
    if home.url is None:  # an object store is asked when something is written to it
        _require_form(home)
    return home


def _require_form(home: Home) -> None:
    """Raise `HomeFormError` where another version of Tamis has written the home.

    A damaged table says nothing of it: `tamis materialize` opens the home to repair the table.
    """
    with contextlib.suppress(DamagedTableError, UnknownTableError):
        if not home.store.exists(HEADS):
            return
        found = (home.store.schema(HEADS).field("asset").metadata or {}).get(b"form")
        if found is None or found.decode() != FORM:
            raise HomeFormError(home.place, found.decode() if found else None)


class _Held(threading.local):
    """Lock files that this thread holds."""

    def __init__(self) -> None:
        self.paths: set[Path] = set()


_HELD = _Held()


def _leave_to_parent() -> None:
    """Give up, in a forked process, what its parent holds; else a killed parent would hold it on."""
    for descriptor in _DESCRIPTORS:
        os.close(descriptor)
    _DESCRIPTORS.clear()
    _HELD.paths.clear()
    _REMOTE.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


@functools.lru_cache(maxsize=8)
def _tables_at(place: Path | str) -> Store:
    """One connection a process: what it has read of a table's history is not asked for again."""
    return Store(place if isinstance(place, Path) else ObjectFolder(place))


os.register_at_fork(after_in_child=_tables_at.cache_clear)  # the threads of a connection stay with the parent


@contextlib.contextmanager
def writing(home: Home, purpose: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Hold the home's write lock; the thread that holds it may take it again.

    Raises `HomeLockedError`, naming the holder, when another thread or process still has it after
    `patience_seconds`.
    """
    path = home.root / "writer.lock"
    if path in _HELD.paths:
        yield
        return
    with _locked(home, path, purpose, patience_seconds):
        try:
            with _written_here_alone(home, purpose, patience_seconds):
                _HELD.paths.add(path)
                yield
        finally:
            _HELD.paths.discard(path)


class Writing:
    """The home's write lock, as `writing` holds it, for a command that gives it up while it waits."""

    def __init__(self, home: Home, purpose: str, patience_seconds: float) -> None:
        self._take = functools.partial(writing, home, purpose, patience_seconds)
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "Writing":
        self._held.enter_context(self._take())
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    @contextlib.contextmanager
    def given_up(self) -> Iterator[None]:
        """Let others write while inside; wait for them afterwards, as long as they do."""
        self._held.close()
        yield
        while True:
            with contextlib.suppress(HomeLockedError):
                self._held.enter_context(self._take())
                return


@contextlib.contextmanager
def _locked(home: Home, path: Path, purpose: str, patience_seconds: float) -> Iterator[None]:
    """Hold the lock file, with this thread noted in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _DESCRIPTORS.add(descriptor)
    try:
        _acquire(descriptor, home, path, patience_seconds)
        _note_holder(descriptor, purpose)
        try:
            yield
        finally:
            if descriptor in _DESCRIPTORS:
                os.ftruncate(descriptor, 0)
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        if descriptor in _DESCRIPTORS:
            _DESCRIPTORS.remove(descriptor)
            os.close(descriptor)


@contextlib.contextmanager
def _written_here_alone(home: Home, purpose: str, patience_seconds: float) -> Iterator[None]:
    """Hold the lock of the object store, if there is one, and have both sides equal at begin and end."""
    if home.url is None:
        yield
        return
    lock = RemoteLock(ObjectFolder(home.url), home.root, purpose)
    with lock.held(patience_seconds):
        _REMOTE[home.root] = lock
        try:
            _refresh(home)
            home.store.alone(True)
            _require_form(home)
            yield
            home.publish_all()
        finally:
            home.store.alone(False)
            _REMOTE.pop(home.root, None)


def bring_up_to_date(home: Home) -> None:
    """Make the working copy what the object store holds; while somebody of this home writes, it is that."""
    if home.url is None:
        return
    with (
        contextlib.suppress(HomeLockedError),
        _locked(home, home.root / "writer.lock", "bringing the working copy up to date", 0.0),
    ):
        _refresh(home)


def _note_holder(descriptor: int, purpose: str) -> None:
    thread = threading.current_thread()
    named = {} if thread is threading.main_thread() else {"thread": thread.name}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps({"process": os.getpid(), **named, "purpose": purpose}).encode(), 0)


def _refresh(home: Home) -> None:
    if not (home.root / MARKER).exists():
        home.files.begin()
        write_atomically(home.root / MARKER, f"{home.url}\n".encode())
    home.files.refresh()


def writer(home: Home) -> str:
    """Who else writes to this home at this moment, another thread of this process too; "" for nobody."""
    path = home.root / "writer.lock"
    if path in _HELD.paths:
        return ""
    if path.exists():
        with path.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _holder(path)
    return holder_of(ObjectFolder(home.url)) if home.url else ""


def last_writing(home: Home) -> int:
    """Return a number that changes whenever a process here begins or ends to write; 0 before the first."""
    try:
        return (home.root / "writer.lock").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _acquire(descriptor: int, home: Home, path: Path, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() >= deadline:
                raise HomeLockedError(home.root, _holder(path)) from None
            time.sleep(0.2)


def _holder(path: Path) -> str:
    try:
        values = json.loads(path.read_text())
        thread = f", thread {values['thread']}" if "thread" in values else ""
        return f"process {values['process']}{thread} ({values['purpose']})"
    except (OSError, ValueError, KeyError):
        return "another process"
