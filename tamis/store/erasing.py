"""Erasing: rows that leave a table with every byte of them, not only with the latest version.

A deletion in Lance only marks rows: data files and old versions keep them. So the rows left are written
again, in one commit, and every version but that one is removed. Whoever reads an older one at that moment
fails and has to read again; the caller holds the writer's lock.

Lance removes versions by their dates, so it keeps those that are dated in the future, since the clock went
back. And it never removes what a killed write has left under a temporary name. Both are removed here.
"""

import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError, TransientError
from tamis.base.numbers import named
from tamis.store.places import holds_files, names_of_files, read_file, remove_named
from tamis.store.tables import Store, one_of, reading

TRIED = ("0.40.0",)
"""Versions of LanceDB with whose files the tests of erasing pass. Its API does not say which files a version
of a table names, so this module reads manifests, deletion marks and names of drafts itself."""
CHUNK, ROWS_OF_IDS = 1_000, 65_536
TEMPORARY = ".tmp"
"""Beginnings of the names of the files that Lance writes to before they have their own."""
_FILES_NAMED = 5
_DATA, _LAST = ".lance", 2**64 - 1


class UntriedVersionError(PermanentError):
    """Erasing was not tried with the LanceDB that is installed; raised before anything is removed."""

    def __init__(self, installed: str) -> None:
        self.installed = installed
        super().__init__(
            "nothing was removed: to see that no byte of a document is left, Tamis reads LanceDB's own "
            f"files, which was tried with LanceDB {named(TRIED)}, but {installed} is installed; run "
            f"`pip install lancedb=={TRIED[-1]}`, then the same command again"
        )


class VersionsLeftError(TransientError):
    """Earlier versions of a table, or files of a killed write, that could not be removed."""

    def __init__(self, table: str, left: Sequence[str]) -> None:
        self.table, self.left = table, list(left)
        super().__init__(
            f"removed rows of table {table!r} may still be in {named(self.left, _FILES_NAMED)} of its folder "
            f"lance/{table}.lance, which could not be removed; see that this folder may be written to, then "
            "run the same command again to complete it"
        )


def untried_version() -> str | None:
    """Return the version of the installed LanceDB where its files may have another form, else None."""
    installed = version("lancedb")
    return None if installed in TRIED else installed


def require_tried_version() -> None:
    """Raise `UntriedVersionError` where the files of the installed LanceDB may have another form."""
    if installed := untried_version():
        raise UntriedVersionError(installed)


def count_rows_of(store: Store, table: str, column: str, values: Sequence[str]) -> int:
    """How many rows of a table name one of the values."""
    if len(values) <= CHUNK:
        return store.count(table, one_of(column, values))
    wanted = pl.Series(values).implode()
    return sum(
        int(pl.Series(batch[column]).is_in(wanted).sum())
        for batch in store.batches(table, [column], rows=ROWS_OF_IDS)
    )


def erase_rows(store: Store, table: str, column: str, values: Sequence[str]) -> int:
    """Delete the rows that name one of the values; their bytes stay until `forget_versions`."""
    if len(values) <= CHUNK:
        return store.delete(table, one_of(column, values))
    removed = count_rows_of(store, table, column, values)
    if removed:  # one pass over the table in place of a commit for each thousand
        _rewrite(store, table, column, pl.Series(values).implode())
    return removed


def forget_versions(store: Store, table: str) -> bool:
    """Leave one version of a table, without deleted rows in its files; False where it was so already.

    Raises `UntriedVersionError`, and `VersionsLeftError` where something could not be removed.
    """
    require_tried_version()
    remove_named(store.folder, temporary_files(store, table))
    if is_bare(store, table):
        return False
    with reading(table):
        opened = store.open(table)
        for name in opened.tags.list():  # a tagged version could not be removed
            opened.tags.delete(name)
        if _marks(store, table):
            _rewrite(store, table)
        _clean(store, table)
    if older := _older_versions(store, table):
        remove_named(store.folder, list(older.values()))
        with reading(table):
            _clean(store, table)
    if not is_bare(store, table):
        left = [f"version {number}" for number in _older_versions(store, table)]
        left += [name.partition("/")[2] for name in unwritten_files(store, table)]
        raise VersionsLeftError(table, left or ["rows that are marked as deleted"])
    return True


