"""The pool as a selection reads it from the store: all documents, their scores, who is kept out and why."""

import polars as pl
import pyarrow as pa
import pytest

from tamis.selection import BudgetExceedsPool, select
from tamis.selection.pool import candidates, exclusions, token_sizes, tokens_of, with_texts
from tamis.settings.config import FiltersSection, SelectionSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

SIZES = {"d4": 40, "d1": 10, "d3": 30, "d2": 20}
"""Bytes of each document, in the order in which they came."""


@pytest.fixture
def store(tmp_path) -> Store:
    """Four documents; two tables of scores in other orders, one of which lacks a document."""
    made = Store(tmp_path)
    put(
        made, "documents", [{"doc_id": name, "text": f"of {name}", "n_bytes": n} for name, n in SIZES.items()]
    )
    put(
        made, "scores_density", [{"doc_id": name, "density": SIZES[name] / 10} for name in ("d1", "d3", "d4")]
    )
    for target, sign in (("goal", 1), ("other", -1)):
        gradients = [
            {"target": target, "doc_id": name, "transport_gradient": sign * SIZES[name]}
            for name in sorted(SIZES, reverse=True)
        ]
        put(made, f"transport_{target}", gradients)
    return made


def put(store: Store, table: str, rows: list[dict]) -> None:
    store.overwrite(table, pa.Table.from_pylist(rows, schema=schema_of(table)))


def section(sampler: str, **more) -> SelectionSection:
    return SelectionSection(name="best", sampler=sampler, budget=2, **more)


def test_a_document_without_a_score_stays_in_the_pool_with_that_reason(store):
    pool = candidates(store, section("density"))
    assert dict(pool.select("doc_id", "density").iter_rows()) == {"d1": 1.0, "d2": None, "d3": 3.0, "d4": 4.0}
    decided = select(pool, "density", 2)
    assert dict(decided.select("doc_id", "reason").iter_rows())["d2"] == "no_score"
    assert decided["doc_id"].to_list() == ["d1", "d2", "d3", "d4"]


def test_scores_are_joined_by_id_and_of_the_own_target(store):
    for target, sign in (("goal", 1), ("other", -1)):
        pool = candidates(store, section("got-d", target=target))
        found = dict(pool.select("doc_id", "transport_gradient").iter_rows())
        assert found == {name: sign * size for name, size in SIZES.items()}
    tokens = dict(pool.select("doc_id", "n_tokens").iter_rows())
    assert tokens == {"d1": 3, "d2": 5, "d3": 8, "d4": 10}


def test_each_exclusion_has_its_own_reason_and_the_gravest_counts(store):
    examples = [("d1", "held_out"), ("d2", "train"), ("d3", "unused")]
    put(store, "target_examples", [{"target": "goal", "doc_id": one, "split": of} for one, of in examples])
    put(store, "contamination", [{"target": "goal", "doc_id": one} for one in ("d1", "d4")])
    put(store, "near_duplicates", [{"doc_id": one, "kept": "d1"} for one in ("d2", "d3")])
    found = exclusions(store).sort("doc_id").select("doc_id", "reason", "duplicate_of")
    assert found.rows() == [
        ("d1", "held_out_example", None),
        ("d2", "target_example", None),
        ("d3", "near_duplicate", "d1"),
        ("d4", "contaminated", None),
    ]


def test_chosen_documents_come_in_their_order_with_their_own_texts(store):
    ranks = pl.DataFrame({"doc_id": ["d4", "d3", "d1"], "rank": [3, 1, 2]})
    assert with_texts(store, ranks).rows() == [
        ("d3", 1, "of d3"),
        ("d1", 2, "of d1"),
        ("d4", 3, "of d4"),
    ]


def test_of_near_duplicates_whose_kept_one_is_filtered_out_the_next_is_eligible(store):
    licences = {"d1": "proprietary", "d2": "mit", "d3": "mit", "d4": "mit"}
    places = [
        {"doc_id": one, "shard": "s", "row": row, "licence": licences[one]} for row, one in enumerate(SIZES)
    ]
    put(store, "occurrences", places)
    put(store, "near_duplicates", [{"doc_id": one, "kept": "d1"} for one in ("d2", "d3")])
    found = exclusions(store, FiltersSection(licences_denied=("proprietary",))).sort("doc_id")
    assert found.select("doc_id", "reason", "duplicate_of").rows() == [
        ("d1", "licence", None),
        ("d3", "near_duplicate", "d2"),
    ]


def test_tokens_are_those_that_were_counted_and_estimated_where_none_were(store):
    put(
        store,
        "token_counts",
        [{"doc_id": "d1", "n_tokens": 7}, {"doc_id": "d3", "n_tokens": 0}, {"doc_id": "d4"}],
    )
    sizes = token_sizes(store)
    assert sorted(sizes.rows()) == [("d1", 7, False), ("d2", 5, True), ("d3", 0, False), ("d4", 10, True)]
    said = {
        ("d1", "d3"): "7 tokens",
        ("d2", "d4"): "about 15 tokens, estimated as bytes / 4",
        ("d1", "d4"): "about 17 tokens, those of 1 document estimated as bytes / 4",
        (): "0 tokens",
    }
    for names, words in said.items():
        documents = pl.DataFrame({"doc_id": names}, schema={"doc_id": pl.String})
        assert tokens_of(sizes, documents).words == words
    with pytest.warns(BudgetExceedsPool, match="only about 22 tokens, those of 2 documents estimated"):
        select(candidates(store, section("random")), "random", "1ktok")
