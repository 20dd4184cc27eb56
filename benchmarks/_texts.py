"""The public data that benchmarks read: where they are, and their rows without the mess that files have.

No other module reads a file of them, so that what one null or blank text does is decided here alone.
"""

import os
import sys
from collections.abc import Sized
from pathlib import Path
from typing import TypeVar

import polars as pl

from tamis.readers.text import normalise_text

_Rows = TypeVar("_Rows", bound=Sized)


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

    Texts that are null, or that Tamis would call empty, are left out, and counted on standard error. Exits
    where the file is absent or nothing of it is left.
    """
    path = file if isinstance(file, Path) else data_folder() / f"{file}.parquet"
    if not path.is_file():
        sys.exit(f"there is no {path}; benchmarks/README.md says where it is from")
    rows = pl.read_parquet(path, columns=["text", *columns]).with_columns(pl.col("text").cast(pl.String))
    # Polars and Python differ in what white space is, and Tamis goes by Python.
    has_text = [bool(normalise_text(text or "")) for text in rows["text"]]
    kept = rows.filter(pl.Series(has_text, dtype=pl.Boolean))
    if len(kept) < len(rows):
        print(f"{path.name}: {len(rows) - len(kept)} rows without a text are left out", file=sys.stderr)
    return enough(kept, 1, f"texts in {path}")


def read_table(part: str, name: str, *key: str) -> pl.DataFrame:
    """Return a published table, PART/NAME.csv, without empty lines and without lines that are there twice.

    Exits where the file is absent, where a value is missing and where two lines have the same `key`: without
    one of them, figures would be those of another table than the one that was published.
    """
    path = data_folder(part) / f"{name}.csv"
    if not path.is_file():
        sys.exit(f"there is no {path}; benchmarks/README.md says where it is from")
    lines = pl.read_csv(path, null_values=["NA", "NaN", "nan"])
    rows = lines.filter(~pl.all_horizontal(pl.all().is_null())).unique(maintain_order=True)
    if missing := sum(rows.null_count().row(0)):
        sys.exit(f"{path}: {missing} values are missing; fetch the table again")
    if key and (repeated := len(rows) - rows.select(key).n_unique()):
        sys.exit(f"{path}: {repeated} rows repeat the {' and '.join(key)} of another; fetch the table again")
    return rows


def enough(rows: _Rows, count: int, what: str) -> _Rows:
    """Return the rows, `what` of the data; exits where they are fewer than `count`."""
    if len(rows) < count:
        sys.exit(
            f"too few {what}: {len(rows):,} of the {count:,} that are needed; add texts or ask for fewer"
        )
    return rows
