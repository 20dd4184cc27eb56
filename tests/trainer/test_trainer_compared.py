"""Compared samplers on a command of the user's: planned once, submitted one by one, recorded together."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from compared_project import BEFORE, COMPARED, RUNS, WANTED, calls, make_begun, runs_of
from fake_trainer import FAKE, until
from projects import SmallProject
from test_trainer_runs import interrupt

from tamis.base.own_command import stop
from tamis.base.trust import UntrustedError
from tamis.comparison.analysis import analyse
from tamis.graph.submissions import Submissions
from tamis.report.comparison import comparison_text
from tamis.selection.pool import token_sizes
from tamis.trainer.batches import BatchFailedError, SubmittedBatch
from tamis.trainer.runs import run_folders, under_way


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> SmallProject:
    return make_begun(tmp_path_factory.mktemp("compared") / "project")


@pytest.fixture
def project(begun, tmp_path, nowhere, monkeypatch) -> Iterator[SmallProject]:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    made = begun.copy(tmp_path / "project")
    yield made
    made.close()


def test_runs_are_trained_by_the_command_and_compared_on_its_losses(project):
    outcome = project.make(WANTED)
    assert not outcome.failed
    rows = runs_of(project)
    assert len(calls(project)) == len(set(calls(project))) == RUNS == len(rows)
    assert set(rows["sampler"]) == {"full", "random", "score:edu"}
    assert rows["failure"].null_count() == RUNS
    for row in rows.iter_rows(named=True):
        # The fake's loss follows from its rows and steps alone: that of the documents that were chosen.
        bits = sum(row["target_document_bits"]) / sum(row["target_document_bytes"])
        assert row["target_bits_per_byte"] == pytest.approx(bits)
        assert row["curve_target"] == [pytest.approx(bits)]
        assert row["tokens"] == 1_000
    best = rows.filter(sampler="score:edu")
    assert best["documents"].to_list() == [8, 8]
    assert list((project.home.cache / "trainer").glob("*")) == []
    report = analyse(rows, 0)
    assert [arm.runs for arm in report.target.arms] == [2, 2, 2]
    assert any("score:edu" in line for line in comparison_text(report))
    assert "sampler_trials" not in project.make(WANTED).made, "nothing is due"
    assert len(calls(project)) == RUNS


def test_each_run_gets_the_documents_that_the_score_puts_first_and_no_held_out_text(project):
    (project.root / "hold").touch()
    seen: dict[str, dict] = {}

    def look() -> None:
        until(lambda: len(under_way(project.home)) == 2, "no two runs")
        for folder in run_folders(project.home):
            spec = json.loads((folder / "spec.json").read_text())
            rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
            held_out = [json.loads(line) for line in (folder / "evaluate.jsonl").read_text().splitlines()]
            seen[spec["run"]] = {"spec": spec, "rows": rows, "held_out": held_out}

    aside(project, look)
    assert len(seen) == 2
    for run in seen.values():
        ids = {row["id"] for row in run["rows"]}
        assert not ids & {row["id"] for row in run["held_out"]}
        assert len(run["held_out"]) == 4 + 10
        assert run["spec"]["tokens"] == 1_000
        assert run["spec"]["steps"] > 0
    assert len(calls(project)) == RUNS


def aside(project: SmallProject, act, wanted=WANTED):
    """Materialize, and do something else in another thread while the runs are held."""
    hold, errors = project.root / "hold", []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            errors.append(error)
        finally:
            hold.unlink(missing_ok=True)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        outcome = project.try_making(wanted)
    finally:
        hold.unlink(missing_ok=True)
        thread.join()
    assert not errors, errors
    return outcome


def test_a_run_that_fails_is_submitted_again_and_no_other_is(project):
    fails = 'if mode == "exit"'
    (project.root / "train.py").write_text(FAKE.replace(fails, f"{fails} and len(rows) == 8"))
    (project.root / "mode.txt").write_text("exit")
    project.reconfigure("at_once = 2", "at_once = 9")
    outcome = project.try_making(WANTED)
    failed = outcome.failed["sampler_trials"]
    assert "4 compared runs failed (" in failed
    assert "the command of [trainer] ended with exit code 3" in failed
    assert "2 runs that ended well are recorded" in failed
    assert runs_of(project)["sampler"].to_list() == ["full", "full"]
    once = calls(project)
    assert len(once) == len(set(once)) == RUNS
    (project.root / "mode.txt").write_text("")
    assert not project.make(WANTED).failed
    assert len(runs_of(project)) == RUNS
    assert len(calls(project)) == RUNS + 4, "only those that had failed"


SLOW_MODES = ("no result", "other seed", "cut checkpoint")


@pytest.mark.parametrize("mode", ["nan", *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW_MODES)])
def test_a_result_that_is_refused_fails_the_comparison_with_its_reason(project, mode):
    project.reconfigure("data_seeds = 2", "data_seeds = 1")
    (project.root / "mode.txt").write_text(mode)
    failed = project.try_making(WANTED).failed
    assert list(failed) == ["sampler_trials"]
    assert "the result of the trainer" in failed["sampler_trials"]
    assert "is refused" in failed["sampler_trials"]
    assert runs_of(project).is_empty()
    assert len(calls(project)) == 2, "no third run after the first two failed"
    (project.root / "mode.txt").write_text("")
    assert not project.make(WANTED).failed
    assert len(runs_of(project)) == 3


class LeftError(Exception):
    """Somebody stops waiting."""


@pytest.fixture
def left(project, monkeypatch) -> SmallProject:
    """The project with two runs under way that nobody waits for."""

    def leave(*_: object) -> None:
        until(lambda: len(calls(project)) == 2, "no two runs")
        raise LeftError

    (project.root / "hold").touch()
    with monkeypatch.context() as patched:
        patched.setattr("tamis.runtime.driver.wait_for_trainer", leave)
        with pytest.raises(LeftError):
            project.make(WANTED)
    assert len(under_way(project.home)) == 2
    return project


def test_what_somebody_left_is_found_again_and_trained_once(left):
    (left.root / "hold").unlink()
    left.make(WANTED)
    assert len(calls(left)) == len(runs_of(left)) == RUNS


def test_a_change_stops_only_runs_that_are_no_longer_planned(left):
    left.reconfigure('samplers = ["score:edu"]', "samplers = []")
    (left.root / "hold").unlink()
    left.make(WANTED)
    assert len(calls(left)) == len(runs_of(left)) == 4
    left.reconfigure("budgets = [8]", "budgets = [9]")
    left.make(WANTED)
    assert len(calls(left)) == 6, "both runs on all documents stay"


def test_without_the_comparison_its_runs_are_stopped(left):
    left.reconfigure(COMPARED, "\n" + COMPARED[COMPARED.index("[trainer]") :])
    left.make(BEFORE)
    assert sum("was stopped: its inputs or settings changed" in line for line in left.said) == 2
    assert under_way(left.home) == []
    assert list((left.home.cache / "trainer").glob("*")) == []


def test_a_sensor_goes_on_with_what_a_person_has_begun(left):
    def begun() -> set[tuple[str, str]]:
        given = {"snapshot": left.snapshot, "current": left.current}
        return Submissions(project=left.project, **given).begun()

    assert begun() == set(), "all that there is room for is in training"
    (left.root / "hold").unlink()
    until(lambda: not under_way(left.home), "they do not end")
    assert begun() == {("sampler_trials", "")}


def test_a_sensor_leaves_what_has_failed_to_a_person(project):
    """Also where other runs of the comparison ended well; what a person submits again goes on by itself."""
    fails = 'if mode == "exit"'
    (project.root / "train.py").write_text(FAKE.replace(fails, f"{fails} and len(rows) == 8"))
    (project.root / "mode.txt").write_text("exit")
    project.reconfigure("at_once = 2", "at_once = 9")
    assert "4 compared runs failed" in project.try_making(WANTED).failed["sampler_trials"]
    every = Submissions(project=project.project, snapshot=project.snapshot, current=project.current)
    assert every.begun() == set()
    (project.root / "mode.txt").write_text("")
    compared(project).submit(1)
    until(lambda: not under_way(project.home), "it does not end")
    assert every.begun() == {("sampler_trials", "")}


def test_a_run_that_was_interrupted_goes_on_after_another_has_failed(left):
    plan = compared(left)
    first, other = [one for one in plan.runs if one.is_submitted]
    interrupt(first.first)
    stop(other.first.folder)
    assert first.first.is_interrupted
    with pytest.raises(BatchFailedError) as raised:
        plan.record(token_sizes(left.store), lambda run, losses: None, "compared run")
    assert list(raised.value.failed) == [other.name]
    assert first.is_submitted
    assert first in plan.waiting


def compared(project: SmallProject) -> SubmittedBatch:
    (plan,) = (project.home.cache / "trainer").glob("batch-*")
    return SubmittedBatch(
        project=project.project,
        stage="sampler_trials",
        input_key=plan.name.removeprefix("batch-sampler_trials-"),
    )


def test_a_withdrawal_ends_the_runs_that_saw_the_document(left):
    (folder, other) = run_folders(left.home)
    texts = [texts_of(folder), texts_of(other)]
    only = min(texts[0].keys() ^ texts[1].keys())
    saw, stays = (folder, other) if only in texts[0] else (other, folder)
    left.withdraw([only])
    assert not saw.exists()
    assert stays.exists()
    (left.root / "hold").unlink()
    left.make(WANTED)
    assert len(runs_of(left)) == RUNS
    files = [path.read_text(errors="replace") for path in left.home.root.rglob("*") if path.is_file()]
    assert (texts[0] | texts[1])[only] not in "".join(files)


def texts_of(folder: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    return {row["id"]: row["text"] for row in rows}


def test_nothing_is_planned_until_a_person_accepts_the_command(project, monkeypatch):
    monkeypatch.delenv("TAMIS_TRUST")
    monkeypatch.setenv("XDG_STATE_HOME", str(project.root / "state"))
    with pytest.raises(UntrustedError, match=r"runs `python train\.py"):
        project.try_making(WANTED)
    assert calls(project) == []


@pytest.mark.slow
def test_tamis_and_a_command_share_no_run(project):
    """A run that Tamis has trained is none of the command's, and the other way round."""
    project.make(WANTED)
    keys = set(runs_of(project)["run"])
    (project.root / "train.py").write_text(FAKE + "\n# another recipe\n")
    project.make(WANTED)
    assert not keys & set(runs_of(project)["run"])
    assert set(project.store.read("sampler_trials_left")["run"]) == keys
    assert len(calls(project)) == 2 * RUNS
