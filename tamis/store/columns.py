"""Columns with their meaning, and the tables made of them: a kind of table is declared once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from tamis.base.errors import PermanentError


def column(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A field that carries its meaning and unit as metadata."""
    return pa.field(name, kind, metadata={"description": meaning})


def _typed(kind: pa.DataType, name: str, meaning: str) -> pa.Field:
    return column(name, kind, meaning)


text = partial(_typed, pa.string())
flag = partial(_typed, pa.bool_())
integer = partial(_typed, pa.int64())
unsigned = partial(_typed, pa.uint32())
hash64 = partial(_typed, pa.uint64())
real = partial(_typed, pa.float64())
"""A column of floats; the meaning names their unit."""
single = partial(_typed, pa.float32())
moment = partial(_typed, pa.timestamp("us"))
"""A column of times in UTC."""


def many(field: pa.Field) -> pa.Field:
    """Return the column with a list of these values in each row."""
    return field.with_type(pa.list_(field.type))


DOC_ID = text("doc_id", "content id: first 128 bits of the SHA-256 of the normalised text, hex")
FINGERPRINT = text("fingerprint", "identifier of the method, model and settings that computed the row")
BY_SERVER = flag(
    "by_server",
    "true if a judge's server gave the answer, which may have cost money; false if a local model gave it",
)
TRAINING_COUNT = integer(
    "training_count",
    "number of copies of the document in the training set; null if there is at most one copy",
)
LEFT_AT = moment(
    "left_at", "when the document was removed, or when another judge's answer replaced this row, UTC"
)


def vector(dimension: int) -> pa.Field:
    """A column of vectors."""
    return column("vector", pa.list_(pa.float16(), dimension), "embedding, 16-bit floats")


def band_keys(dimension: int) -> pa.Field:
    """A column of band keys."""
    return column(
        "bands",
        pa.list_(pa.uint64(), dimension),
        "one hash per band of locality-sensitive hashing (LSH); similar documents tend to share a hash",
    )


class BadDeclarationError(PermanentError):
    """A stage or a table whose declaration cannot be kept to."""

    def __init__(self, name: str, problem: str) -> None:
        self.name, self.problem = name, problem
        super().__init__(f"the declaration of {name!r}: {problem}")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A kind of table, as its columns and what the platform has to know of its rows.

    `key`: columns on which every write is idempotent. `columns`: those of a width that is not known here are
    functions of it. `text`: columns that show raw input; none where all is ids, names, digests, numbers and
    reason codes. `many`: there is one for each encoder or target, `<name>_<which>`. `sealed`: each row has a
    checksum next to it; `listed`: manifests list the rows in full, too. `evidence`: rows keep the ids of
    withdrawn documents. `decided`: what people decided, or the history of choices, which nothing can make
    again. `retained`: rows are expensive, and those of documents that left are kept; `paid`: they may have
    cost money.
    `per_document`: a row belongs to one document of the pool and leaves with it. `partition`: the column that
    names the partition that a row belongs to; rows leave with it. `emptied`: all rows leave when the project
    stops to use its stage, since others read the table as long as it has rows.
    `scores`: columns of scores that `tamis explain` shows; `counts`: those shown where they are not 0;
    `named_by`: the column with the name that a score is shown under, in place of its column.
    `source`: name of the table for SQL models, where it is another. `indexed`: a large table gets an index of
    documents; for tables that are asked about one, and are never merged by doc_id alone. `rewritten`: each
    value has a row for most documents of the pool, and replaces those of the value before. `each_step`: every
    step writes it, so a busy day makes ten thousand versions; it is read whole, at once.
    """

    name: str
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
    per_document: bool = False
    partition: str | None = None
    emptied: bool = False
    scores: tuple[str, ...] = ()
    named_by: str | None = None
    counts: tuple[str, ...] = ()
    source: str | None = None
    indexed: bool = False
    rewritten: bool = False
    each_step: bool = False

    def __post_init__(self) -> None:
        """Refuse what the platform could not remove again; raises `BadDeclarationError`."""
        names = set(self.column_names)
        named = {
            *self.key,
            *self.text,
            *self.scores,
            *self.counts,
            *filter(None, [self.partition, self.named_by]),
        }
        if unknown := sorted(named - names):
            raise BadDeclarationError(self.name, f"it has no column {unknown[0]!r}")
        if "doc_id" in names:
            return
        if self.per_document:
            raise BadDeclarationError(
                self.name,
                "its rows are to be removed together with their document, so the table needs a column doc_id",
            )
        if self.text and not names.issuperset({"shard", "row", "detail", "excerpt"}):
            raise BadDeclarationError(
                self.name,
                "its rows show raw input, and withdrawals must find these rows, so the table needs a column "
                "doc_id, or the columns shard, row, detail and excerpt",
            )

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(field.name for field in self.schema(1))

    def schema(self, dimension: int | None) -> pa.Schema:
        """Return the Arrow schema; `dimension` is needed where the table holds vectors or band keys."""
        fields = []
        for one in self.columns:
            if not isinstance(one, pa.Field):
                assert dimension is not None, self.columns
                one = one(dimension)
            fields.append(one)
        return pa.schema(fields)
