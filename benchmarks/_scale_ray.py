"""The local engine next to a Ray cluster of two workers on the same two processors, stage by stage.

Both do the same work on the same store, one after the other, in an order that alternates; results are
compared. Workers have started before the clock does (`starting_seconds` says how long that took), but load
their models within it.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._transport_data import texts
from tamis.base.progress import ignore
from tamis.coverage.storing import build_sketch, score_density
from tamis.embedding import load_encoder
from tamis.embedding.storing import embed_missing, table_name
from tamis.engine import LOCAL, Engine, engine_of, using
from tamis.settings.config import DensitySection
from tamis.settings.sections import EngineSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store
from tamis.store.vectors import VectorBlocks
from tamis.transport import solve_potential
from tamis.transport.scoring import PoolScoring, score_pool

LIMIT = 0.85
TARGET_ROWS, SEED = 1_000, 5
Line = Callable[..., None]


def ray_beside_local(folder: Path, documents: int, sentences: int, repeats: int, line: Line) -> bool:
    """A line for each stage and one for all; whether the ratio of all is at the limit or above."""
    store, ids = stored(folder, documents)
    spread = engine_of(EngineSection(kind="ray", workers=2))
    began = time.perf_counter()
    start_workers(spread, 2)
    line("ray_workers", starting_seconds=time.perf_counter() - began, workers=2)
    totals = {"local": 0.0, "ray": 0.0}
    for name, rows, stage in stages_of(store, ids, folder, sentences):
        seconds = _beside_each_other(stage, spread, repeats)
        for engine, spent in seconds.items():
            totals[engine] += spent
        line("ray_stage", stage=name, rows=rows, **_figures(seconds))
    ratio = totals["local"] / totals["ray"]
    line("ray", holds=ratio >= LIMIT, limit=LIMIT, **_figures(totals))
    return ratio >= LIMIT


def _figures(seconds: dict[str, float]) -> dict[str, float]:
    return {
        "local_seconds": seconds["local"],
        "ray_seconds": seconds["ray"],
        "ratio": seconds["local"] / seconds["ray"],
    }


def _beside_each_other(stage: Callable[[], Any], spread: Engine, repeats: int) -> dict[str, float]:
    """Median seconds of each engine; raises `AssertionError` when their results differ."""
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    found: dict[str, np.ndarray] = {}
    for turn in range(repeats):
        engines = [("local", LOCAL), ("ray", spread)]
        for name, engine in engines if turn % 2 == 0 else reversed(engines):
            with using(engine):
                began = time.perf_counter()
                result = stage()
                seconds[name].append(time.perf_counter() - began)
            found[name] = np.asarray(result, dtype=np.float64)
    np.testing.assert_allclose(found["ray"], found["local"], rtol=1e-3, atol=2e-3)
    return {name: statistics.median(spent) for name, spent in seconds.items()}


def stages_of(
    store: Store, ids: list[str], folder: Path, sentences: int
) -> list[tuple[str, int, Callable[[], Any]]]:
    """Name, rows and work of each stage; what it returns is compared between engines."""
    static = load_encoder("static", cache=folder)
    minilm = load_encoder("minilm", cache=folder)
    table = table_name(static.name, static.fingerprint)
    section = DensitySection()

    def embedded(encoder: Any, some: list[str]) -> np.ndarray:
        name = table_name(encoder.name, encoder.fingerprint)
        if store.exists(name):
            store.overwrite_schema(name, schema_of(name, encoder.dimension))
        embed_missing(store, encoder, some)
        return np.concatenate(list(VectorBlocks(store, name)))[:1_000]

    def dense() -> np.ndarray:
        return score_density(store, table, build_sketch(store, table, section, SEED, ignore))

    def transported() -> np.ndarray:
        goal = next(iter(VectorBlocks(store, table)))[:TARGET_ROWS]
        potential = solve_potential(goal, VectorBlocks(store, table, dtype=np.float16), seed=SEED)
        scoring = PoolScoring(potential=potential, target_md=goal, target="aim", fingerprint="one")
        store.delete("transport_aim", "true")
        score_pool(store, scoring, table)
        return store.read("transport_aim").sort("doc_id")["transport_gradient"].to_numpy()

    return [
        ("static vectors", len(ids), lambda: embedded(static, ids)),
        ("density sketch and scores", len(ids), dense),
        ("transport solve and scores", len(ids), transported),
        ("MiniLM vectors", sentences, lambda: embedded(minilm, ids[:sentences])),
    ]


def stored(folder: Path, documents: int) -> tuple[Store, list[str]]:
    """Real texts, drawn again with another ending where there are not enough."""
    known = texts("pool")["text"].head(documents).to_list()
    return store_texts(folder, [f"{known[row % len(known)]} {row}" for row in range(documents)])


def store_texts(folder: Path, every: list[str]) -> tuple[Store, list[str]]:
    """A store under `folder` whose documents are these, and their ids."""
    store, ids = Store(folder / "lance"), [f"{row * 2_654_435_761 % 2**64:032x}" for row in range(len(every))]
    names = schema_of("documents").names
    frame = pl.DataFrame({"doc_id": ids, "text": every})
    missing = [pl.lit(None).alias(name) for name in names if name not in frame.columns]
    rows = frame.with_columns(missing).select(names).to_arrow().cast(schema_of("documents"))
    store.overwrite("documents", rows)
    return store, ids


def start_workers(engine: Engine, count: int) -> None:
    """Give every worker something to do, so that all have started before a clock does."""
    list(engine.map(_nothing, None, range(4 * count)))


def _nothing(_state: None, block: int, _advance: Any) -> int:
    return block
