"""Retained rows: they leave their table without being lost, come back as they were, and expire."""

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from tamis.store.digests import broken_seals
from tamis.store.retained import (
    Retained,
    collect_expired,
    count_retained,
    purge_answers,
    retain,
    retained_tables,
    take_back,
)
from tamis.store.schemas import RETAINED, schema_of, tables
from tamis.store.tables import Store, one_of

IDS = [f"{number:032x}" for number in range(6)]
NAMES = {"embeddings": "embeddings_static"}
TABLES = [NAMES.get(kind, kind) for kind, table in sorted(tables().items()) if table.retained]
MONTH_AGO = datetime.now() - timedelta(days=31)


@pytest.fixture
def store(tmp_path) -> Store:
    """Return a store whose tables have a row of each document; a server answered for the even ones."""
    store = Store(tmp_path / "lance")
    for table in TABLES:
        put(store, table, IDS, "first")
    return store


def put(store: Store, table: str, ids: list[str], fingerprint: str, **values: object) -> None:
    schema = schema_of(table, 4)
    rows = [
        {
            "doc_id": one,
            "fingerprint": fingerprint,
            "vector": [int(one, 16)] * 4,
            "by_server": int(one, 16) % 2 == 0,
            **{name: float(int(one, 16)) for name in ("margin", "value", "bits_per_byte")},
            **values,
        }
        for one in ids
    ]
    store.merge(table, pa.Table.from_pylist(rows, schema=schema))


def leave(store: Store, table: str, ids: list[str], local: bool = True) -> None:
    retain(store, table, ids, local=local)
    store.delete(table, one_of("doc_id", ids))


def content(store: Store, table: str) -> list[dict]:
    return store.read_arrow(table).sort_by("doc_id").to_pylist()


def held(store: Store, table: str) -> list[str]:
    return sorted(store.read(f"{RETAINED}{table}", ["doc_id"])["doc_id"])


def age(store: Store) -> None:
    """Make all retained rows a month old."""
    for table in retained_tables(store):
        rows = store.read_arrow(table)
        at = rows.schema.get_field_index("left_at")
        old = pa.array([MONTH_AGO] * rows.num_rows, rows.schema.field(at).type)
        store.merge(table, rows.set_column(at, rows.schema.field(at), old))


@pytest.mark.parametrize("table", TABLES)
def test_a_row_leaves_its_table_and_comes_back_as_it_was(store, table):
    before = content(store, table)
    leave(store, table, IDS[2:5])
    assert [row["doc_id"] for row in content(store, table)] == [IDS[0], IDS[1], IDS[5]]
    assert held(store, table) == IDS[2:5]
    assert store.schema(f"{RETAINED}{table}").equals(schema_of(f"{RETAINED}{table}", 4), check_metadata=True)
    assert take_back(store, table, IDS, "first") == 3
    assert content(store, table) == before
    assert held(store, table) == []


def test_what_another_model_computed_is_left(store):
    leave(store, "scores_judge", IDS[:2])
    assert take_back(store, "scores_judge", IDS, "second") == 0
    assert take_back(store, "scores_judge", IDS[1:], "first") == 1
    assert held(store, "scores_judge") == IDS[:1]


def test_a_move_that_was_killed_after_its_copy_leaves_one_row(store):
    retain(store, "embeddings_static", IDS[:2])
    leave(store, "embeddings_static", IDS[:2])
    assert held(store, "embeddings_static") == IDS[:2]
    put(store, "embeddings_static", IDS[:2], "first", vector=[7] * 4)
    assert take_back(store, "embeddings_static", IDS, "first") == 0, "the row that is there stays"
    assert content(store, "embeddings_static")[0]["vector"] == [7] * 4
    assert held(store, "embeddings_static") == []


@pytest.mark.parametrize(("table", "column"), [("embeddings_static", "vector"), ("scores_judge", "margin")])
def test_a_row_that_was_altered_while_it_was_retained_is_not_used(store, table, column):
    leave(store, table, IDS[2:4])
    opened = store.open(f"{RETAINED}{table}")
    rows = opened.search().where(f"doc_id = '{IDS[2]}'").to_arrow()
    at = rows.schema.get_field_index(column)
    other = [[9] * 4] if column == "vector" else [9.0]
    forged = rows.set_column(at, rows.schema.field(at), pa.array(other, rows.schema.field(at).type))
    opened.merge_insert(["doc_id", "fingerprint"]).when_matched_update_all().execute(forged)
    broken = [broken_seals(block) for block in store.sealed_blocks(f"{RETAINED}{table}")]
    assert [doc_id for found in broken for doc_id in found["doc_id"]] == [IDS[2]]
    assert take_back(store, table, IDS, "first") == 1
    assert held(store, table) == [IDS[2]]


def test_without_days_answers_of_a_server_alone_are_retained(store):
    for table in TABLES:
        leave(store, table, IDS[:4], local=False)
    assert count_retained(store) == Retained(server_answers=4)
    assert held(store, "scores_judge_again") == [IDS[0], IDS[2]]


def test_an_answer_of_a_server_that_another_judge_replaces_comes_back_with_its_judge(store):
    before = content(store, "scores_judge")
    retain(store, "scores_judge", IDS, local=False)
    put(store, "scores_judge", IDS, "second", by_server=True, margin=0.5)
    assert take_back(store, "scores_judge", IDS, "first") == 3
    paid = [row for row in content(store, "scores_judge") if row["fingerprint"] == "first"]
    assert paid == [row for row in before if row["by_server"]]
    assert held(store, "scores_judge") == [IDS[0], IDS[2], IDS[4]], "the second server's answers are kept"
    assert take_back(store, "scores_judge", IDS, "second") == 3
    assert all(row["margin"] == 0.5 for row in content(store, "scores_judge"))


def test_rows_expire_and_answers_of_a_server_do_not(store):
    for table in TABLES:
        leave(store, table, IDS[:4])
    assert count_retained(store) == Retained(vectors=4, scores=16, server_answers=4)
    versions = {table: store.version(table) for table in store.names()}
    assert collect_expired(store, 30) == 0
    assert {table: store.version(table) for table in store.names()} == versions
    age(store)
    leave(store, "embeddings_static", IDS[4:])
    assert collect_expired(store, 30) == 20
    assert count_retained(store) == Retained(vectors=2, server_answers=4)
    assert purge_answers(store) == 4
    assert purge_answers(store) == 0
    assert count_retained(store) == Retained(vectors=2)


def test_the_line_for_a_person_names_what_is_kept_and_how_long():
    assert Retained().line(30) == ""
    assert Retained(vectors=1_200, scores=1, server_answers=2).line(7) == (
        "retained from removed documents: 1,200 vectors and 1 score for 7 days ([retention]), "
        "2 answers of a judge's server until `tamis purge --answers`"
    )
    assert Retained(vectors=2).line(0).endswith("2 vectors until the next run ([retention])")
