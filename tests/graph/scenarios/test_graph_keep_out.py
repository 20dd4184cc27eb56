"""Benchmarks kept out in the graph: arrivals, changed and removed benchmarks, withdrawal; said everywhere."""

import json
from collections.abc import Iterator

import pytest
from projects import (
    CORPUS,
    SmallProject,
    corpus,
    make_project,
    plain_project,
    selection,
    sentences,
    settings,
    texts,
    write,
    write_jsonl,
)

from tamis.corpus import document_id
from tamis.graph.plan import full_plan
from tamis.history.explain import explain_document, explanation_lines
from tamis.platform.assets import keep_out
from tamis.verbs.status import read_status

MADE = CORPUS | {"kept_out", "selected_subset"}
QUESTIONS = [
    "Which harbour of the northern coast was the first to be lit by lamps of whale oil",
    "How many kilns did the potters of the old town fire on the eve of the great fair",
]
LEAKS = [f"A quiz of last year. {question}? Nobody knew it." for question in QUESTIONS]
EXAM = '[[keep_out]]\nname = "exam"\npath = "exam/*.jsonl"\ntext_columns = ["question", "answer"]\n'
TEXT = settings(corpus(path="landing"), selection("some", budget=300), EXAM)


def ask(project: SmallProject, *questions: str) -> None:
    """Write the rows of the benchmark."""
    rows = [{"question": question, "answer": "B"} for question in (*questions, "Who")]
    write(project.root / "exam" / "exam.jsonl", map(json.dumps, rows))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    project = make_project(tmp_path_factory.mktemp("keep-out") / "project", None, TEXT)
    write_jsonl(project.landing / "quiz.jsonl", [LEAKS[0], *texts("algebra", 5)])
    ask(project, QUESTIONS[0])
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "copied")
    yield copied
    copied.close()


def reason(project: SmallProject, text: str) -> tuple[str, str | None]:
    """Return reason and detail of the decision about a document."""
    return project.rows("decisions").filter(doc_id=document_id(text)).select("reason", "detail").row(0)


def test_what_gives_a_row_away_is_not_chosen_and_it_is_said_why(made):
    assert reason(made, LEAKS[0]) == ("keep_out", "exam")
    assert document_id(LEAKS[0]) not in made.rows("selected_subset")["doc_id"]
    said = f'some: rejected, keep out (exam: shared_words = "{QUESTIONS[0].lower()}"; allowed: fewer than 13'
    assert any(said in line for line in explanation_lines(explain_document(made.home, document_id(LEAKS[0]))))
    page = (made.home.reports / "selection_some.html").read_text()
    assert "Repeats rows of a benchmark that is kept out of training" in page
    assert "By benchmark: exam 1." in page
    lines = read_status(made.project).lines()
    assert "benchmark exam: 1 row of 2 found in 1 document of the pool, which no selection chooses" in lines
    assert any(line.startswith("warning: benchmark exam: 1 of its 2 rows is too short") for line in lines)


def test_nothing_is_due_again_and_an_arrival_reads_the_new_documents_alone(project, monkeypatch):
    found, update = [], keep_out.update_kept_out
    monkeypatch.setattr(keep_out, "update_kept_out", lambda *of: found.append(update(*of)) or found[-1])
    assert not project.make(MADE).made
    write_jsonl(project.landing / "later.jsonl", [LEAKS[0] + " So it was.", *sentences("sailing", 6, 9)])
    project.make(MADE)
    assert [one.read for one in found] == [7]
    assert reason(project, LEAKS[0] + " So it was.") == ("keep_out", "exam")
    project.assert_sound(MADE)


def test_a_changed_benchmark_file_is_seen(project):
    write_jsonl(project.landing / "later.jsonl", [LEAKS[1]])
    project.make(MADE)
    assert reason(project, LEAKS[1])[0] == "within_budget"
    ask(project, QUESTIONS[1])
    assert "kept_out" in {due.asset for due in full_plan(project.snapshot, project.current)}
    project.make(MADE)
    assert reason(project, LEAKS[1]) == ("keep_out", "exam")
    assert reason(project, LEAKS[0])[0] == "within_budget"
    project.assert_sound(MADE)


def test_benchmarks_that_leave_tamis_toml_keep_nothing_out(project):
    write_jsonl(project.root / "quiz.jsonl", [QUESTIONS[0]])
    project.configure(project.text + '[[keep_out]]\nname = "quiz"\npath = "quiz.jsonl"\n')
    project.make(MADE)
    assert reason(project, LEAKS[0]) == ("keep_out", "exam, quiz")
    project.reconfigure(EXAM, "")
    project.make(MADE)
    assert reason(project, LEAKS[0]) == ("keep_out", "quiz")
    project.configure(project.text[: project.text.index("[[keep_out]]")])
    project.make(MADE)
    assert reason(project, LEAKS[0])[0] == "within_budget"
    tables = ("kept_out", "kept_out_runs", "kept_out_examples", "benchmarks")
    assert {project.store.count(table) for table in tables} == {0}
    assert ("kept_out", "") not in project.current


def test_a_withdrawn_document_and_one_that_leaves_take_their_rows(project):
    write_jsonl(project.landing / "later.jsonl", [LEAKS[0] + " So it was."])
    project.make(MADE)
    assert project.store.count("kept_out") == project.store.count("kept_out_runs") == 2
    project.withdraw([document_id(LEAKS[0])])
    for table in ("kept_out", "kept_out_runs"):
        assert document_id(LEAKS[0]) not in project.store.read(table)["doc_id"]
    (project.landing / "later.jsonl").unlink()
    project.make(MADE)
    assert project.store.count("kept_out") == project.store.count("kept_out_runs") == 0
    project.assert_sound(MADE)


def test_a_benchmark_without_its_column_stops_the_choice_and_keeps_the_last(project):
    project.reconfigure('"answer"]', '"anwser"]')
    before = project.rows("selected_subset")
    failed = project.try_making(MADE).failed
    assert "did you mean 'answer'" in str(failed)
    assert project.rows("selected_subset").equals(before)


def test_a_project_without_benchmarks_has_none_in_its_plan(tmp_path):
    plain = plain_project(tmp_path, settings(selection("some")))
    assert "kept_out" not in {one.asset for one in full_plan(plain.snapshot, plain.current)}
