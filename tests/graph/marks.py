"""The search for a mark in a home: every table in all its versions, every database and file, decoded."""

import gzip
import io
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

from tamis.store.tables import Store

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")
SQLITE = b"SQLite format 3\0"
UNPACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\x28\xb5\x2f\xfd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
    b"\x78": zlib.decompress,
    b"PAR1": lambda content: repr(pq.read_table(io.BytesIO(content)).to_pylist()).encode(),
    b"PK\x03\x04": lambda content: b"".join(_members(content)),
}
"""How content is read that begins so."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Where the mark is: a table of the store with the row, or a file with what it holds."""

    place: str
    row: dict[str, Any] = field(default_factory=dict)
    content: bytes = b""


def sights(home: Path, mark: str) -> Iterator[Sight]:
    """Everything under a home that shows a mark of ASCII letters, digits and hyphens."""
    store = Store(home / "lance")
    for table in store.names() if (home / "lance").is_dir() else ():
        for entry in store.open(table).list_versions():
            rows = store.read_arrow(table, version=int(entry["version"])).to_pylist()
            yield from (Sight(place=f"table {table}", row=row) for row in rows if mark in repr(row))
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = path.relative_to(home).as_posix()
        if name.startswith("lance/"):
            name = f"files of table {path.relative_to(home).parts[1].removesuffix('.lance')}"
        content = path.read_bytes()
        if _holds(content, mark):
            yield Sight(place=name, content=_decoded(content))
        if content.startswith(SQLITE):
            yield from (Sight(place=f"{name}, {cell}") for cell in _cells(path, mark))


def _cells(path: Path, mark: str) -> Iterator[str]:
    """Table and column of every value of a database that shows the mark."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in found:
            rows = database.execute(f'SELECT * FROM "{name.decode()}"')
            columns = [column[0] for column in rows.description]
            for row in rows:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, bytes) and _holds(value, mark):
                        yield f"{name.decode()}.{column}"


def _holds(content: bytes, mark: str) -> bool:
    shown = _decoded(content)
    return any(mark.encode(encoding) in shown for encoding in ENCODINGS)


def _decoded(content: bytes) -> bytes:
    """The bytes, and behind them what they hold packed."""
    for beginning, unpack in UNPACKED.items():
        if content.startswith(beginning):
            with suppress(Exception):  # it only begins like one
                return content + _decoded(unpack(content))
    return content


def _members(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        for name in packed.namelist():
            yield packed.read(name)
