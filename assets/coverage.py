"""Coverage: how crowded the pool is around each document, from one additive sketch."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.coverage import DensitySketch, effective_sample_size
from tamis.coverage.storing import build_sketch, score_density
from tamis.embedding.storing import current_table
from tamis.platform.assets.specification import asset
from tamis.platform.resources.engine import EngineResource
from tamis.platform.resources.store import StoreResource
from tamis.runtime.record import Output

INFORMATIVE = (
    "informative",
    "Density sampling differs from uniform sampling: the effective sample size of the 1 / density weights is "
    "under 99 % of the pool.",
    False,
)
SKETCH_FILE = "sketch.npz"
BUCKETS = "density_buckets"


@asset("density_sketch", ["numpy"])
def density_sketch(
    context: dg.AssetExecutionContext, store: StoreResource, engine: EngineResource
) -> Iterator[Any]:
    """Sketch of the kernel density of the pool: counters of hashes, so shards can be added or subtracted."""
    with store.work(context) as work, engine.running(work):
        table = current_table(work.project)
        with work.progress("density sketch", work.store.count(table)) as progress:
            sketch = build_sketch(
                work.store,
                table,
                work.project.settings.density,
                work.project.seed,
                progress.advance,
                work.project.home.cache / BUCKETS,
            )
        folder = work.fitted("")
        folder.mkdir(parents=True, exist_ok=True)
        sketch.save(folder / SKETCH_FILE)
        facts = {"width": sketch.width, "rows": sketch.rows, "hashes": sketch.hashes}
        yield from work.record(Output(files=[folder], row_count=sketch.count, metadata=facts))


@asset("density_scores", ["lancedb"], [INFORMATIVE])
def density_scores(
    context: dg.AssetExecutionContext, store: StoreResource, engine: EngineResource
) -> Iterator[Any]:
    """Density of each document: roughly the number of similar documents in the pool, itself included."""
    with store.work(context) as work, engine.running(work):
        table = current_table(work.project)
        sketch = DensitySketch.load(work.upstream("density_sketch") / SKETCH_FILE)
        with work.progress("density scores", work.store.count(table)) as progress:
            cache = work.project.home.cache / BUCKETS
            density_n = score_density(work.store, table, sketch, progress.advance, cache)
        share = effective_sample_size(density_n) if len(density_n) else 1.0
        check = dg.AssetCheckResult(
            asset_key="density_scores",
            check_name="informative",
            passed=share < 0.99,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"effective_sample_share": share},
        )
        yield from work.record(
            Output(
                row_count=len(density_n),
                metadata={"effective_sample_share": share, "median_density": _median(density_n)},
                checks=[check],
            )
        )


def _median(values_n: Any) -> float:
    return float(sorted(values_n)[len(values_n) // 2]) if len(values_n) else 0.0
