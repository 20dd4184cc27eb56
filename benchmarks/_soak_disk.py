"""What a home takes on disk for each live document.

Old versions of tables are kept for a day and the rows of documents that left for 30, by design
(docs/incremental.md), so what the folders take in an hour says little of what stays. What is counted of a
document is therefore what the latest versions need: in a copy of the tables, taken while the soak holds the
writer's lock, every table is compacted and left with that version alone, by the code with which the product
does it (`forget_versions`). Then the data files are added up, in bytes that are allocated, without the tables
of retained rows, and divided by the rows of `documents`.

What is counted by itself: retained rows; and the folders of the home as they are, with old versions. Of these
`dagster` and `manifests` are the record of every run, which nothing removes: they grow with the runs.
"""

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._soak_processes import Paths
from tamis.store.erasing import forget_versions
from tamis.store.home import Home, writing
from tamis.store.retained import retained_tables
from tamis.store.tables import Store

BLOCK_BYTES = 512
LOCK_SECONDS = 900.0


@dataclass(frozen=True, kw_only=True)
class Count:
    """Bytes of the data files of live and of retained rows, and of each folder of the home as it is."""

    documents: int
    live: int
    retained: int
    folders: dict[str, int]

    @property
    def each(self) -> float:
        """Return the bytes for each live document, 0 where there is none."""
        return self.live / self.documents if self.documents else 0.0

    def figures(self) -> dict[str, Any]:
        """Return what a line of results says of it."""
        return {
            "documents": self.documents,
            "bytes_each": round(self.each, 1),
            "live_bytes": self.live,
            "retained_bytes": self.retained,
            "folders_megabytes": {name: round(size / 1e6, 2) for name, size in self.folders.items()},
        }


def count(paths: Paths) -> Count:
    """Count a home; waits until no other process writes to it."""
    with tempfile.TemporaryDirectory(dir=paths.root, prefix=".counted-") as folder:
        copied = Path(folder) / "lance"
        with writing(Home(paths.home), "a count of the disk by the soak", LOCK_SECONDS):
            folders = folders_of(paths.home)
            shutil.copytree(paths.home / "lance", copied)
        store = Store(copied)
        for name in store.names():
            forget_versions(store, name)
        sizes = {name: allocated((copied / f"{name}.lance" / "data").rglob("*")) for name in store.names()}
        retained = sum(sizes.pop(name) for name in retained_tables(store))
        documents = store.count("documents")
    return Count(documents=documents, live=sum(sizes.values()), retained=retained, folders=folders)


def folders_of(home: Path) -> dict[str, int]:
    """Return the bytes that each folder of a home takes, by its name."""
    return {path.name: allocated(path.rglob("*")) for path in sorted(home.iterdir()) if path.is_dir()}


def allocated(paths: Iterable[Path]) -> int:
    """Return the bytes that these files take on their disk."""
    total = 0
    for path in paths:
        with suppress(OSError):  # tables and databases remove files while this looks
            total += path.lstat().st_blocks * BLOCK_BYTES
    return total
