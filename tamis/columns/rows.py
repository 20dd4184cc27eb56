"""Rows of the corpora with their own columns: as they are kept, else read again from their files.

Rows are not kept of a corpus with `keep_columns = false`, nor where they are too long for it.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from tamis.base.errors import TamisError
from tamis.corpus.documents import Reading, read_as
from tamis.corpus.shards import Shard, ShardGoneError
from tamis.corpus.small_files import group_of_files
from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import KEPT_ROWS, OCCURRENCES
from tamis.passages.places import document_places
from tamis.readers.kept_columns import TOO_LONG, has_columns, is_kept
from tamis.readers.rows import WHOLE_SHARD
from tamis.readers.text_columns import columns_of_path, sample_of
from tamis.settings.sections import CorpusSection
from tamis.store.tables import Store, one_of

BLOCK_ROWS = 65_536
SAMPLE_ROWS = 1_000
ROW_SCHEMA = {"doc_id": pl.String, "shard": pl.String, "row": pl.Int64, "content": pl.String}
_PLACES = ["doc_id", "shard", "row"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files from which rows can be read again: unchanged shards, by key, and corpora, by name."""

    shards: Mapping[str, Shard]
    corpora: Mapping[str, CorpusSection]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The rows that are wanted: those of documents, by id, or all; so many `at_once`."""

    doc_ids: Sequence[str] | None = None
    at_once: int = BLOCK_ROWS


def rows_with_columns(
    store: Store, paths: Sequence[str], files: Files, unread: Counter[str], wanted: Wanted | None = None
) -> Iterator[tuple[pl.DataFrame, Sequence[str]]]:
    """Yield blocks of rows (`ROW_SCHEMA`), each with the paths of columns that are to be read of them.

    A path is that of a column, or of a nested field. Rows that cannot be read again are counted in `unread`,
    by shard: their file left or has changed, and its documents are going to be read again.
    """
    wanted = wanted or Wanted()
    too_long = [pl.DataFrame(schema=ROW_SCHEMA)]
    for rows in _kept(store, wanted):
        too_long.append(rows.filter(pl.col("content") == TOO_LONG))
        yield rows.filter(pl.col("content") != TOO_LONG), paths
    long_rows = pl.concat(too_long).select(_PLACES)
    whole = _not_kept(store, _occurrences(store, wanted, ["shard"])["shard"].unique(), paths, files)
    keys = sorted({*long_rows["shard"], *whole})
    if not keys:
        return
    places = _occurrences(store, wanted, _PLACES, one_of("shard", keys)).cast({"row": pl.Int64})
    for key in keys:
        long_ones = long_rows.filter(shard=key)
        others = places.filter(shard=key).join(long_ones, on="row", how="anti")
        asked = [(long_ones, paths), (others, whole.get(key, ()))]
        try:
            for rows in _read_again(key, files):
                for of_rows, read in asked:
                    if read:
                        yield rows.join(of_rows, on=["doc_id", "row"], how="semi"), read
        except (TamisError, OSError):
            unread[key] = sum(len(of_rows) for of_rows, read in asked if read)


def _kept(store: Store, wanted: Wanted) -> Iterator[pl.DataFrame]:
    columns = list(ROW_SCHEMA)
    blocks = (
        store.batches(KEPT_ROWS.name, columns, f"row > {WHOLE_SHARD}", rows=wanted.at_once)
        if wanted.doc_ids is None
        else store.by_ids(KEPT_ROWS.name, wanted.doc_ids, columns, wanted.at_once)
    )
    yield from (pl.DataFrame(pl.from_arrow(block)) for block in blocks)


def _occurrences(store: Store, wanted: Wanted, columns: list[str], where: str | None = None) -> pl.DataFrame:
    if wanted.doc_ids is None:
        others = [column for column in columns if column != "doc_id"]
        return document_places(store, others, where).unique().select(columns)
    blocks = [*store.by_ids(OCCURRENCES.name, wanted.doc_ids, columns)]
    rows = pa.concat_tables([store.schema(OCCURRENCES.name).empty_table().select(columns), *blocks])
    return pl.DataFrame(pl.from_arrow(rows))


def _read_again(key: str, files: Files) -> Iterator[pl.DataFrame]:
    """Yield the rows of a file with all their columns; raises `TamisError` where it cannot be read."""
    if key not in files.shards:
        raise ShardGoneError(key)
    shard = files.shards[key]
    section = files.corpora[shard.corpus].model_copy(update={"keep_columns": True})
    for batch in read_as(shard, section, Reading(kept_bytes=float("inf"))):
        rows = batch.documents.select("doc_id", pl.lit(key).alias("shard"), "row", "content")
        yield rows.cast({"row": pl.Int64}).drop_nulls("content")


def _not_kept(store: Store, keys: pl.Series, paths: Sequence[str], files: Files) -> dict[str, Sequence[str]]:
    """Return the paths whose column is not kept of the rows of a file, by its key."""
    headed = {*store.read(KEPT_ROWS.name, ["shard"], f"row = {WHOLE_SHARD}")["shard"]}
    shards = keys.to_frame("shard").join(group_of_files(store), on="shard", how="anti")  # files of one text
    found: dict[str, Sequence[str]] = {}
    for key, corpus in with_corpora(store, shards).select("shard", "corpus").iter_rows():
        shard, section = files.shards.get(key), files.corpora.get(corpus)
        if shard is not None and not has_columns(shard.name):
            continue
        kept = [path for path in paths if key in headed and (section is None or _keeps(section, path))]
        if len(kept) < len(paths):
            found[key] = [path for path in paths if path not in kept]
    return found


def _keeps(section: CorpusSection, path: str) -> bool:
    return any(is_kept(section, column) for column in columns_of_path(path))


def kept_column_names(store: Store) -> list[str]:
    """Return the columns of the first rows that are kept, nested ones by path, sorted."""
    batches = store.batches(KEPT_ROWS.name, ["content"], f"row > {WHOLE_SHARD}", span=(0, SAMPLE_ROWS))
    rows = [content for batch in batches for content in batch["content"].to_pylist() if content != TOO_LONG]
    return sorted(sample_of(map(json.loads, rows), SAMPLE_ROWS))
