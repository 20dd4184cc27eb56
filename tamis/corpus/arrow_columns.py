"""Text columns of Parquet and Arrow files: found in the schema, read as the nested field alone.

What no schema says (which columns hold texts) is read of the first rows, of columns of strings and turns
alone. So a file with images or vectors costs no more than one without.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tamis.corpus.arrow_values import is_list, is_text, json_values, unencoded_type, unique_names
from tamis.corpus.text_columns import LEVELS, SAMPLE_ROWS, TURNS, Sample, TextPlace, chosen_by, names_of
from tamis.settings.config import CorpusSection
from tamis.settings.sections import RowFormat

Fields = Mapping[str, pa.DataType]


def places_in(schema: pa.Schema, corpus: CorpusSection, sample: Sample) -> list[TextPlace]:
    """Return the places of texts that a file has, in the order of tamis.toml; `sample`: where it decides."""
    names = names_of(corpus.text_column) or chosen_by(sample, corpus.format)
    found = ((name, _keys(_fields(schema), name)) for name in names)
    return [TextPlace(name=name, keys=keys) for name, keys in found if keys]


def _keys(fields: Fields, path: str) -> tuple[str, ...]:
    """Return the names from a column to the nested field of a path; () where there is none."""
    if path in fields:
        return (path,)
    dot = path.find(".")
    while dot >= 0:
        head, rest = path[:dot], path[dot + 1 :]
        if pa.types.is_struct(kind := fields.get(head, pa.null())) and (inner := _keys(_fields(kind), rest)):
            return (head, *inner)
        dot = path.find(".", dot + 1)
    return ()


def _fields(schema: pa.Schema | pa.DataType) -> Fields:
    return dict(zip(unique_names(schema), (field.type for field in schema), strict=True))


def type_of(schema: pa.Schema, keys: Iterable[str]) -> pa.DataType:
    """Return the type of a column, or of a nested field of it."""
    fields, kind = _fields(schema), pa.null()
    for key in keys:
        kind = fields[key]
        fields = _fields(kind) if pa.types.is_struct(kind) else {}
    return unencoded_type(kind)


def may_hold(kind: pa.DataType, form: RowFormat) -> bool:
    """Return whether values of a type may be texts, or conversations."""
    return pa.types.is_null(kind) or is_text(kind) or (form in TURNS and pa.types.is_nested(kind))


def nested(batch: pa.RecordBatch, keys: Iterable[str]) -> pa.Array:
    """Return a column of a batch, or a nested field of it: null where what it is a field of is null."""
    first, *others = keys
    column = batch.column(batch.schema.get_field_index(first))
    for key in others:
        column = pc.struct_field(column, unique_names(column.type).index(key))
    return column


def stored_path(schema: pa.Schema, keys: Iterable[str]) -> str:
    """Return the path of a column or nested field with the names of the file, which may repeat."""
    fields, names = schema, []
    for key in keys:
        field = fields.field(unique_names(fields).index(key))
        names.append(field.name)
        fields = field.type
    return ".".join(names)


def told_columns(schema: pa.Schema) -> list[tuple[str, ...]]:
    """Return the columns, and nested fields, that may hold texts or turns: from the column inwards."""
    return list(_told(_fields(schema), ()))


def _told(fields: Fields, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, kind in fields.items():
        kind = unencoded_type(kind)
        if pa.types.is_struct(kind) and len(above) + 1 < LEVELS:
            yield from _told(_fields(kind), (*above, name))
        elif is_text(kind) or _is_of_turns(kind):
            yield (*above, name)


def _is_of_turns(kind: pa.DataType) -> bool:
    inner = kind.value_type if is_list(kind) else pa.null()
    names = {field.name for field in inner} if pa.types.is_struct(inner) else set()
    return any(keys <= names for keys in TURNS.values())


def sample_of_batch(batch: pa.RecordBatch) -> Sample:
    """Return the values of the first rows of a batch, as `sample_of` does of objects."""
    first = batch.slice(0, SAMPLE_ROWS)
    found: dict[str, list[Any]] = {}
    for keys in told_columns(batch.schema):
        values = [value for value in json_values(nested(first, keys)) if value is not None]
        if values:
            found[".".join(keys)] = values
    return found
