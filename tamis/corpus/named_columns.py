"""Withdrawn texts among the names of columns: a column, or a field of a nested one, may be called so.

So it is where rows hold answers by question. The heading that is kept of a file holds its schema, and so does
an export.
"""

import base64
import json
from collections.abc import Container, Iterator
from typing import Any

import pyarrow as pa

from tamis.corpus.refusing import texts_among, without_texts

TYPES = "types"
"""Part of a heading: the schema of the file in base 64 (`tamis.corpus.kept_columns`)."""


def heading_without(heading: str, doc_ids: Container[str]) -> tuple[str, list[str]]:
    """Return a heading without the names that are one of these texts, and the ids of the texts."""
    stated: dict[str, Any] = json.loads(heading)
    types = stated.pop(TYPES, None)
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(types))) if types else pa.schema([])
    shown = [*texts_among(stated, doc_ids), *texts_of_schema(schema, doc_ids)]
    if not shown:
        return heading, []
    if types:
        types = base64.b64encode(schema_without(schema, doc_ids).serialize().to_pybytes()).decode()
    return json.dumps(without_texts(stated, doc_ids) | {TYPES: types}), shown


def texts_of_schema(schema: pa.Schema, doc_ids: Container[str]) -> Iterator[str]:
    """Yield the ids of these texts that are names of columns or fields, or in what is stated of them."""
    stated = [value.decode("utf-8", "replace") for value in (schema.metadata or {}).values()]
    yield from texts_among([[*_names(field)] for field in schema] + stated, doc_ids)


def schema_without(schema: pa.Schema, doc_ids: Container[str]) -> pa.Schema:
    """Return a schema without the columns that hold such a name, and without it in what is stated of them."""
    left = [field for field in schema if not any(texts_among([*_names(field)], doc_ids))]
    stated = {
        key: str(without_texts(value.decode("utf-8", "replace"), doc_ids))
        for key, value in (schema.metadata or {}).items()
    }
    return pa.schema(left, metadata=stated or None)


def _names(field: pa.Field) -> Iterator[str]:
    """Yield the name of a column and those of all fields in it."""
    yield field.name
    kind = field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
    for place in range(kind.num_fields):
        yield from _names(kind.field(place))
