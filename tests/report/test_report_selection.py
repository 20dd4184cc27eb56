"""Selection page and plot: the cut is shown, and each reason is explained."""

import polars as pl
import pytest
from made_decisions import N, decided, pool

from tamis.report.selection import selection_page
from tamis.report.selection_data import SelectionReport, first_ranked, source_mix
from tamis.report.selection_plot import selection_plot_png
from tamis.selection import select
from tamis.selection.deciding import deciding_score
from tamis.selection.reasons import SENTENCES, Reason


def _report(sampler, budget=40, excerpt="Some text.", sources=3):
    decisions, settings = decided(sampler, budget)
    documents = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(1, N)],
            "source": [f"shard_{i % sources}" for i in range(1, N)],
            "excerpt": [excerpt if i % 2 else None for i in range(1, N)],
        }
    )
    return SelectionReport(name="chosen", decisions=decisions, documents=documents, settings=settings)


@pytest.mark.parametrize(("sampler", "better"), [("got-d", "smaller"), ("ask-llm", "larger")])
def test_the_cut_is_on_the_page(sampler, better, read_page):
    report = _report(sampler)
    cut = deciding_score(report.decisions, report.settings).cut
    text = read_page(selection_page(report))
    assert f"{better} is better. The dashed line is the cut at {cut:.4g}, halfway" in text
    assert "The right panel is a closer view" in text


def test_samplers_that_draw(read_page):
    assert "no sharp cut" in read_page(selection_page(_report("density")))
    uniform = _report("random")
    assert "looks at no score" in read_page(selection_page(uniform))
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
    everything = pool()
    decisions = select(everything, "got-d", N)
    documents = everything.select("doc_id", source=pl.lit("s"), excerpt=pl.lit(None, dtype=pl.String))
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
    flat = pool().with_columns(nearest_cost=pl.lit(0.5))
    decisions = select(flat, "knn", 20)
    documents = flat.select("doc_id", source=pl.lit("s"), excerpt=pl.lit("t"))
    report = SelectionReport(name="flat", decisions=decisions, documents=documents, settings={})
    assert selection_plot_png(report).startswith(b"\x89PNG")


def test_names_texts_and_settings_are_escaped(hostile, read_page):
    report = _report("got-d", excerpt=hostile)
    report = SelectionReport(
        name=hostile,
        decisions=report.decisions.with_columns(
            pl.when(pl.col("reason") == "withdrawn").then(pl.lit(hostile)).otherwise("reason").alias("reason")
        ),
        documents=report.documents.with_columns(source=pl.lit(hostile)),
        settings={**report.settings, hostile: hostile},
    )
    text = read_page(selection_page(report))
    assert text.startswith(f"Selection {hostile} Selection {hostile}")
    assert f"{hostile} 1 0.2 %" in text  # a reason
    assert f"{hostile} 399 99.8 % 40 100.0 %" in text  # a source
    assert f"{hostile} {hostile} mean margin of the chosen" in text  # a setting
    assert text.count(hostile) == 2 + 1 + 1 + 2 + sum(
        2 if int(doc_id, 16) % 2 else 1  # of a document that is shown the source, and the text of every other
        for verdict in ("selected", "rejected")
        for doc_id in first_ranked(report.decisions, verdict)["doc_id"]
    )


def test_picture_size():
    png = selection_plot_png(_report("got-d-quality"))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert 3_000 < len(png) <= 60_000
