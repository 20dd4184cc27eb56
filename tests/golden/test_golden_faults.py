"""The comparison can fail: each kind of fault is reported at its field, and processors' last bits are not."""

import ast
from dataclasses import replace

import content as reading
import golden_projects
import golden_reading
import golden_storing
import numpy as np
import polars as pl
import pytest
from golden_compare import KINDS, Golden, bands_of, differences, report

HERE = reading.HERE
GOLDENS = {name: golden_storing.read(HERE / name) for name in reading.GOLDENS}
DEMO, MIXED, WIDE, OPEN = reading.GOLDENS


def changed(golden: Golden, table: str, field: str, alter, where=None) -> Golden:
    """The golden with one value altered: the first that `where` finds and that is not missing."""
    frame = golden.content[table]
    mask = frame[field].is_not_null() & (frame.select(where).to_series() if where is not None else True)
    place = int(np.flatnonzero(mask.to_numpy())[0])
    values = frame[field].to_list()
    values[place] = alter(values[place])
    column = pl.Series(field, values, dtype=frame[field].dtype)
    return replace(golden, content={**golden.content, table: frame.with_columns(column)})


def dropped(golden: Golden, table: str) -> Golden:
    frame = golden.content[table]
    return replace(golden, content={**golden.content, table: frame[1:]})


def another_id(doc_id: str) -> str:
    return ("0" if doc_id[0] != "0" else "1") + doc_id[1:]


def slightly(number: float) -> float:
    return number * (1 + 1e-5)


def one_element(vector: list[float]) -> list[float]:
    return [slightly(vector[0]) if vector[0] else 1e-5, *vector[1:]]


LIKE_FAULTS = [
    (DEMO, "documents", "doc_id", another_id, "(row)"),
    (DEMO, "documents", "text", another_id, "text"),
    (DEMO, "decisions", "verdict", lambda _: "undecided", "verdict"),
    (DEMO, "decisions", "reason", lambda _: "no reason", "reason"),
    (DEMO, "decisions", "rank", lambda rank: rank + 1, "rank"),
    (DEMO, "decisions", "duplicate_of", another_id, "duplicate_of"),
    (DEMO, "decisions", "margin", slightly, "margin"),
    (DEMO, "selected", "rank", lambda rank: rank + 1, "rank"),
    (DEMO, "embeddings", "vector", one_element, "vector"),
    (DEMO, "embeddings", "vector_projected", slightly, "vector_projected"),
    (DEMO, "target_embeddings", "vector", one_element, "vector"),
    (DEMO, "encoder", "projected", slightly, "projected"),
    (DEMO, "transport", "transport_gradient", slightly, "transport_gradient"),
    (DEMO, "density", "density", slightly, "density"),
    (DEMO, "quality", "quality", slightly, "quality"),
    (DEMO, "judge", "margin", slightly, "margin"),
    (DEMO, "perplexity", "bits_per_byte", slightly, "bits_per_byte"),
    (DEMO, "potential", "value", slightly, "value"),
    (DEMO, "trials", "held_out_bits_per_byte", lambda loss: loss * 1.02, "held_out_bits_per_byte"),
    (DEMO, "loss_curves", "loss", lambda loss: loss * 1.02, "loss"),
    (DEMO, "checkpoints", "shape", lambda _: "[1]", "shape"),
    (DEMO, "near_duplicates", "kept", another_id, "kept"),
    (DEMO, "mart_reasons", "documents", lambda count: count + 1, "documents"),
    (DEMO, "answers", "text", lambda text: f"{text}.", "text"),
    (DEMO, "answers", "number", lambda number: number * 1.00001 + 1e-9, "number"),
    (DEMO, "exported", "source", lambda text: f"{text}.", "source"),
    (MIXED, "quarantine", "detail", lambda text: f"{text}.", "detail"),
    (MIXED, "target_answers", "label", lambda text: f"{text}.", "label"),
    (MIXED, "flags", "broken", lambda text: f"{text}.", "broken"),
    (MIXED, "withdrawals", "reason", lambda _: "mistake", "reason"),
    (WIDE, "kept_rows", "content", lambda text: f"{text}.", "content"),
    (WIDE, "topics", "topic", lambda _: "topic 9", "topic"),
    (WIDE, "heads", "settled", lambda settled: not settled, "settled"),
    (WIDE, "mixture", "weight", lambda weight: weight + 1e-3, "weight"),
    (WIDE, "retained_embeddings", "vector", one_element, "vector"),
    (OPEN, "plugin_scores", "value", lambda value: value + 1, "value"),
    (OPEN, "control_losses", "difference", lambda difference: difference + 0.1, "difference"),
]


