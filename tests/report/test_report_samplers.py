"""Sampler page: both heatmaps, missing values, no samplers at all."""

import polars as pl

from tamis.report.samplers import sampler_page
from tamis.samplers.paper import PaperSampler, paper_samplers

PAIRS = {"sampler_a": pl.String, "sampler_b": pl.String, "jaccard": pl.Float64, "kendall_tau": pl.Float64}
CHOSEN = {"sampler": pl.String, "description": pl.String, "selected": pl.Int64, "mean_quality": pl.Float64}


def test_values_stand_on_both_sides_of_the_diagonal(read_page):
    agreement = pl.DataFrame(
        [("a", "b", 0.25, 0.5), ("a", "c", 0.0, -0.75), ("b", "c", None, None)], schema=PAIRS, orient="row"
    )
    chosen = pl.DataFrame(
        [("a", "first", 10, 0.5), ("b", "second", 10, None), ("c", "third", 0, 0.25)],
        schema=CHOSEN,
        orient="row",
    )
    text = read_page(sampler_page(agreement, chosen))
    assert "closest pair is a and b, with an overlap of 25.0 %" in text
    assert text.count("-0.75") == 2
    assert text.count("25.0 %") == 3
    assert "mean quality" in text


def test_no_samplers(read_page):
    text = read_page(sampler_page(pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN)))
    assert "no pair of samplers" in text


def test_names_and_descriptions_are_escaped(hostile, read_page):
    agreement = pl.DataFrame([(hostile, "b", 0.5, 0.5)], schema=PAIRS, orient="row")
    chosen = pl.DataFrame([(hostile, hostile, 1, 0.5)], schema=CHOSEN, orient="row")
    paper = [PaperSampler(number=1, name=hostile, sampler=hostile, needs=hostile)]
    text = read_page(sampler_page(agreement, chosen, paper=paper))
    assert f"The closest pair is {hostile} and b" in text
    assert f"{hostile} 1 0.5 {hostile}" in text  # a sampler
    assert f"1 {hostile} {hostile} {hostile}" in text  # one of the paper
    assert text.count(hostile) == 1 + 2 + 3 + 2 * 2  # and a row and a column of both heatmaps


def test_the_nineteen_are_listed_and_those_without_a_model_say_what_to_add(read_page):
    empty = pl.DataFrame(schema=PAIRS), pl.DataFrame(schema=CHOSEN)
    text = read_page(sampler_page(*empty, paper=paper_samplers(["small"], [], ["smollm2-135m"])))
    assert "Perplexity, model size 1 perplexity:small" in text
    assert text.count("needs a model") == 4 + 5 + 4 + 1  # once more in the note
    assert "another [[base_model]]" in text
