"""Columns with their meaning: what every schema of the store is made of."""

import pyarrow as pa


def column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A field that carries its meaning and unit as metadata."""
    return pa.field(name, kind, metadata={"description": meaning})


DOC_ID = column("doc_id", pa.string(), "content id: 128 bits of SHA-256 over the normalised text, hex")
FINGERPRINT = column("fingerprint", pa.string(), "what computed the row: method, model and settings")
BY_SERVER = column("by_server", pa.bool_(), "whether a judge's server answered, which may have cost money")
LEFT_AT = column(
    "left_at", pa.timestamp("us"), "when its document left, or another judge's answer replaced it, UTC"
)
