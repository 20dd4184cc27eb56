"""Faults and changes of a tuning through the graph: failures, kills, withdrawals, new documents."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fake_trainer import until
from projects import SmallProject, sentences, target, write, write_jsonl
from tuned_project import BEFORE, HELPFUL, SURFACE, TEXT, TUNE, WANTED, answer_of, calls, rows_of, shape

from tamis.graph.submissions import Submissions
from tamis.graph.tuning import key_of_runs
from tamis.scan.sources import value_due
from tamis.trainer.exchange import row_of
from tamis.trainer.runs import Run, run_folders, under_way
from tamis.training.storing import split_examples
from tamis.tuning.errors import BudgetTooSmallError
from tamis.tuning.recipes import TrainingRecipe, recipes_of


class LeftError(Exception):
    """Somebody stops waiting."""


@pytest.fixture
def left(project, monkeypatch) -> SmallProject:
    """The project with a round of the search in training that nobody waits for."""
    project.reconfigure("recipes = 8", "recipes = 5")
    shape(project, HELPFUL)
    hold = project.root / "hold"

    def leave(*_: object) -> None:
        if "search" in {entry.name.split()[1] for entry in _in_training(project)}:
            raise LeftError
        hold.unlink(missing_ok=True)
        until(lambda: not under_way(project.home), "the first run does not end")
        hold.touch()

    hold.touch()
    with monkeypatch.context() as patched:
        patched.setattr("tamis.runtime.driver.wait_for_trainer", leave)
        with pytest.raises(LeftError):
            project.make(WANTED)
    assert len(under_way(project.home)) == 2
    return project


def _in_training(project: SmallProject):
    from tamis.graph.submissions import in_training

    return in_training(project.home)


def test_no_gain_is_an_answer_and_the_audit_is_green(project):
    project.reconfigure("recipes = 8", "recipes = 5")
    assert not project.make(WANTED).failed
    answer = answer_of(project)
    assert (answer["kind"], answer["shipped"]) == ("no gain", False)
    assert answer["sentence"].startswith("Choosing does not pay here")
    assert project.audit().status == "green"
    assert value_due(project.project, "recipe", "") is None
    assert list((project.home.cache / "trainer").glob("*")) == []
    held_out = {row_of(text)["id"] for text in split_examples(project.store, "goal", "held_out").values()}
    parts = {row["run"][:16]: row["part"] for row in rows_of(project).iter_rows(named=True)}
    for line in (project.root / "given.jsonl").read_text().splitlines():
        given = json.loads(line)
        reads = held_out & {*given["train"], *given["evaluate"]}
        assert bool(reads) == (parts[given["run"][:16]] == "guard"), "held-out examples are the guard's alone"


def test_a_person_goes_on_after_all_runs_have_failed(project):
    shape(project, HELPFUL | {"mode": "fail"})
    for _ in range(2):
        failed = project.try_making(WANTED).failed
        assert list(failed) == ["recipe"]
        assert "1 [tune] run failed (rate random" in failed["recipe"]
        assert "the command of [trainer] ended with exit code 3" in failed["recipe"]
        assert rows_of(project).is_empty()
    assert len(calls(project)) == 2
    every = Submissions(project=project.project, snapshot=project.snapshot, current=project.current)
    assert every.begun() == set(), "a sensor leaves what has failed to a person"
    project.reconfigure("recipes = 8", "recipes = 3")
    shape(project, HELPFUL)
    assert not project.make(WANTED).failed
    assert answer_of(project)["shipped"]
    assert project.audit().status == "green"


@pytest.mark.slow
def test_half_of_the_runs_fail_and_none_is_paid_twice(project):
    shape(project, HELPFUL | {"mode": "half"})
    failed = project.try_making(WANTED).failed
    rows = rows_of(project)
    reasons = rows.filter(rows["bits_per_byte"].is_null())["failure"]
    assert reasons.null_count() == 0
    assert all("ended with exit code 3" in reason for reason in reasons)
    assert len(calls(project)) == len(set(calls(project)))
    if failed:
        assert list(failed) == ["recipe"]
        assert "failed" in failed["recipe"] or "ended with a loss" in failed["recipe"]
    else:
        assert answer_of(project)["pairs"] == 3


def test_too_small_a_budget_is_refused_before_a_run(project):
    project.reconfigure("recipes = 8", 'recipes = 8\nbudget = "1e9flop"')
    failed = project.try_making(WANTED).failed
    assert "the budget of 1e+09 FLOP is too small; the smallest search takes" in failed["recipe"]
    assert len(calls(project)) == rows_of(project).height == 0
    assert issubclass(BudgetTooSmallError, ValueError)
    assert value_due(project.project, "recipe", "") is not None


@pytest.mark.slow
def test_a_round_that_somebody_left_is_found_again_and_trained_once(left):
    before = calls(left)
    (left.root / "hold").unlink()
    assert not left.make(WANTED).failed
    assert calls(left)[: len(before)] == before
    assert len(calls(left)) == len(set(calls(left))) == rows_of(left).height


@pytest.mark.slow
def test_a_changed_budget_keeps_the_runs_of_a_round_that_are_still_planned(left):
    left.reconfigure("recipes = 5", 'recipes = 5\nbudget = "1e20flop"\ntrain_tokens = 50_000')
    (left.root / "hold").unlink()
    left.make(WANTED)
    assert len(calls(left)) == len(set(calls(left)))
    assert answer_of(left)["budget_flop"] == 1e20


@pytest.mark.slow
@pytest.mark.parametrize("place", ["batches.SubmittedBatch.erase", "runs.Run.erase"])
def test_the_step_is_killed_between_recording_and_planning(project, monkeypatch, place):
    """Rows are written, and all of the round's folders are there, or one is gone: it is paid once."""
    shape(project, HELPFUL)
    project.reconfigure("recipes = 8", "recipes = 3")
    count, erase = 0, Run.erase

    def killed(self) -> None:
        nonlocal count
        count += 1
        if isinstance(self, Run):
            erase(self)
        raise RuntimeError("killed")

    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(f"tamis.trainer.{place}", killed)
            assert "RuntimeError" in project.try_making(WANTED).failed["recipe"]
    assert count >= 2
    project.make(WANTED)
    assert len(calls(project)) == len(set(calls(project))) == rows_of(project).height


