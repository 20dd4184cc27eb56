"""The score that decided a selection and its cut, recovered from real decisions."""

import polars as pl
import pytest
from made_decisions import decided

from tamis.selection.decide import deciding_score


@pytest.mark.parametrize(
    "sampler", ["got-d", "got-d-quality", "got-d-contrast", "ask-llm", "knn", "perplexity"]
)
def test_the_cut_parts_chosen_from_missed(sampler):
    score = deciding_score(*decided(sampler))
    side = score.scores < score.cut if score.smaller_is_better else score.scores > score.cut
    assert (side == score.chosen).all()
    assert score.chosen.sum() == 40


def test_sampler_is_inferred_without_settings():
    decisions, settings = decided("knn")
    assert deciding_score(decisions, {}).cut == deciding_score(decisions, settings).cut


def test_columns_of_the_stored_table_change_nothing():
    decisions, _settings = decided("knn")
    wide = decisions.with_columns(pl.lit(None, dtype=pl.Float64).alias("quality"))
    assert deciding_score(wide, {}).label == "nearest cost"


def test_samplers_that_draw_have_no_cut_and_one_that_does_not_look_has_no_score():
    assert deciding_score(*decided("density")).cut is None
    assert deciding_score(*decided("random")) is None
