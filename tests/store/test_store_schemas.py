"""Declarations of tables: what one says agrees with its columns, and a new one needs no other list."""

import pyarrow as pa
import pytest

from tamis.store import schemas, seals
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, column
from tamis.store.schemas import KEYS, TABLES, kind_of, schema_of
from tamis.store.tables import Store

SCORES = Table(
    key=("doc_id",), text=(), many=True, columns=(DOC_ID, column("score", pa.float64(), ""), FINGERPRINT)
)


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_keys_and_texts_are_columns_and_what_is_retained_says_what_computed_it(kind):
    names = set(schema_of(kind, 4).names)
    assert names.issuperset(KEYS[kind])
    assert names.issuperset(schemas.TEXT.get(kind, ()))
    if kind.startswith(schemas.RETAINED):
        assert names.issuperset({"doc_id", "fingerprint", "left_at"})


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_columns_have_names_of_their_own_and_a_meaning(kind):
    schema = schema_of(kind, 4)
    assert len(set(schema.names)) == len(schema)
    assert all((field.metadata or {}).get(b"description") for field in schema)


def test_what_people_decided_and_evidence_is_sealed():
    """Nobody can make it again, so that at least an altered row must be found."""
    assert {kind for kind in seals.DECIDED | schemas.EVIDENCE if not seals.has_seals(kind)} == {"trained_on"}


def test_a_table_of_an_encoder_or_a_target_is_of_the_kind_that_begins_its_name():
    assert kind_of("embeddings_static_0a1b2c3d") == "embeddings"
    assert kind_of("target_embeddings_static_0a1b2c3d") == "target_embeddings"
    assert kind_of("transport_goal") == "transport"
    assert kind_of("retained_embeddings_static_0a1b2c3d") == "retained_embeddings"
    assert kind_of("trials_of_mine") == "trials_of_mine"


def test_a_table_of_vectors_has_no_schema_without_their_dimension():
    with pytest.raises(AssertionError):
        schema_of("embeddings_static_0a1b2c3d")
    assert schema_of("embeddings_static_0a1b2c3d", 3).field("vector").type == pa.list_(pa.float16(), 3)


def test_a_made_up_table_is_written_and_read_by_its_declaration_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(TABLES, "novelty", SCORES)
    monkeypatch.setitem(KEYS, "novelty", SCORES.key)
    monkeypatch.setattr(schemas, "_MANY", (*schemas._MANY, "novelty"))
    store = Store(tmp_path / "lance")
    rows = [
        {"doc_id": "a", "score": 1.0, "fingerprint": "f"},
        {"doc_id": "b", "score": 2.0, "fingerprint": "f"},
    ]
    store.merge("novelty_goal", pa.Table.from_pylist(rows, schema=schema_of("novelty_goal")))
    store.merge("novelty_goal", pa.Table.from_pylist([rows[0] | {"score": 3.0}], schema=schema_of("novelty")))
    assert dict(store.read("novelty_goal", ["doc_id", "score"]).iter_rows()) == {"a": 3.0, "b": 2.0}
