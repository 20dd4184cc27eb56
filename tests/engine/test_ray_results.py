"""As in one process, so on a Ray cluster: the same bits where they are exact, else within bounds.

What the fast suite asks of this is in test_ray_engine.py: it starts one cluster, not two.
"""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from projects import base_model, plain_project, settings
from stored_texts import some_texts, store_of

from tamis.coverage.storing import build_sketch, score_density
from tamis.embedding.storing import embed_missing, table_name
from tamis.engine import using
from tamis.engine.ray_engine import RayEngine
from tamis.quality import AskLLM, Endpoint
from tamis.quality.endpoint import MissingKeyError
from tamis.quality.storing import RememberingJudge, judge_documents
from tamis.samplers.pool_potential import OwnScoring, current_pool_potential
from tamis.settings.config import DensitySection
from tamis.settings.sections import EngineSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, matrix_of, vector_column
from tamis.store.vectors import VectorBlocks
from tamis.training.storing import score_perplexity
from tamis.transport import solve_potential
from tamis.transport.scoring import PoolScoring, score_pool
from tamis.transport.shards import sums_of_pool

TABLE = "embeddings_static"


@pytest.mark.slow
def test_a_sentence_model_gives_the_same_vectors(tiny_folder, twins, ray_engine):
    from tamis.embedding import load_encoder

    local, spread, ids = twins
    encoder = load_encoder(str(tiny_folder), cache=local.folder)
    embed_missing(local, encoder, ids)
    with using(ray_engine):
        embed_missing(spread, encoder, ids)
    ours, theirs = (store.read(table_name(encoder.name, encoder.fingerprint)) for store in (local, spread))
    assert ours["doc_id"].equals(theirs["doc_id"])
    difference = np.abs(ours["vector"].to_numpy() - theirs["vector"].to_numpy())
    assert difference.max() <= 2e-3


@pytest.fixture
def vectors(tmp_path):
    """A store with 30,000 vectors around four centres, in another order than that of their ids."""
    draw = np.random.default_rng(3)
    centres_cd = draw.normal(size=(4, 32))
    points_nd = centres_cd[draw.integers(0, 4, 30_000)] + 0.6 * draw.normal(size=(30_000, 32))
    store, ids = Store(tmp_path / "vectors"), [f"{number * 7919 % 30_011:032x}" for number in range(30_000)]
    columns = [ids, vector_column(points_nd), ["f" * 32] * len(ids)]
    store.append(TABLE, pa.table(columns, schema=schema_of(TABLE, 32)))
    shards = [f"shard-{number % 5}" for number in range(30_000)]
    rows = {"doc_id": ids, "shard": shards, "row": range(30_000)}
    names = schema_of("occurrences").names
    missing = {name: None for name in names if name not in rows}
    frame = pl.DataFrame(rows).with_columns(**missing).select(names)
    store.merge("occurrences", frame.to_arrow().cast(schema_of("occurrences")))
    return store


def target() -> np.ndarray:
    return np.random.default_rng(9).normal(size=(600, 32)).astype(np.float32) + 0.5


@pytest.mark.slow
def test_a_density_sketch_has_the_same_bits_and_its_scores_too(vectors, ray_engine):
    section = DensitySection(rows=20, hashes=4, calibration=500)
    local = build_sketch(vectors, TABLE, section, 5, lambda rows: None)
    local_n = score_density(vectors, TABLE, local)
    stored = vectors.read("scores_density")
    counted: list[int] = []
    with using(ray_engine):
        spread = build_sketch(vectors, TABLE, section, 5, counted.append)
        spread_n = score_density(vectors, TABLE, spread)
    assert spread.fingerprint == local.fingerprint
    assert sum(counted) == spread.count == 30_000
    assert np.array_equal(local_n, spread_n)
    assert vectors.read("scores_density").equals(stored)


