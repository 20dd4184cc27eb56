"""Copies that somebody has put into the folder of exports: a withdrawal leaves them, verifying names them.

Searched are files of rows in Parquet, whatever they are called, and all others for ids, also where they are
compressed by gzip or zstd. In archives and other binary formats no id is seen.
"""

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.base.errors import TransientError
from tamis.base.files import whole_file
from tamis.base.nesting import on_own_stack
from tamis.corpus.refusing import schema_without, texts_among, texts_of_schema
from tamis.history.finding import ID_DIGITS, short_id
from tamis.passages.places import PARENT, PASSAGES
from tamis.readers.arrow_values import json_values
from tamis.readers.streams import Content
from tamis.store.erasing import files_of_no_version
from tamis.store.exports import DESCRIPTIONS, README, description_path
from tamis.store.home import Home
from tamis.store.places import remove_named
from tamis.store.schemas import declared, tables, tables_of_texts
from tamis.store.tables import Store
from tamis.trainer.runs import erase_naming, folders_naming

BLOCK_BYTES = 1 << 22
PARQUET = b"PAR1"
EXPORTS = "exports"
CUT_SHORT = (".part", ".tmp")
"""Endings of what a killed process has left of a file."""
WHOLE_FOLDER = ("",)


def copies_naming(home: Home, doc_ids: Sequence[str]) -> Iterator[str]:
    """Say of each file in the folder of exports that no export wrote and that has a row of a document."""
    known = tuple(ending for place in FILES if place.folder == EXPORTS for ending in place.endings)
    for path in sorted(home.exports.rglob("*")) if doc_ids else ():
        unknown = not path.name.endswith((*known, *CUT_SHORT, *DESCRIPTIONS)) and path.name != README
        if unknown and path.is_file() and _is_named(path, sorted(doc_ids)):
            yield (
                f"{home.relative(path)} contains the id of a withdrawn document; it was not written by an "
                "export, so delete it yourself"
            )


def _is_named(path: Path, doc_ids: Sequence[str]) -> bool:
    try:
        with path.open("rb") as file:
            if file.read(len(PARQUET)) == PARQUET:
                return _has_row(path, doc_ids)
    except (pa.ArrowException, OSError):
        pass  # what begins as Parquet and is none may still show its ids
    return _has_bytes(path, doc_ids)


def _has_row(path: Path, doc_ids: Sequence[str]) -> bool:
    gone = pl.Series(doc_ids, dtype=pl.String).implode()
    with pq.ParquetFile(path) as rows:
        if "doc_id" not in rows.schema_arrow.names:
            return False
        return any(
            pl.Series(batch["doc_id"]).cast(pl.String).is_in(gone).any()
            for batch in rows.iter_batches(columns=["doc_id"])
        )


def _has_bytes(path: Path, doc_ids: Sequence[str]) -> bool:
    rest = b""
    try:
        with Content(path) as content:
            while block := content.stream.read(BLOCK_BYTES):
                if _contains_any((rest + block).decode("ascii", "replace"), doc_ids):
                    return True
                rest = block[-ID_DIGITS:]
    except OSError:  # it has just been removed, or is nobody's to read
        return False
    return False


