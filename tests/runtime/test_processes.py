"""Runs of processes that are gone are ended; those of living ones, and of other machines, are left alone."""

import os
import subprocess
import sys

import dagster as dg
import pytest

from tamis.base.processes import this_process
from tamis.runtime import runs
from tamis.runtime.runs import PROCESS_TAG, end_killed_runs, note_process, tags_of
from tamis.store.home import Home, claim

ALIVE = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def home(tmp_path) -> Home:
    found = Home(tmp_path)
    claim(found, "small")
    return found


def run_of(instance, home, process: str | None, status=dg.DagsterRunStatus.STARTED) -> dg.DagsterRun:
    tags = tags_of(home) | ({PROCESS_TAG: process} if process else {})
    return instance.add_run(dg.DagsterRun(job_name="__ASSET_JOB", tags=tags, status=status))


def status(instance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    return instance.get_run_by_id(run.run_id).status


@pytest.mark.parametrize("state", ALIVE)
def test_a_run_whose_process_was_killed_is_ended_in_whatever_state_it_was(instance, home, state):
    code = "from tamis.base.processes import this_process; print(this_process())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    run = run_of(instance, home, process.stdout.strip(), state)
    assert end_killed_runs(instance, home) == 1
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE
    assert end_killed_runs(instance, home) == 0


def test_living_processes_and_other_machines_are_left_alone(instance, home):
    here = run_of(instance, home, this_process())
    elsewhere = run_of(instance, home, "another-host:1:1")
    assert end_killed_runs(instance, home) == 0
    assert {status(instance, run) for run in (here, elsewhere)} == {dg.DagsterRunStatus.STARTED}


def test_a_process_id_that_is_used_again_does_not_bring_a_run_back(instance, home):
    host, _, started = this_process().rsplit(":", 2)
    run = run_of(instance, home, f"{host}:{os.getpid()}:{float(started) - 1000:.0f}")
    assert end_killed_runs(instance, home) == 1
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_run_that_never_reached_a_step_is_given_time_and_then_ended(instance, home, monkeypatch):
    run = run_of(instance, home, None, dg.DagsterRunStatus.NOT_STARTED)
    began = dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_START.value, job_name="__ASSET_JOB")
    instance.report_dagster_event(began, run.run_id)
    assert status(instance, run) == dg.DagsterRunStatus.STARTED
    assert end_killed_runs(instance, home) == 0
    monkeypatch.setattr(runs, "SILENT_SECONDS", -1.0)
    assert end_killed_runs(instance, home) == 1
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_step_names_its_process_once(instance, home):
    run = run_of(instance, home, None)
    note_process(instance, run)
    assert instance.get_run_by_id(run.run_id).tags[PROCESS_TAG] == this_process()
