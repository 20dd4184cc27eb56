"""Form in the graph: verdicts, explanation, page, status; arrivals move no verdict; off, all rows leave."""

import dataclasses
from collections.abc import Iterator

import pytest
from projects import (
    CHOSEN,
    GRAPH,
    SmallProject,
    corpus,
    make_project,
    selection,
    settings,
    target,
    write_jsonl,
)

from tamis.filters.form import model as form_model
from tamis.filters.form import storing as form_storing
from tamis.filters.form.damage import damaged
from tamis.filters.form.storing import read_form
from tamis.graph.plan import full_plan
from tamis.history.explain import explain_document, explanation_lines
from tamis.verbs.status import read_status

WORDS = ("bridge", "harbour", "council", "library", "garden", "station", "market", "hospital")
SHAPES = (
    "The {0} was closed in the winter, because nobody had paid for the work on the {1}.",
    "After the meeting they walked to the {0} and talked about the {1} for an hour.",
    "It was not clear who would look after the {0} when the old {1} was sold.",
    "She wrote that the {0} had been larger than the {1}, but that few people knew it.",
)
MADE = (CHOSEN - {"density_sketch", "density_scores"}) | {"form_model", "form_scores"}
TEXT = settings(
    corpus(path="landing"),
    target("algebra", train=20, held_out=10),
    selection("some", "random", 10),
    '[filters]\nheuristics = ["form"]\n',
)


def prose(count: int, first: int = 0) -> list[str]:
    return [
        " ".join(
            SHAPES[(number + step) % 4].format(
                WORDS[(number + step) % 8], WORDS[(3 * number + number // 8 + step) % 8]
            )
            for step in range(4)
        )
        + f" That was in {1000 + number}."
        for number in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder_cache) -> Iterator[SmallProject]:
    project = make_project(tmp_path_factory.mktemp("form") / "project", encoder_cache, TEXT)
    for file in project.landing.iterdir():
        file.unlink()
    write_jsonl(project.landing / "sound.jsonl", prose(60))
    broken = damaged(prose(40, 200), ("mash", "numbers", "html"), 2)["text"].to_list()
    write_jsonl(project.landing / "broken.jsonl", broken)
    write_jsonl(project.root / "target" / "algebra.jsonl", prose(60, 400))
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def project(made, tmp_path, nowhere) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "copied")
    yield copied
    copied.close()


def test_broken_documents_fall_are_explained_and_said(made):
    decisions = made.rows("decisions")
    fell = decisions.filter(reason="heuristic")
    assert 30 <= len(fell) <= 40
    assert set(fell["detail"]) == {"form_implausible"}
    one = fell["doc_id"][0]
    scores = made.store.read("form_scores", where=f"doc_id = '{one}'").to_dicts()[0]
    lines = explanation_lines(explain_document(made.home, one))
    said = f"form_logit = {scores['form_logit']:.4g}, unusual = {scores['form_reasons']}; allowed: at most "
    assert any("some: rejected, heuristic (form_implausible: " + said in line for line in lines)
    assert any(line.startswith("  form_logit = ") for line in lines)
    warnings = read_status(made.project).warnings
    count, documents = len(fell), len(made.rows("documents"))
    said = (
        f"corpus web: {count} of its {documents} documents are dropped by the rule form_implausible; look at"
    )
    assert any(line.startswith(said) for line in warnings)
    page = (made.home.reports / "selection_some.html").read_text()
    assert said in page
    assert "At the border of form" in page
    assert "<td>form_implausible</td>" in page


def test_a_document_that_stays_is_explained_too(made):
    one = made.rows("decisions").filter(verdict="selected")["doc_id"][0]
    (row,) = made.store.read("form_scores", where=f"doc_id = '{one}'").to_dicts()
    assert row["form_reasons"] is None
    explained = explain_document(made.home, one)
    unusual = explained["form"]["measured"]["unusual"]
    assert len(unusual) == 3
    said = f"  form: form_logit = {row['form_logit']:.4g}, unusual = {', '.join(unusual)}; allowed: at most "
    assert any(line.startswith(said) for line in explanation_lines(explained))
    unseen = explained | {"form": explained["form"] | {"unseen": "deu"}}
    said = "  form: not judged, since the model has not seen the language of the text (deu)"
    assert said in explanation_lines(unseen)


def test_shards_made_together_share_the_time_by_their_rows(made):
    clock = {
        key: made.manifest("form_scores", key).beside["partition_seconds"]
        for key in ("web__sound.jsonl", "web__broken.jsonl")
    }
    rows = {key: made.manifest("form_scores", key).row_count for key in clock}
    sound, broken = (clock[key] / rows[key] for key in clock)
    assert sound == pytest.approx(broken, rel=0.05)


def test_nothing_is_due_again_and_an_arrival_moves_no_verdict(project):
    assert not project.make(MADE).made
    before, known = project.rows("form_scores").sort("doc_id"), read_form(project.store)
    values = {entry: value for entry, value in project.current.items() if entry[0] == "form_scores"}
    write_jsonl(project.landing / "later.jsonl", prose(20, 600))
    project.make(MADE)
    now = project.rows("form_scores").sort("doc_id")
    assert len(now) == len(before) + 20
    assert now.join(before, on=now.columns, how="semi", nulls_equal=True).equals(before)
    assert dataclasses.asdict(read_form(project.store)) == dataclasses.asdict(known)
    assert {entry: project.current[entry] for entry in values} == values
    project.assert_sound(MADE)


def test_the_model_that_ships_is_not_tainted_by_what_it_never_saw(project):
    done = project.withdraw(project.rows("documents")["doc_id"][:1].to_list())
    assert "form_model" not in {one.name for one in done.tainted}
    project.make(MADE)
    assert not [line for line in read_status(project.project).lines() if "tainted: form_model" in line]


@pytest.mark.slow
def test_off_nothing_falls_and_without_the_family_all_rows_leave(project):
    project.reconfigure(
        'heuristics = ["form"]', 'heuristics = ["form"]\nheuristics_off = ["form_implausible"]'
    )
    project.make(MADE)
    assert project.rows("decisions").filter(reason="heuristic").is_empty()
    project.reconfigure('heuristics = ["form"]\nheuristics_off = ["form_implausible"]', "")
    project.make(MADE)
    assert {project.store.count(table) for table in ("form_model", "form_limits", "form_scores")} == {0}
    assert not {"form_model", "form_scores"} & {asset for asset, _key in project.current}


def test_a_withdrawn_document_leaves_no_score_and_the_model_of_its_sample_stays(project, monkeypatch):
    for name, size in {"LEAST_POOL": 110, "SAMPLE": 200, "LEAST_SOUND": 40}.items():
        monkeypatch.setattr(form_storing, name, size)
    monkeypatch.setattr(form_model, "STEPS", 50)
    write_jsonl(project.landing / "later.jsonl", prose(20, 600))
    project.make(MADE)
    fitted = read_form(project.store)
    assert fitted.note.startswith("8")
    assert "drawn from a pool of 120" in fitted.note  # all of them
    gone = project.rows("documents")["doc_id"][:3].to_list()
    tainted = project.withdraw(gone).tainted
    assert "form_model" in {one.name for one in tainted if one.current}, "its sample held them"
    assert set(project.rows("form_scores")["doc_id"]).isdisjoint(gone)
    project.make(MADE)
    assert read_form(project.store) == fitted
    project.assert_sound(MADE)


def test_a_project_without_the_family_has_none_in_its_plan(new_graph):
    plain = new_graph("plain", GRAPH)
    assert not {"form_model", "form_scores"} & {one.asset for one in full_plan(plain.snapshot, plain.current)}