class UnreadableRowsError(TransientError):
    """A file that should hold rows with document ids cannot be read, so nobody knows what it holds."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            f"{path} cannot be read as {path.suffix.removeprefix('.')} ({problem}) and may contain "
            "withdrawn documents; remove it, then run the same command again to complete the withdrawal"
        )


@dataclass(frozen=True, kw_only=True)
class Touched:
    """A file that was rewritten or removed, by its path under the home."""

    path: str
    done: str


def purge_exports(
    home: Home, doc_ids: Sequence[str], unreadable: list[UnreadableRowsError]
) -> Iterator[Touched]:
    """Take the documents out of exported files; those that cannot be read are added to `unreadable`."""
    gone = frozenset(doc_ids)
    for path in files_named(home, Named.BY_ROWS, EXPORTS):
        try:
            rewritten = _without_rows(path, gone)
        except UnreadableRowsError as error:
            unreadable.append(error)
            continue
        if rewritten:
            yield Touched(path=home.relative(path), done="rewritten")
            # They state its count and hash; the next export writes them again.
            described = (description_path(path, ending) for ending in DESCRIPTIONS)
            yield from purge_pages(home, (one for one in described if one.exists()))


def _without_rows(path: Path, gone: frozenset[str]) -> bool:
    """Write an exported file again without the rows that show these documents, the others as they are."""
    if not _any_row(path, gone, shown=True):
        return False
    with whole_file(path) as draft:
        if path.suffix == ".parquet":
            with (
                pq.ParquetFile(path) as rows,
                pq.ParquetWriter(
                    draft, schema := schema_without(rows.schema_arrow, gone), compression="zstd"
                ) as left,
            ):
                for batch in rows.iter_batches():
                    kept = pa.array([not _shows(row, gone) for row in rows_of_batch(batch)], pa.bool_())
                    left.write_batch(batch.filter(kept).select(schema.names).cast(schema))
        else:
            with path.open("rb") as lines, draft.open("wb") as others:
                others.writelines(line for line in lines if not _shows(on_own_stack(json.loads, line), gone))
    return True


def _any_row(path: Path, gone: frozenset[str], shown: bool) -> bool:
    """Whether a file has a row of one of the documents, or (`shown`) one that holds its text.

    Raises `UnreadableRowsError`.
    """
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as rows:
                if shown and any(texts_of_schema(rows.schema_arrow, gone)):
                    return True
                batches = rows.iter_batches(columns=None if shown else ["doc_id"])
                return any(_shows(row, gone) for batch in batches for row in rows_of_batch(batch))
        with path.open("rb") as lines:
            return any(_shows(on_own_stack(json.loads, line), gone) for line in lines)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UnreadableRowsError(path, str(error).partition("\n")[0]) from error


def rows_of_batch(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch, of the columns that may hold a text or the id."""
    names = [field.name for field in batch.schema if not pa.types.is_primitive(field.type)]
    columns = [json_values(batch[name]) for name in names]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def _shows(row: Any, gone: frozenset[str]) -> bool:
    """Whether a row is that of one of the documents, or holds its text in another column."""
    if not isinstance(row, dict):
        return False
    others = {name: value for name, value in row.items() if name != "text"}
    passages = row.get(PASSAGES)
    in_parts = isinstance(passages, list) and any(isinstance(one, str) and one in gone for one in passages)
    named = row.get("doc_id") in gone or row.get(PARENT) in gone
    return named or in_parts or any(texts_among(others, gone))


def pages_naming(home: Home, doc_ids: Sequence[str]) -> list[Path]:
    """Pages that name one of the documents: they show the beginning of its text."""
    ids = sorted({*doc_ids, *map(short_id, doc_ids)})
    return [
        path
        for path in files_named(home, Named.BY_IDS)
        if ids and _contains_any(path.read_text(errors="replace"), ids)
    ]


def _contains_any(text: str, ids: Sequence[str]) -> bool:
    return bool(pl.Series([text]).str.contains_any(list(ids))[0])


