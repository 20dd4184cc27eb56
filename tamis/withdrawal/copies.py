"""Copies that somebody has put into the folder of exports: a withdrawal leaves them, verifying names them.

Searched are files of rows in Parquet, whatever they are called, and all others for ids, also where they are
compressed by gzip or zstd. In archives and other binary formats no id is seen.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tamis.history.finding import ID_DIGITS
from tamis.readers.streams import Content
from tamis.store.exports import DESCRIPTIONS, README
from tamis.store.home import Home
from tamis.withdrawal.places import CUT_SHORT, FILES

BLOCK_BYTES = 1 << 22
PARQUET = b"PAR1"


def copies_naming(home: Home, doc_ids: Sequence[str]) -> Iterator[str]:
    """Say of each file in the folder of exports that no export wrote and that has a row of a document."""
    known = tuple(ending for place in FILES if place.folder == "exports" for ending in place.endings)
    found = sorted(home.exports.rglob("*")) if doc_ids and home.exports.is_dir() else ()
    for path in found:
        unknown = not path.name.endswith((*known, *CUT_SHORT, *DESCRIPTIONS)) and path.name != README
        if unknown and path.is_file() and _names_one(path, sorted(doc_ids)):
            yield (
                f"{home.relative(path)} contains the id of a withdrawn document; it was not written by an "
                "export, so delete it yourself"
            )


def _names_one(path: Path, doc_ids: Sequence[str]) -> bool:
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
        batches = rows.iter_batches(columns=["doc_id"])
        return any(pl.Series(batch["doc_id"]).cast(pl.String).is_in(gone).any() for batch in batches)


def _has_bytes(path: Path, doc_ids: Sequence[str]) -> bool:
    rest = b""
    try:
        with Content(path) as content:
            while block := content.stream.read(BLOCK_BYTES):
                shown = pl.Series([(rest + block).decode("ascii", "replace")])
                if shown.str.contains_any(list(doc_ids))[0]:
                    return True
                rest = block[-ID_DIGITS:]
    except OSError:  # it has just been removed, or is nobody's to read
        return False
    return False
