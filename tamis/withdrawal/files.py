"""Files of the home that may show a withdrawn document: exports, pages, logs, databases of others, caches.

Exports lose its rows; pages that name it, resume state and fitted things go, and are made again; of logs,
databases and other files only the pieces go that repeat it. Weights of checkpoints stay: see `tainting`.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tamis.errors import TransientError
from tamis.lineage.manifest import write_atomically
from tamis.store.exports import DESCRIPTIONS, beside
from tamis.store.home import Home
from tamis.withdrawal.pieces import PLACEHOLDER, held_pieces, holds_any, without_pieces

SQLITE = b"SQLite format 3\0"
CHUNK_BYTES, OVERLAP_BYTES = 8_000_000, 256
BINARY = (".safetensors", ".npz", ".parquet")
RESUME_STATE = ("training", "remote")
"""Folders of the cache with states of training, and with files that are being read."""


class DatabaseInUseError(TransientError):
    """A database shows a piece of a withdrawn text and cannot be written now."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            f"{path} shows a piece of what is withdrawn and is in use ({problem}); stop `tamis ui` and runs, "
            "then withdraw again: it goes on where it was"
        )


class UnreadableRowsError(TransientError):
    """A file that should hold rows with document ids cannot be read, so nobody knows what it holds."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            f"{path} cannot be read as {path.suffix.removeprefix('.')} ({problem}) and may hold what is "
            "withdrawn; remove it, then withdraw again: it goes on where it was"
        )


@dataclass(frozen=True, kw_only=True)
class Touched:
    """A file that was rewritten or removed, by its path under the home."""

    path: str
    done: str


def purge_exports(home: Home, doc_ids: Sequence[str]) -> Iterator[Touched]:
    """Take the documents out of exported files."""
    gone = pl.Series(sorted(doc_ids), dtype=pl.String)
    for path in sorted(home.exports.rglob("*")) if home.exports.is_dir() else ():
        if path.name.endswith(DESCRIPTIONS):
            continue  # they hold no document, and go with the file that they describe
        if path.suffix == ".part":  # what a killed export left
            path.unlink()
            yield Touched(path=home.relative(path), done="removed")
        elif path.suffix in (".parquet", ".jsonl") and _without_rows(path, gone):
            yield Touched(path=home.relative(path), done="rewritten")
            # They tell its count and hash; the next export writes them again.
            for description in [beside(path, ending) for ending in DESCRIPTIONS]:
                if description.exists():
                    description.unlink()
                    yield Touched(path=home.relative(description), done="removed")


def _without_rows(path: Path, gone: pl.Series) -> bool:
    if not holds_rows(path, gone):
        return False
    temporary, left = path.with_suffix(".part"), _scanned(path).filter(~_among(gone))
    left.sink_parquet(temporary) if path.suffix == ".parquet" else left.sink_ndjson(temporary)
    temporary.replace(path)
    return True


def holds_rows(path: Path, gone: pl.Series) -> bool:
    """Whether a file of rows, read as a stream, has one of the documents; raises `UnreadableRowsError`."""
    try:
        rows = _scanned(path)
        return "doc_id" in rows.collect_schema() and bool(rows.select(_among(gone).any()).collect().item())
    except pl.exceptions.PolarsError as error:
        raise UnreadableRowsError(path, str(error).partition("\n")[0]) from error


def _among(gone: pl.Series) -> pl.Expr:
    return pl.col("doc_id").cast(pl.String).is_in(gone.implode())


def _scanned(path: Path) -> pl.LazyFrame:
    if path.suffix == ".parquet":
        return pl.scan_parquet(path)
    if not path.stat().st_size:  # every row of it was withdrawn
        return pl.LazyFrame()
    return pl.scan_ndjson(path, infer_schema_length=None)


def pages_naming(home: Home, doc_ids: Sequence[str]) -> list[Path]:
    """Pages that name one of the documents: they show the beginning of its text."""
    pages = sorted(home.reports.rglob("*.html")) if home.reports.is_dir() else []
    return [path for path in pages if holds_any(path.read_text(errors="replace"), list(doc_ids))]


def purge_pages(home: Home, pages: Iterable[Path]) -> Iterator[Touched]:
    """Remove pages; the next materialization makes them again."""
    for path in pages:
        path.unlink()
        yield Touched(path=home.relative(path), done="removed")


def purge_resume_state(home: Home) -> Iterator[Touched]:
    """Remove what interrupted work goes on from: texts as tokens, or files as they were fetched."""
    for name in RESUME_STATE:
        folder = home.cache / name
        if folder.is_dir() and any(folder.iterdir()):
            shutil.rmtree(folder)
            yield Touched(path=home.relative(folder), done="removed")


def purge_folders(home: Home, folders: Iterable[Path]) -> Iterator[Touched]:
    """Remove folders of fitted things."""
    for folder in sorted(set(folders)):
        if folder.is_dir():
            shutil.rmtree(folder)
            yield Touched(path=home.relative(folder), done="removed")


def purge_pieces(home: Home, pieces: Sequence[str]) -> Iterator[Touched]:
    """Replace the pieces in Dagster's and MLflow's files, and in small caches."""
    if not pieces:
        return
    for path in searched(home):
        found = held_in(path, pieces)
        if not found:
            continue
        done = _clean_database(path, found) if _is_database(path) else _clean_file(path, found)
        yield Touched(path=home.relative(path), done=done)


def searched(home: Home) -> list[Path]:
    """Files in which nobody keeps texts by design, and so nobody would look for one."""
    folders = (home.dagster, home.mlflow, home.cache)
    files = [path for folder in folders if folder.is_dir() for path in folder.rglob("*") if path.is_file()]
    encoders = home.cache / "encoders"  # models, not documents
    return sorted(path for path in files if path.suffix not in BINARY and encoders not in path.parents)


def _is_database(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(SQLITE)) == SQLITE


def held_in(path: Path, pieces: Sequence[str]) -> list[str]:
    """The pieces that stand in a file, or in the log beside a database."""
    found, stored = set[str](), {_as_read(piece): piece for piece in pieces}
    for name in (path, path.with_name(path.name + "-wal")):
        if name.exists():
            with name.open("rb") as stream:
                for block in _blocks(stream.read):
                    found.update(stored[one] for one in held_pieces(block, list(stored)))
    return sorted(found, key=lambda piece: (-len(piece), piece))


def _as_read(piece: str) -> str:
    """A piece as it stands in UTF-8 bytes of which each is read as a character."""
    return piece.encode().decode("latin-1")


def _blocks(read: Callable[[int], bytes]) -> Iterator[str]:
    before = b""
    while block := read(CHUNK_BYTES):
        yield (before + block).decode("latin-1")
        before = block[-OVERLAP_BYTES:]


def _clean_file(path: Path, pieces: Sequence[str]) -> str:
    content = path.read_bytes().decode("latin-1")  # every byte is a character and comes back as it was
    left = without_pieces(content, [_as_read(piece) for piece in pieces])
    write_atomically(path, left.encode("latin-1"))
    return "rewritten"


def _clean_database(path: Path, pieces: Sequence[str]) -> str:
    """Replace the pieces in every text of a database, and write its file anew without what was deleted."""
    try:
        _clean_rows(path, pieces)
    except sqlite3.OperationalError as error:
        raise DatabaseInUseError(path, str(error)) from error
    return "rewritten"


def _clean_rows(path: Path, pieces: Sequence[str]) -> None:
    with closing(sqlite3.connect(path, timeout=30)) as database:
        for table, column in _columns(database):
            name, place = _quoted(table), _quoted(column)
            for piece in pieces:
                database.execute(
                    f"UPDATE {name} SET {place} = replace({place}, ?, ?) WHERE instr({place}, ?) > 0",
                    (piece, PLACEHOLDER, piece),
                )
        database.commit()
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Columns that may hold text."""
    tables = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
    )
    found = []
    for (table,) in tables.fetchall():
        for row in database.execute(f"PRAGMA table_info({_quoted(table)})").fetchall():
            if any(kind in row[2].upper() for kind in ("CHAR", "TEXT", "CLOB", "JSON")):
                found.append((table, row[1]))
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
