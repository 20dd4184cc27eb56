"""Scores of the pool in the store: of each document its own, kept current as documents come and go."""

import numpy as np
import pyarrow as pa
import pytest

from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column
from tamis.transport import solve_potential
from tamis.transport.scoring import PoolScoring, nearest_cost, score_pool

POOL, TABLE, DIMENSION = "embeddings_x", "transport_goal", 6


def vector(number: int) -> np.ndarray:
    """The vector of a document, as it is stored: 16-bit floats of length about 1."""
    drawn = np.random.default_rng(number).normal(size=DIMENSION)
    return (drawn / np.linalg.norm(drawn)).astype(np.float16).astype(np.float32)


def scoring(seed: int, fingerprint: str) -> PoolScoring:
    """A potential solved on another draw for each seed."""
    target_md = np.stack([vector(1_000 * seed + number) for number in range(500)])
    reference_nd = np.stack([vector(number) for number in range(40)])
    potential = solve_potential(target_md, reference_nd, relative_epsilon=0.1)
    return PoolScoring(potential=potential, target_md=target_md, target="goal", fingerprint=fingerprint)


@pytest.fixture(scope="module")
def first() -> PoolScoring:
    return scoring(1, "first")


def put(store: Store, numbers: list[int]) -> None:
    """A pool of exactly these documents."""
    vectors = vector_column(np.stack([vector(number) for number in numbers]))
    columns = [[f"d{number:02}" for number in numbers], vectors, ["f"] * len(numbers)]
    store.overwrite(POOL, pa.table(columns, schema=schema_of(POOL, DIMENSION)))


def assert_scores(store: Store, of: PoolScoring, numbers: list[int]) -> None:
    """Each document has the score of its own vector under this potential, and nobody else has any."""
    rows = store.read(TABLE).sort("doc_id")
    assert rows["doc_id"].to_list() == [f"d{number:02}" for number in sorted(numbers)]
    assert set(rows["fingerprint"]) == {of.fingerprint}
    vectors_nd = np.stack([vector(number) for number in sorted(numbers)])
    np.testing.assert_allclose(
        rows["transport_gradient"], of.potential.gradient(vectors_nd), rtol=1e-5, atol=1e-6
    )
    nearest_n = nearest_cost(of.target_md, vectors_nd, center=of.potential.center)
    np.testing.assert_allclose(rows["nearest_cost"], nearest_n, rtol=1e-5, atol=1e-6)


def test_documents_that_come_are_scored_and_those_that_go_lose_theirs(tmp_path, first):
    store = Store(tmp_path)
    put(store, [7, 3, 9, 1, 5, 8])
    assert score_pool(store, first, POOL) == 6
    assert_scores(store, first, [1, 3, 5, 7, 8, 9])
    put(store, [2, 9, 8, 7, 5, 3])
    assert score_pool(store, first, POOL) == 1, "only what is new is computed"
    assert_scores(store, first, [2, 3, 5, 7, 8, 9])
    put(store, [9, 8, 7])
    assert score_pool(store, first, POOL) == 0
    assert_scores(store, first, [7, 8, 9])


def test_another_potential_scores_everything_once_more(tmp_path, first):
    store, second = Store(tmp_path), scoring(2, "second")
    put(store, [1, 2, 3])
    score_pool(store, first, POOL)
    assert score_pool(store, second, POOL) == 3
    assert_scores(store, second, [1, 2, 3])
