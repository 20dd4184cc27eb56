"""Coverage: how crowded the pool is around each document, from one additive sketch."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.coverage import DensitySketch, effective_sample_size
from tamis.coverage.storing import build_sketch, score_density
from tamis.embedding.storing import current_table
from tamis.platform.assets.specification import asset
from tamis.runtime.record import Output
from tamis.runtime.step import Work

INFORMATIVE = (
    "informative",
    "Density sampling differs from uniform sampling: the effective sample size of the 1 / density weights is "
    "under 99 % of the pool.",
    False,
)
SKETCH_FILE = "sketch.npz"
BUCKETS = "density_buckets"


@asset("density_sketch", ["numpy"], engine=True)
def density_sketch(work: Work) -> Iterator[Any]:
    """Sketch of the kernel density of the pool: counters of hashes, so shards can be added or subtracted."""
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


@asset("density_scores", ["lancedb"], [INFORMATIVE], engine=True)
def density_scores(work: Work) -> Iterator[Any]:
    """Density of each document: roughly the number of similar documents in the pool, itself included."""
    table = current_table(work.project)
    sketch = DensitySketch.load(work.upstream("density_sketch") / SKETCH_FILE)
    cache = work.project.home.cache / BUCKETS
    with work.progress("density scores", work.store.count(table)) as progress:
        density_n = score_density(work.store, table, sketch, progress.advance, cache)
    share = effective_sample_size(density_n) if len(density_n) else 1.0
    median = float(sorted(density_n)[len(density_n) // 2]) if len(density_n) else 0.0
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
            metadata={"effective_sample_share": share, "median_density": median},
            checks=[check],
        )
    )