@pytest.mark.parametrize(("name", "table", "field", "alter", "reported"), LIKE_FAULTS)
def test_one_altered_value_is_reported_at_its_field(name, table, field, alter, reported):
    wanted = GOLDENS[name]
    found = differences(wanted, changed(wanted, table, field, alter), True)
    assert {one.value for one in found} == {f"{table}.{reported}"}
    assert len(found) == (2 if reported == "(row)" else 1)


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(
    ("name", "table"),
    [
        (DEMO, "decisions"),
        (DEMO, "documents"),
        (DEMO, "answers"),
        (DEMO, "mart_budget_frontier"),
        (MIXED, "quarantine"),
        (MIXED, "mart_intake"),
    ],
)
def test_a_row_that_is_missing_is_reported(name, table, alike):
    wanted = GOLDENS[name]
    (lost,) = differences(wanted, dropped(wanted, table), alike)
    assert (lost.value, lost.expected, lost.got) == (f"{table}.(row)", "a row", "no row")
    (new,) = differences(dropped(wanted, table), wanted, alike)
    assert (new.value, new.expected, new.got) == (f"{table}.(row)", "no row", "a row")


@pytest.mark.parametrize("alike", [True, False])
def test_a_number_that_is_missing_and_one_that_is_none_differ(alike):
    wanted = GOLDENS[DEMO]
    scores = wanted.content["decisions"]["quality"]
    found = {
        **wanted.content,
        "decisions": wanted.content["decisions"].with_columns(scores.fill_null(np.nan)),
    }
    assert scores.null_count() > 0
    differing = differences(wanted, replace(wanted, content=found), alike)
    assert [one.value for one in differing] == ["decisions.quality"] * scores.null_count()


def test_the_kind_of_a_machine_follows_from_what_its_processes_get_and_not_from_the_shell(monkeypatch):
    kinds = []
    for kernel in ("Haswell", "Zen"):
        monkeypatch.setenv("OPENBLAS_CORETYPE", kernel)
        environment = golden_projects.environment(HERE)
        kinds.append(golden_storing.machine(golden_projects.ONE_THREAD, environment))
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    kinds.append(golden_storing.machine(golden_projects.ONE_THREAD, golden_projects.environment(HERE)))
    assert kinds[0] == kinds[1] == kinds[2]
    assert kinds[0]["limits"] == GOLDENS[DEMO].machine["limits"]
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    limited = golden_storing.machine(golden_projects.ONE_THREAD, golden_projects.environment(HERE))
    assert limited["limits"] != kinds[0]["limits"]


def test_an_answer_of_explain_is_reported_with_its_question():
    wanted = GOLDENS[DEMO]
    of_explain = pl.col("question").str.starts_with("explain") & pl.col("path").str.ends_with(".reason")
    found = changed(wanted, "answers", "text", lambda text: f"{text}.", of_explain)
    for alike in (True, False):
        (one,) = differences(wanted, found, alike)
        assert one.row.startswith("question explain ")
        assert (one.value, one.got) == ("answers.text", f"{one.expected}.")


def test_what_differs_less_than_processors_do_passes_elsewhere_and_more_does_not():
    wanted = GOLDENS[DEMO]
    largest = pl.col("transport_gradient") == pl.col("transport_gradient").max()
    for share, passes in ((5e-4, True), (3e-3, False)):
        found = changed(wanted, "transport", "transport_gradient", lambda x, s=share: x * (1 + s), largest)
        assert (differences(wanted, found, False) == []) is passes
    for share, passes in ((0.005, True), (0.02, False)):
        found = changed(wanted, "loss_curves", "loss", lambda x, s=share: x * (1 + s))
        assert (differences(wanted, found, False) == []) is passes
    found = changed(wanted, "embeddings", "vector", lambda v: [x + 0.01 for x in v])
    assert {one.value for one in differences(wanted, found, False)} == {"embeddings.vector"}


