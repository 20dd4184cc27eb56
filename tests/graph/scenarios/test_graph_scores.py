"""A score of the rows in the graph: its choice, condition and explanation; arrival, change, withdrawal."""

import json
import math
from collections.abc import Iterator

import pytest
from projects import GRAPH, SmallProject, corpus, plain_project, score, selection, settings, target, write

from tamis.cli.agents import without_text
from tamis.corpus import document_id
from tamis.graph.plan import full_plan
from tamis.graph.used_stages import used_by
from tamis.history.explain import explain_document, explanation_lines
from tamis.verbs.status import read_status

MADE = {"raw_shards", "documents", "near_duplicates", "column_scores", "selected_subset"}
TEXT = settings(
    corpus(),
    score("edu", "meta.edu"),
    score("toxic", "tox", higher="worse", range=[0, 1]),
    selection("best", "score:edu", 2),
    selection("mild", "score:toxic", 2, where="edu >= 3 and n_chars < 1000"),
)
EDU: dict[str, object] = {"ant": 4.5, "bee": "4.0", "cow": 2, "dog": "n/a", "elk": None, "fox": 3.5}
TOXIC = {"ant": 0.9, "bee": 0.1, "cow": 0.0, "dog": 0.0, "elk": 0.0, "fox": 0.3}


def text(name: str) -> str:
    return f"About the {name}, which is an animal of the {name} kind in the land of {name}."


def row(name: str, edu: object, toxic: float = 0.5) -> str:
    return json.dumps({"text": text(name), "meta": {"edu": edu}, "tox": toxic})


def ids(*names: str) -> set[str]:
    return {document_id(text(name)) for name in names}


def chosen(project: SmallProject, name: str) -> set[str]:
    rows = project.store.read("selected_subset", ["selection", "doc_id"])
    return set(rows.filter(selection=name)["doc_id"])


def decided(project: SmallProject, selection: str, name: str) -> dict:
    scope = f"selection = '{selection}' AND doc_id = '{document_id(text(name))}'"
    return project.store.read("decisions", where=scope).row(0, named=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    project = plain_project(tmp_path_factory.mktemp("scores") / "project", TEXT, {})
    write(project.root / "documents" / "a.jsonl", [row(name, EDU[name], TOXIC[name]) for name in EDU])
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "copied")
    yield copied
    copied.close()


def test_the_best_values_are_chosen_and_the_condition_says_whom_it_leaves_out(made):
    assert chosen(made, "best") == ids("ant", "bee")
    assert decided(made, "best", "bee")["own_score"] == 4.0
    lacking = decided(made, "best", "dog")
    assert (lacking["reason"], lacking["detail"], lacking["rank"]) == ("no_score", "no value of edu", None)
    assert chosen(made, "mild") == ids("bee", "fox")
    assert decided(made, "mild", "fox")["own_score"] == -0.3, "the best is the largest"
    assert (decided(made, "mild", "cow")["reason"], decided(made, "mild", "cow")["detail"]) == (
        "where",
        "edu >= 3",
    )
    assert decided(made, "mild", "elk")["detail"] == "edu >= 3 (no value)"


def test_explanation_page_and_status_show_scores_and_condition(made):
    lines = explanation_lines(explain_document(made.home, document_id(text("cow"))))
    assert "  edu = 2 (percentile 25.0)" in lines
    said = (
        "  mild: rejected, where (edu >= 3: edu = 2; allowed: only what the selection's `where` is true of)"
    )
    assert said in lines
    lines = explanation_lines(explain_document(made.home, document_id(text("elk"))))
    assert any("edu >= 3 (no value): edu = unknown;" in line for line in lines)
    warnings = read_status(made.project).warnings
    counted = "1 document, of which `edu >= 3` is not true; 2 documents without a value for `edu >= 3`"
    assert f"selection mild: where excludes {counted}" in warnings
    (bad,) = [line for line in warnings if line.startswith("score edu: ")]
    assert '1 row has a value in column meta.edu that is no number, such as "n/a" of document' in bad
    unquoted = without_text({"warnings": [bad, 'say "a" of document b']})["warnings"]
    assert unquoted == [bad.replace('"n/a"', "that"), 'say "a" of document b'], "agents see no values of rows"
    page = (made.home.reports / "selection_best.html").read_text()
    assert "no number" in page
    assert "A larger score is better" in page


