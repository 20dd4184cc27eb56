"""The public texts that benchmarks read: where they are, and their rows without those that hold no word."""

import os
import sys
from pathlib import Path

import polars as pl


def folder() -> Path:
    """Return the folder of the data: TAMIS_BENCH_DATA, or ../shared/data next to the checkout."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return Path(os.environ.get("TAMIS_BENCH_DATA", default))


def data_folder(part: str = "text") -> Path:
    """Return a folder of it; exits where it is absent."""
    found = folder() / part
    if not found.is_dir():
        sys.exit(f"there is no {found}; set TAMIS_BENCH_DATA to the folder that holds {part}/")
    return found


def files_of_texts(pattern: str = "*") -> list[Path]:
    """Return the files of text/ whose names match, sorted; exits where there are none."""
    found = sorted(data_folder().glob(f"{pattern}.parquet"))
    if not found:
        sys.exit(f"there is no {pattern}.parquet in {data_folder()}")
    return found


def read_texts(file: str | Path, *columns: str) -> pl.DataFrame:
    """Return text and other columns of a file of text/, by its name, or of any parquet file.

    Rows that are null, empty or white space are left out, and counted on standard error.
    """
    path = file if isinstance(file, Path) else data_folder() / f"{file}.parquet"
    rows = pl.read_parquet(path, columns=["text", *columns]).with_columns(pl.col("text").cast(pl.String))
    kept = rows.filter(pl.col("text").str.strip_chars() != "")
    if len(kept) < len(rows):
        print(f"{path.name}: {len(rows) - len(kept)} rows without a text are left out", file=sys.stderr)
    return kept
