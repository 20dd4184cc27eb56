"""Selection page and plot: the cut is recovered from real decisions, and each reason is explained."""

import numpy as np
import polars as pl
import pytest

from tamis.report import SelectionReport, selection_page, selection_plot_png
from tamis.report.selection import SENTENCES
from tamis.report.selection_data import source_mix
from tamis.report.selection_plot import histogram_note
from tamis.report.selection_score import deciding_score
from tamis.selection import select
from tamis.selection.reasons import Reason

N = 400
SCORES = (
    "transport_gradient",
    "quality",
    "judge_margin_predicted",
    "density",
    "nearest_cost",
    "bits_per_byte",
    "gradient_away",
)


def _pool():
    random = np.random.default_rng(5)
    scores = {name: random.random(N) * 3 + 0.2 for name in SCORES}
    scores["quality"] = random.random(N)
    return pl.DataFrame({"doc_id": [f"{i:032x}" for i in range(N)], **scores})


def _report(sampler, budget=40, excerpt="Some text.", sources=3):
    exclusions = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(7)],
            "reason": ["near_duplicate"] * 4 + ["withdrawn", "contaminated", "target_example"],
            "duplicate_of": [f"{N - 1:032x}"] * 4 + [None] * 3,
        }
    )
    options = {"quality_weight": 0.7}
    decisions = select(_pool(), sampler, budget, exclusions=exclusions, options=options)
    documents = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(1, N)],
            "source": [f"shard_{i % sources}" for i in range(1, N)],
            "excerpt": [excerpt if i % 2 else None for i in range(1, N)],
        }
    )
    settings = {"sampler": sampler, "budget": str(budget), "quality_weight": "0.7"}
    return SelectionReport(name="chosen", decisions=decisions, documents=documents, settings=settings)


@pytest.mark.parametrize(
    "sampler", ["got-d", "got-d-quality", "got-d-contrast", "ask-llm", "knn", "perplexity"]
)
def test_the_cut_parts_chosen_from_missed(sampler):
    report = _report(sampler)
    score = deciding_score(report)
    side = score.scores < score.cut if score.smaller_is_better else score.scores > score.cut
    assert (side == score.chosen).all()
    assert score.chosen.sum() == 40
    assert f"{score.cut:.4g}" in histogram_note(report)


def test_sampler_is_inferred_without_settings():
    report = _report("knn")
    bare = SelectionReport(name="x", decisions=report.decisions, documents=report.documents, settings={})
    assert deciding_score(bare).cut == deciding_score(report).cut


def test_columns_of_the_stored_table_change_nothing():
    report = _report("knn")
    wide = report.decisions.with_columns(pl.lit(None, dtype=pl.Float64).alias("quality"))
    stored = SelectionReport(name="x", decisions=wide, documents=report.documents, settings={})
    assert deciding_score(stored).label == "nearest cost"


def test_samplers_that_draw(read_page):
    density = _report("density")
    assert deciding_score(density).cut is None
    assert "no sharp cut" in read_page(selection_page(density))
    uniform = _report("random")
    assert deciding_score(uniform) is None
    assert "no score" in histogram_note(uniform)
    read_page(selection_page(uniform))
    assert selection_plot_png(uniform).startswith(b"\x89PNG")


def test_every_reason_has_a_sentence_and_is_counted(read_page):
    assert set(SENTENCES) == set(Reason)
    text = read_page(selection_page(_report("got-d")))
    assert "40 of 400 documents were chosen" in text
    for reason in ("withdrawn", "contaminated", "target_example", "near_duplicate"):
        assert SENTENCES[reason] in text
    assert SENTENCES["held_out_example"] not in text
    assert "near duplicate 4" in text


def test_mix_counts_every_document_once():
    report = _report("got-d", sources=40)
    mix = source_mix(report)
    assert len(mix) == 15
    assert mix["pool"].sum() == N
    assert mix["chosen"].sum() == 40
    assert mix["source"][-1].endswith("other sources")


def test_best_and_nearest_misses_are_listed(read_page):
    report = _report("got-d")
    text = read_page(selection_page(report))
    ranked = report.decisions.drop_nulls("rank").sort("rank")["doc_id"]
    for place in (0, 9, 40, 49):
        assert ranked[place] in text
    for place in (10, 39, 50):
        assert ranked[place] not in text


@pytest.mark.filterwarnings("ignore")
def test_nothing_rejected(read_page):
    pool = _pool()
    decisions = select(pool, "got-d", N)
    documents = pool.select("doc_id", source=pl.lit("s"), excerpt=pl.lit(None, dtype=pl.String))
    report = SelectionReport(name="all", decisions=decisions, documents=documents, settings={})
    text = read_page(selection_page(report))
    assert "400 of 400" in text
    assert "None." in text


def test_an_empty_pool(read_page):
    report = _report("got-d")
    empty = SelectionReport(
        name="none", decisions=report.decisions.clear(), documents=report.documents.clear(), settings={}
    )
    assert "0 of 0 documents" in read_page(selection_page(empty))
    assert selection_plot_png(empty).startswith(b"\x89PNG")


def test_equal_scores():
    pool = _pool().with_columns(nearest_cost=pl.lit(0.5))
    decisions = select(pool, "knn", 20)
    documents = pool.select("doc_id", source=pl.lit("s"), excerpt=pl.lit("t"))
    report = SelectionReport(name="flat", decisions=decisions, documents=documents, settings={})
    assert selection_plot_png(report).startswith(b"\x89PNG")


def test_texts_are_escaped(hostile, read_page):
    assert hostile in read_page(selection_page(_report("got-d", excerpt=hostile)))


def test_picture_size():
    png = selection_plot_png(_report("got-d-quality"))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert 3_000 < len(png) <= 60_000