def test_elsewhere_a_rank_may_be_what_its_band_says_and_no_other():
    wanted = GOLDENS[DEMO]
    bands = wanted.bands.filter(selection="got-d").filter(pl.col("rank_high") > pl.col("rank_low") + 3)
    doc_id, low, high = bands.select("doc_id", "rank_low", "rank_high").row(100)
    this = (pl.col("selection") == "got-d") & (pl.col("doc_id") == doc_id)
    for rank, passes in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
        found = changed(wanted, "decisions", "rank", lambda _, r=rank: r, this)
        assert (differences(wanted, found, False) == []) is passes
    drawn = pl.col("selection") == "random"  # by ids alone: no band
    found = changed(wanted, "decisions", "rank", lambda rank: rank + 1, drawn)
    assert [one.value for one in differences(wanted, found, False)] == ["decisions.rank"]


def test_elsewhere_the_rank_of_a_diff_may_be_what_the_band_of_its_document_says():
    wanted = GOLDENS[MIXED]
    answers = wanted.content["answers"].filter(question="diff good")
    ids = answers.filter(pl.col("path").str.ends_with(".doc_id")).select(
        pl.col("path").str.strip_suffix(".doc_id"), doc_id=pl.col("text").str.slice(0, reading.DIGITS)
    )
    bands = wanted.bands.filter(selection="good").filter(pl.col("rank_high") > pl.col("rank_low"))
    path, low, high = ids.join(bands, on="doc_id").select("path", "rank_low", "rank_high").row(0)
    this = (pl.col("question") == "diff good") & (pl.col("path") == f"{path}.rank_after")
    for rank, passes in ((low, True), (high, True), (low - 1, False), (high + 1, False), ("null", False)):
        found = changed(wanted, "answers", "text", lambda _, r=rank: str(r), this)
        assert (differences(wanted, found, False) == []) is passes
        assert len(differences(wanted, found, True)) == (str(rank) != answers.filter(this)["text"].item())


def test_elsewhere_only_listed_documents_may_change_sides():
    wanted = GOLDENS[DEMO]
    chosen = wanted.content["decisions"].filter(selection="got-d", verdict="selected")["doc_id"][0]
    this = (pl.col("selection") == "got-d") & (pl.col("doc_id") == chosen)
    found = changed(wanted, "decisions", "verdict", lambda _: "rejected", this)
    found = changed(found, "decisions", "reason", lambda _: "over_budget", this)
    unlisted = {one.value for one in differences(wanted, found, False)}
    assert unlisted == {"decisions.verdict", "decisions.reason"}
    listed = replace(wanted, bands=wanted.bands.with_columns(may_swap=pl.col("may_swap") | this))
    assert differences(listed, found, False) == []
    swapped = changed(wanted, "selected", "doc_id", another_id, this)
    assert (
        len(differences(listed, swapped, False)) == 1
    )  # it may go, and what came in its place is not listed
    other = changed(found, "decisions", "reason", lambda _: "contaminated", this)
    assert [one.value for one in differences(listed, other, False)] == ["decisions.reason"]


@pytest.mark.parametrize("name", reading.GOLDENS)
def test_the_bands_follow_from_the_margins_and_no_cut_is_in_one(name):
    bands = bands_of(GOLDENS[name].content)
    key = ["selection", "doc_id"]
    assert bands.drop("reach").sort(key).equals(GOLDENS[name].bands.drop("reach").sort(key))
    assert bands.filter("may_swap").height == 0, "choose the budget so that the cut is in a wider gap"
    decided = GOLDENS[name].content["decisions"].join(bands, on=key)
    assert decided.filter(~pl.col("rank").is_between("rank_low", "rank_high")).height == 0


