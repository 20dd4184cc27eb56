"""What a choice is for its target: the plan by ids, draws that follow ids alone, and sets that are small."""

from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from tamis.report.serving import comparison_in_words, serving_answer, serving_page
from tamis.selection import serving
from tamis.selection.serving import CHOSEN, POOL, RANDOM, Goal, limit_of_halves, serving_of
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column
from tamis.transport.cost import BadVectorError

D = 6
GOAL = Goal(
    target="goal",
    pool_table="embeddings_static",
    target_table="target_embeddings_static",
    center=np.zeros(D),
    normalize=True,
)


def ids(name: str, count: int) -> list[str]:
    return [f"{name}{number:04d}" for number in range(count)]


def points(seed: int, count: int, around: int = 0) -> np.ndarray:
    """Vectors around an axis, as they are stored."""
    made_nd = 0.5 * np.random.default_rng(seed).normal(size=(count, D))
    made_nd[:, around] += 2
    return made_nd.astype(np.float16)


def put(store: Store, table: str, names: list[str], vectors_nd: np.ndarray, target: str = "goal") -> None:
    schema = schema_of(table, D)
    known = {"doc_id": names, "target": [target] * len(names), "fingerprint": ["f"] * len(names)}
    columns = [vector_column(vectors_nd) if name == "vector" else known[name] for name in schema.names]
    store.append(table, pa.table(columns, schema=schema))


def filled(folder, pool_nd: np.ndarray, train_md: np.ndarray, held_out_md: np.ndarray) -> Store:
    store = Store(folder)
    put(store, GOAL.pool_table, ids("d", len(pool_nd)), pool_nd)
    splits = {"train": ids("e", len(train_md)), "held_out": ids("h", len(held_out_md))}
    rows = [
        {"target": "goal", "doc_id": name, "split": split, "source": "goal.jsonl", "text": f"text of {name}"}
        for split, names in splits.items()
        for name in names
    ]
    schema = schema_of("target_examples")
    blank = dict.fromkeys(schema.names)
    store.append("target_examples", pa.Table.from_pylist([blank | row for row in rows], schema=schema))
    both_md = np.concatenate([train_md, held_out_md])
    put(store, GOAL.target_table, [*splits["train"], *splits["held_out"]], both_md)
    return store


def decided(count: int, chosen: int, excluded: int = 0) -> pl.DataFrame:
    """Decisions of documents, the first of which are chosen and the last not eligible."""
    rank = [None if place >= count - excluded else place + 1 for place in range(count)]
    verdict = ["selected" if place < chosen else "rejected" for place in range(count)]
    return pl.DataFrame({"doc_id": ids("d", count), "verdict": verdict, "rank": rank})


@given(seed=st.integers(0, 1_000), size=st.integers(1, 12))
@settings(deadline=None, max_examples=5)
def test_as_many_chosen_as_examples_are_assigned_one_to_one_by_id(tmp_path_factory, seed, size):
    pool_nd, train_md = points(seed, 15), points(seed + 1, size)
    store = filled(tmp_path_factory.mktemp("lance"), pool_nd, train_md, points(seed + 2, 3))
    found = serving_of(store, decided(15, size).sample(fraction=1, shuffle=True, seed=seed), GOAL, seed=0)
    x, y = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in map(np.float64, (pool_nd, train_md))
    )
    cost_nm = np.square(x[:size, None] - y[None]).sum(2)
    expected = {(f"d{n:04d}", f"e{m:04d}") for n, m in zip(*linear_sum_assignment(cost_nm), strict=True)}
    assert set(found.pairs.select("doc_id", "example_id").rows()) == expected
    assert found.pairs["mass"].to_numpy() == pytest.approx(1 / size)
    cost = {(row["doc_id"], row["example_id"]): row["cost"] for row in found.pairs.to_dicts()}
    assert cost == {pair: pytest.approx(cost_nm[int(pair[0][1:]), int(pair[1][1:])]) for pair in expected}


def test_a_choice_like_the_target_is_nearer_to_held_out_examples_than_a_random_one(tmp_path):
    pool_nd = np.concatenate([points(1, 40), points(2, 160, around=1)])
    store = filled(tmp_path, pool_nd, points(3, 30), points(4, 30))
    found = serving_of(store, decided(200, 40), GOAL, seed=0)
    assert found.distances[CHOSEN].high < found.distances[RANDOM].low
    assert found.distances[RANDOM].value == pytest.approx(found.distances[POOL].value, rel=0.2)
    assert "closer to the held-out examples" in comparison_in_words("goal", found)
    assert (found.coupled, found.examples, found.held_out) == (40, 30, 30)
    assert found.served >= 24
    opposite = decided(200, 40).with_columns(
        verdict=pl.col("verdict").reverse(), rank=pl.col("rank").reverse()
    )
    other = serving_of(store, opposite, GOAL, seed=0)
    assert other.served == 0
    assert (
        "farther" in comparison_in_words("goal", other)
        or other.distances[CHOSEN].value > found.distances[CHOSEN].high
    )


