"""Registered checkpoints: trained elsewhere on an export, and known to the lineage by digests of their files.

The files stay where they are. The manifest of a checkpoint holds the digest and size of each file, lists the
documents in `trained_on`, and has the export as its input. The table `registered_checkpoints` says where the
files are and which manifest counts: a folder may move, and a person may remove the entry.
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tamis.base.errors import PermanentError
from tamis.base.files import file_digest
from tamis.base.numbers import counted, named
from tamis.base.progress import Advance, ignore
from tamis.records.exported import ASSET as EXPORTS
from tamis.records.listed_rows import Listing
from tamis.records.manifest import InputReference, Manifest, ManifestFolder, canonical_json
from tamis.store.digests import canonical_digest
from tamis.store.home import Home
from tamis.store.tables import Store, quoted
from tamis.store.withdrawn import withdrawn_ids
from tamis.training.stage import TRAINED_ON

ASSET = TABLE = "registered_checkpoints"
CODE_VERSION = "1"
OF_COMMANDS = (ASSET, EXPORTS)
"""Manifests that a command writes: no run makes their values again, and the event log has none of them."""
THREADS = 2
FILES = "checkpoint_files"
"""Key of a manifest's configuration with the digest and size of each file."""


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """SHA-256 and size [bytes] of a file of a checkpoint."""

    sha256: str
    n_bytes: int


class RegisteredNameError(PermanentError):
    """A checkpoint of the graph has the name of a registered one, whose documents would be overwritten."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"a registered checkpoint has the name {name!r}, too, so nothing is trained; rename this one in "
            f"tamis.toml, or remove the entry with `tamis register --forget {name}` and register the folder "
            "under another --name"
        )


Files = Mapping[str, FileFacts]
"""Files of a checkpoint by their path in its folder."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One registered checkpoint, a row of the table.

    `folder`: absolute path of its files. `content`: digest of the paths and contents of its files.
    `documents`: how many it was trained on. `run`: id of its run in MLflow, or None.
    """

    checkpoint: str
    folder: str
    selection: str
    version: int
    recipe: str | None
    manifest: str
    content: str
    files: int
    n_bytes: int
    documents: int
    run: str | None
    made_at: datetime

    @property
    def reference(self) -> InputReference:
        """The checkpoint as the audit walks to it."""
        return InputReference(
            asset=ASSET, partition=self.checkpoint, data_version=self.content, manifest=self.manifest
        )

    @property
    def scope(self) -> str:
        """The filter for its rows of `trained_on`."""
        return f"checkpoint = {quoted(self.checkpoint)}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"made_at": self.made_at.isoformat(timespec="seconds")}


def files_of(folder: Path) -> list[str]:
    """Return the paths of the files below a folder, relative and sorted. Raises `OSError`.

    Files and folders whose names begin with a dot are left out: caches and notes of other tools. A link to a
    folder counts as a file, so that reading it fails: what it leads to would be left out unnoticed.
    """

    def refuse(error: OSError) -> None:
        raise error

    names = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        linked = [name for name in folders if Path(place, name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".")]
        names += [Path(place, name) for name in (*files, *linked) if not name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in names)


def hash_files(folder: Path, names: Sequence[str], advance: Advance = ignore) -> dict[str, FileFacts]:
    """Return digest and size of these files of a folder; `advance` counts bytes. Raises `OSError`."""

    def hashed(name: str) -> FileFacts:
        size, digest = (folder / name).stat().st_size, file_digest(folder / name)
        advance(size)
        return FileFacts(sha256=digest, n_bytes=size)

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(names, pool.map(hashed, names), strict=True))


def content_of(files: Files) -> str:
    """Return the digest of paths and contents of the files of a checkpoint."""
    return canonical_digest(canonical_json({name: facts.sha256 for name, facts in files.items()}))


def read_registered(store: Store) -> list[Registered]:
    """Return all registered checkpoints by name."""
    return [Registered(**row) for row in store.read(TABLE).sort("checkpoint").iter_rows(named=True)]


def require_unregistered(store: Store, name: str) -> None:
    """Raise `RegisteredNameError` where a registered checkpoint has this name."""
    if store.exists(TABLE) and store.count(TABLE, f"checkpoint = {quoted(name)}"):
        raise RegisteredNameError(name)


def lost_entries(home: Home, trained: Collection[str]) -> list[str]:
    """Return the registered checkpoints whose entry is lost, while their other records are left, sorted.

    `trained`: checkpoints of the graph. All manifests are read where other rows of `trained_on` are left.
    """
    seen = home.store.read(TRAINED_ON.name, ["checkpoint"])["checkpoint"].unique()
    entered = home.store.read(TABLE, ["checkpoint"])["checkpoint"]
    if not (others := {*seen}.difference(trained, entered)):
        return []
    folder = ManifestFolder.of(home)
    manifests = folder.readable(folder.ids()).values()
    return sorted(others & {one.partition for one in manifests if one.asset == ASSET})


def stated_files(manifest: Manifest) -> dict[str, FileFacts]:
    """Return the files that the manifest of a registered checkpoint states."""
    return {name: FileFacts(**facts) for name, facts in manifest.config[FILES].items()}


def withdrawn_of(home: Home, entries: Iterable[Registered]) -> dict[str, int]:
    """Return how many withdrawn documents each manifest of a registered checkpoint lists, those with any."""
    entries = list(entries)
    if not entries:
        return {}
    folder = ManifestFolder.of(home)
    search = Listing(folder, withdrawn_ids(home.store).to_list())
    manifests = folder.readable(entry.manifest for entry in entries)
    counts = {key: search.count(manifest) for key, manifest in manifests.items()}
    return {key: count for key, count in counts.items() if count}


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Differences between the files of a folder and those of a manifest, as clauses.

    `altered`: files that changed or are missing. `unseen`: reasons why nothing can be compared, and files
    that the manifest does not state.
    """

    altered: Sequence[str] = ()
    unseen: Sequence[str] = ()


def compare_files(entry: Registered, files: Files, advance: Advance = ignore) -> Deviation:
    """Hash the files of a checkpoint again and compare them with its manifest; `advance` counts bytes.

    A folder that is not there, has none of the files or cannot be read proves nothing: it may have moved, or
    its disk is not mounted.
    """
    folder = Path(entry.folder)
    moved = (
        f"if it has moved, `tamis register NEW_FOLDER --trained-on {entry.selection}@{entry.version} "
        f"--name {entry.checkpoint}` moves the entry"
    )
    gone = Deviation(unseen=[f"its files are not there, in {folder}; {moved}"])
    try:
        there = files_of(folder)
        if not any(name in files for name in there):
            return gone
        found = hash_files(folder, [name for name in there if name in files], advance)
    except (FileNotFoundError, NotADirectoryError):
        return gone
    except OSError as error:
        problem = error.strerror or str(error)
        return Deviation(unseen=[f"its files in {folder} cannot be read ({problem})"])
    altered = [name for name, facts in found.items() if facts.sha256 != files[name].sha256]
    missing = [name for name in files if name not in found]
    more = [name for name in there if name not in files]
    return Deviation(
        altered=[
            f"{counted(len(names), 'file')} in {folder} {verb}: {named(names, most=3)}"
            for names, verb in (
                (altered, "was altered" if len(altered) == 1 else "were altered"),
                (missing, "is missing" if len(missing) == 1 else "are missing"),
            )
            if names
        ],
        unseen=[f"{counted(len(more), 'file')} in {folder} without registration: {named(more, most=3)}"]
        if more
        else [],
    )
