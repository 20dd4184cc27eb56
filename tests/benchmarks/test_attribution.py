"""Attribution: correlations over halves as SciPy has them, and sums of scores that do predict losses."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from benchmarks.attribution import Sizes, Study, correlations, interval


def test_correlations_are_spearmans_of_falls_with_sums():
    rng = np.random.default_rng(0)
    sums_he, bits_he = rng.normal(size=(30, 7)), rng.normal(size=(30, 7)).round(1)
    expected = [spearmanr(sums_he[:, e], -bits_he[:, e]).statistic for e in range(7)]
    assert correlations(sums_he, bits_he) == pytest.approx(expected)
    assert correlations(np.ones((30, 7)), bits_he) == pytest.approx(np.zeros(7))


def test_a_score_that_decides_the_losses_is_told_from_one_that_does_not():
    rng = np.random.default_rng(0)
    member_hn = rng.random((60, 200)) < 0.5
    worth_n = rng.normal(size=200)
    bits_he = -(member_hn @ worth_n)[:, None] + rng.normal(size=(60, 20))
    own, drawn = (
        np.broadcast_to((member_hn @ score_n)[:, None], (60, 20))
        for score_n in (worth_n, rng.normal(size=200))
    )
    mean, low, high = interval([own], [bits_he])
    assert low < mean < high
    assert low > 0.9
    assert interval([drawn], [bits_he])[1] < 0.3


@pytest.fixture
def study(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "domain": rng.choice(["law", "news"], 300),
            "third": rng.integers(0, 3, 300),
            "tokens": rng.integers(5, 300, 300),
        }
    )
    made = Study(folder=tmp_path, sizes=Sizes())
    monkeypatch.setitem(made.__dict__, "pool", rows)
    return made


def test_halves_have_half_of_the_tokens_of_each_part(study):
    halves = [study.half(number) for number in range(3)]
    assert halves[0] != halves[1] != halves[2]
    assert study.half(0) == halves[0]
    for half in halves:
        shares = (
            study.pool.with_row_index("place")
            .group_by("domain", "third")
            .agg(share=pl.col("tokens").filter(pl.col("place").is_in(half)).sum() / pl.col("tokens").sum())
        )
        assert shares["share"].is_between(0.5, 0.7).all()


def test_the_best_tenth_is_a_tenth_of_the_tokens_by_score(study):
    score_n = np.arange(300.0)
    best = study.best(score_n)
    tokens_n = study.pool["tokens"].to_numpy()
    assert best == list(range(299, 299 - len(best), -1))
    assert tokens_n[best].sum() >= tokens_n.sum() / 10 > tokens_n[best[:-1]].sum()
    assert len(set(study.random_tenth(0)) & set(study.random_tenth(1))) < len(best)