def _clean(store: Store, table: str) -> None:
    """Remove what no version has, and the versions that are not dated in the future, but the latest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that readers of old versions fail is meant
        store.open(table).optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def is_bare(store: Store, table: str) -> bool:
    """Whether a table has one version alone, no row marked as deleted, and no file that it does not name."""
    return (
        len(store.open(table).list_versions()) == 1
        and not _marks(store, table)
        and not unwritten_files(store, table)
    )


def unwritten_files(store: Store, table: str) -> list[str]:
    """Return the files that a killed write has left: under a temporary name, or named by no version.

    The caller knows that nobody writes to the table. A version names its files in its manifest, as they are.
    """
    data, versions = f"{table}.lance/data", f"{table}.lance/_versions"
    files = [name for name in names_of_files(store.folder, data) if name.endswith(_DATA)]
    lengths, found = {len(name) - len(_DATA) for name in files}, set[bytes]()
    for name in names_of_files(store.folder, versions) if files else ():
        if name.endswith(".manifest"):
            before = read_file(store.folder, f"{versions}/{name}").split(_DATA.encode())[:-1]
            found |= {part[-length:] for part in before for length in lengths}
    return temporary_files(store, table) + [
        f"{data}/{name}" for name in files if name.removesuffix(_DATA).encode() not in found
    ]


def temporary_files(store: Store, table: str) -> list[str]:
    """Return the files that killed writes of a table have left under temporary names.

    The caller knows that nobody writes. An object store shows no file before it is whole.
    """
    if not isinstance(store.folder, Path):
        return []
    return sorted(
        path.relative_to(store.folder).as_posix()
        for path in store.folder.glob(f"{table}.lance/data/{TEMPORARY}*")
    )


def files_of_no_version(store: Store) -> list[str]:
    """Return what killed writes have left under temporary names, and all data of tables without a version.

    To make such a table, or to remove it, was cut short. The caller knows that nobody writes.
    """
    halves = [f"{table}.lance/data" for table in store.unmade()]
    return sorted(
        {
            *temporary_files(store, "*"),
            *(f"{data}/{name}" for data in halves for name in names_of_files(store.folder, data)),
        }
    )


def _older_versions(store: Store, table: str) -> dict[int, str]:
    """Return the manifests of all versions but the latest, by their numbers.

    Lance names a manifest by the number, counted from the end or, in its older releases, as it is.
    """
    opened = store.open(table)
    latest, folder = opened.version, f"{table}.lance/_versions"
    older = [int(one["version"]) for one in opened.list_versions() if int(one["version"]) != latest]
    counted = f"{_LAST - latest:020d}.manifest" in names_of_files(store.folder, folder)
    return {
        one: f"{folder}/{_LAST - one:020d}.manifest" if counted else f"{folder}/{one}.manifest"
        for one in older
    }


def _marks(store: Store, table: str) -> bool:
    return holds_files(store.folder, f"{table}.lance/_deletions")


def _rewrite(store: Store, table: str, column: str = "", without: pl.Series | None = None) -> None:
    """Overwrite a table with its own rows, in one commit, but those that name one of the values."""
    opened = store.open(table)
    schema = opened.schema

    def blocks() -> Iterator[pa.RecordBatch]:
        for batch in store.batches(table, schema.names):
            if without is not None:
                batch = batch.filter((~pl.Series(batch[column]).is_in(without)).to_arrow())
            if batch.num_rows:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    left = blocks()
    first = next(left, None)
    if first is None:
        store.overwrite_schema(table, schema)
    else:
        opened.add(pa.RecordBatchReader.from_batches(schema, chain([first], left)), mode="overwrite")
    store.changed(table)
