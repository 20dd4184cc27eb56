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
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tamis.corpus.csv_rows import dialect_of
from tamis.corpus.text import without_surrogates
from tamis.corpus.text_columns import TextPlace, lowered
from tamis.settings.config import CorpusSection

KEPT_BYTES = 64_000
"""Of longer rows nothing is kept: they are read again from the file, as long as that is unchanged."""
TOO_LONG = ""
"""Kept in place of such a row."""
_WITHOUT_COLUMNS = (".txt", ".md")


def has_columns(name: str) -> bool:
    """Whether files of this name can have other columns than their text."""
    return not name.lower().removesuffix(".gz").removesuffix(".zst").endswith(_WITHOUT_COLUMNS)


def is_kept(corpus: CorpusSection, column: str) -> bool:
    """Whether a column of the rows of a corpus is kept."""
    kept = corpus.keep_columns
    return kept if isinstance(kept, bool) else column in kept


def kept_row(
    values: Mapping[str, Any], corpus: CorpusSection, limit: float, apart: str | None = None
) -> str | None:
    """Return columns as JSON: `TOO_LONG` where they take over `limit` bytes, None where none is kept.

    `apart`: the column that has the texts of the file, which this row has not.
    """
    kept = {name: value for name, value in values.items() if is_kept(corpus, name)}
    if apart is not None:
        kept[apart] = None
    if not kept:
        return None
    content = without_surrogates(json.dumps(kept, ensure_ascii=False, separators=(",", ":"), default=str))
    return content if len(content) <= limit and len(content.encode()) <= limit else TOO_LONG


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What is kept of a file: the name of its column of texts, and the types of its columns, if any.

    `keys`: of a nested column of texts, the names from the column inwards. `taken`: rows by the column of
    their text, where tamis.toml does not name it. `delimiter`, `decimal_commas`: of a CSV file that is not
    written with commas, and its columns of numbers that have a comma before the decimals.
    """

    text_column: str | None = None
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)
    delimiter: str | None = None
    decimal_commas: tuple[str, ...] = ()

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
) -> str:
    """Return the heading of a file as JSON, the schema of Parquet and Arrow in base 64.

    `main`: where its rows have their texts; `taken`: rows by the place of their text.
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
        rows = Counter[str]()
        for place, count in taken.items():
            rows[place.name] += count
        stated["taken"] = rows
    return json.dumps(stated | dialect_of(path, corpus))


def _schema_of(path: Path) -> pa.Schema | None:
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_schema(path).remove_metadata()
        if path.suffix.lower() == ".arrow":
            with pa.memory_map(str(path)) as source:
                source.seek(8 if source.read(6) == b"ARROW1" else 0)
                return pa.ipc.open_stream(source).schema.remove_metadata()
    except (pa.ArrowException, OSError):
        pass  # the reader says what is wrong with it
    return None


def read_heading(content: str) -> Heading:
    """Return the heading that `heading_of` has written."""
    stated = json.loads(content)
    types = {}
    if stated["types"]:
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stated["types"])))
        types = {one.name: one.type for one in schema}
    return Heading(
        text_column=stated["text_column"],
        types=types,
        keys=tuple(stated.get("keys", ())),
        taken=stated.get("taken", {}),
        delimiter=stated.get("delimiter"),
        decimal_commas=tuple(stated.get("decimal_commas", ())),
    )


def is_json(kind: pa.DataType) -> bool:
    """Whether JSON holds a value of a column of this type as it is."""
    if pa.types.is_dictionary(kind):
        return is_json(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    others = (pa.types.is_boolean, pa.types.is_null, pa.types.is_floating)
    return any(test(kind) for test in (*tests, *others))


def json_values(column: pa.Array) -> list[Any]:
    """Return the values of a column as JSON holds them, or prints them; `native` is the way back."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return json_values(column.storage)
    if pa.types.is_dictionary(kind):
        return json_values(column.dictionary_decode())
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return column.view(pa.int32() if kind.bit_width == 32 else pa.int64()).to_pylist()
    if pa.types.is_struct(kind):
        names = [one.name for one in kind]
        parts = zip(*map(json_values, column.flatten()), strict=True) if names else [()] * len(column)
        rows = zip(column.is_valid().to_pylist(), parts, strict=True)
        return [dict(zip(names, part, strict=True)) if present else None for present, part in rows]
    if _is_list(kind):
        values, lengths = iter(json_values(column.flatten())), column.value_lengths().to_pylist()
        return [None if length is None else [next(values) for _ in range(length)] for length in lengths]
    if _is_bytes(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        raw = column.cast(pa.large_binary(), safe=False).to_pylist()
        return [None if value is None else value.decode("utf-8", "replace") for value in raw]


def native(value: Any, kind: pa.DataType) -> Any:
    """Return what Arrow makes a value of this type of, from how JSON holds it."""
    if value is None:
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return native(value, kind.storage_type)
    if pa.types.is_dictionary(kind):
        return native(value, kind.value_type)
    if pa.types.is_decimal(kind):
        return Decimal(value)
    if _is_bytes(kind):
        return base64.b64decode(value)
    if pa.types.is_struct(kind):
        return {one.name: native(value.get(one.name), one.type) for one in kind}
    if pa.types.is_map(kind):
        return [(native(key, kind.key_type), native(one, kind.item_type)) for key, one in value]
    return [native(one, kind.value_type) for one in value] if _is_list(kind) else value


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def _is_bytes(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in (*tests, pa.types.is_fixed_size_binary))
