"""Columns with their meaning, and the tables made of them: a kind of table is declared once."""

from collections.abc import Callable
from dataclasses import dataclass

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


def vector(dimension: int) -> pa.Field:
    """A column of vectors."""
    return column("vector", pa.list_(pa.float16(), dimension), "embedding, 16-bit floats")


def band_keys(dimension: int) -> pa.Field:
    """A column of band keys."""
    return column("bands", pa.list_(pa.uint64(), dimension), "who shares one may be a near-duplicate")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A kind of table, as its columns and what the platform has to know of its rows.

    `key`: columns on which every write is idempotent. `columns`: those of a width that is not known here are
    functions of it. `text`: columns that show raw input; none where all is ids, names, digests, numbers and
    reason codes. `many`: there is one for each encoder or target, `<kind>_<name>`. `sealed`: each row has a
    checksum next to it; `listed`: manifests list the rows in full, too. `evidence`: rows keep the ids of
    withdrawn documents. `decided`: what people decided, or the history of choices, which nothing can make
    again. `retained`: rows are expensive, and those of documents that left are kept; `paid`: they may have
    cost money.
    """

    key: tuple[str, ...]
    text: tuple[str, ...]
    columns: tuple[pa.Field | Callable[[int], pa.Field], ...]
    many: bool = False
    sealed: bool = False
    listed: bool = False
    evidence: bool = False
    decided: bool = False
    retained: bool = False
    paid: bool = False

    def schema(self, dimension: int | None) -> pa.Schema:
        """Return the Arrow schema; `dimension` is needed where the table holds vectors or band keys."""
        fields = []
        for one in self.columns:
            if not isinstance(one, pa.Field):
                assert dimension is not None, self.columns
                one = one(dimension)
            fields.append(one)
        return pa.schema(fields)