def files_holding(home: Home, doc_ids: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Files that hold or name one of the documents, and what is wrong with each."""
    gone = frozenset(doc_ids)
    for path in files_named(home, Named.BY_ROWS):
        try:
            if _any_row(path, gone, shown=path.is_relative_to(home.exports)):
                yield path, f"{home.relative(path)} contains rows of withdrawn documents"
        except UnreadableRowsError as error:
            yield path, str(error)
    for path in pages_naming(home, doc_ids):
        yield path, f"{home.relative(path)} contains the id of a withdrawn document"
    for path in folders_naming(home, doc_ids):
        yield path, f"{home.relative(path)} contains rows of withdrawn documents"


def purge_pages(home: Home, pages: Iterable[Path]) -> Iterator[Touched]:
    """Remove files, such as pages; the next materialization makes them again."""
    for path in pages:
        path.unlink()
        yield Touched(path=home.relative(path), done="removed")


def purge_resume_state(home: Home) -> Iterator[Touched]:
    """Remove what names no document: texts as tokens, fetched files, what a killed write has left."""
    for place in FILES:
        found = place.files(home) if place.named == Named.NOT else []
        if found and place.endings == WHOLE_FOLDER:
            yield from purge_folders(home, [home.root / place.folder])
        else:
            yield from purge_pages(home, found)


def purge_trainer_runs(home: Home, doc_ids: Collection[str]) -> Iterator[Touched]:
    """Stop and remove the runs of the trainer that were given one of these documents."""
    for folder in erase_naming(home, doc_ids):
        yield Touched(path=home.relative(folder), done="removed")


def purge_temporary(home: Home) -> Iterator[Touched]:
    """Remove what killed writes of tables have left: nobody knows whose texts are in it."""
    for name in files_of_no_version(home.store):
        remove_named(home.store.folder, [name])
        yield Touched(path=f"lance/{name}", done="removed")


def purge_folders(home: Home, folders: Iterable[Path]) -> Iterator[Touched]:
    """Remove folders, such as those of fitted things."""
    for folder in sorted(set(folders)):
        if folder.is_dir():
            shutil.rmtree(folder)
            yield Touched(path=home.relative(folder), done="removed")


class Named(StrEnum):
    """How a file names the documents that it shows, and so what a withdrawal does to it."""

    BY_ROWS = "a doc_id column: their rows are removed"
    BY_IDS = "ids in its text: it is removed, and rebuilt"
    NOT = "not at all: it is removed at every withdrawal, and rebuilt where needed"


@dataclass(frozen=True, kw_only=True)
class FilePlace:
    """Files of one kind: those with these endings in a folder under the home."""

    folder: str
    endings: tuple[str, ...]
    named: Named

    def files(self, home: Home) -> list[Path]:
        """Return those that are there, sorted; what describes an export holds no document."""
        return sorted(
            path
            for path in (home.root / self.folder).rglob("*")
            if path.name.endswith(self.endings) and not path.name.endswith(DESCRIPTIONS) and path.is_file()
        )


FILES = (
    FilePlace(folder="exports", endings=(".parquet", ".jsonl"), named=Named.BY_ROWS),
    FilePlace(folder="manifests/rows", endings=(".parquet",), named=Named.BY_ROWS),
    FilePlace(folder="reports", endings=(".html",), named=Named.BY_IDS),
    FilePlace(folder="exports", endings=CUT_SHORT, named=Named.NOT),
    FilePlace(folder="manifests/rows", endings=CUT_SHORT, named=Named.NOT),
    FilePlace(folder="reports", endings=CUT_SHORT, named=Named.NOT),
    FilePlace(folder="cache/training", endings=WHOLE_FOLDER, named=Named.NOT),
    FilePlace(folder="cache/loaded", endings=WHOLE_FOLDER, named=Named.NOT),
    FilePlace(folder="cache/density_buckets", endings=WHOLE_FOLDER, named=Named.NOT),
    FilePlace(folder="cache/evaluations", endings=WHOLE_FOLDER, named=Named.NOT),
    FilePlace(folder="cache/remote", endings=WHOLE_FOLDER, named=Named.NOT),
)
"""States of interrupted training hold texts as tokens, `loaded` the rows that a program has loaded, `remote`
files as they were fetched; a command that evaluates writes what it likes."""


def files_named(home: Home, named: Named, folder: str = "") -> Iterator[Path]:
    """Files that name documents so, of all places or of those in one folder."""
    for place in FILES:
        if place.named == named and folder in ("", place.folder):
            yield from place.files(home)


def tables_of_documents(store: Store) -> list[str]:
    """Tables with rows by doc_id that a withdrawal deletes, those of whole texts last."""
    names = [
        name
        for name in store.names()
        if not ((known := declared(name)) and known.evidence) and "doc_id" in store.schema(name).names
    ]
    texts = tables_of_texts()
    return sorted(names, key=lambda name: (name in texts, name))


def tables_of_excerpts(store: Store) -> list[str]:
    """Tables that exist of which a withdrawal blanks the columns of text: their rows name no document."""
    return [
        name
        for name, table in tables().items()
        if table.text and "doc_id" not in table.column_names and store.exists(name)
    ]
