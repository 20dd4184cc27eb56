"""Trials on a command of the user's: submitted, waited for without the lock, recorded, refused and erased."""

import json
import math
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fake_trainer import FAKE
from projects import (
    CORPUS,
    SmallProject,
    base_model,
    plain_project,
    sentences,
    settings,
    target,
    write_jsonl,
)

from tamis.base.own_command import LOG, poll
from tamis.base.trust import UntrustedError
from tamis.graph.automation import next_groups
from tamis.graph.submissions import Submissions
from tamis.platform.resources.tracker import TrackerResource
from tamis.store.home import HomeLockedError, writing
from tamis.trainer.runs import run_folders, under_way
from tamis.training.failures import failures_of

WANTED = CORPUS | {"target_examples", "base_models", "trials"}
TRIALS = ("law__given__4", "law__given__8")
SCALING = '[scaling]\ntarget = "goal"\nmodels = ["given"]\nsizes = [4, 8]\n'
COMMAND = 'command = ["python", "train.py", "{spec}"]\n'


def project_of(folder: Path, *parts: str, trainer: str = "at_once = 4\n") -> SmallProject:
    header = json.dumps({"w": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(40)
    made = plain_project(
        folder,
        settings(
            target(train=8, held_out=4),
            base_model("given", preset=None, path="model"),
            SCALING,
            f"[trainer]\n{COMMAND}{trainer}",
            *parts,
        ),
        {},
    )
    (folder / "model").mkdir()
    (folder / "train.py").write_text(FAKE)
    (folder / "model" / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model" / "model.safetensors").write_bytes(weights)
    write_jsonl(folder / "documents" / "a.jsonl", sentences("cooking", 6, 1))
    write_jsonl(folder / "target" / "a.jsonl", sentences("algebra", 20, 2))
    made.replaced["tracker"] = Untracked()
    return made


class Untracked(TrackerResource):
    """A tracker that nothing listens to: MLflow takes longer than all else here."""

    def require(self, project) -> None:
        pass

    def log(self, project, finished) -> str:
        assert finished.metrics["held_out_bits_per_byte"] > 0
        return "a run"

    def register(self, project, run, manifest) -> None:
        pass


@pytest.fixture
def project(tmp_path, nowhere, monkeypatch) -> SmallProject:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    return project_of(tmp_path / "project")


def calls(project: SmallProject) -> list[str]:
    path = project.root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def trainings(project: SmallProject) -> list[str]:
    return [name for name in calls(project) if not name.startswith("before")]


def folders(project: SmallProject) -> list[Path]:
    return sorted((project.home.cache / "trainer").glob("*"))


def set_mode(project: SmallProject, mode: str) -> None:
    (project.root / "mode.txt").write_text(mode)


def until(condition, what: str):
    deadline = time.monotonic() + 120
    while not (answer := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return answer


def make_while_held(project: SmallProject, meanwhile) -> None:
    """Materialize, and do something else in another thread while the runs are held."""
    hold, errors = project.root / "hold", []
    hold.touch()

    def act() -> None:
        try:
            meanwhile()
        except BaseException as error:
            errors.append(error)
        finally:
            hold.unlink(missing_ok=True)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        project.make(WANTED)
    finally:
        hold.unlink(missing_ok=True)
        thread.join()
    assert not errors, errors


def test_trials_are_trained_by_the_command_and_recorded(project):
    project.replaced.clear()
    outcome = project.make(WANTED)
    assert outcome.made["trials"] == 2
    assert len(trainings(project)) == 2
    assert len(calls(project)) == 3, "the base model is measured once for both"
    rows = {row["trial"]: row for row in project.store.read("trials").iter_rows(named=True)}
    assert sorted(rows) == sorted(TRIALS)
    for name, size in zip(TRIALS, (4, 8), strict=True):
        row = rows[name]
        assert row["zero_shot_bits_per_byte"] == pytest.approx(2.0 / math.log(2))
        expected = 2.0 / (1 + math.log1p(row["steps"] * size)) / math.log(2)
        assert row["held_out_bits_per_byte"] == pytest.approx(expected)
        assert (row["parameters"], row["seconds"], row["seed"]) == (10, 1.5, 0)
        assert row["flops"] == 6.0 * 10 * row["tokens"]
        assert row["peak_memory_bytes"] > 10**6
        checkpoint = project.home.root / row["checkpoint"]
        record = json.loads((checkpoint / "trainer.json").read_text())
        assert (checkpoint / "model.safetensors").exists()
        assert record["command"] == ["python", "train.py", "{spec}"]
        manifest = project.manifest("trials", name)
        assert manifest.beside["spec"] == record["runs"][0]["spec"]
        assert any(file.endswith("trainer.json") for file in manifest.files)
    assert folders(project) == []
    assert not project.make(WANTED).made
    assert len(calls(project)) == 3


FAILURES = {
    "137": "ended with exit code 137: it was killed, often for lack of memory",
    "other run": "its run is 'another', expected '",
    "cut checkpoint": "is not complete: model.safetensors is cut off",
}


@pytest.mark.parametrize("mode", FAILURES)
def test_a_run_that_fails_is_noted_with_the_reason_and_made_when_it_is_mended(project, mode):
    project.reconfigure("sizes = [4, 8]", "sizes = [4]")
    set_mode(project, mode)
    outcome = project.try_making(WANTED)
    assert FAILURES[mode] in outcome.failed["trials"]
    (failure,) = failures_of(project.store)
    assert (failure.trial, failure.attempts, failure.permanent) == (TRIALS[0], 1, False)
    assert FAILURES[mode][:40] in failure.reason
    assert project.store.read("trials").is_empty()
    logged = "".join(project.logged())
    assert not any(text in logged for text in sentences("algebra", 20, 2))
    set_mode(project, "")
    assert project.make(WANTED).made == {"trials": 1}
    assert len(trainings(project)) == 2
    assert folders(project) == []


def test_a_run_that_hangs_is_stopped_at_its_time_limit_for_good(tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = project_of(tmp_path / "project", trainer='time_limit = "1s"\n')
    project.reconfigure("sizes = [4, 8]", "sizes = [4]")
    set_mode(project, "hang")
    outcome = project.try_making(WANTED)
    assert "was stopped at its time limit of 1 s" in outcome.failed["trials"]
    (failure,) = failures_of(project.store)
    assert failure.permanent
    assert failure.spent_seconds >= 1
    assert under_way(project.home) == []


def test_the_end_of_the_log_is_shown_and_not_stored(project):
    set_mode(project, "exit")
    project.try_making(WANTED)
    shown = [line for line in project.said if line.startswith("reading")]
    assert shown, project.said
    assert shown[0] not in "".join(project.logged())
    for folder in run_folders(project.home):
        if poll(folder).code == 3:
            assert shown[0] in (folder / LOG).read_text()


def test_a_base_model_that_cannot_be_measured_leaves_the_trials(project):
    project.reconfigure("sizes = [4, 8]", "sizes = [4]")
    set_mode(project, "base:exit")
    fails = 'if mode == "exit"'
    (project.root / "train.py").write_text(FAKE.replace(fails, f"{fails} and not rows"))
    project.make(WANTED)
    (row,) = project.store.read("trials").iter_rows(named=True)
    assert row["zero_shot_bits_per_byte"] is None
    assert row["held_out_bits_per_byte"] > 0


def test_others_write_while_runs_train_and_at_once_is_kept(tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    project = project_of(tmp_path / "project", trainer="at_once = 2\n")

    def meanwhile() -> None:
        until(lambda: len(calls(project)) == 2, "no runs")
        until(lambda: _writes(project), "the lock is held")
        assert len(under_way(project.home)) == 2
        time.sleep(1.5)
        assert len(calls(project)) == 2

    make_while_held(project, meanwhile)
    assert len(calls(project)) == 3
    assert len(project.store.read("trials")) == 2


def _writes(project: SmallProject) -> bool:
    try:
        with writing(project.home, "another writer"):
            return True
    except HomeLockedError:
        return False


def test_a_withdrawal_meanwhile_ends_the_runs_that_saw_the_document(project):
    project.reconfigure("sizes = [4, 8]", "sizes = [8]")
    texts = []

    def meanwhile() -> None:
        until(lambda: trainings(project), "no run")
        until(lambda: _writes(project), "the lock is held")
        (folder,) = [one for one in run_folders(project.home) if one.name.startswith("seed")]
        first = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
        texts.append(first["text"])
        withdrawn = project.withdraw([first["id"]])
        assert withdrawn.new == [first["id"]]
        assert not folder.exists()
        assert any("cache/trainer" in file.path for file in withdrawn.purged.files)

    make_while_held(project, meanwhile)
    assert len(trainings(project)) == 2
    assert texts[0] not in "".join(
        path.read_text(errors="replace") for path in project.home.root.rglob("*") if path.is_file()
    )
    assert project.store.read("trials")["size"].to_list() == [8]


@pytest.mark.slow
def test_a_withdrawal_of_another_document_leaves_the_runs(project):
    def meanwhile() -> None:
        until(lambda: len(calls(project)) == 3, "no run")
        until(lambda: _writes(project), "the lock is held")
        project.withdraw([project.store.read("documents")["doc_id"][0]])
        assert len(under_way(project.home)) == 3

    make_while_held(project, meanwhile)
    assert len(calls(project)) == 3
    assert len(project.store.read("trials")) == 2


@pytest.mark.slow
def test_a_killed_command_finds_its_runs_again_and_trains_nothing_twice(project):
    (project.root / "hold").touch()
    command = subprocess.Popen(
        project.command("materialize", "--only", *sorted(WANTED)), cwd=project.root, env=project.environment
    )
    until(lambda: len(calls(project)) == 3, "no run")
    command.kill()
    command.wait()
    assert len(under_way(project.home)) == 3
    (project.root / "hold").unlink()
    project.make(WANTED)
    assert len(calls(project)) == 3
    assert len(project.store.read("trials")) == 2


def submitted_by_hand(project: SmallProject) -> None:
    """Submit the trials, with everything before them made, and wait for none."""
    project.make(WANTED - {"trials"})
    snapshot, current = project.snapshot, project.current
    wanted = {("trials", name) for name in TRIALS}
    (group,) = next_groups(snapshot, current, wanted, refit=False)
    with writing(project.home, "a test"):
        submissions = Submissions(project=project.project, snapshot=snapshot, current=current)
        assert submissions.advance(group) is None


@pytest.mark.slow
def test_what_trains_with_an_earlier_setting_is_stopped(project):
    (project.root / "hold").touch()
    submitted_by_hand(project)
    until(lambda: len(calls(project)) == 3, "no run")
    project.reconfigure("sizes = [4, 8]", "sizes = [4, 8]\n[fine_tuning]\nlearning_rate = 0.5")
    (project.root / "train.py").write_text(FAKE.replace('"hold"', '"other hold"'))
    project.make(WANTED)
    assert sum("was stopped: its inputs or settings changed" in line for line in project.said) == 2
    assert len(trainings(project)) == 4
    assert under_way(project.home) == []


def test_nothing_runs_until_a_person_accepts_the_command_and_its_file(project, monkeypatch):
    monkeypatch.delenv("TAMIS_TRUST")
    monkeypatch.setenv("XDG_STATE_HOME", str(project.root / "state"))
    with pytest.raises(UntrustedError, match=r"runs `python train.py '\{spec\}'` on this machine.*train.py"):
        project.try_making(WANTED)
    assert calls(project) == []


def test_the_sensor_submits_and_records_while_nothing_is_held(project, monkeypatch):
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)
    project.reconfigure("[trainer]", "[trial_budget]\nshare = 1.0\n[trainer]")
    project.make(WANTED - {"trials"})
    (project.root / "hold").touch()
    requests, _said = project.tick("trial_budget")
    assert project.execute(requests[0]).success
    until(lambda: len(calls(project)) >= 2, "nothing is submitted")
    first = requests[0].partition_key
    while requests:
        assert project.execute(requests[0]).success
        requests, said = project.tick("trial_budget")
    assert "in training, or waiting for a turn" in said
    assert _writes(project)
    (project.root / "hold").unlink()
    until(lambda: not under_way(project.home), "they run on")
    requests, _said = project.tick("trial_budget")
    assert [one.partition_key for one in requests] == [first]
    assert project.execute(requests[0]).success
    assert first in project.store.read("trials")["trial"].to_list()
    assert calls(project) == list(dict.fromkeys(calls(project)))


def test_the_sensor_records_what_a_person_has_submitted(project, monkeypatch):
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)
    submitted_by_hand(project)
    until(lambda: len(calls(project)) == 3 and not under_way(project.home), "they run on")
    for _ in TRIALS:
        requests, _said = project.tick("trial_budget")
        assert project.execute(requests[0]).success
    requests, said = project.tick("trial_budget")
    assert requests == []
    assert "no sensor runs trials" in said
    assert len(project.store.read("trials")) == 2
    assert len(calls(project)) == 3


def test_curves_and_the_law_are_fitted_to_its_losses(project):
    project.reconfigure("sizes = [4, 8]", "sizes = [2, 3, 4, 5, 6, 8]")
    project.make(WANTED | {"loss_curves", "scaling_law_report", "model_choice"})
    curves = project.store.read("loss_curves")
    assert sorted(set(curves["size"])) == [0, 2, 3, 4, 5, 6, 8]
    assert (project.home.reports / "scaling.html").exists() or list(project.home.reports.glob("*scaling*"))
