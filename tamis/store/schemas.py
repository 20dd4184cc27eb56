"""The tables of the store by name, collected from where they are declared, and their Arrow schemas.

Tables of stages are declared in the `stage.py` of their package, those that no stage writes in its
`control.py`; each column carries its meaning and unit as metadata. Tables that
exist once per encoder or target (`embeddings_<encoder>_<fingerprint>`, `transport_<target>`) share
one schema per kind.
"""

from dataclasses import replace
from functools import cache

import pyarrow as pa

from tamis.base.declared import declaring_modules
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
        "left_out",
        "left_out_mark",
        "rows_lost",
    }
)
"""Columns introduced when homes already held rows: digests and seals look at them where they hold something,
so that a row which was written before keeps its own when the table gets the column."""


@cache
def control() -> tuple[Table, ...]:
    """Return the tables that no stage writes."""
    return tuple(table for module in declaring_modules("control") for table in module.CONTROL)


@cache
def tables() -> dict[str, Table]:
    """Return every kind of table by name but those of the SQL models, which declare themselves."""
    declared = list(control())
    for module in declaring_modules():
        declared += [table for stage in module.STAGES for table in stage.tables]
        declared += getattr(module, "TABLES", ())
    return {table.name: table for table in declared}


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


def table_of_source(name: str) -> Table | None:
    """Return the table that SQL models read under this name; None for a model of their own."""
    return next((table for table in tables().values() if name == (table.source or table.name)), None)


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
