"""Benchmarks to keep out of training: their files, and the texts of their rows.

A row has a text for each column that holds one: a question given away is a leak, with or without its answer.
Texts stay in memory; tables get hashes of their words alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.base.errors import PermanentError, did_you_mean
from tamis.base.numbers import counted, named
from tamis.corpus.listing import list_shards, require_outside
from tamis.corpus.shards import Shard
from tamis.readers.arrow_values import open_arrow
from tamis.readers.files import WHOLE_FILES, raw_items, reader_of
from tamis.readers.kept_columns import open_parquet
from tamis.readers.rows import WHOLE_SHARD, Defect, Item, Row
from tamis.readers.streams import Content
from tamis.readers.text import normalise_text
from tamis.readers.text_columns import find
from tamis.settings.config import CorpusSection, KeepOutSection
from tamis.settings.values import is_glob, split_glob

BATCH_ROWS = 1_000
COLUMNS_SHOWN = 20
_TEXTS = {"row": pl.Int64, "column": pl.String, "text": pl.String}


class BenchmarkError(PermanentError):
    """A benchmark that cannot be kept out as it is; selections wait, since they would give its rows away."""

    def __init__(self, benchmark: str, problem: str) -> None:
        self.benchmark, self.problem = benchmark, problem
        super().__init__(f"benchmark {benchmark!r} of [[keep_out]]: {problem}")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Texts of a benchmark: row (over all its files), column, text; by row, columns in the row's order.

    rows: number of rows that were read. without_text: those of them without any text. unreadable: further
    rows that could not be read, at least.
    """

    name: str
    texts: pl.DataFrame
    rows: int
    without_text: int
    unreadable: int


def read_benchmark(section: KeepOutSection, root: Path) -> Benchmark:
    """Read the rows of a benchmark; `root` is the folder that relative paths start from.

    Raises `BenchmarkError` where a file cannot be read, a file lacks a named column, or there is no text at
    all, and `ListingError` as `list_shards` does.
    """
    shards = list_shards(_as_corpus(section, root), root)
    if not shards:
        problem = "no file matches" if is_glob(section.path, root) else "the folder contains no file"
        raise BenchmarkError(section.name, f"{problem} ({section.path}); correct path")
    texts: list[tuple[int, str, str]] = []
    rows = without_text = unreadable = 0
    for shard in shards:
        missing, known = set(section.text_columns), dict[str, None]()
        before = rows
        for item in _items(section, shard):
            if isinstance(item, Defect):
                if item.row == WHOLE_SHARD:
                    raise BenchmarkError(section.name, f"{shard.name} cannot be read: {item.detail}")
                unreadable += item.rows or 1
                continue
            values = item.columns
            known |= dict.fromkeys(values)
            missing -= {column for column in missing if find(values, column) is not None}
            found = list(_texts_of(values, section.text_columns))
            texts += [(rows, column, text) for column, text in found]
            without_text += not found
            rows += 1
        if missing and rows > before:
            raise BenchmarkError(section.name, _no_column(shard, sorted(missing)[0], [*known]))
    if not texts:
        columns = f" in {named([*section.text_columns])}; correct text_columns"
        problem = (
            f"none of its {counted(rows, 'row')} has a text{columns if section.text_columns else ''}"
            if rows
            else f"its {counted(len(shards), 'file')} ({section.path}) contain no row; correct path"
        )
        raise BenchmarkError(section.name, problem)
    frame = pl.DataFrame(texts, schema=_TEXTS, orient="row")
    return Benchmark(
        name=section.name, texts=frame, rows=rows, without_text=without_text, unreadable=unreadable
    )


def fingerprint_benchmark(section: KeepOutSection, root: Path, digest_of: Callable[[Shard], str]) -> str:
    """Return the SHA-256, hex, of the names and bytes of a benchmark's files.

    digest_of: returns the digest of a file's bytes, perhaps from a cache that keys are for.
    """
    digest = hashlib.sha256()
    for shard in list_shards(_as_corpus(section, root), root):
        # No corpus can have this key: its files may be listed under the benchmark's name, too.
        content = digest_of(replace(shard, key=f"keep_out/{shard.key}"))
        digest.update(f"{shard.name}\0{content}\n".encode())
    return digest.hexdigest()


def require_benchmark_outside(section: KeepOutSection, root: Path, home: Path) -> None:
    """Raise `ListingError` where a benchmark would read the results in the home folder as rows."""
    require_outside(_as_corpus(section, root), root, home)


def _as_corpus(section: KeepOutSection, root: Path) -> CorpusSection:
    path, include = section.path, "**/*"
    if is_glob(path, root):
        path, include = split_glob(path)
    return CorpusSection(
        name=section.name,
        kind="files",
        path=path,
        include=(include,),
        text_column=section.text_columns or "auto",
    )


def _items(section: KeepOutSection, shard: Shard) -> Iterator[Item]:
    """Yield rows and defects of a file; rows may lack the named columns."""
    try:
        if shard.path.suffix.lower() in WHOLE_FILES:
            yield from (Row(row=row, values=values) for row, values in enumerate(_arrow_rows(shard.path)))
            return
        if reader_of(shard.path) is None:
            problem = f"files with the ending {shard.path.suffix!r} are not read"
            raise BenchmarkError(section.name, f"{shard.name} cannot be read: {problem}")
        with Content(shard.path) as content:
            yield from raw_items(content, shard.path, _as_corpus(section, shard.path.parent))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BenchmarkError(section.name, f"{shard.name} cannot be read: {_said(error)}") from error


def _said(error: Exception) -> str:
    """Return the message of an error that may not quote a row: of UTF-8 the place alone."""
    if isinstance(error, UnicodeDecodeError):
        return "a text is not UTF-8"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _arrow_rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix.lower() == ".parquet":
        with open_parquet(path) as file:
            for batch in file.iter_batches(BATCH_ROWS):
                yield from batch.to_pylist()
        return
    with pa.memory_map(str(path)) as source:
        for batch in open_arrow(source)[1]:
            yield from batch.to_pylist()


def _texts_of(values: Mapping[str, Any], columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (column, text) for each text of a row, of lists and nested fields for each text in them."""
    for column in columns or values:
        place = find(values, column) if columns else ((column,), values[column])
        for text in _strings(place[1]) if place is not None else ():
            if normalised := normalise_text(text):
                yield column, normalised


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _no_column(shard: Shard, column: str, known: Sequence[str]) -> str:
    shown = ", ".join(known[:COLUMNS_SHOWN]) + (", ..." if len(known) > COLUMNS_SHOWN else "")
    return (
        f"{shard.name} has no column {column!r}; columns found: {shown}; correct text_columns"
        f"{did_you_mean(column, known)}"
    )
