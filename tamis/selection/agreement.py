"""How far samplers agree: what they choose in common, and how alike they rank.

Sachdeva et al. (arXiv 2402.09668, figure 7) report Kendall's tau between all their scores; near 0 is
common between methods, so a comparison of samplers starts here. About 0.3 s a pair for 100,000 documents.
"""

from collections.abc import Mapping
from itertools import combinations

import polars as pl

from tamis.selection import SAMPLERS, select
from tamis.selection.pool import exclusions, with_scores
from tamis.settings.config import FiltersSection
from tamis.settings.samplers import AWAY_SCORE
from tamis.store.tables import Store

_SCHEMA = {
    "sampler_a": pl.String,
    "sampler_b": pl.String,
    "jaccard": pl.Float64,
    "kendall_tau": pl.Float64,
    "ranked_by_both": pl.Int64,
}


def compare_decisions(decisions: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """One row per pair of samplers, given as name -> decisions of `select` over one pool.

    `jaccard` of the selected sets (null when both are empty); `kendall_tau` (tau-b, in [-1, 1]) of the
    ranks of the documents eligible in both, of which there are `ranked_by_both` (null under two).
    """
    rows = [
        {"sampler_a": first, "sampler_b": second, **_agreement(decisions[first], decisions[second])}
        for first, second in combinations(sorted(decisions), 2)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


def _agreement(first: pl.DataFrame, second: pl.DataFrame) -> dict[str, float | None]:
    both = first.select("doc_id", "rank", "verdict").join(
        second.select("doc_id", "rank", "verdict"), on="doc_id", how="full", coalesce=True
    )
    chosen = [(pl.col(name) == "selected").fill_null(False) for name in ("verdict", "verdict_right")]
    shared, either = both.select((chosen[0] & chosen[1]).sum(), union=(chosen[0] | chosen[1]).sum()).row(0)
    ranked = both.drop_nulls(["rank", "rank_right"])
    return {
        "jaccard": shared / either if either else None,
        "kendall_tau": _kendall_tau(ranked["rank"], ranked["rank_right"]),
        "ranked_by_both": ranked.height,
    }


def _kendall_tau(first: pl.Series, second: pl.Series) -> float | None:
    from scipy.stats import kendalltau

    return float(kendalltau(first.to_numpy(), second.to_numpy()).statistic) if len(first) > 1 else None


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