def test_arrival_change_second_place_and_withdrawal_leave_what_a_new_project_has(project, tmp_path):
    assert not project.make(MADE).made
    write(project.root / "documents" / "b.jsonl", [row("cow", 5), row("gnu", 4.8), row("ant", 1)])
    project.make(MADE)
    assert chosen(project, "best") == ids("cow", "gnu"), "of two rows of one document the best counts"
    assert decided(project, "best", "ant")["own_score"] == 4.5
    write(project.root / "documents" / "b.jsonl", [row("cow", 5), row("gnu", 0.5)])
    project.make(MADE)
    assert chosen(project, "best") == ids("cow", "ant")
    project.withdraw(sorted(ids("cow")))
    assert ids("cow").isdisjoint(project.store.read("column_scores", ["doc_id"])["doc_id"])
    project.make(MADE)
    assert chosen(project, "best") == ids("ant", "bee")
    fresh = plain_project(tmp_path / "fresh", TEXT, {})
    kept = [row(name, EDU[name], TOXIC[name]) for name in EDU if name != "cow"]
    write(fresh.root / "documents" / "a.jsonl", kept)
    write(fresh.root / "documents" / "b.jsonl", [row("gnu", 0.5)])
    fresh.make(MADE)
    assert project.rows("column_scores").equals(fresh.rows("column_scores"))
    project.assert_sound(MADE)
    fresh.close()


def test_only_selections_that_name_a_score_follow_it_and_without_scores_its_rows_leave(project):
    project.configure(project.text + selection("plain", "random", 2))
    project.make(MADE)
    before = project.current["selected_subset", "plain"]
    project.reconfigure('column = "tox"', 'column = "meta.edu"')
    project.make(MADE)
    assert project.current["selected_subset", "plain"] == before
    assert project.current["selected_subset", "mild"].data_version
    project.configure(settings(corpus(), selection("plain", "random", 2)))
    project.try_making(MADE - {"column_scores"}, allowed=["all"])
    assert project.store.count("column_scores") == 0
    assert "column_scores" not in used_by(project.project).assets


def test_quality_of_a_score_takes_the_place_of_the_judge(encoder_cache, project):
    goal = target(train=2, held_out=1)
    weighed = selection("weighed", "got-d-quality", 2, target="goal", quality="toxic", quality_weight=3.0)
    spread = selection("spread", "quality-diversity", 2, quality="toxic", temperature=0.5)
    project.configure(project.text + goal + weighed + spread)
    write(project.root / "target" / "goal.jsonl", [row(name, 1) for name in ("gnu", "hen", "owl", "rat")])
    others = {"embeddings", "target_examples", "target_embeddings", "target_potential", "transport_scores"}
    others |= {"density_sketch", "density_scores", "contamination", "sampler_comparison"}
    project.make(MADE | others)
    compared = project.store.read("sampler_comparison", ["sampler_a", "sampler_b", "jaccard"])
    assert {"score:edu", "score:toxic", "got-d"} <= {*compared["sampler_a"], *compared["sampler_b"]}
    edu, toxic = ids("ant", "bee"), ids("cow", "dog")
    pair = {"score:edu", "score:toxic"}
    (shared,) = [row[2] for row in compared.iter_rows() if {*row[:2]} == pair]
    assert shared == len(edu & toxic) / len(edu | toxic)
    assert not any(asset.startswith(("judge", "quality")) for asset, _key in project.current)
    of = {document_id(text(name)): value for name, value in TOXIC.items()}
    rows = project.store.read("decisions", where="selection = 'weighed' AND rank IS NOT NULL").sort("rank")
    assert len(rows) == len(TOXIC)
    for one in rows.iter_rows(named=True):
        assert one["quality"] == pytest.approx(1.0 - of[one["doc_id"]], abs=1e-12), "a higher value is worse"
    ranked = rows["transport_gradient"] + 3.0 * (1.0 - rows["quality"])
    assert ranked.to_list() == sorted(ranked)
    drawn = project.store.read("decisions", where="selection = 'spread' AND rank IS NOT NULL")
    for one in drawn.iter_rows(named=True):
        share = min(max(1.0 - of[one["doc_id"]], 0.01), 0.99)
        assert one["judge_margin_predicted"] == pytest.approx(math.log(share / (1.0 - share)), abs=1e-9)


def test_a_column_that_no_row_has_is_named_with_those_that_there_are(project):
    project.reconfigure('column = "meta.edu"', 'column = "meta.edo"')
    outcome = project.try_making(MADE)
    said = " ".join(map(str, outcome.failed.values()))
    assert "[[score]] edu: no row of the corpora has a value in column 'meta.edo'" in said
    assert "meta.edu, tox; did you mean 'meta.edu'?" in said


def test_rows_that_are_not_kept_or_too_long_are_read_again(project):
    project.reconfigure('path = "documents"\n', 'path = "documents"\nkeep_columns = ["tox"]\n')
    long = json.loads(row("hen", 5)) | {"tox": 0.2, "meta": {"edu": 5, "more": "x" * 70_000}}
    write(project.root / "documents" / "b.jsonl", [json.dumps(long | {"notes": "y" * 70_000})])
    project.make(MADE)
    assert chosen(project, "best") == ids("hen", "ant")
    (value,) = project.store.read(
        "column_scores", ["value"], f"score = 'edu' AND doc_id = '{document_id(text('hen'))}'"
    )["value"]
    assert value == 5


def test_a_project_without_scores_has_none_in_its_plan(new_graph):
    plain = new_graph("plain", GRAPH)
    assert "column_scores" not in {one.asset for one in full_plan(plain.snapshot, plain.current)}