def test_two_scores_within_the_tolerance_make_a_band_and_others_do_not():
    frame = GOLDENS[DEMO].content["decisions"].filter(selection="got-d").filter(pl.col("rank").is_not_null())
    margins = [2.0, 1.0, 0.9995, -1.0, -2.0]
    frame = frame.head(5).with_columns(
        pl.Series("rank", [1, 2, 3, 4, 5], dtype=frame["rank"].dtype), pl.Series("margin", margins)
    )
    bands = bands_of({"decisions": frame})
    assert bands.select("rank_low", "rank_high").rows() == [(1, 1), (2, 3), (2, 3), (4, 4), (5, 5)]


def test_a_report_says_what_differs_where_and_that_packages_do():
    wanted = GOLDENS[DEMO]
    found = changed(wanted, "trials", "tokens", lambda tokens: tokens + 1)
    found = replace(found, packages={**found.packages, "scipy": "0.1"})
    text = report(DEMO, wanted, found, differences(wanted, found, True))
    trial, tokens = wanted.content["trials"].select("trial", "tokens").row(0)
    assert "1 values differ" in text
    assert f"scipy is 0.1 here, and was {wanted.packages['scipy']} when the golden was written" in text
    assert "trials.tokens: 1 differ" in text
    assert f"trial {trial}: expected {tokens}, got {tokens + 1}" in text
    turned = changed(
        wanted, "embeddings", "vector", lambda vector: [*vector[:7], vector[7] + 0.5, *vector[8:]]
    )
    (one,) = differences(wanted, turned, True)
    assert "at element 7" in str(one.expected)


def test_what_last_bits_decide_is_compared_on_machines_of_the_kind_alone():
    wanted = GOLDENS[WIDE]
    found = changed(wanted, "mixture", "weight", lambda weight: weight + 1e-3)
    assert [one.value for one in differences(wanted, found, True)] == ["mixture.weight"]
    assert differences(wanted, found, False) == []


def test_a_field_that_is_read_since_is_a_difference_where_it_holds_something():
    wanted = GOLDENS[WIDE]
    before = {**wanted.content, "topics": wanted.content["topics"].drop("topic")}
    found = differences(replace(wanted, content=before), wanted, True)
    assert {one.value for one in found} == {"topics.topic"}
    empty = {**before, "topics": before["topics"].with_columns(pl.lit(None).alias("topic"))}
    assert differences(replace(wanted, content=before), replace(wanted, content=empty), True) == []


def test_a_field_that_was_renamed_is_a_matter_of_the_mapping():
    table = reading.TABLES["density"]
    with pytest.raises(SystemExit, match="no field density: change the mapping"):
        golden_reading.taken(pl.DataFrame({"doc_id": ["a"], "thickness": [1.0]}), table)
    renamed = replace(table, sketch="density=thickness")
    assert (
        golden_reading.taken(pl.DataFrame({"doc_id": ["a"], "thickness": [1.0]}), renamed)["density"][0]
        == 1.0
    )


def test_every_field_of_the_goldens_is_compared():
    for golden in GOLDENS.values():
        for table, frame in golden.content.items():
            assert set(reading.kinds_of(table)) == set(frame.columns), table
            numbers = {name for name, kind in reading.kinds_of(table).items() if kind in reading.NUMBERS}
            assert all(reading.kinds_of(table)[name] in KINDS or name == "margin" for name in numbers)


def test_the_runner_denies_bfloat16_and_notices_when_torch_has_no_such_question(monkeypatch):
    import golden_command
    import torch

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for question in golden_command.QUESTIONS:
        monkeypatch.setattr(torch.cpu, question, lambda: True)
    golden_command.without_bfloat16()
    assert not any(getattr(torch.cpu, question)() for question in golden_command.QUESTIONS)
    monkeypatch.delattr(torch.cpu, golden_command.QUESTIONS[0])
    with pytest.raises(SystemExit, match="find what Tamis asks now"):
        golden_command.without_bfloat16()


def test_nothing_here_imports_tamis():
    for path in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] == "tamis"], path


def test_the_goldens_are_small():
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.suffix != ".pyc") < 3_000_000
