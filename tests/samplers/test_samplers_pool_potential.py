"""The pool's own potential in the store: kept while the pool hardly changes, and scores kept current."""

import numpy as np
import pyarrow as pa
import pytest

from tamis.samplers.pool_potential import OwnScoring, PoolPotential, current_pool_potential
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column
from tamis.transport import TargetPotential, solve_potential
from tamis.transport.scoring import score_pool

POOL, TABLE, DIMENSION = "embeddings_x", "pool_potential_goal", 6
pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")


def vector(number: int) -> np.ndarray:
    drawn = np.random.default_rng(number).normal(size=DIMENSION)
    return (drawn / np.linalg.norm(drawn)).astype(np.float16).astype(np.float32)


def put(store: Store, numbers: range | list[int]) -> None:
    vectors = vector_column(np.stack([vector(number) for number in numbers]))
    columns = [[f"d{number:03}" for number in numbers], vectors, ["f"] * len(numbers)]
    store.overwrite(POOL, pa.table(columns, schema=schema_of(POOL, DIMENSION)))


@pytest.fixture(scope="module")
def potential() -> TargetPotential:
    goal = np.stack([vector(1_000 + number) for number in range(30)])
    return solve_potential(goal, np.stack([vector(number) for number in range(100)]))


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def assert_scores(store: Store, own: PoolPotential, numbers: range | list[int]) -> None:
    rows = store.read(TABLE).sort("doc_id")
    ids = [f"d{number:03}" for number in sorted(numbers)]
    assert rows["doc_id"].to_list() == ids
    expected = own.gradient(np.stack([vector(number) for number in sorted(numbers)]), ids=ids)
    np.testing.assert_allclose(rows["pool_potential"], expected, atol=1e-5)


def test_documents_that_come_are_scored_by_the_potential_that_is_kept(store, potential, tmp_path):
    put(store, range(100))
    first = current_pool_potential(store, POOL, potential, seed=0, sample=60)
    assert (first.kept, first.own.pool_rows, first.own.sample.converged) == (False, 100, True)
    first.own.save(tmp_path / "first")
    scoring = OwnScoring(own=first.own, target="goal", fingerprint="first")
    assert score_pool(store, scoring, POOL) == 100
    assert_scores(store, first.own, range(100))

    put(store, [*range(99, -1, -1), 100])
    later = current_pool_potential(store, POOL, potential, seed=0, sample=60, before=tmp_path / "first")
    assert (later.kept, later.why) == (True, "")
    assert later.own.ids == first.own.ids
    assert score_pool(store, scoring, POOL) == 1, "only what is new is computed"
    assert_scores(store, first.own, range(101))


def test_a_pool_that_changed_is_solved_again_as_if_it_had_always_been_so(store, potential, tmp_path):
    put(store, range(100))
    first = current_pool_potential(store, POOL, potential, seed=0, sample=60)
    first.own.save(tmp_path / "first")
    put(store, range(150))
    later = current_pool_potential(store, POOL, potential, seed=0, sample=60, before=tmp_path / "first")
    assert not later.kept
    assert later.change >= 0.05
    assert "a new sample of the pool" in later.facts["why"]
    put(store, list(range(149, -1, -1)))
    fresh = current_pool_potential(store, POOL, potential, seed=0, sample=60)
    assert fresh.own.ids == later.own.ids
    np.testing.assert_array_equal(fresh.own.sample.potential, later.own.sample.potential)


def test_no_vector_of_a_document_that_left_stays(store, potential, tmp_path):
    put(store, range(1_000))
    first = current_pool_potential(store, POOL, potential, seed=0, sample=60)
    first.own.save(tmp_path / "first")
    gone = int(first.own.ids[0][1:])
    put(store, [number for number in range(1_000) if number != gone])
    later = current_pool_potential(store, POOL, potential, seed=0, sample=60, before=tmp_path / "first")
    assert (later.kept, later.why) == (False, "1 document of its sample left the pool")
    assert f"d{gone:03}" not in later.own.ids


def test_another_geometry_is_solved_again(store, potential, tmp_path):
    put(store, range(100))
    first = current_pool_potential(store, POOL, potential, seed=0, sample=60)
    first.own.save(tmp_path / "first")
    goal = np.stack([vector(1_000 + number) for number in range(30)])
    other = solve_potential(goal, np.stack([vector(number) for number in range(100)]), epsilon=0.2)
    later = current_pool_potential(store, POOL, other, seed=0, sample=60, before=tmp_path / "first")
    assert (later.kept, later.why) == (False, "the target's potential has another epsilon, centre or norm")
    assert later.own.sample.epsilon == 0.2