@pytest.mark.slow
def test_a_potential_its_sums_and_its_scores_agree(vectors, ray_engine):
    goal = target()

    def solved():  # without a kept plan, which only one machine can keep
        return solve_potential(goal, VectorBlocks(vectors, TABLE, dtype=np.float16), tolerance=1e-3, memory=0)

    def scored(potential):
        own = current_pool_potential(vectors, TABLE, potential, seed=0).own
        toward = PoolScoring(potential=potential, target_md=goal, target="aim", fingerprint="v1")
        for scoring in (toward, OwnScoring(own=own, target="aim", fingerprint="v1")):
            vectors.delete(scoring.table, "true")
            score_pool(vectors, scoring, TABLE)
        both = vectors.read("transport_aim").join(vectors.read("pool_potential_aim"), on="doc_id")
        return both.sort("doc_id")

    local = solved()
    local_scores, local_sums = scored(local), sums_of_pool(vectors, local, TABLE)
    assert len(local_scores) == 30_000
    passes: list[int] = []
    with using(ray_engine):
        ray_map = ray_engine.map
        ray_engine.map = lambda work, *rest: passes.append(work.__name__) or ray_map(work, *rest)
        spread = solved()
        assert "_totals" in passes
        spread_scores, spread_sums = scored(local), sums_of_pool(vectors, local, TABLE)
    assert spread.converged
    assert spread.passes == pytest.approx(local.passes)
    assert spread.epsilon == local.epsilon
    assert np.abs(spread.potential - local.potential).max() < 1e-6 * local.epsilon
    for name in ("transport_gradient", "nearest_cost", "pool_potential"):
        assert np.abs(spread_scores[name].to_numpy() - local_scores[name].to_numpy()).max() < 1e-5
    assert spread_scores["doc_id"].equals(local_scores["doc_id"])
    for name, sum_m in local_sums.sums.items():
        assert np.abs(spread_sums.sums[name] - sum_m).max() < 1e-7


def test_a_table_too_large_to_sort_is_read_in_parts(vectors, monkeypatch):
    monkeypatch.setattr("tamis.store.vectors.MOST_SORTED", 1_000)
    blocks = VectorBlocks(vectors, TABLE, dtype=np.float16)
    spans = blocks.spans(5)
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    assert len(spans) > 3
    found_nd = np.concatenate([block_nd for span in spans for block_nd in blocks.within(span)])
    whole = vectors.read_arrow(TABLE, ["vector"])["vector"]
    assert np.array_equal(found_nd, matrix_of(whole, np.float16))
    ids = [one for span in spans for some, _ in blocks.within(span).with_ids() for one in some]
    assert ids == vectors.read(TABLE, ["doc_id"])["doc_id"].to_list()


@pytest.fixture
def few(tmp_path):
    """Two stores with the same 40 documents."""
    texts = some_texts(40)
    (local, ids), (spread, _) = store_of(tmp_path / "local", texts), store_of(tmp_path / "spread", texts)
    return local, spread, ids


@pytest.mark.slow
def test_a_judge_answers_alike_and_its_costs_are_counted_here(few, ray_engine):
    local, spread, ids = few
    ours, theirs = (AskLLM("smollm2-135m", max_tokens=24) for _ in range(2))
    judge_documents(local, ours, ids)
    counted: list[int] = []
    with using(ray_engine):
        judge_documents(spread, theirs, ids, counted.append)
        noise = RememberingJudge(spread, theirs).score(["one text", "another one", "one text"])
    answers = [store.read("scores_judge").sort("doc_id") for store in (local, spread)]
    assert answers[0]["doc_id"].equals(answers[1]["doc_id"])
    assert np.abs(answers[0]["margin"].to_numpy() - answers[1]["margin"].to_numpy()).max() < 1e-3
    assert sum(counted) == len(ids) == ours.usage.documents == theirs.usage.documents - 2
    assert theirs.usage.tokens > ours.usage.tokens > 0
    assert theirs.usage.seconds > 0
    assert noise["margin"][0] == noise["margin"][2] != noise["margin"][1]


def test_an_endpoint_is_asked_by_this_process(few):
    local, _, ids = few
    nowhere = RayEngine(EngineSection(kind="ray", address="127.0.0.1:1"))
    judge = AskLLM(Endpoint("http://127.0.0.1:1/v1", "judge", "NO_SUCH_KEY"), max_tokens=24)
    with using(nowhere), pytest.raises(MissingKeyError, match="NO_SUCH_KEY"):
        judge_documents(local, judge, ids)
    assert nowhere._pool is None


@pytest.mark.slow
def test_perplexity_is_the_same(few, ray_engine, tmp_path):
    local, spread, ids = few
    perplexity = '[perplexity]\nmodel = "small"\nmax_tokens = 24\n'
    text = settings(base_model("small", None, path="smollm2-135m"), perplexity)
    project = plain_project(tmp_path, text, {}).project

    def bits(store):
        known = {"small": "v" * 40}
        scored = score_perplexity(store, project, {"small": tmp_path}, known, ids)
        assert scored == set(ids)
        return store.read("scores_perplexity").sort("doc_id")

    ours = bits(local)
    with using(ray_engine):
        theirs = bits(spread)
    assert ours["doc_id"].equals(theirs["doc_id"])
    assert np.abs(ours["bits_per_byte"].to_numpy() - theirs["bits_per_byte"].to_numpy()).max() < 1e-3
