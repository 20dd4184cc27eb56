"""Selection page and plot: the cut is shown, and each reason is explained."""

import re
from dataclasses import replace

import polars as pl
import pytest
from made_decisions import N, decided, pool

from tamis.report.selection import selection_page
from tamis.report.selection_data import (
    SelectionReport,
    selection_plot_png,
    shown_documents,
    source_mix,
    words_of,
)
from tamis.selection import select
from tamis.selection.decide import SENTENCES, Reason, deciding_score
from tamis.selection.pool import Tokens
from tamis.settings.samplers import SAMPLERS, find_sampler

NONE = pl.lit([], dtype=pl.List(pl.String))


def _report(sampler, budget=40, excerpt="Some text.", sources=3):
    decisions, settings = decided(sampler, budget)
    documents = pl.DataFrame(
        {
            "doc_id": [f"{i:032x}" for i in range(1, N)],
            "source": [f"shard_{i % sources}" for i in range(1, N)],
            "more": [["other_a", "other_b"] if i % 5 == 0 else [] for i in range(1, N)],
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
    text = read_page(selection_page(_report("density")))
    assert "no sharp cut" in text
    assert "The first ones drawn" in text
    assert "The best" not in text
    uniform = _report("random")
    assert "There is no score" in read_page(selection_page(uniform))
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


def test_the_best_the_middle_the_last_ones_and_the_nearest_misses_are_listed(read_page):
    report = _report("got-d")
    text = read_page(selection_page(report))
    ranked = report.decisions.drop_nulls("rank").sort("rank")["doc_id"]
    listed = [place for place, doc_id in enumerate(ranked) if doc_id in text]
    assert listed == [*range(10), *range(18, 23), *range(35, 50)]
    headings = ("The best", "From the middle of the choice", "The last ones in", "Those that just missed")
    assert sorted(headings, key=text.index) == list(headings)


def test_each_document_whose_text_is_shown_is_named_so_that_a_withdrawal_finds_the_page():
    report = _report("got-d")
    documents = report.documents.with_columns(excerpt="text of " + pl.col("doc_id"))
    page = selection_page(replace(report, documents=documents))
    quoted = re.findall("text of ([0-9a-f]{32})", page)
    assert len(quoted) == len({*quoted}) == 30
    assert all(f"<code>{doc_id}</code>" in page for doc_id in quoted)


@pytest.mark.parametrize("number", [1, 9, 10, 11, 14, 15, 16, 19, 20, 21, 40, 391])
def test_no_document_is_shown_twice_and_small_choices_are_shown_whole(number):
    decisions, _settings = decided("got-d", number)
    shown = shown_documents(decisions)
    ranks = [rank for part in ("best", "middle", "last") for rank in shown[part]["rank"]]
    assert ranks == sorted(set(ranks))
    assert len(ranks) == min(number, 20)
    assert {ranks[0], ranks[-1]} == {1, number}
    if number > 30:
        assert abs(shown["middle"]["rank"].median() - number / 2) <= 1
    assert [*shown["missed"]["rank"]] == [*range(number + 1, min(number + 10, N - 7) + 1)]


def test_further_sources_of_a_document_are_folded(read_page):
    report = _report("got-d")
    page = selection_page(report)
    several = report.documents.filter(pl.col("more").list.len() > 0)
    shown = pl.concat(shown_documents(report.decisions).values()).join(several, on="doc_id", how="semi")
    chosen = report.decisions.filter(pl.col("verdict") == "selected").join(several, on="doc_id", how="semi")
    assert page.count("<summary>and 2 more</summary>other_a, other_b</details>") == len(shown) > 0
    text = read_page(page)
    assert f"{len(chosen)} of the chosen are in several sources, and count for the first by name." in text


OF_MODELS = ("perplexity:small", "perplexity:small@0.5", "target-path:small", "ask-llm:small")


@pytest.mark.parametrize("sampler", [*SAMPLERS, *OF_MODELS])
def test_score_and_margin_are_explained_for_each_sampler(sampler):
    score, *margin = words_of(find_sampler(sampler), None)
    assert "margin" in (margin or [score])[0]
    drawn = find_sampler(sampler).rule != "top_k"
    assert drawn != any("in the same units" in said for said in margin)


@pytest.mark.parametrize("sampler", ["got-d", "ask-llm"])
def test_score_and_margin_are_explained_in_numbers(sampler, read_page):
    report = _report(sampler)
    score = deciding_score(report.decisions, report.settings)
    chosen = report.decisions.filter(pl.col("verdict") == "selected").sort("rank")
    column = find_sampler(sampler).score_columns[0]
    best, last = chosen[column][0], chosen[column][-1]
    text = read_page(selection_page(report))
    assert (
        f"the best document scores {best:.4g}, the last one chosen scores {last:.4g}, and the cut is at"
        in text
    )
    assert f"margins are {chosen['margin'][0]:.4g} and {chosen['margin'][-1]:.2g}." in text
    assert f"{score.cut:.4g}" in text


@pytest.mark.parametrize(
    ("estimated", "words"), [(40, "about 12,345 tokens, estimated as bytes / 4"), (0, "12,345 tokens")]
)
def test_tokens_of_the_choice_are_said_with_where_they_come_from(estimated, words, read_page):
    report = replace(_report("got-d"), tokens=Tokens(tokens=12_345, documents=40, estimated=estimated))
    assert f"were eligible): {words}." in read_page(selection_page(report))


@pytest.mark.filterwarnings("ignore")
def test_nothing_rejected(read_page):
    everything = pool()
    decisions = select(everything, "got-d", N)
    documents = everything.select(
        "doc_id", source=pl.lit("s"), more=NONE, excerpt=pl.lit(None, dtype=pl.String)
    )
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
    documents = flat.select("doc_id", source=pl.lit("s"), more=NONE, excerpt=pl.lit("t"))
    report = SelectionReport(name="flat", decisions=decisions, documents=documents, settings={})
    assert selection_plot_png(report).startswith(b"\x89PNG")


def test_names_texts_and_settings_are_escaped(hostile, read_page):
    report = _report("got-d", excerpt=hostile)
    report = SelectionReport(
        name=hostile,
        decisions=report.decisions.with_columns(
            pl.when(pl.col("reason") == "withdrawn").then(pl.lit(hostile)).otherwise("reason").alias("reason")
        ),
        documents=report.documents.with_columns(
            source=pl.lit(hostile),
            more=pl.when(pl.col("more").list.len() > 0).then(pl.lit([hostile])).otherwise(NONE),
        ),
        settings={**report.settings, hostile: hostile},
    )
    text = read_page(selection_page(report))
    assert text.startswith(f"Selection {hostile} All pages Selection {hostile}")
    assert f"{hostile} 1 0.2 %" in text  # a reason
    assert f"{hostile} 399 99.8 % 40 100.0 %" in text  # a source
    assert f"{hostile} {hostile} mean margin of the chosen documents" in text  # a setting
    shown = pl.concat(shown_documents(report.decisions).values()).join(report.documents, on="doc_id")
    of_documents = len(shown) + shown["excerpt"].count() + (shown["more"].list.len() > 0).sum()
    assert text.count(hostile) == 2 + 1 + 1 + 2 + of_documents


def test_picture_size():
    png = selection_plot_png(_report("got-d-quality"))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert 3_000 < len(png) <= 60_000


def test_what_makes_a_ranking_doubtful_is_on_the_page(read_page):
    doubt = "corpus web: the encoder static does not know 99 % of the <characters>"
    assert doubt not in read_page(selection_page(_report("got-d")))
    page = selection_page(replace(_report("got-d"), warnings=[doubt]))
    assert doubt in read_page(page)
    assert "<characters>" not in page
