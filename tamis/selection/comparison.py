"""Comparison of samplers without training: who chooses what, and how alike the choices are.

Each sampler whose scores exist ranks the same pool at the same budget; seconds for 10,000 documents.
"""

import polars as pl

from tamis.selection import SAMPLERS, select
from tamis.selection.agreement import compare_decisions
from tamis.selection.pool import exclusions, with_scores
from tamis.settings.config import FiltersSection
from tamis.settings.samplers import AWAY_SCORE
from tamis.store.tables import Store


def compare_samplers(
    store: Store, budget: int | str, target: str, seed: int, filters: FiltersSection | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairwise agreement (sampler_a, sampler_b, jaccard, kendall_tau), and one row a sampler.

    The second frame holds sampler, description, selected, mean of each score over the chosen documents.
    """
    stored = (sampler.score_columns for sampler in SAMPLERS.values() if not sampler.method)
    columns = tuple(dict.fromkeys(name for names in stored for name in names if name != AWAY_SCORE))
    pool = with_scores(store, columns, target)
    available = [name for name in columns if pool[name].null_count() < len(pool)]
    excluded = exclusions(store, filters)
    decided = {
        name: select(pool, name, budget, seed, exclusions=excluded)
        for name, sampler in sorted(SAMPLERS.items())
        if set(sampler.score_columns) <= set(available) and sampler.method is None
    }
    rows = [_chosen_row(name, frame, pool, available) for name, frame in decided.items()]
    return compare_decisions(decided), pl.DataFrame(rows)


def _chosen_row(
    name: str, decided: pl.DataFrame, pool: pl.DataFrame, columns: list[str]
) -> dict[str, str | int | float | None]:
    chosen = decided.filter(pl.col("verdict") == "selected").select("doc_id")
    means = pool.join(chosen, on="doc_id", how="semi").select(pl.col(columns).mean()).row(0, named=True)
    return {
        "sampler": name,
        "description": SAMPLERS[name].description,
        "selected": len(chosen),
        **{f"mean_{column}": value for column, value in means.items()},
    }
