"""The tables of the store by name, collected from where they are declared, and their Arrow schemas.

Tables of stages are declared in the `stage.py` of their package, those that no stage writes in its
`control.py`; each column carries its meaning and unit as metadata. Tables that
exist once per encoder or target (`embeddings_<encoder>_<fingerprint>`, `transport_<target>`) share
one schema per kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tamis.base.declared import declaring_modules
from tamis.base.errors import PermanentError
from tamis.store.columns import LEFT_AT, Table

RETAINED = "retained_"
"""`retained_<table>` keeps expensive rows of documents that left."""
UNHASHED_COLUMNS = frozenset(
    {
        "first_seen",
        "seconds",
        "evaluation_seconds",
        "spent_seconds",
        "peak_memory_bytes",
        "mlflow_run",
        "manifest",
        "made_at",
        "withdrawn_at",
        "receipt",
        "rows_lost",
    }
)
"""Columns that row digests skip: clocks, costs, references to manifests, and counts of an earlier reading."""
LATER_COLUMNS = frozenset(
    {
        "held_out_low",
        "pool_potential",
        "own_score",
        "held_out_high",
        "warm_up_bits_per_byte",
        "held_out_loss",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "macro_f1",
        "macro_f1_low",
        "macro_f1_high",
        "majority_accuracy",
        "seeds",
        "trainable_parameters",
        "evaluation_flops",
        "evaluation_seconds",
        "spent_seconds",
        "misplaced_word_share",
        "turns",
        "code_line_share",
        "speaker_line_share",
        "letter_share",
        "unlikely_pair_share",
        "repeated_3_gram_share",
        "short_item_share",
        "label_word_share",
        "broken_character_share",
        "common_word_share",
        "capital_word_share",
        "word_order_score",
        "unit_hashes",
        "unit_characters",
        "budget_group",
        "training_count",
        "system_turn",
        "system_turn_end",
        "passage_of",
        "passage_number",
        "passage_count",
        "passage_begin",
        "passage_gap",
        "left_out",
        "left_out_mark",
        "rows_lost",
    }
)
"""Columns introduced when homes already held rows: digests and seals look at them where they hold something,
so that a row which was written before keeps its own when the table gets the column."""
Frame: TypeAlias = (
    pl.DataFrame | pa.Table | Mapping[str, Sequence[Any] | pl.Series | pa.Array | pa.ChunkedArray]
)
"""n rows: a frame of polars, a table of Arrow, or the n values of each column by its name."""
Column: TypeAlias = pa.Array | pa.ChunkedArray


@cache
def control() -> tuple[Table, ...]:
    """Return the tables that no stage writes."""
    return tuple(table for module in declaring_modules("control") for table in module.CONTROL)


@cache
def tables() -> dict[str, Table]:
    """Return every kind of table by name but those of the SQL models, which declare themselves."""
    of_modules = (
        [*(table for stage in module.STAGES for table in stage.tables), *getattr(module, "TABLES", ())]
        for module in declaring_modules()
    )
    return {table.name: table for table in chain(control(), *of_modules)}


@cache
def declared(table: str) -> Table | None:
    """Return the declaration of a table, by its kind; None for a table of a SQL model."""
    if table.startswith(RETAINED):
        of_rows = declared(table.removeprefix(RETAINED))
        if of_rows is None or not of_rows.retained:
            return None
        return replace(
            of_rows,
            name=f"{RETAINED}{of_rows.name}",
            key=("doc_id", "fingerprint"),
            columns=(*of_rows.columns, LEFT_AT),
            sealed=True,
            listed=False,
            decided=of_rows.paid,
            per_document=False,
            indexed=False,
            scores=(),
            source=None,
        )
    many = (found for found in tables().values() if found.many and table.startswith(f"{found.name}_"))
    return next(many, None) or tables().get(table)


def declaration(table: str) -> Table:
    """Return the declaration of a table of the platform; raises `KeyError` for one of a SQL model."""
    found = declared(table)
    if found is None:
        raise KeyError(table)
    return found


def tables_of_texts() -> tuple[str, ...]:
    """Return the tables that hold whole texts, under their content ids."""
    return tuple(name for name, table in tables().items() if "text" in table.text)


def tables_of_source(name: str) -> list[Table]:
    """Return the tables that SQL models read under this name, the one called so first; none for a model."""
    found = [table for table in tables().values() if name == (table.source or table.name)]
    return sorted(found, key=lambda table: table.name != name)


def kind_of(table: str) -> str:
    """Kind of a table by its name: `embeddings_static_0a1b2c3d` is of kind `embeddings`."""
    found = declared(table)
    return found.name if found else table


def schema_of(table: str, dimension: int | None = None) -> pa.Schema:
    """Arrow schema of a table; `dimension` is needed for tables that hold vectors or band keys."""
    return declaration(table).schema(dimension)


def described_columns(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column, for the UI and the documentation."""
    return [
        (field.name, str(field.type), (field.metadata or {}).get(b"description", b"").decode())
        for field in schema
    ]


