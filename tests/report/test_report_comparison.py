"""The trained comparison as sentences and tables: proven, not proven, not testable, failed."""

import re

import numpy as np
import polars as pl
import pytest

from tamis.comparison.analysis import analyse
from tamis.report import sampler_page
from tamis.report.comparison import comparison_text, sentences
from tamis.store.schemas import schema_of

PAIRS = {"sampler_a": pl.String, "sampler_b": pl.String, "jaccard": pl.Float64, "kendall_tau": pl.Float64}
CHOSEN = {"sampler": pl.String, "description": pl.String, "selected": pl.Int64, "mean_quality": pl.Float64}
SIZES = [200, 500, 300, 1_000, 400, 600]


def rows(losses: dict[str, float], data_seeds: int = 4, noise: float = 0.01, failed: str | None = None):
    """Runs whose losses are these plus a little luck; one of them failed where asked."""
    draw = np.random.default_rng(0)
    found = []
    for place in range(data_seeds):
        shared = 0.1 * draw.normal()
        for sampler, loss in losses.items():
            value = loss + shared + noise * draw.normal()
            bits = [value * size for size in SIZES]
            row = {
                "run": f"{sampler}{place}",
                "sampler": sampler,
                "budget": "100%" if sampler == "full" else "10%",
                "data_seed": place,
                "training_seed": 0,
                "documents": 30,
                "tokens": 1_000,
                "epochs": 2.0,
                "target_bits_per_byte": value,
                "pool_bits_per_byte": value,
                "target_document_bits": bits,
                "target_document_bytes": SIZES,
                "pool_document_bits": bits,
                "pool_document_bytes": SIZES,
                "curve_tokens": [500, 1_000],
                "curve_target": [value + 0.5, value],
            }
            if sampler == failed and place == 0:
                keep = ("run", "sampler", "budget", "data_seed", "training_seed", "documents")
                row = {name: row[name] for name in keep} | {"failure": "diverged: the loss is not finite"}
            found.append(row)
    schema = dict(zip(*_types(), strict=True))
    return pl.DataFrame(found, schema=schema)


def _types():
    empty = pl.from_arrow(schema_of("sampler_trials").empty_table())
    return empty.columns, empty.dtypes


def said(report) -> str:
    return " ".join(sentences(report))


def test_a_proven_difference_is_named_with_its_size():
    report = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0, "knn": 2.3}), 0)
    text = said(report)
    size = re.match(r"Better than random on the target: got-d by (\S+) bits per byte", text)
    assert size is not None
    assert float(size[1]) == pytest.approx(0.3, abs=0.02)
    assert "knn" not in text
    (knn,) = [one for one in report.target.contrasts if one.sampler == "knn"]
    assert knn.low < 0 < knn.high


def test_nothing_significant_is_said_so():
    report = analyse(rows({"full": 2.3, "random": 2.3, "got-d": 2.3}, noise=0.05), 0)
    assert "No sampler is proven better or worse than random" in said(report)


def test_one_seed_proves_nothing_and_says_what_to_do(read_page):
    report = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}, data_seeds=1), 0)
    assert said(report) == "One run a sampler cannot show a difference: raise data_seeds to 3 or more."
    page = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    assert "raise training_seeds to 2 or more" in page


def test_a_failed_run_is_named_and_the_rest_counts(read_page):
    report = analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}, failed="got-d"), 0)
    page = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN), report))
    where = "got-d 10% (data seed 0, training seed 0): diverged: the loss is not finite"
    assert f"Runs without a loss: {where}" in page
    assert [one.runs for one in report.target.arms] == [4, 4, 3]
    assert [one.diverged for one in report.target.arms] == [0, 0, 1]
    assert "3 of 4, 1 diverged" in page
    caveat = "got-d: 1 of 4 runs diverged; its figures are of the others alone and flatter it."
    assert caveat in page
    lines = comparison_text(report)
    assert lines[3].endswith("3 of 4, 1 diverged")
    assert lines[2].endswith("  4")
    assert any(line.startswith(caveat) for line in lines)


def test_the_terminal_shows_every_arm(read_page):
    lines = comparison_text(analyse(rows({"full": 2.0, "random": 2.3, "got-d": 2.0}), 0))
    assert [line.split()[0] for line in lines[1:4]] == ["full", "random", "got-d"]
    assert float(lines[3].split()[3]) == pytest.approx(-0.3, abs=0.02)


def test_a_comparison_without_a_single_loss_is_an_error():
    failed = rows({"full": 2.0}, data_seeds=1, failed="full")
    with pytest.raises(ValueError, match="no run of the comparison was made; the first of 1: full 100%"):
        analyse(failed, 0)
