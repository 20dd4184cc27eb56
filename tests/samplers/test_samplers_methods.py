"""Samplers that compute their own score: through the store, on topics of which one is the target's."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from tamis.selection import SAMPLERS, parse_budget, select
from tamis.selection.computing import ScoringOptions, documents_in, method_scores
from tamis.settings.sections import SelectionSection, TransportSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column

WIDTH, TOPICS, EACH = 16, 4, 50
COMPUTED = sorted(name for name, sampler in SAMPLERS.items() if sampler.method and sampler.needs_target)
WORDS = ["butter oven dough spice", "mast anchor harbour tide", "matrix group lemma norm", "goal pitch match"]


def near(topic: int, count: int, random) -> np.ndarray:
    """Vectors [count, d] around one of some orthogonal directions."""
    return (np.eye(WIDTH)[topic] + 0.15 * random.normal(size=(count, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    random = np.random.default_rng(0)
    made = Store(tmp_path_factory.mktemp("lance"))
    ids = [f"{topic}{index:03d}".ljust(32, "0") for topic in range(TOPICS) for index in range(EACH)]
    texts = [f"{WORDS[int(doc_id[0])]} {doc_id}" for doc_id in ids]
    vectors = np.concatenate([near(topic, EACH, random) for topic in range(TOPICS)])
    table(made, "documents", {"doc_id": ids, "text": texts})
    table(made, "embeddings_static", {"doc_id": ids, "vector": vector_column(vectors)})
    goal = [f"t{index}" for index in range(12)]
    columns = {"target": ["goal"] * 12, "doc_id": goal, "text": [WORDS[2]] * 12, "split": ["train"] * 12}
    table(made, "target_examples", columns)
    vectors = {"target": ["goal"] * 12, "doc_id": goal, "vector": vector_column(near(2, 12, random))}
    table(made, "target_embeddings_static", vectors)
    return made


def table(store: Store, name: str, columns: dict) -> None:
    """A table with these columns and nulls in the others."""
    schema = schema_of(name, WIDTH)
    count = len(columns["doc_id"])
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema]
    store.overwrite(name, pa.table(arrays, schema=schema))


def scores(store: Store, sampler: str, pool: pl.DataFrame, **keys) -> pl.DataFrame:
    section = SelectionSection(name="s", sampler=sampler, budget=20, **{"target": "goal"} | keys)
    options = ScoringOptions(
        transport=TransportSection(),
        seed=0,
        pool_table="embeddings_static",
        target_table="target_embeddings_static",
    )
    return method_scores(store, section, pool, options)


def pool_of(store: Store) -> pl.DataFrame:
    pool = store.read("documents", ["doc_id"])
    return pool.with_columns(n_tokens=pl.lit(5), quality=pl.lit(0.5))


@pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
@pytest.mark.parametrize("sampler", COMPUTED)
def test_every_method_finds_the_topic_of_the_target(store, sampler):
    pool = pool_of(store)
    found = scores(store, sampler, pool)
    decided = select(pool.join(found, on="doc_id", how="left"), sampler, 20)
    chosen = decided.filter(pl.col("verdict") == "selected")["doc_id"]
    assert sum(doc_id.startswith("2") for doc_id in chosen) >= 16
    assert scores(store, sampler, pool.sample(fraction=1, shuffle=True, seed=3)).equals(found)


@pytest.mark.parametrize("sampler", ["semdedup", "prototypes"])
def test_without_a_target_what_is_like_the_rest_comes_last(store, sampler):
    pool = pool_of(store)
    found = scores(store, sampler, pool, target=None).sort("doc_id")
    rows = store.read("embeddings_static", ["doc_id", "vector"]).sort("doc_id")
    units = np.array(rows["vector"].to_list(), dtype=np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    order = found["method_score"].arg_sort().to_numpy()
    if sampler == "prototypes":
        alike = units @ units.mean(0)  # 200 documents have one centre
        assert np.corrcoef(alike, found["method_score"])[0, 1] > 0.99
    else:
        cosines = units @ units.T - 2 * np.eye(len(units))
        first, last = order[:20], order[-20:]
        assert cosines[np.ix_(first, first)].max() < cosines[last].max(1).min()
    assert scores(store, sampler, pool.sample(fraction=1, shuffle=True, seed=3), target=None).equals(found)


@pytest.mark.filterwarnings("ignore::tamis.transport.FewTargetPoints")
def test_rounds_with_quality_prefer_the_better_half(store):
    pool = pool_of(store).with_columns(quality=(pl.col("doc_id").str.slice(3, 1).cast(pl.Int64) % 2) * 1.0)
    found = scores(store, "got-d-quality-rounds", pool, quality_weight=5.0).join(pool, on="doc_id")
    best = found.sort("method_score").head(20)
    assert best["quality"].mean() == 1.0


def test_documents_without_quality_or_vector_get_no_score(store):
    pool = pool_of(store).with_columns(quality=pl.when(pl.col("doc_id") > "3").then(None).otherwise(0.5))
    extra = pl.DataFrame({"doc_id": ["0" * 32 + "x"], "n_tokens": [5], "quality": [0.5]}, schema=pool.schema)
    with pytest.warns(UserWarning, match="the target contains only 12 points"):
        found = scores(store, "got-d-quality-rounds", pl.concat([pool, extra]))
    assert set(found["doc_id"]) == {doc_id for doc_id in pool["doc_id"] if doc_id < "3"}


def test_a_budget_in_documents(store):
    pool = pl.DataFrame({"n_tokens": [10, 20, 30, 40]})
    budgets = {3: 3, 9: 4, "50%": 2, "1%": 1, "1ktok": 4, "0.05ktok": 2, "50tok": 2}
    assert {budget: documents_in(parse_budget(budget), pool) for budget in budgets} == budgets
