"""A score by a classifier in the graph: choice, arrival, return, another model, failures, withdrawal."""

from collections.abc import Iterator

import numpy as np
import pytest
from classifiers import save_classifier
from projects import SmallProject, corpus, plain_project, selection, settings, write_jsonl

from tamis.corpus import document_id
from tamis.graph.used_stages import used_by
from tamis.history.explain import explain_document, explanation_lines
from tamis.scores.classifier import Classifier
from tamis.store.retained import retained_tables

MADE = {"raw_shards", "documents", "near_duplicates", "classifier_scores", "selected_subset"}
SCORE = '[[score]]\nname = "edu"\nmodel = "models/edu"\nlabel = "good"\nrange = [0, 1]\n'
TEXT = settings(
    corpus(), SCORE, selection("best", "score:edu", 3), selection("fair", "random", 2, where="edu >= 0.08")
)
NAMES = ["ant", "bee", "cow", "dog", "elk", "fox", "gnu", "hen"]


def text(name: str) -> str:
    """A text that is no near-duplicate of the others."""
    return (
        f"{name} {name[::-1]} and {name[1:]} {name[0]} one {name}s: {' '.join(name)} {name[-1] * 3} {name}ed."
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    project = plain_project(tmp_path_factory.mktemp("classified") / "project", TEXT, {})
    save_classifier(project.root / "models" / "edu")
    write_jsonl(project.root / "documents" / "a.jsonl", map(text, NAMES[:4]))
    write_jsonl(project.root / "documents" / "b.jsonl", map(text, NAMES[4:]))
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "copied")
    yield copied
    copied.close()


def values(project: SmallProject) -> dict[str, float]:
    return dict(project.store.read("classifier_scores", ["doc_id", "value"]).iter_rows())


def expected(project: SmallProject, names: list[str], label: str = "good") -> dict[str, float]:
    scorer = Classifier(str(project.root / "models" / "edu"), label)
    return dict(zip(map(document_id, map(text, names)), scorer.score(list(map(text, names))), strict=True))


def chosen(project: SmallProject, name: str) -> set[str]:
    rows = project.store.read("selected_subset", ["selection", "doc_id"])
    return set(rows.filter(selection=name)["doc_id"])


def test_the_best_by_the_model_are_chosen_and_explained(made):
    assert values(made) == pytest.approx(expected(made, NAMES), abs=1e-6)
    ranked = sorted(values(made), key=values(made).__getitem__, reverse=True)
    assert chosen(made, "best") == set(ranked[:3])
    lines = explanation_lines(explain_document(made.home, ranked[0]))
    assert f"  edu = {values(made)[ranked[0]]:.5g} (percentile 100.0)" in lines
    fair = made.store.read("decisions", ["doc_id", "reason"], "selection = 'fair'")
    assert set(fair.filter(reason="where")["doc_id"]) == {one for one in ranked if values(made)[one] < 0.08}
    made.assert_sound(MADE)


def test_the_audit_knows_each_value_and_finds_one_that_was_altered(project):
    def said() -> list[tuple[str, str]]:
        nodes = project.audit().nodes.values()
        return [(node.name, detail) for node in nodes for detail in node.details if "rows" in detail]

    assert not said()
    row = project.store.read("classifier_scores").sort("doc_id").head(1)
    project.store.put("classifier_scores", row.with_columns(value=row["value"] + 0.1))
    ((name, detail),) = said()
    assert name.startswith("classifier_scores[")
    assert f"rows that differ from the manifest: 1 (first: {row['doc_id'].item()})" in detail


def test_only_new_documents_are_read_and_those_that_come_back_are_not(project, monkeypatch):
    read: list[str] = []
    scored = Classifier.score
    monkeypatch.setattr(Classifier, "score", lambda self, texts: read.extend(texts) or scored(self, texts))
    write_jsonl(project.root / "documents" / "c.jsonl", [text("owl")])
    project.make(MADE)
    assert read == [text("owl")]
    (project.root / "documents" / "c.jsonl").unlink()
    project.make(MADE)
    assert document_id(text("owl")) not in values(project)
    assert retained_tables(project.store) == ["retained_classifier_scores"]
    write_jsonl(project.root / "documents" / "d.jsonl", [text("owl")])
    project.make(MADE)
    assert len(read) == 1
    assert values(project) == pytest.approx(expected(project, [*NAMES, "owl"]), abs=1e-6)
    project.withdraw([document_id(text("owl"))])
    assert document_id(text("owl")) not in values(project)


def test_another_label_another_model_and_no_model_are_followed(project):
    project.reconfigure('label = "good"', 'label = "bad"')
    project.make(MADE)
    assert values(project) == pytest.approx(expected(project, NAMES, "bad"), abs=1e-6)
    save_classifier(project.root / "models" / "edu", "roberta")
    project.make(MADE)
    assert values(project) == pytest.approx(expected(project, NAMES, "bad"), abs=1e-6)
    renamed = project.text.replace('name = "edu"', 'name = "own"').replace("score:edu", "score:own")
    project.configure(renamed.replace("edu >=", "own >="))
    project.make(MADE)
    assert set(project.store.read("classifier_scores", ["score"])["score"]) == {"own"}
    project.configure(settings(corpus(), selection("plain", "random", 2)))
    project.try_making(MADE - {"classifier_scores"}, allowed=["all"])
    assert project.store.count("classifier_scores") == 0
    assert "classifier_scores" not in used_by(project.project).assets


def test_a_document_that_the_model_fails_on_is_set_aside_and_the_others_are_scored(project, monkeypatch):
    scored = Classifier.score

    def failing(self, texts):
        if any("owl" in text for text in texts):
            raise ValueError("no owls")
        values_n = scored(self, texts)
        return np.where(["yak" in text for text in texts], np.nan, values_n)

    monkeypatch.setattr(Classifier, "score", failing)
    write_jsonl(project.root / "documents" / "c.jsonl", map(text, ("owl", "yak", "emu")))
    project.make(MADE)
    aside = project.store.read("set_aside", ["doc_id", "stage", "reason"]).sort("reason")
    assert aside.rows() == [
        (document_id(text("owl")), "classifier_scores", "model_failed"),
        (document_id(text("yak")), "classifier_scores", "no_score"),
    ]
    best = project.store.read("decisions", ["doc_id", "reason", "detail"], "selection = 'best'")
    (row,) = best.filter(doc_id=document_id(text("owl"))).iter_rows(named=True)
    assert (row["reason"], row["detail"]) == ("no_score", "no value of edu")
    assert values(project)[document_id(text("emu"))] is not None
    assert values(project)[document_id(text("owl"))] is None
    monkeypatch.undo()
    project.reconfigure('label = "good"', 'label = "best"')
    project.make(MADE)
    assert project.store.count("set_aside") == 0, "another label is another score: all are tried again"


def test_a_model_that_is_not_there_is_a_sentence_and_stops_only_what_reads_it(project):
    project.reconfigure('model = "models/edu"', 'model = "models/edo"')
    outcome = project.try_making(MADE)
    print(outcome.failed)
    assert "models/edo" in " ".join(map(str, outcome.failed.values()))
