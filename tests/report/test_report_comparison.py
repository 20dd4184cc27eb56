"""The trained comparison on the sampler page and in the terminal."""

import polars as pl
import pytest
from made_comparisons import rows

from tamis.comparison.analysis import analyse
from tamis.report.comparison import comparison_text
from tamis.report.samplers import sampler_page

PAIRS = {"sampler_a": pl.String, "sampler_b": pl.String, "jaccard": pl.Float64, "kendall_tau": pl.Float64}
CHOSEN = {"sampler": pl.String, "description": pl.String, "selected": pl.Int64, "mean_quality": pl.Float64}


def test_one_seed_proves_nothing_and_says_what_to_do(read_page):
    report = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}, data_seeds=1), 0)
    page = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    assert "One run per sampler is not enough to test a difference: raise data_seeds" in page
    assert "raise training_seeds in [sampler_trials] to 2 or more" in page


def test_a_failed_run_is_named_and_the_rest_counts(read_page):
    report = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}, failed="got-d"), 0)
    page = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    where = "got-d 10% (data seed 0, training seed 0): diverged: the loss is not finite"
    assert f"Runs without a loss: {where}" in page
    assert [one.runs for one in report.target.arms] == [4, 4, 3]
    assert [one.diverged for one in report.target.arms] == [0, 0, 1]
    assert "3 of 4, 1 diverged" in page
    caveat = "got-d: 1 of 4 runs diverged; the mean losses cover only the other runs, so they make"
    assert caveat in page
    lines = comparison_text(report)
    assert lines[3].endswith("3 of 4, 1 diverged")
    assert lines[2].endswith("  4")
    assert any(line.startswith(caveat) for line in lines)


def test_the_terminal_shows_every_arm(read_page):
    lines = comparison_text(analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}), 0))
    assert [line.split()[0] for line in lines[1:4]] == ["full", "random", "got-d"]
    assert float(lines[3].split()[2]) == pytest.approx(-0.3, abs=0.02)


def test_what_all_data_give_is_compared_where_training_seeds_differ(read_page):
    runs = rows({"full": 2.0, "random": 2.3, "got-d": 1.9})
    worse = pl.col("target_document_bits").list.eval(pl.element() * 1.003)
    again = runs.with_columns(worse, pl.col("training_seed") + 1, pl.col("run") + "again")
    short = pl.when(pl.col("sampler") == "full").then(0.4).otherwise("epochs")
    report = analyse(runs.vstack(again).with_columns(epochs=short), 0)
    (found,) = [one for one in report.target.recoveries if one.sampler == "got-d"]
    page = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    assert f"got-d {found.difference:.4f} {found.upper:.4f} {found.margin:.4f}" in page
    assert "not reached" in page
    assert '"full" read 40.0 % of its documents' in page


@pytest.mark.filterwarnings("ignore:constrained_layout")  # such names leave no room in the picture
def test_names_budgets_and_failures_are_escaped(hostile, read_page):
    runs = rows({"full": 2.0, "random": 2.3, hostile: 2.0}, failed=hostile).with_columns(
        budget=pl.when(pl.col("sampler") == "full").then("budget").otherwise(pl.lit(hostile)),
        failure=pl.when(pl.col("failure").is_not_null()).then(pl.lit(f"diverged {hostile}")),
    )
    other = rows({"random": 2.3})  # several budgets, so that names have them
    report = analyse(runs.vstack(other), 0)
    text = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    where = f"{hostile} {hostile} (data seed 0, training seed 0)"
    assert f"Runs without a loss: {where}: diverged {hostile}" in text
    assert f"{hostile} {hostile} 30 3 of 4, 1 diverged" in text
    assert f"Better than random on the target: {hostile} {hostile} by" in text


def test_runs_of_a_trainer_have_no_losses_on_the_way_and_scores_have_their_own_part(read_page):
    runs = rows({"full": 2.0, "random": 2.3, "got-d": 1.9})
    worse = pl.col("target_document_bits").list.eval(pl.element() * 1.003)
    again = runs.with_columns(worse, pl.col("training_seed") + 1, pl.col("run") + "again")
    ends = [pl.col(name).list.tail(1) for name in ("curve_tokens", "curve_target")]
    runs = runs.vstack(again).with_columns(ends)
    scores = pl.DataFrame(
        [
            {"run": run, "task": "quiz", "example": str(number), "score": number + 0.5 * (sampler == "got-d")}
            for run, sampler in runs.select("run", "sampler").iter_rows()
            for number in range(6)
        ]
    )
    report = analyse(runs, 0, scores=scores)
    page = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    assert "not measured on the way" in page
    assert "not reached" not in page
    assert "Scores on quiz By your own evaluation, higher is better" in page
    assert "got-d 3.000" in page
    assert "got-d 0.5000" in page
    heading = comparison_text(report)[0]
    assert heading.split().count("score") == 1