@pytest.mark.parametrize(("held_out", "enough"), [(1, False), (19, False), (20, True)])
def test_of_few_held_out_examples_nothing_is_concluded(tmp_path, held_out, enough):
    pool_nd = np.concatenate([points(1, 10), points(2, 40, around=1)])
    store = filled(tmp_path, pool_nd, points(3, 10), points(4, held_out))
    found = serving_of(store, decided(50, 10), GOAL, seed=0)
    said = comparison_in_words("goal", found)
    assert ("closer to the held-out examples" in said) == enough
    assert (f"goal has {held_out} held-out example" in said) != enough


def test_of_no_held_out_examples_it_is_said_that_nothing_is_measured(tmp_path):
    store = filled(tmp_path, points(1, 30), points(3, 10), points(4, 1))
    found = replace(serving_of(store, decided(30, 10), GOAL, seed=0), held_out=0, distances={})
    assert "holds out no examples" in comparison_in_words("goal", found)


def test_a_random_choice_is_of_eligible_documents_alone(tmp_path):
    pool_nd = np.concatenate([points(1, 30), points(2, 30, around=1)])
    store = filled(tmp_path, pool_nd, points(3, 10), points(4, 10))
    every = serving_of(store, decided(60, 20), GOAL, seed=0).distances[RANDOM].value
    like_target = serving_of(store, decided(60, 20, excluded=30), GOAL, seed=0).distances[RANDOM].value
    assert like_target < every / 2


def test_of_many_chosen_a_draw_is_coupled_that_follows_ids_alone(tmp_path, monkeypatch):
    store = filled(tmp_path, points(1, 30), points(2, 4), points(3, 4))
    monkeypatch.setattr(serving, "MOST_DOCUMENTS", 7)
    decisions = decided(30, 20)
    found = serving_of(store, decisions, GOAL, seed=0)
    assert (found.coupled, found.chosen) == (7, 20)
    drawn = set(found.pairs["doc_id"])
    assert drawn == set(serving_of(store, decisions.reverse(), GOAL, seed=0).pairs["doc_id"])
    assert drawn != set(serving_of(store, decisions, GOAL, seed=1).pairs["doc_id"])
    monkeypatch.setattr(serving, "DENSE_CELLS", 4 * 3)
    assert serving_of(store, decisions, GOAL, seed=0).coupled == 3


@pytest.mark.parametrize(
    ("chosen", "train_md", "held_out_md"),
    [
        (3, points(2, 5), points(3, 5)),
        (1, points(2, 1), points(3, 1)),
        (5, np.repeat(points(2, 1), 8, axis=0), np.repeat(points(2, 1), 2, axis=0)),
    ],
    ids=["three documents", "one example", "examples alike"],
)
def test_small_and_equal_sets_have_an_answer(tmp_path, chosen, train_md, held_out_md):
    store = filled(tmp_path, points(1, 10), train_md, held_out_md)
    found = serving_of(store, decided(10, chosen), GOAL, seed=0)
    by_example = found.pairs.group_by("example_id").agg(pl.col("mass").sum())
    assert by_example["mass"].to_numpy() == pytest.approx(1 / len(train_md))
    assert len(by_example) == len(train_md)
    assert (found.limit is None) == (len(train_md) < 4)
    assert set(found.distances) == {POOL, RANDOM, CHOSEN}
    page = serving_page(store, "near", "goal", found)
    assert "text of e0000" in page
    assert serving_answer("goal", found) in page


def test_without_vectors_nothing_is_served_and_the_page_says_so(tmp_path):
    store = filled(tmp_path, points(1, 10), points(2, 5), points(3, 0))
    nothing = decided(10, 3).with_columns(doc_id=pl.lit("z") + pl.col("doc_id"))
    for decisions in (nothing, decided(10, 0)):
        found = serving_of(store, decisions, GOAL, seed=0)
        assert (len(found.pairs), found.coupled, found.served, found.distances) == (0, 0, None, {})
        assert "serves none of the 5 examples" in serving_page(store, "near", "goal", found)
    assert serving_of(store, decided(10, 3), GOAL, seed=0).distances == {}, "nothing is held out"


def test_a_vector_without_a_direction_is_refused(tmp_path):
    pool_nd = np.zeros((3, D), np.float16)
    store = filled(tmp_path, pool_nd, points(2, 5), points(3, 5))
    with pytest.raises(BadVectorError, match="direction"):
        serving_of(store, decided(3, 3), GOAL, seed=0)


def test_the_limit_holds_for_another_draw_of_the_target():
    one_md, other_md = points(1, 200), points(2, 200)
    limit = limit_of_halves(one_md, GOAL, seed=0)
    plan = serving.coupled_pairs(ids("d", 200), other_md, ids("e", 200), one_md, GOAL)
    within = (serving.costs_of_examples(plan)["cost"] <= limit).mean()
    assert 0.9 < within <= 1
