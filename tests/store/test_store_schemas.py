"""Declarations of tables: what one says agrees with its columns, and with what other declarations say."""

import pyarrow as pa
import pytest

from tamis.base.declared import declaring_modules
from tamis.store import columns as kinds
from tamis.store.columns import BadDeclarationError, Table, column, many
from tamis.store.schemas import RETAINED, declaration, declared, kind_of, schema_of, tables

ALL = (*tables(), *(f"{RETAINED}{name}" for name, table in tables().items() if table.retained))


@pytest.mark.parametrize("kind", sorted(ALL))
def test_keys_texts_and_scores_are_columns_and_what_is_retained_says_what_computed_it(kind):
    table, names = declaration(kind), set(schema_of(kind, 4).names)
    partition = {table.partition} if table.partition else set()
    assert names.issuperset({*table.key, *table.text, *table.scores, *table.counts} | partition)
    if kind.startswith(RETAINED):
        assert names.issuperset({"doc_id", "fingerprint", "left_at"})


@pytest.mark.parametrize("kind", sorted(tables()))
def test_columns_have_names_of_their_own_and_a_meaning(kind):
    schema = schema_of(kind, 4)
    assert len(set(schema.names)) == len(schema)
    assert all((field.metadata or {}).get(b"description") for field in schema)


def test_what_people_decided_and_evidence_is_sealed():
    """Nobody can make it again, so that at least an altered row must be found."""
    lasting = {name for name in ALL if declaration(name).decided or declaration(name).evidence}
    assert {name for name in lasting if not declaration(name).sealed} == {"trained_on"}


def test_a_table_is_declared_once_and_rows_that_leave_with_a_document_or_a_partition_name_it():
    found = [table for module in declaring_modules() for stage in module.STAGES for table in stage.tables]
    for table in found:
        assert tables()[table.name] is table, f"{table.name} is declared twice"
        assert not table.per_document or "doc_id" in table.column_names
        assert not (table.per_document and table.partition)


def test_a_table_of_an_encoder_or_a_target_is_of_the_kind_that_begins_its_name():
    assert kind_of("embeddings_static_0a1b2c3d") == "embeddings"
    assert kind_of("target_embeddings_static_0a1b2c3d") == "target_embeddings"
    assert kind_of("transport_goal") == "transport"
    assert kind_of("retained_embeddings_static_0a1b2c3d") == "retained_embeddings"
    assert kind_of("trials_of_mine") == "trials_of_mine"
    assert declared("trials_of_mine") is None
    assert declared("retained_trials") is None


def test_a_table_of_vectors_has_no_schema_without_their_dimension():
    with pytest.raises(AssertionError):
        schema_of("embeddings_static_0a1b2c3d")
    assert schema_of("embeddings_static_0a1b2c3d", 3).field("vector").type == pa.list_(pa.float16(), 3)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"key": ("id",)}, "it has no column 'id'"),
        ({"scores": ("margin",)}, "it has no column 'margin'"),
        ({"partition": "target"}, "it has no column 'target'"),
        (
            {"per_document": True},
            "its rows are to be removed together with their document, so the table needs a column doc_id",
        ),
        (
            {"text": ("words",)},
            "its rows show raw input, and withdrawals must find these rows, so the table needs a column "
            "doc_id, or the columns shard, row, detail and excerpt",
        ),
    ],
)
def test_a_table_whose_rows_could_not_be_removed_again_is_refused(changes, problem):
    columns = (column("row", pa.int64(), "row"), column("words", pa.string(), "first words"))
    given = {"name": "made_up", "key": ("row",), "text": (), "columns": columns}
    assert Table(**given).column_names == ("row", "words")
    with pytest.raises(BadDeclarationError) as raised:
        Table(**given | changes)
    assert raised.value.name == "made_up"
    assert raised.value.problem.startswith(problem)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        ("text", pa.string()),
        ("flag", pa.bool_()),
        ("integer", pa.int64()),
        ("unsigned", pa.uint32()),
        ("hash64", pa.uint64()),
        ("real", pa.float64()),
        ("single", pa.float32()),
        ("moment", pa.timestamp("us")),
    ],
)
def test_a_column_says_its_type_and_meaning_in_a_line(kind, stored):
    one = getattr(kinds, kind)("n", "number [s]")
    assert one.equals(column("n", stored, "number [s]"), check_metadata=True)
    assert many(one).equals(column("n", pa.list_(stored), "number [s]"), check_metadata=True)