def test_another_range_of_the_score_that_stands_for_quality_is_another_recipe(project):
    project.reconfigure('"score:edu"', '"got-d-quality"')
    project.reconfigure("recipes = 8", 'recipes = 8\nquality = "edu"')
    reads = TrainingRecipe(
        sampler="got-d-quality", share="20%", quality_weight=1.0, model="given", learning_rate=1e-3
    )
    recipes, keys, before = (reads, replace(reads, sampler="knn", quality_weight=None)), [], 'column = "edu"'
    for after in ('column = "edu"\nrange = [0, 120]', 'column = "edu"\nrange = [0, 6]'):
        project.reconfigure(before, after)
        keys.append([key_of_runs(project.snapshot, project.current, one, "edu") for one in recipes])
        before = after
    assert keys[0][0] != keys[1][0]
    assert keys[0][1] == keys[1][1], "runs that do not read it stay"


@pytest.mark.slow
def test_a_withdrawal_ends_the_runs_that_saw_the_document(left):
    folders = run_folders(left.home)
    texts = [texts_of(folder) for folder in folders]
    only = sorted(texts[0].keys() ^ texts[1].keys())
    saw = [folder for folder, own in zip(folders, texts, strict=True) if only[0] in own]
    text = next(own[only[0]] for own in texts if only[0] in own)
    left.withdraw([only[0]])
    assert not any(folder.exists() for folder in saw)
    (left.root / "hold").unlink()
    assert not left.make(WANTED).failed
    files = [path.read_text(errors="replace") for path in left.home.root.rglob("*") if path.is_file()]
    assert text not in "".join(files)
    assert left.audit().status == "green"


