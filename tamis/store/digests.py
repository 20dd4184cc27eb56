"""Digests of what was written: one SHA-256 per row, one over the sorted rows, no text anywhere.

A rows file is a sequence of 48-byte records (16-byte key, 32-byte row digest) sorted by key, so its own
SHA-256 is the digest of the content whatever the order of writing. About 400,000 rows/s on one core.
"""

import hashlib
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.files import file_digest
from tamis.store.schemas import LATER_COLUMNS, UNHASHED_COLUMNS, declared

RECORD_BYTES = 48
KEY_BYTES = 16
_AN_ID = re.compile("[0-9a-f]{32}")
SEAL = "seal"
_FIELD = pa.field(SEAL, pa.string(), metadata={"description": "SHA-256 of the other columns of the row, hex"})


def canonical_digest(value: str) -> str:
    """SHA-256 of a string, hex."""
    return hashlib.sha256(value.encode()).hexdigest()


def hashed_columns(names: Sequence[str]) -> list[str]:
    """Those of the columns that digests look at."""
    return [name for name in names if name not in UNHASHED_COLUMNS]


def row_records(rows: pa.Table, key: Sequence[str]) -> np.ndarray:
    """Records of a table's rows, unsorted: [n] of 48 bytes, key digest then row digest."""
    digests = row_digests(rows, hashed_columns(rows.schema.names))
    records = b"".join(map(operator.add, key_bytes(rows, key), digests))
    return np.frombuffer(records, dtype=f"S{RECORD_BYTES}").view(f"V{RECORD_BYTES}")


def row_digests(rows: pa.Table, columns: Sequence[str]) -> Iterator[bytes]:
    """SHA-256 of each row: its values in these columns as JSON, then the bytes of all its vectors."""
    if not rows.num_rows:
        return iter(())
    vectors = [
        field.name
        for field in rows.schema
        if pa.types.is_fixed_size_list(field.type) and pa.types.is_primitive(field.type.value_type)
    ]
    payloads: Iterable[bytes] = json_lines(rows, sorted(set(columns).difference(vectors)))
    for name in vectors:
        payloads = (
            payload + vector_b.tobytes()
            for payload, vector_b in zip(payloads, _vector_bytes(rows[name]), strict=True)
        )
    return (hashlib.sha256(payload).digest() for payload in payloads)


def rows_digest(records: Iterable[np.ndarray]) -> tuple[str, bytes]:
    """Digest and bytes of the rows file of these records, sorted by key."""
    blocks = [np.asarray(block).view(f"V{RECORD_BYTES}") for block in records]
    joined = np.concatenate(blocks) if blocks else np.empty(0, dtype=f"V{RECORD_BYTES}")
    content = np.sort(joined.view(f"S{RECORD_BYTES}")).tobytes()  # zeros at the end sort as bytes do
    return hashlib.sha256(content).hexdigest(), content


NO_ROWS = rows_digest([])[0]
"""The digest of no rows, which many manifests name."""


def read_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Key (hex) and row digest (hex) of each record of a rows file."""
    for start in range(0, len(content), RECORD_BYTES):
        yield content[start : start + 16].hex(), content[start + 16 : start + RECORD_BYTES].hex()


def folder_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file under a folder by its relative path, sorted; a single file maps its own name."""
    if folder.is_file():
        return {folder.name: file_digest(folder)}
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def json_lines(rows: pa.Table, columns: list[str]) -> list[bytes]:
    """A JSON object a row; columns introduced later follow it where one of them holds something."""
    later = [name for name in columns if name in LATER_COLUMNS]
    first = _objects(rows, [name for name in columns if name not in LATER_COLUMNS])
    if not later:
        return first
    held = pl.DataFrame(pl.from_arrow(rows.select(later))).select(
        pl.any_horizontal(pl.all().is_not_null()).alias("held")
    )["held"]
    return [
        line + more if holds else line
        for line, more, holds in zip(first, _objects(rows, later), held, strict=True)
    ]


def _objects(rows: pa.Table, columns: list[str]) -> list[bytes]:
    frame = pl.DataFrame(pl.from_arrow(rows.select(columns)))
    lines = frame.select(pl.struct(pl.all()).struct.json_encode().alias("line"))["line"]
    return lines.cast(pl.Binary).to_list()  # a fifth of the time of a loop that encodes


def _vector_bytes(column: pa.ChunkedArray) -> np.ndarray:
    """The bytes of a column of vectors [n, b], uint8."""
    flat = column.combine_chunks()
    values = np.ascontiguousarray(flat.flatten().to_numpy(zero_copy_only=False))
    return values.reshape(len(flat), -1).view(np.uint8)


def key_bytes(rows: pa.Table, key: Sequence[str]) -> list[bytes]:
    """16 bytes a row: the doc_id itself where it alone is the key, else a digest of the key columns."""
    if tuple(key) == ("doc_id",) and "doc_id" in rows.schema.names:
        return _id_bytes(rows["doc_id"].to_pylist())
    return [hashlib.sha256(line).digest()[:16] for line in json_lines(rows, list(key))]


def _id_bytes(doc_ids: Sequence[str | None]) -> list[bytes]:
    """16 bytes for each id; of what is none, a digest: rows that were altered are hashed like any other."""
    try:
        found = [bytes.fromhex(doc_id or "") for doc_id in doc_ids]
    except ValueError:
        found = []
    if found and all(len(key) == KEY_BYTES for key in found):
        return found
    return [
        bytes.fromhex(doc_id)
        if doc_id and _AN_ID.fullmatch(doc_id)
        else hashlib.sha256(repr(doc_id).encode()).digest()[:KEY_BYTES]
        for doc_id in doc_ids
    ]


def has_seals(table: str) -> bool:
    """Return whether the rows of a table have seals, as all retained rows do."""
    known = declared(table)
    return known is not None and known.sealed


def sealed(table: str, rows: pa.Table) -> pa.Table:
    """The rows with their seals, where the table is one that has them."""
    return rows.append_column(_FIELD, pa.array(_seals(rows), pa.string())) if has_seals(table) else rows


def unsealed_schema(schema: pa.Schema) -> pa.Schema:
    """A schema without the column of seals."""
    return schema.remove(schema.get_field_index(SEAL)) if SEAL in schema.names else schema


def broken_seals(rows: pa.Table) -> pl.DataFrame:
    """The rows whose seal is not that of their content; those without one are not among them."""
    expected = pl.Series(SEAL, _seals(unsealed(rows)), pl.String)
    scalars = [field.name for field in rows.schema if not pa.types.is_fixed_size_list(field.type)]
    return pl.DataFrame(pl.from_arrow(rows.select(scalars))).filter(
        pl.col(SEAL).is_not_null() & (pl.col(SEAL) != expected)
    )


def unsealed(rows: pa.Table) -> pa.Table:
    """The rows without the column of seals."""
    return rows.drop_columns([SEAL]) if SEAL in rows.schema.names else rows


def _seals(rows: pa.Table) -> list[str]:
    return [digest.hex() for digest in row_digests(rows, rows.schema.names)]
