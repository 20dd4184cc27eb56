"""A column with its meaning: what every schema of the store is made of."""

import pyarrow as pa


def column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A field that carries its meaning and unit as metadata."""
    return pa.field(name, kind, metadata={"description": meaning})
