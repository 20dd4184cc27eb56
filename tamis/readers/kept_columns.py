"""The columns of a user's rows, kept as JSON so that an export gives them back with their types.

A row is a JSON object of its columns, without the text, which `documents` holds. JSON has the types of rows
that are JSON; of Parquet and Arrow files the schema is kept once a file, and what JSON cannot hold is written
as its storage: times as integers, decimals as digits, bytes in base 64. The store compresses the column.
"""

import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.readers.arrow_values import kept_type, open_arrow
from tamis.readers.delimited import dialect_of
from tamis.readers.repair import MENDED, MISTAKEN, UNMENDED
from tamis.readers.rows import LEFT_OUT
from tamis.readers.streams import TEXTS
from tamis.readers.text import is_unicode, without_surrogates
from tamis.readers.text_columns import TextPlace, lowered
from tamis.settings.config import CorpusSection

KEPT_BYTES = 64_000
"""Of longer rows nothing is kept: they are read again from the file, as long as that is unchanged."""
TOO_LONG = ""
"""Kept in place of such a row."""
FEATURES = b"huggingface"
"""Key of a schema's metadata under which `datasets` states the features of the columns."""
HALF = "with half a character (a lone surrogate), which is replaced by U+FFFD"
ODD = "odd"


def has_columns(name: str) -> bool:
    """Return whether files of this name can have other columns than their text."""
    return not name.lower().removesuffix(".gz").removesuffix(".zst").endswith(TEXTS)


def is_kept(corpus: CorpusSection, column: str) -> bool:
    """Return whether a column of the rows of a corpus is kept."""
    kept = corpus.keep_columns
    return kept if isinstance(kept, bool) else column in kept


def is_told(corpus: CorpusSection, column: str, problem: str) -> bool:
    """Return whether notes on a problem are kept: on columns that are kept, on texts, on web archives."""
    return column == LEFT_OUT or problem in (MISTAKEN, MENDED, UNMENDED) or is_kept(corpus, column)


def kept_row(
    values: Mapping[str, Any],
    corpus: CorpusSection,
    limit: float,
    apart: str | None = None,
    odd: Counter[tuple[str, str]] | None = None,
) -> str | None:
    """Return columns as JSON: `TOO_LONG` where they take over `limit` bytes, None where none is kept.

    `apart`: the column that has the texts of the file, which this row has not. What is no whole text is
    counted in `odd`, by column and what was done to it.
    """
    kept = {name: value for name, value in values.items() if is_kept(corpus, name)}
    if apart is not None:
        kept[apart] = None
    if not kept:
        return None
    printed = _printed(kept)
    content = without_surrogates(printed)
    if content is not printed and odd is not None:
        odd.update((name, HALF) for name, value in kept.items() if not is_unicode(_printed(value)))
    return content if len(content) <= limit and len(content.encode()) <= limit else TOO_LONG


def _printed(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Facts kept about a file: the name of its column of texts, and the types of its columns, if any.

    `keys`: of a nested column of texts, the names from the column inwards. `taken`: rows by the column of
    their text, where tamis.toml does not name it. `delimiter`, `decimal_commas`: of a CSV file that is not
    written with commas, and its columns of numbers that have a comma before the decimals. `features`: what
    Hugging Face `datasets` states of columns, such as the names of classes. `odd`: how many values could not
    be kept as they were, by column and what was done to them.
    """

    text_column: str | None = None
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)
    delimiter: str | None = None
    decimal_commas: tuple[str, ...] = ()
    features: Mapping[str, Any] = field(default_factory=dict)
    odd: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def whole(self, values: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Return the columns of a row with its text, which is not kept twice."""
        row = dict(values)
        if self.text_column is None:
            return row
        if self.text_column in row:  # its text is in another column, which is kept
            if self.keys and row[self.text_column] is None:
                del row[self.text_column]
            return row
        if self.keys:
            lowered(row, self.keys, text)
            return row
        return {self.text_column: text} | row if self.text_column != "text" else row


def heading_of(
    path: Path,
    corpus: CorpusSection,
    main: TextPlace | None = None,
    taken: Mapping[TextPlace, int] | None = None,
    odd: Mapping[tuple[str, str], int] = MappingProxyType({}),
) -> str:
    """Return the heading of a file as JSON, the schema of Parquet and Arrow in base 64.

    `main`: where its rows have their texts; `taken`: rows by the place of their text; `odd`: values that
    could not be kept as they were.
    """
    stated: dict[str, Any] = {"text_column": None, "types": None}
    if corpus.keep_columns:
        if schema := _schema_of(path):
            stated["types"] = base64.b64encode(schema.serialize().to_pybytes()).decode()
        if main and corpus.format == "text" and is_kept(corpus, main.keys[0]):  # else the row has it as it is
            stated["text_column"] = main.name
            if main.is_nested:
                stated["keys"] = main.keys
    if taken is not None:
        stated["taken"] = Counter()
        for place, count in taken.items():
            stated["taken"][place.name] += count
    if kept := [[*key, count] for key, count in sorted(odd.items()) if is_told(corpus, *key)]:
        stated[ODD] = kept
    return json.dumps(stated | dialect_of(path, corpus))


def _schema_of(path: Path) -> pa.Schema | None:
    """Return the columns of a file, with what `datasets` states of them."""
    try:
        if path.suffix.lower() == ".parquet":
            with open_parquet(path) as file:
                schema = file.schema_arrow
        elif path.suffix.lower() == ".arrow":
            with pa.memory_map(str(path)) as source:
                schema = open_arrow(source)[0]
        else:
            return None
    except (pa.ArrowException, OSError):
        return None  # the reader says what is wrong with it
    stated = (schema.metadata or {}).get(FEATURES)
    return schema.with_metadata({FEATURES: stated} if stated else None)


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; times in the old format of Spark and Hive are of any year, and of microseconds."""
    return pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit="us")


def read_heading(content: str) -> Heading:
    """Return the heading that `heading_of` has written."""
    stated = json.loads(content)
    types, features = {}, {}
    if stated["types"]:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stated["types"])))
        types = {one.name: kept_type(one.type) for one in schema}
        features = _features((schema.metadata or {}).get(FEATURES))
    return Heading(
        text_column=stated["text_column"],
        types=types,
        keys=tuple(stated.get("keys", ())),
        taken=stated.get("taken", {}),
        delimiter=stated.get("delimiter"),
        decimal_commas=tuple(stated.get("decimal_commas", ())),
        features=features,
        odd={(column, problem): count for column, problem, count in stated.get(ODD, ())},
    )


def _features(stated: bytes | None) -> dict[str, Any]:
    """Return what `datasets` states of each column; nothing where it is no such statement."""
    try:
        found = json.loads(stated or b"{}")["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
