"""Rows of a published selection for a program that trains on them: a `datasets.Dataset`, or one of torch.

They are written to an Arrow file in the home's cache, from which every process maps them into memory. The
file is named by the versions of the selection and of the tables, so another choice is another file.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tamis.base.arguments import as_whole
from tamis.base.errors import BadArgumentError, MissingPackageError, PermanentError
from tamis.base.files import make_folder, whole_file
from tamis.base.installation import install_command
from tamis.corpus.stage import DOCUMENTS, KEPT_ROWS, OCCURRENCES
from tamis.interchange.subset_rows import COUNT, subset_rows
from tamis.project import Project, read_project
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.published import find_published
from tamis.store.digests import canonical_digest
from tamis.verbs.elsewhere.export import read_subset
from tamis.withdrawal.since import WithdrawnSince, WithdrawnSinceError

if TYPE_CHECKING:
    import torch

FOLDER = "loaded"
"""Of the cache."""
ROWS_A_BATCH = 1_000
OF_STATE = ("version", "seed", "world_size")
"""Of a state, what has to be the same where it is loaded."""


class OtherStateError(PermanentError, ValueError):
    """A state of other rows, another seed or another number of processes."""

    def __init__(self, name: str, stated: object, expected: object) -> None:
        super().__init__(
            f"the state has the {name.replace('_', ' ')} {stated!r}, this dataset {expected!r}: the rows "
            "of an epoch are in another order; load the selection as it was, or begin an epoch with set_epoch"
        )


class RowsGoneError(PermanentError):
    """The file of loaded rows was removed, as a withdrawal does."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is no longer there: documents were withdrawn, or the cache was emptied; call tamis.load "
            "again"
        )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Reading of the rows by a dataset of torch; None: as the project and the environment say."""

    seed: int | None = None
    rank: int | None = None
    world_size: int | None = None
    batch_size: int = 1


def load_selection(selection: str, project: str | Path, *, as_torch: bool, reading: Reading) -> Any:
    """Return the rows of a selection, as `tamis.load` says."""
    if not as_torch and reading != Reading():
        raise BadArgumentError(
            "as_torch", "False", "True, since seed, rank, world_size and batch_size are its own"
        )
    if not as_torch and find_spec("datasets") is None:
        raise MissingPackageError("datasets", "tamis.load", install_command("datasets"))
    start = Path(project)
    opened = read_project(start if start.is_dir() else start.parent)
    path = _loaded(opened, selection)
    if not as_torch:
        from datasets import Dataset

        return Dataset.from_file(str(path))
    rank, world_size = _place(reading)
    return _torch_type()(
        path,
        seed=opened.seed if reading.seed is None else as_whole("seed", reading.seed, 0),
        rank=rank,
        world_size=world_size,
        batch_size=as_whole("batch_size", reading.batch_size, 1),
    )


def _loaded(project: Project, selection: str) -> Path:
    """Return the file with the rows of a selection, written where it is missing."""
    home = project.home
    since = WithdrawnSince(home)
    configured = [section.name for section in project.settings.selection]
    folder = ManifestFolder.of(home)
    found = find_published(read_current_values(home.store), folder, selection, configured)
    versions = [
        f"{table.name} {home.store.version(table.name)}" for table in (DOCUMENTS, OCCURRENCES, KEPT_ROWS)
    ]
    name = canonical_digest("|".join([found.subset, found.rows, *versions]))[:32]
    path = home.cache / FOLDER / selection / f"{name}.arrow"
    if path.is_file():
        return path
    subset = read_subset(project, selection)
    table = subset_rows(project, subset.chosen, subset.places).table
    make_folder(path.parent)
    with whole_file(path, flushed=False) as draft, pa.ipc.new_stream(str(draft), table.schema) as stream:
        stream.write_table(table, max_chunksize=ROWS_A_BATCH)
    try:
        since.require_none(path.name)
    except WithdrawnSinceError:
        path.unlink(missing_ok=True)
        raise
    for other in path.parent.glob("*.arrow"):  # who reads one goes on reading it
        if other != path:
            other.unlink(missing_ok=True)
    return path


def _place(reading: Reading) -> tuple[int, int]:
    """Return rank and number of processes: as given, else of torch.distributed, else of the environment."""
    import torch.distributed as distributed

    if reading.rank is None and reading.world_size is None:
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    elif reading.rank is None or reading.world_size is None:
        missing = "rank" if reading.rank is None else "world_size"
        raise BadArgumentError(missing, "None", "a number, since rank and world_size are given together")
    else:
        rank, world_size = as_whole("rank", reading.rank, 0), as_whole("world_size", reading.world_size, 1)
    if not 0 <= rank < world_size:
        raise BadArgumentError("rank", repr(rank), f"0 to {world_size - 1}, since world_size is {world_size}")
    return rank, world_size


class SelectedRows:
    """The rows of a selection for torch: shuffled, shared out among processes, continued where they stopped.

    Call `set_epoch` before each epoch. Processes read parts of one order that the seed and the epoch give:
    every `world_size`-th row. In a process, worker w of k of a DataLoader reads every k-th batch, so its
    batches are those of a process without workers. Under accelerate, which shares batches out itself, pass
    rank=0 and world_size=1.
    """

    def __init__(
        self,
        path: Path,
        *,
        seed: int,
        rank: int,
        world_size: int,
        batch_size: int,
        position: "torch.Tensor | None" = None,
        skipped: int = 0,
    ) -> None:
        import torch

        self.path, self.seed, self.rank, self.world_size, self.batch_size = (
            path,
            seed,
            rank,
            world_size,
            batch_size,
        )
        # Epoch and first row [2], in memory that persistent workers see, too.
        self._position = torch.zeros(2, dtype=torch.int64).share_memory_() if position is None else position
        self._skipped, self._yielded = skipped, 0
        self._opened: tuple[list[pa.RecordBatch], list[int]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        names = ("path", "seed", "rank", "world_size", "batch_size")
        state = {name: getattr(self, name) for name in names}
        return _rebuilt, (state | {"position": self._position, "skipped": self._skipped},)

    def __len__(self) -> int:
        """Return how many rows this process still reads in this epoch, if it begins now."""
        return self._share() - int(self._position[1])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of this process, or of this worker of its DataLoader, in the order of the epoch."""
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        epoch, first = self._position.tolist()
        mine = self._order(epoch)[self.rank :: self.world_size][first:]
        own = mine[np.arange(len(mine)) // self.batch_size % workers == number]
        self._yielded, self._skipped = self._skipped, 0
        batches, starts = self._rows()
        for place in own[self._yielded :].tolist():
            at = bisect_right(starts, place) - 1
            (row,) = batches[at].slice(place - starts[at], 1).to_pylist()
            self._yielded += 1
            yield row

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, or stay where `load_state_dict` went if it is that epoch."""
        if as_whole("epoch", epoch, 0) != int(self._position[0]):
            self._position.copy_(self._position.new_tensor([epoch, 0]))
            self._yielded = self._skipped = 0

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """Return the place in the epoch, of this process or of this worker.

        batches: how many this process has trained on since the iteration began, where workers of a DataLoader
        read ahead; else it is what was yielded here.
        """
        from torch.utils.data import get_worker_info

        epoch, first = self._position.tolist()
        yielded = self._yielded if batches is None else as_whole("batches", batches, 0) * self.batch_size
        in_worker = batches is None and get_worker_info() is not None
        if in_worker:
            return {"epoch": epoch, "row": first, "yielded": yielded} | self._identity()
        row = min(first + yielded, self._share())  # the last batch may be short
        return {"epoch": epoch, "row": row, "yielded": 0} | self._identity()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue behind the rows that a state has read; raises `OtherStateError`."""
        for name, expected in self._identity().items():
            if state.get(name) != expected:
                raise OtherStateError(name, state.get(name), expected)
        self._position.copy_(self._position.new_tensor([state["epoch"], state["row"]]))
        self._skipped = self._yielded = int(state["yielded"])

    def _identity(self) -> dict[str, Any]:
        return dict(zip(OF_STATE, (self.path.stem, self.seed, self.world_size), strict=True))

    def _share(self) -> int:
        """Return how many rows this process reads in a whole epoch."""
        return len(range(self.rank, int(self._counts().sum()), self.world_size))

    def _rows(self) -> tuple[list[pa.RecordBatch], list[int]]:
        """Return the rows in batches, mapped into memory, and the first row of each batch.

        A row of a batch is found at once; `take` of a table goes through all of its batches.
        """
        if self._opened is None:
            try:
                batches = list(pa.ipc.open_stream(pa.memory_map(str(self.path))))
            except FileNotFoundError:
                raise RowsGoneError(self.path) from None
            ends = list(accumulate((batch.num_rows for batch in batches), initial=0))
            self._opened = batches, ends[:-1]
        return self._opened

    def _counts(self) -> np.ndarray:
        """Return how often each document is read in an epoch: int64 [n]."""
        parts = [np.zeros(0, dtype=np.int64)]
        for batch in self._rows()[0]:
            known = COUNT in batch.schema.names
            parts.append(batch[COUNT].fill_null(1).to_numpy() if known else np.ones(batch.num_rows))
        return np.concatenate(parts).astype(np.int64)

    def _order(self, epoch: int) -> np.ndarray:
        """Return the documents of an epoch in their order: int64 [rows], copies spread over the epoch."""
        counts_n = self._counts()
        documents = np.repeat(np.arange(len(counts_n)), counts_n)
        copies = np.arange(len(documents)) - np.repeat(np.cumsum(counts_n) - counts_n, counts_n)
        drawn = np.random.default_rng((self.seed, epoch)).random(len(documents))
        return documents[np.argsort((copies + drawn) / counts_n[documents], kind="stable")]


@cache
def _torch_type() -> type:
    """Return `SelectedRows` as a dataset of torch, which is imported where somebody asks for it alone."""
    from torch.utils.data import IterableDataset

    return type("SelectedRows", (SelectedRows, IterableDataset), {"__doc__": SelectedRows.__doc__})


def _rebuilt(state: Mapping[str, Any]) -> Any:
    """Return a dataset in another process."""
    return _torch_type()(**state)
