"""Scores of compared runs: differences from random in pairs, by an oracle, and the sentences about them."""

import polars as pl
import pytest
from made_comparisons import rows

from tamis.comparison.analysis import analyse
from tamis.comparison.claims import sentences

LOSSES = {"full": 2.0, "random": 2.3, "got-d": 2.0}


def scores_of(runs: pl.DataFrame, gain: dict[str, float], examples: int = 8) -> pl.DataFrame:
    """Scores that depend on example and seed, and by a constant on the sampler."""
    return pl.DataFrame(
        [
            {
                "run": run,
                "task": "quiz",
                "example": str(number),
                "score": number % 3 + 0.1 * seed + gain.get(sampler, 0.0) + 0.01 * ((number * seed) % 5),
            }
            for run, sampler, seed in runs.select("run", "sampler", "data_seed").iter_rows()
            for number in range(examples)
        ]
    )


def test_the_difference_is_the_mean_over_pairs_and_its_sign_is_that_of_the_scores():
    runs = rows(LOSSES)
    found = analyse(runs, 0, scores=scores_of(runs, {"got-d": 0.25}))
    quiz = found.scores["quiz"]
    (one,) = [one for one in quiz.contrasts if one.sampler == "got-d"]
    assert one.difference == pytest.approx(0.25)
    assert (found.without_score, quiz.recoveries) == (0, [])
    assert says(found, "Scores on quiz higher than of random: got-d by 0.250 (95 %")
    worse = analyse(runs, 0, scores=scores_of(runs, {"got-d": -0.25}))
    assert says(worse, "Scores on quiz lower than of random: got-d by 0.250 (95 %")


def test_only_examples_that_all_scored_runs_have_count():
    runs = rows(LOSSES)
    scores = scores_of(runs, {"got-d": 0.25})
    first = runs["run"][0]
    cut = scores.filter(~((pl.col("run") == first) & (pl.col("example") == "7")))
    found = analyse(runs, 0, scores=cut).scores["quiz"]
    whole = analyse(runs, 0, scores=scores.filter(pl.col("example") != "7")).scores["quiz"]
    assert found == whole


def test_runs_without_a_score_are_counted():
    runs = rows(LOSSES)
    scores = scores_of(runs, {}).filter(pl.col("run") != runs["run"][0])
    found = analyse(runs, 0, scores=scores)
    assert found.without_score == 1
    assert says(found, f"Evaluation: 1 run of {len(runs)} without a score")
    assert analyse(runs, 0).without_score == 0


def says(report, beginning: str) -> bool:
    return any(line.startswith(beginning) for line in sentences(report))
