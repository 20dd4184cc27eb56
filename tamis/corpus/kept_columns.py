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

from tamis.corpus.arrow_values import kept_type
from tamis.corpus.text import is_unicode, without_surrogates
from tamis.settings.config import CorpusSection

KEPT_BYTES = 64_000
"""Of longer rows nothing is kept: they are read again from the file, as long as that is unchanged."""
TOO_LONG = ""
"""Kept in place of such a row."""
_WITHOUT_COLUMNS = (".txt", ".md")
FEATURES = b"huggingface"
"""Key of a schema's metadata under which `datasets` states the features of the columns."""
HALF = "with half a character (a lone surrogate), which is replaced by U+FFFD"
ODD = "odd"


def has_columns(name: str) -> bool:
    """Whether files of this name can have other columns than their text."""
    return not name.lower().removesuffix(".gz").removesuffix(".zst").endswith(_WITHOUT_COLUMNS)


def is_kept(corpus: CorpusSection, column: str) -> bool:
    """Whether a column of the rows of a corpus is kept."""
    kept = corpus.keep_columns
    return kept if isinstance(kept, bool) else column in kept


def kept_row(
    values: Mapping[str, Any],
    corpus: CorpusSection,
    limit: float,
    odd: Counter[tuple[str, str]] | None = None,
) -> str | None:
    """Return columns as JSON: `TOO_LONG` where they take over `limit` bytes, None where none is kept.

    What is no whole text is counted in `odd`, by column and what was done to it.
    """
    kept = {name: value for name, value in values.items() if is_kept(corpus, name)}
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
    """What is kept of a file: the name of its column of texts, and the types of its columns, if any.

    `features`: what Hugging Face `datasets` states of columns, such as the names of classes. `odd`: how many
    values could not be kept as they were, by column and what was done to them.
    """

    text_column: str | None = None
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)
    odd: Mapping[tuple[str, str], int] = field(default_factory=dict)


def heading_of(
    path: Path, corpus: CorpusSection, odd: Mapping[tuple[str, str], int] = MappingProxyType({})
) -> str:
    """Return the heading of a file as JSON, the schema of Parquet and Arrow in base 64."""
    schema = _schema_of(path)
    types = base64.b64encode(schema.serialize().to_pybytes()).decode() if schema else None
    own = corpus.format == "text" and is_kept(corpus, corpus.text_column)  # else the row has it as it is
    heading: dict[str, Any] = {"text_column": corpus.text_column if own else None, "types": types}
    if kept := [[*key, count] for key, count in sorted(odd.items()) if is_kept(corpus, key[0])]:
        heading[ODD] = kept
    return json.dumps(heading)


def _schema_of(path: Path) -> pa.Schema | None:
    """Return the columns of a file, with what `datasets` states of them."""
    try:
        if path.suffix.lower() == ".parquet":
            with open_parquet(path) as file:
                schema = file.schema_arrow
        elif path.suffix.lower() == ".arrow":
            with pa.memory_map(str(path)) as source:
                source.seek(8 if source.read(6) == b"ARROW1" else 0)
                schema = pa.ipc.open_stream(source).schema
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
    odd = {(column, problem): count for column, problem, count in stated.get(ODD, ())}
    return Heading(text_column=stated["text_column"], types=types, features=features, odd=odd)


def _features(stated: bytes | None) -> dict[str, Any]:
    """Return what `datasets` states of each column; nothing where it is no such statement."""
    try:
        found = json.loads(stated or b"{}")["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
