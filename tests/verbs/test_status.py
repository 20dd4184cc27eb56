"""The closing lines of `tamis materialize`: pages that were made and no others, and what was not made."""

from dataclasses import replace

import pytest
from projects import base_model, note_made, plain_project, rows_of, selection, settings, target

from tamis.filters.form.storing import update_form_model
from tamis.graph.plan import Due
from tamis.graph.stages import stages
from tamis.platform.assets.scaling import PAGES
from tamis.sql.properties import LAYERS
from tamis.verbs.status import read_status

SCALING = """
[scaling]
target = ["goal", "other"]
models = ["small"]
sizes = [10, 20]
"""


@pytest.fixture
def project(tmp_path, nowhere):
    uniform = selection("uniform", budget=1)
    text = settings(target(), target("other"), base_model(), uniform, SCALING)
    made = plain_project(tmp_path, text)
    made.home.reports.mkdir(parents=True, exist_ok=True)
    return made.project


def make(project, asset: str, key: str, *pages: str) -> None:
    """What a step that succeeds leaves behind."""
    note_made(project, asset, key)
    for page in pages:
        (project.home.reports / page).write_text("a page")


def test_scaling_pages_are_named_a_target_with_their_state(project):
    reports = project.home.reports
    assert read_status(project).scaling_lines(reports) == []
    (reports / PAGES.format("goal")).write_text("a page that nothing vouches for")
    assert read_status(project).scaling_lines(reports) == []
    make(project, "loss_curves", "")
    make(project, "scaling_law_report", "", PAGES.format("goal"))
    (line,) = read_status(project).scaling_lines(reports)
    assert line.startswith("scaling on goal: ")
    assert line.endswith(f"; {reports / PAGES.format('goal')}")
    make(project, "scaling_law_report", "", PAGES.format("other"))
    assert len(read_status(project).scaling_lines(reports)) == 2


def test_a_scaling_page_whose_curves_changed_is_out_of_date(project):
    pages = [PAGES.format(target) for target in ("goal", "other")]
    make(project, "scaling_law_report", "", *pages)
    assert all(": out of date; " in line for line in read_status(project).scaling_lines(project.home.reports))


def test_the_answer_of_tune_is_shown_with_its_state(tmp_path, nowhere):
    tune = '[tune]\ntarget = "goal"\nmodels = ["small"]\n'
    text = settings(target(train=110, held_out=40), base_model(), tune)
    project = plain_project(tmp_path / "tuned", text).project
    rows = rows_of("tune_answers", [{"target": "goal", "sentence": "Use knn: it helps."}])
    project.home.store.put("tune_answers", rows)
    assert read_status(project).recipe_lines() == [], "no step vouches for it"
    note_made(project, "recipe", "")
    status = read_status(project)
    assert status.recipe_lines() == ["recipe for goal: out of date: Use knn: it helps."]
    assert status.recipe_lines()[0] in status.lines()
    assert status.to_json()["recipes"] == {"goal": "out of date: Use knn: it helps."}


def test_links_that_are_not_followed_are_named(project):
    root = project.root
    (root / "elsewhere.jsonl").write_text('{"text": "not of the corpus"}\n')
    for folder in ("documents", "target"):
        (root / folder / "out.jsonl").symlink_to(root / "elsewhere.jsonl")
    warnings = [line for line in read_status(project).lines() if "follow_links" in line]
    assert [line.split("; ")[0] for line in warnings] == [
        f"warning: {name}: links that lead out of its folder are not followed: out.jsonl"
        for name in ("corpus web", "target goal", "target other")
    ]


def test_selections_that_cannot_be_made_name_the_first_input_that_is_missing(project):
    def due(asset: str, partition: str = "", waits_for: str | None = None) -> Due:
        return Due(asset=asset, partition=partition, reason="new", waits_for=waits_for)

    found = [
        due("target_examples", "goal"),
        due("target_embeddings", "goal", "target_examples[goal]"),
        due("contamination", "", "target_embeddings[goal]"),
        *(due("selected_subset", name, "contamination") for name in ("near", "thin")),
        due("selected_subset", "judged", "judge_scores"),
    ]
    status = replace(read_status(project), due=found)
    assert status.blocked() == ["not made: 2 selections (near, thin), because target_examples[goal] failed"]
    assert "not made: selected_subset[judged] waits for judge_scores" in status.problems()
    assert replace(status, due=[]).blocked() == []


def test_what_is_due_is_cut_at_ten_stages(project):
    names = [name for name, stage in stages().items() if stage.group not in LAYERS][:12]
    found = [Due(asset=name, partition="", reason="new", waits_for=None) for name in names]
    lines = [
        line for line in replace(read_status(project), due=found).lines() if "due:" in line or "more;" in line
    ]
    assert lines == [
        *(f"due: {name}: 1" for name in names[:10]),
        "and 2 more; `tamis status --json` lists all",
    ]


def test_what_rules_drop_is_said_before_anything_is_selected(project):
    form = '[filters]\nheuristics = ["form"]\n'
    project = plain_project(project.root, project.file.read_text() + form, {}).project
    store = project.home.store
    update_form_model(store, 0)
    ids = [f"{number:032x}" for number in range(40)]
    documents = [{"doc_id": one, "text": "x", "n_chars": 1, "n_bytes": 1} for one in ids]
    places = [{"doc_id": one, "shard": "web__a.jsonl", "row": row} for row, one in enumerate(ids)]
    scores = [{"doc_id": one, "form_logit": 9.0 if row < 30 else -2.0} for row, one in enumerate(ids)]
    for table, rows in (("documents", documents), ("occurrences", places), ("form_scores", scores)):
        store.append(table, rows_of(table, rows))
    dropped = "30 of its 40 documents are dropped by"
    of_file, of_corpus = [line for line in read_status(project).warnings if "form_implausible" in line]
    assert of_file.startswith(f"shard web__a.jsonl: {dropped} a rule of form (form_implausible 30); ")
    assert of_corpus.startswith(f"corpus web: {dropped} the rule form_implausible; ")
    note_made(project, "selected_subset", "uniform")
    assert not [line for line in read_status(project).warnings if "form_implausible" in line]
