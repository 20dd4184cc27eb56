"""Files of the home that may show a withdrawn document, as `places` lists them.

Exports lose its rows; pages that name it, resume state and fitted things go, and are made again. Weights of
checkpoints stay: see `tainting`.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tamis.base.errors import TransientError
from tamis.base.files import whole_file
from tamis.store.exports import DESCRIPTIONS, beside
from tamis.store.home import Home
from tamis.withdrawal.places import FILES, WHOLE_FOLDER, Named, files_named

EXPORTS = "exports"


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
    for path in files_named(home, Named.BY_ROWS, EXPORTS):
        if _without_rows(path, gone):
            yield Touched(path=home.relative(path), done="rewritten")
            # They state its count and hash; the next export writes them again.
            for description in [beside(path, ending) for ending in DESCRIPTIONS]:
                if description.exists():
                    description.unlink()
                    yield Touched(path=home.relative(description), done="removed")


def _without_rows(path: Path, gone: pl.Series) -> bool:
    if not holds_rows(path, gone):
        return False
    left = _scanned(path).filter(~_among(gone))
    with whole_file(path) as draft:
        left.sink_parquet(draft) if path.suffix == ".parquet" else left.sink_ndjson(draft)
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
    ids = sorted(doc_ids)
    return [path for path in files_named(home, Named.BY_IDS) if ids and _names_one(path, ids)]


def _names_one(path: Path, ids: Sequence[str]) -> bool:
    page = pl.Series([path.read_text(errors="replace")])
    return bool(page.str.contains_any(list(ids))[0])


def files_holding(home: Home, doc_ids: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Files that hold or name one of the documents, and what is wrong with each."""
    gone = pl.Series(sorted(doc_ids), dtype=pl.String)
    for path in files_named(home, Named.BY_ROWS):
        try:
            if holds_rows(path, gone):
                yield path, f"{home.relative(path)} has rows of withdrawn documents"
        except UnreadableRowsError as error:
            yield path, str(error)
    for path in pages_naming(home, doc_ids):
        yield path, f"{home.relative(path)} names a withdrawn document"


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


def purge_folders(home: Home, folders: Iterable[Path]) -> Iterator[Touched]:
    """Remove folders of fitted things."""
    for folder in sorted(set(folders)):
        if folder.is_dir():
            shutil.rmtree(folder)
            yield Touched(path=home.relative(folder), done="removed")
