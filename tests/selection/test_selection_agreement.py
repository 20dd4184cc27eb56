"""Agreement of samplers against counting by hand."""

import math
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from tamis.selection import select
from tamis.selection.changes import compare_decisions


def pool(count=120):
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=count)
    return pl.DataFrame(
        {
            "doc_id": [f"{number:032x}" for number in range(count)],
            "transport_gradient": gradient,
            "nearest_cost": gradient + rng.normal(size=count),
            "bits_per_byte": -gradient,
        }
    )


def test_every_pair_once_with_the_figures_counted_by_hand():
    decisions = {name: select(pool(), name, 30) for name in ("knn", "got-d", "random")}
    found = compare_decisions(decisions)
    assert found.select("sampler_a", "sampler_b").rows() == [
        ("got-d", "knn"),
        ("got-d", "random"),
        ("knn", "random"),
    ]
    for a, b, jaccard, tau, both in found.iter_rows():
        ranks = decisions[a].join(decisions[b], on="doc_id")
        chosen = [set(decisions[name].filter(pl.col("verdict") == "selected")["doc_id"]) for name in (a, b)]
        assert jaccard == pytest.approx(len(chosen[0] & chosen[1]) / len(chosen[0] | chosen[1]))
        pairs = combinations(zip(ranks["rank"], ranks["rank_right"], strict=True), 2)
        signs = [math.copysign(1, (x[0] - y[0]) * (x[1] - y[1])) for x, y in pairs]
        assert tau == pytest.approx(np.mean(signs))
        assert both == 120


def test_opposite_and_equal_samplers():
    same = compare_decisions({"a": select(pool(), "got-d", 30), "b": select(pool(), "got-d", 30)})
    assert same.select("jaccard", "kendall_tau").row(0) == pytest.approx((1.0, 1.0))
    opposite = compare_decisions({"a": select(pool(), "got-d", 30), "b": select(pool(), "perplexity", 30)})
    assert opposite.select("jaccard", "kendall_tau").row(0) == pytest.approx((0.0, -1.0))


def test_only_documents_ranked_by_both_are_compared():
    gaps = pool().with_columns(nearest_cost=pl.when(pl.int_range(pl.len()) < 50).then(pl.col("nearest_cost")))
    found = compare_decisions({"a": select(gaps, "got-d", 30), "b": select(gaps, "knn", 30)})
    assert found["ranked_by_both"].item() == 50
    nothing = gaps.with_columns(nearest_cost=pl.lit(None))
    with pytest.warns(UserWarning, match="no document is eligible"):
        empty = select(nothing, "knn", 30)
    found = compare_decisions({"a": empty, "b": empty})
    assert found.row(0)[2:] == (None, None, 0)
    assert compare_decisions({"a": empty}).is_empty()
