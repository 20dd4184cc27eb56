"""A budget for trials on real models: the sensor and the command make the same ones, and stop at the same."""

import json
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from projects import names, small_settings, watched

from tamis.training.failures import Failure, failures_of

BASES = """
[[base_model]]
name = "small"
preset = "llama-0.8m"

[[base_model]]
name = "middle"
preset = "llama-2.5m"

[[base_model]]
name = "broken"
path = "weights"

[pretraining]
tokens = 2_000
vocabulary = 512
sequence_length = 32

[fine_tuning]
epochs = 1
sequence_length = 32
"""
BUDGET = """
[scaling]
target = "algebra"
models = ["small", "middle", "broken"]
sizes = [4, 8, 16, 30]

[trial_budget]
share = 0.45
"""
PLAIN = small_settings(BASES, selections=()).replace("[project]\n", '[project]\ntokenizer = "small"\n', 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory, materialized):
    """Base models are made, trials not yet; one model's files say its size and nothing else."""
    import numpy as np
    from safetensors.numpy import save_file

    project = materialized(tmp_path_factory.mktemp("budget") / "project", PLAIN)
    weights = project.root / "weights"
    weights.mkdir()
    save_file({"weight": np.zeros((1_000, 1_000), np.float32)}, weights / "model.safetensors")
    (weights / "config.json").write_text('{"model_type": "of no kind"}')
    project.tamis("materialize", "--allow-removal", "all")  # its selections are not in these settings
    project.configure(PLAIN + BUDGET)
    return project


def trials_made(project) -> set[str]:
    current = project.current
    return {partition for asset, partition in current if asset == "trials"}


def choice_of(project) -> str:
    (path,) = (project.home.fitted / "model_choice").rglob("choice_algebra.json")
    return str(json.loads(path.read_text())["model"])


def search_of(project):
    return project.snapshot.searches["algebra"]


def failures(project) -> dict[str, Failure]:
    return {failure.trial: failure for failure in failures_of(project.store)}


@pytest.fixture(scope="module")
def ended(built, tmp_path_factory):
    """The search as the command ran it to its end, undisturbed."""
    project = built.copy(tmp_path_factory.mktemp("ended") / "project")
    project.tamis("materialize")
    return project


def test_a_killed_search_goes_on_with_the_same_trials_and_no_charge_twice(built, ended, tmp_path):
    """SIGKILL in the midst of a trial, twice, at different depths of the search."""
    killed = built.copy(tmp_path / "killed")
    for made in (1, 3):
        process = subprocess.Popen(
            killed.command("materialize"),
            cwd=killed.root,
            env=killed.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 300
            while process.poll() is None and time.monotonic() < deadline:
                under_way = list((killed.home.cache / "training").glob("*"))
                if len(trials_made(killed)) >= made and under_way:
                    break
                time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL, "it was killed before it ended"
        assert made <= len(trials_made(killed)) < len(trials_made(ended))
        assert search_of(killed).spent_share <= 0.45
    killed.tamis("materialize")
    assert trials_made(killed) == trials_made(ended)
    there, here = search_of(ended), search_of(killed)
    assert here.left_out.keys() == there.left_out.keys()
    # The reasons name the folders of their weights.
    assert replace(here, left_out={}) == replace(there, left_out={})
    assert choice_of(killed) == choice_of(ended)


def test_what_failed_for_good_is_tried_again_when_asked_though_nothing_else_is_due(ended, tmp_path):
    project = ended.copy(tmp_path / "again")
    before, search = failures(project), search_of(project)
    assert "everything is current" in project.tamis("materialize").stderr
    assert failures(project) == before, "what failed for good is not tried again by itself"
    said = project.tamis("materialize", "--try-again", code=None).stderr
    assert f"retrying {len(before)} trials that failed" in said
    after = failures(project)
    # The reasons name the folders of their weights.
    assert replace(search_of(project), left_out={}) == replace(search, left_out={})
    assert after.keys() == before.keys()
    for name, failure in after.items():
        assert failure.permanent
        assert failure.failed_at > before[name].failed_at
        assert (failure.spent_seconds or 0) > (before[name].spent_seconds or 0) > 0


def test_the_sensor_and_the_command_spend_the_same_budget_on_the_same_trials(built, tmp_path, monkeypatch):
    by_command = built.copy(tmp_path / "command")
    said = by_command.tamis("materialize").stderr
    assert "trial law__broken__4 was left out: NoTokenizerError" in said
    page = by_command.home.reports / "scaling_law_algebra.html"
    assert f"scaling on algebra: current; {page}" in said
    assert " in [trial_budget]" in said
    assert "to pay for another trial" in said
    assert "everything is current" in by_command.tamis("materialize").stderr
    assert by_command.json("status")["trial_budget"]["algebra"]["left_out"].keys() >= {"law__broken__4"}

    watching = watched(built.copy(tmp_path / "sensor"), monkeypatch)
    platform, made = next(watching), []
    while len(made) < 40:
        platform.arrive()
        requests, reason = platform.tick("trial_budget")
        if not requests:
            break
        (request,) = requests
        done = platform.execute(request)
        made.append((names(request)[0], request.partition_key, done.success))
        drawn = set(names(request))
    assert drawn == {"loss_curves", "scaling_law_report", "model_choice"}
    assert made[-1] == ("loss_curves", None, True)
    failed = [name for _asset, name, good in made if not good]
    assert failed
    assert all(name and name.startswith("law__broken__") for name in failed)
    assert len(failed) == len(set(failed)), "what cannot succeed is not tried again"
    assert "was left out: NoTokenizerError" in reason
    assert trials_made(platform) == trials_made(by_command)
    assert choice_of(platform) == choice_of(by_command)
    search = platform.snapshot.searches["algebra"]
    assert search.spent_share <= 0.45
    assert {name.split("__")[1] for name in search.measured} == {"small", "middle"}
    watching.close()
