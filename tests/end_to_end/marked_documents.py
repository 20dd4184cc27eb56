"""Documents that can be found in any byte, and the search for them, also as formats hide them."""

import gzip
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pyarrow as pa
from projects import SmallProject, sentences, write_jsonl

from tamis.corpus import document_id
from tamis.store.tables import Store

COUNT = 12


def marker(number: int) -> str:
    """64 hexadecimal characters that nothing compresses and nothing else holds."""
    return hashlib.sha256(f"marker {number}".encode()).hexdigest()


def marked(number: int) -> str:
    """A document with its marker at both ends, where excerpts show it."""
    return f"{marker(number)} {sentences('algebra', COUNT, 77)[number]} {marker(number)[::-1]}"


def add_marked(project: SmallProject, name: str = "marked", leave_out: tuple[int, ...] = ()) -> list[str]:
    """A shard of marked documents; their ids."""
    texts = [marked(number) for number in range(COUNT) if number not in leave_out]
    write_jsonl(project.root / "landing" / f"{name}.jsonl", texts)
    return [document_id(marked(number)) for number in range(COUNT)]


def shown_in(home: Path, number: int) -> list[str]:
    """Everything under a home that shows the marker of a document, in any readable version of anything."""
    found = [*in_files(home, number)]
    store = Store(home / "lance")
    for table in store.names():
        for entry in store.open(table).list_versions():
            rows = store.read_arrow(table, version=int(entry["version"]))
            if any(hidden in repr_of(rows) for hidden in forms(number)):
                found.append(f"{table} version {entry['version']}")
    return found


def forms(number: int) -> list[str]:
    return [marker(number), marker(number)[::-1]]


def repr_of(rows: pa.Table) -> str:
    texts = [name for name in rows.column_names if pa.types.is_string(rows.schema.field(name).type)]
    return "\n".join(str(value) for name in texts for value in rows[name].to_pylist())


def in_files(home: Path, number: int):
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        if not path.exists():  # SQLite removes its log with the last connection
            continue
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pl.read_parquet(path).write_json().encode()
        if content[:2] == b"\x1f\x8b":
            content += gzip.decompress(content)
        if content.startswith(b"SQLite format 3"):
            content += dumped(path)
        if any(form.encode() in content for form in forms(number)):
            yield str(path.relative_to(home))


def dumped(path: Path) -> bytes:
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump()).encode("utf-8", "replace")


def as_line(number: int) -> str:
    return json.dumps({"text": marked(number)}) + "\n"