def texts_of(folder: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return {row["id"]: row["text"] for row in rows}


@pytest.fixture(scope="session")
def tuned_once(begun, tmp_path_factory) -> SmallProject:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAMIS_TRUST", "1")
        made = begun.copy(tmp_path_factory.mktemp("tuned-once") / "project")
        made.reconfigure("recipes = 8", "recipes = 4")
        shape(made, HELPFUL)
        made.make(WANTED)
        made.close()
    return made


@pytest.fixture
def tuned(tuned_once, tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    made = tuned_once.copy(tmp_path / "project")
    yield made
    made.close()


def test_new_documents_make_it_out_of_date_and_no_sensor_begins(tuned):
    assert value_due(tuned.project, "recipe", "") is None
    write_jsonl(tuned.root / "documents" / "b.jsonl", sentences("sailing", 20, 5))
    due = value_due(tuned.project, "recipe", "")
    assert due is not None
    before = calls(tuned)
    tuned.make(BEFORE)
    due = value_due(tuned.project, "recipe", "")
    assert due is not None
    assert due.reason
    every = Submissions(project=tuned.project, snapshot=tuned.snapshot, current=tuned.current)
    assert every.begun() == set()
    requests, _ = tuned.tick()
    assert not any(
        "recipe" in path.path[-1] for request in requests for path in request.asset_selection or ()
    )
    requests, _ = tuned.tick("trial_budget")
    assert requests == []
    assert calls(tuned) == before


def test_without_its_section_nothing_breaks_and_its_results_stay_or_go_as_others_do(tuned):
    tuned.reconfigure(TUNE[: TUNE.index("[trainer]")].replace("recipes = 8", "recipes = 4"), "\n")
    tuned.make(BEFORE)
    assert value_due(tuned.project, "recipe", "") is None
    assert tuned.audit().status in ("green", "amber")
    before = calls(tuned)
    tuned.configure(TEXT.replace("recipes = 8", "recipes = 4"))
    assert not tuned.make(WANTED).failed
    assert calls(tuned) == before, "what was measured is not paid again"


def keys_of(project: SmallProject) -> dict[str, str]:
    """Return what decides the losses of each recipe besides its seed and its size, by its name."""
    tune = project.project.settings.tune
    recipes = recipes_of(tune, dict.fromkeys(tune.models, tune.learning_rates), 0).by_name
    given = (project.snapshot, project.current)
    return {name: key_of_runs(*given, recipe, tune.quality) for name, recipe in recipes.items()}


def test_settings_that_concern_no_run_of_a_recipe_change_none_of_its_runs(tuned):
    before = keys_of(tuned)
    assert value_due(tuned.project, "recipe", "") is None
    tuned.reconfigure("recipes = 4", 'recipes = 12\nbudget = "9e20flop"\ntrain_tokens = 50_000')
    assert value_due(tuned.project, "recipe", "") is not None
    assert before.items() <= keys_of(tuned).items()
    tuned.reconfigure('"got-d", "knn", "score:edu"', '"got-d"')
    assert {"random, rate 0.001", "got-d, rate 0.001"} <= keys_of(tuned).keys()
    assert keys_of(tuned).items() <= before.items() | keys_of(tuned).items()
    for name in before.keys() & keys_of(tuned).keys():
        assert keys_of(tuned)[name] == before[name]
    tuned.reconfigure("tokens = 20_000", "tokens = 30_000")
    for name in before.keys() & keys_of(tuned).keys():
        assert keys_of(tuned)[name] != before[name]


@pytest.mark.slow
def test_a_sampler_that_leaves_costs_the_runs_of_no_other(tuned):
    """The winner stays, with its look and its runs."""
    before, winner = rows_of(tuned), answer_of(tuned)
    gone = next(name for name in ("score:edu", "knn", "got-d") if name != winner["sampler"])
    tuned.reconfigure(f'"{gone}"', '"random"')
    tuned.make(WANTED)
    assert len(calls(tuned)) == len(set(calls(tuned)))
    assert answer_of(tuned)["recipe"] == winner["recipe"]
    assert answer_of(tuned)["look"] == winner["look"]
    guard = before.filter(part="guard")["run"]
    assert set(rows_of(tuned).filter(part="guard")["run"]) == set(guard)
    stay = before.filter(before["sampler"] != gone)
    assert set(stay["run"]) <= {*rows_of(tuned)["run"], *rows_of(tuned, "tune_runs_left")["run"]}


@pytest.mark.slow
def test_prompts_and_answers_are_measured_by_their_answers(begun, tmp_path, nowhere, monkeypatch):
    """The command may measure no more bytes of an example than its answer has."""
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = begun.copy(tmp_path / "project")
    texts = sentences("algebra", 150, 2)
    write(
        project.root / "target" / "a.jsonl",
        (json.dumps({"q": f"Prove {text[:30]}", "a": text}) for text in texts),
    )
    columns = {"prompt_column": "q", "response_column": "a"}
    project.reconfigure(target(train=110, held_out=40), target(train=110, held_out=40, **columns))
    project.reconfigure("recipes = 8", "recipes = 4")
    answer = 'row.get("response", row.get("text"))'
    script = SURFACE.replace('len(row["text"].encode())', f"len({answer}.encode())")
    script = script.replace('row["text"].lower()', f"({answer}).lower()")
    script = script.replace('for word in row["text"].split()', f"for word in ({answer}).split()")
    (project.root / "train.py").write_text(script)
    project.make(WANTED)
    responses = set(texts)
    held_out = split_examples(project.store, "goal", "held_out").values()
    assert {example.response for example in held_out} <= responses
    rows = rows_of(project)
    sizes = {len(text.encode()) for text in responses}
    assert set(rows["example_bytes"].explode()) <= sizes
    assert "examples alone" in {name.split(",")[0] for name in rows["recipe"]}
    project.close()