class UnfitRowsError(PermanentError):
    """Rows that a table cannot hold; names the table and the column, and quotes no value."""

    def __init__(self, table: str, problem: str) -> None:
        self.table, self.problem = table, problem
        super().__init__(f"these rows do not fit the table {table!r}: {problem}")


def as_declared(table: str, frame: Frame) -> pa.Table:
    """Return the n rows with the columns that the table declares, in its order and of its types.

    Columns that the table does not have are left out. Vectors and band keys [n, d] are lists of one length d.
    A cast neither rounds nor cuts off. Raises `UnfitRowsError` where a column is missing or its values are
    of another type, and `KeyError` for a table of a SQL model, which declares itself.
    """
    known = declaration(table)
    names = known.column_names
    if isinstance(frame, pl.DataFrame):
        given = frame.columns
    else:
        given = frame.column_names if isinstance(frame, pa.Table) else list(frame)
    if missing := [name for name in names if name not in given]:
        raise UnfitRowsError(table, f"no column {', '.join(map(repr, missing))} among {', '.join(given)}")
    if isinstance(frame, pl.DataFrame):
        frame = frame.select(names).to_arrow()
    columns = [_column(table, name, frame[name]) for name in names]
    if len(lengths := {len(one) for one in columns}) > 1:
        raise UnfitRowsError(table, f"its columns have different lengths: {sorted(lengths)}")
    schema = known.schema(_dimension(known, columns))
    return pa.Table.from_arrays(
        [_cast(table, one, field) for one, field in zip(columns, schema, strict=True)], schema=schema
    )


def _column(table: str, name: str, values: Any) -> Column:
    if isinstance(values, Column):
        return values
    try:
        return values.to_arrow() if isinstance(values, pl.Series) else pa.array(values)
    except pa.ArrowException:
        raise UnfitRowsError(table, f"column {name!r} holds values of several types") from None


def _dimension(known: Table, columns: Sequence[Column]) -> int | None:
    """Length of the lists in the column whose length the declaration leaves open; None without one."""
    for name, one, values in zip(known.column_names, known.columns, columns, strict=True):
        if isinstance(one, pa.Field):
            continue
        if pa.types.is_fixed_size_list(values.type):
            return int(values.type.list_size)
        lists = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
        if not lists or (longest := pc.max(pc.list_value_length(values)).as_py()) is None:
            raise UnfitRowsError(known.name, f"column {name!r} holds no list, so its length is not known")
        return int(longest)
    return None


def _cast(table: str, values: Column, field: pa.Field) -> Column:
    try:
        return values.cast(field.type)
    except pa.ArrowException:  # its message may quote a document
        raise UnfitRowsError(
            table,
            f"column {field.name!r} is {values.type}, and the table holds {field.type}, which cannot hold "
            "all of its values",
        ) from None
