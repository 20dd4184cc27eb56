"""A stored potential kept current: what is read, what is kept, and that it is right."""

import numpy as np
import pyarrow as pa
import pytest

from tamis.settings.sections import TransportSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column
from tamis.store.vectors import VectorBlocks
from tamis.transport import BadShapeError, solve_potential
from tamis.transport.scoring import PoolScoring, score_pool
from tamis.transport.shards import ShardSums, join_pool, sums_of_pool

pytestmark = pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
WIDTH, SECTION = 16, TransportSection()


def vectors(topic: int, count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng((topic, seed))
    return (
        (np.eye(WIDTH)[topic] + 0.3 * random.normal(size=(count, WIDTH)))
        .astype(np.float16)
        .astype(np.float32)
    )


class Pool:
    """A store with the two tables that a potential is kept current from."""

    def __init__(self, folder) -> None:
        self.store = Store(folder)
        self.shards: dict[str, dict[str, np.ndarray]] = {}

    def put(self, shard: str, rows: np.ndarray, first: int = 0) -> None:
        self.shards[shard] = {f"{shard}{first + i:05d}".ljust(32, "0"): row for i, row in enumerate(rows)}
        self.write()

    def write(self) -> None:
        distinct = {doc_id: row for rows in self.shards.values() for doc_id, row in rows.items()}
        self.table(
            "embeddings_static",
            {"doc_id": list(distinct), "vector": vector_column(np.array(list(distinct.values())))},
        )
        pairs = [(doc_id, shard) for shard, rows in self.shards.items() for doc_id in rows]
        self.table("occurrences", {"doc_id": [d for d, _ in pairs], "shard": [s for _, s in pairs]})

    def table(self, name: str, columns: dict) -> None:
        schema = schema_of(name, WIDTH)
        count = len(columns["doc_id"])
        self.store.overwrite(
            name, pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in schema], schema=schema)
        )

    @property
    def blocks(self) -> VectorBlocks:
        return VectorBlocks(self.store, "embeddings_static", dtype=np.float16)

    def matrix(self) -> np.ndarray:
        return np.array([row for rows in self.shards.values() for row in rows.values()])


@pytest.fixture
def pool(tmp_path) -> Pool:
    made = Pool(tmp_path)
    for topic in range(3):
        made.put(f"s{topic}", vectors(topic, 150, 0))
    return made


@pytest.fixture
def target() -> np.ndarray:
    return np.concatenate([vectors(0, 30, 9), vectors(2, 20, 9)])


def test_sums_are_those_of_the_shards(pool, target):
    potential = solve_potential(target, pool.matrix())
    sums = sums_of_pool(pool.store, potential, "embeddings_static")
    for name, found in sums.sums.items():
        rows = np.array(list(pool.shards[name.split("@")[0]].values()))
        assert np.allclose(found, potential.column_sums(rows), atol=1e-5)
    assert sums.certificate(potential).marginal_error == pytest.approx(potential.marginal_error, abs=2e-4)


def test_only_new_documents_are_read_and_a_shared_one_counts_once(pool, target, monkeypatch):
    potential = solve_potential(target, pool.matrix())
    known = sums_of_pool(pool.store, potential, "embeddings_static")
    pool.shards["s9"] = dict(list(pool.shards["s0"].items())[:20])  # is in s0 already
    pool.put("s3", vectors(1, 4, 3))
    read: list[str] = []
    by_ids = Store.by_ids

    def spying(self, table, ids, columns=None):
        read.extend(ids)
        return by_ids(self, table, ids, columns)

    monkeypatch.setattr(Store, "by_ids", spying)
    sums = sums_of_pool(pool.store, potential, "embeddings_static", known)
    assert sorted(read) == sorted(pool.shards["s3"])
    assert sum(sums.rows.values()) == 454


