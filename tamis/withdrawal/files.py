"""Files of the home that may show a withdrawn document, as `places` lists them.

Exports lose its rows; pages that name it, resume state and fitted things go, and are made again. Weights of
checkpoints stay: see `tainting`.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.base.errors import TransientError
from tamis.base.files import whole_file
from tamis.base.nesting import on_own_stack
from tamis.corpus.refusing import schema_without, texts_among, texts_of_schema
from tamis.history.finding import short_id
from tamis.readers.arrow_values import json_values
from tamis.store.erasing import files_of_no_version
from tamis.store.exports import DESCRIPTIONS, description_path
from tamis.store.home import Home
from tamis.store.places import remove_named
from tamis.withdrawal.places import FILES, WHOLE_FOLDER, Named, files_named

EXPORTS = "exports"


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
            for description in [description_path(path, ending) for ending in DESCRIPTIONS]:
                if description.exists():
                    description.unlink()
                    yield Touched(path=home.relative(description), done="removed")


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
    return row.get("doc_id") in gone or any(texts_among(others, gone))


def pages_naming(home: Home, doc_ids: Sequence[str]) -> list[Path]:
    """Pages that name one of the documents: they show the beginning of its text."""
    ids = sorted(doc_ids)
    return [path for path in files_named(home, Named.BY_IDS) if ids and _names_one(path, ids)]


def _names_one(path: Path, ids: Sequence[str]) -> bool:
    page = pl.Series([path.read_text(errors="replace")])
    return bool(page.str.contains_any([*ids, *map(short_id, ids)])[0])


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


def purge_pages(home: Home, pages: Iterable[Path]) -> Iterator[Touched]:
    """Remove pages; the next materialization makes them again."""
    for path in pages:
        path.unlink()
        yield Touched(path=home.relative(path), done="removed")


def purge_resume_state(home: Home) -> Iterator[Touched]:
    """Remove what names no document: texts as tokens, fetched files, what a killed write has left."""
    for place in FILES:
        found = place.files(home) if place.named == Named.NOT else []
        if found and place.endings == WHOLE_FOLDER:
            shutil.rmtree(home.root / place.folder)
            yield Touched(path=place.folder, done="removed")
            continue
        for path in found:
            path.unlink()
            yield Touched(path=home.relative(path), done="removed")


def purge_temporary(home: Home) -> Iterator[Touched]:
    """Remove what killed writes of tables have left: nobody knows whose texts are in it."""
    for name in files_of_no_version(home.store):
        remove_named(home.store.folder, [name])
        yield Touched(path=f"lance/{name}", done="removed")


def purge_folders(home: Home, folders: Iterable[Path]) -> Iterator[Touched]:
    """Remove folders of fitted things."""
    for folder in sorted(set(folders)):
        if folder.is_dir():
            shutil.rmtree(folder)
            yield Touched(path=home.relative(folder), done="removed")