def test_few_alike_are_accepted_and_a_flood_is_solved(pool, target):
    potential = solve_potential(target, pool.matrix())
    known = sums_of_pool(pool.store, potential, "embeddings_static")
    pool.put("s3", vectors(1, 3, 3))
    joined = join_pool(pool.blocks, potential, known, target, SECTION, 0)
    assert joined.done == "accept"
    assert joined.potential is potential
    pool.put("s4", vectors(0, 600, 4))
    joined = join_pool(pool.blocks, potential, known, target, SECTION, 0)
    assert joined.done == "solve"
    assert joined.certificate.marginal_error <= 2 * SECTION.tolerance
    del pool.shards["s3"], pool.shards["s4"]
    pool.write()
    back = join_pool(pool.blocks, joined.potential, joined.sums, target, SECTION, 0)
    again = solve_potential(target, pool.matrix()).gradient(pool.matrix())
    assert np.corrcoef(back.potential.gradient(pool.matrix()), again)[0, 1] > 0.999


@pytest.mark.parametrize(("count", "done"), [(50, "refine"), (400, "solve")])
def test_a_shard_that_fills_a_deficit_is_brought_to_what_a_full_solve_gives(tmp_path, count, done):
    pool, target = Pool(tmp_path), np.concatenate([vectors(topic, 20, 9) for topic in (0, 1, 2)])
    for topic in range(1, 7):
        pool.put(f"s{topic}", vectors(topic, 150, 0))
    potential = solve_potential(target, pool.matrix())
    known = sums_of_pool(pool.store, potential, "embeddings_static")
    pool.put("t", vectors(0, count, 4))
    before = sums_of_pool(pool.store, potential, "embeddings_static", known).certificate(potential)
    assert before.advice == done
    joined = join_pool(pool.blocks, potential, known, target, SECTION, 0)
    assert joined.done == done
    assert joined.certificate.advice == "accept"
    assert joined.certificate.marginal_error <= (0.05 if done == "refine" else 2 * SECTION.tolerance)
    assert joined.potential.passes <= 3 or done == "solve"
    union = pool.matrix()
    full = solve_potential(
        target, union, center=potential.center, epsilon=potential.epsilon, tolerance=1e-6, max_passes=2_000
    )
    k = len(union) // 10
    found, truth = (set(np.argsort(one.gradient(union))[:k].tolist()) for one in (joined.potential, full))
    assert len(found & truth) >= 0.95 * k  # few target points: accepted cases overlap by .88 and more


def test_another_target_is_refused_even_when_nothing_is_to_do(pool, target):
    potential = solve_potential(target, pool.matrix())
    known = sums_of_pool(pool.store, potential, "embeddings_static")
    other = target.copy()
    other[7] = pool.matrix()[0]
    cases = [
        (other, r"target: row 7 is .* away .* expected the target that the potential was solved for"),
        (target[:20], r"target: shape \[20, 16\]; expected shape \[50, 16\], as when"),
        (target[::-1], "target: row"),
        (target[:, :5], "target: width 5"),
    ]
    for wrong, message in cases:
        with pytest.raises(BadShapeError, match=message):
            join_pool(pool.blocks, potential, known, wrong, SECTION, 0)


def test_sums_of_another_potential_are_refused(pool, target, tmp_path):
    potential = solve_potential(target, pool.matrix())
    sums_of_pool(pool.store, potential, "embeddings_static").save(tmp_path / "sums.npz")
    other = solve_potential(target, pool.matrix(), relative_epsilon=0.06)
    with pytest.raises(ValueError, match="potential"):
        join_pool(pool.blocks, other, ShardSums.load(tmp_path / "sums.npz"), target, SECTION, 0)


def test_scores_are_computed_for_new_documents_only_and_gone_ones_leave(pool, target):
    scoring = PoolScoring(
        potential=solve_potential(target, pool.matrix()),
        target_md=target,
        target="goal",
        fingerprint="f" * 32,
    )
    assert score_pool(pool.store, scoring, "embeddings_static") == 450
    pool.put("s3", vectors(1, 5, 3))
    assert score_pool(pool.store, scoring, "embeddings_static") == 5
    del pool.shards["s1"]
    pool.write()
    assert score_pool(pool.store, scoring, "embeddings_static") == 0
    stored = pool.store.read("transport_goal").sort("doc_id")
    assert len(stored) == 305
    ids = sorted({**pool.shards["s0"], **pool.shards["s2"], **pool.shards["s3"]})
    rows = np.array([{**pool.shards["s0"], **pool.shards["s2"], **pool.shards["s3"]}[i] for i in ids])
    assert np.allclose(stored["transport_gradient"], scoring.potential.gradient(rows), atol=1e-5)
