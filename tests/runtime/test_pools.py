"""The pool for steps on an accelerator: who is in it, that it delays no local run, that slots come free."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._daemon.monitoring.concurrency import execute_concurrency_slots_iteration
from projects import EVERYTHING, plain_project

from tamis.platform.assets.specification import ACCELERATOR_POOL
from tamis.runtime.instance_file import ON_POSTGRES, ON_SQLITE
from tamis.runtime.runs import end_killed_runs, note_process
from tamis.store.home import Home

FREED_AFTER = 1
SLEEPER = """
import sys, time
import dagster as dg
sys.path.insert(0, {checkout!r})
from tamis.runtime.runs import note_process

@dg.op(pool="gpu")
def holds(context):
    note_process(context.instance, context.run)
    print(context.run_id, flush=True)
    time.sleep(60)

@dg.job(executor_def=dg.in_process_executor)
def holding():
    holds()

with dg.DagsterInstance.from_config({home!r}) as instance:
    holding.execute_in_process(instance=instance)
"""


@dg.asset(pool=ACCELERATOR_POOL)
def on_a_device(context: dg.AssetExecutionContext) -> None:
    note_process(context.instance, context.run)


@pytest.fixture
def opened(tmp_path):
    """Open an instance in a folder of its own with this configuration."""
    kept: list[dg.DagsterInstance] = []

    def opening(text: str) -> dg.DagsterInstance:
        (tmp_path / "dagster.yaml").write_text(text)
        kept.append(dg.DagsterInstance.from_config(str(tmp_path)))
        return kept[-1]

    yield opening
    for instance in kept:
        instance.dispose()


def test_every_step_that_computes_on_an_accelerator_is_in_the_pool_and_no_other(tmp_path):
    graph = plain_project(tmp_path, EVERYTHING).definitions().resolve_asset_graph()
    found = {key.path[-1] for key in graph.executable_asset_keys if ACCELERATOR_POOL in graph.get(key).pools}
    # A pool is of a step: with vectors and perplexity goes all that is made of a file together with them.
    assert found == {
        "raw_shards", "documents", "token_counts", "embeddings", "document_flags", "form_scores",
        "perplexity_scores", "quality_scores", "classifier_scores", "target_embeddings", "target_potential",
        "target_gaps", "transport_scores", "pool_potential_scores",
        "judge_scores",
        "base_models", "trials", "control_losses", "evaluations", "sampler_trials", "selected_subset",
            "decisions",
        "mixture_runs", "mixture_losses", "agreement_runs", "agreement_losses",
        "recipe", "mixture_gain",
    }  # fmt: skip


@pytest.mark.parametrize("text", [ON_SQLITE, ON_POSTGRES.read_text()], ids=["sqlite", "postgresql"])
def test_both_shipped_instances_count_runs_and_free_what_was_left(text):
    shipped = yaml.safe_load(text)
    assert shipped["concurrency"]["pools"]["granularity"] == "run"
    assert shipped["concurrency"]["runs"]["max_concurrent_runs"] == 1
    assert shipped["run_monitoring"]["enabled"]
    assert shipped["run_monitoring"]["free_slots_after_run_end_seconds"] == 60
    assert shipped["python_logs"]["python_log_level"] == "INFO"


def test_a_run_of_the_command_line_waits_for_no_slot(opened):
    # It holds the lock of the home, for which the run that has the device may be waiting: neither would end.
    instance = opened(ON_SQLITE)
    instance.event_log_storage.set_concurrency_slots(ACCELERATOR_POOL, 1)
    taken = instance.event_log_storage.claim_concurrency_slot(ACCELERATOR_POOL, "another-run", "step")
    assert taken.is_claimed
    began = time.monotonic()
    assert dg.materialize([on_a_device], instance=instance).success
    assert time.monotonic() - began < 20


def by_step(seconds: int) -> str:
    """The shipped configuration, with the pool counted by step and slots freed so long after a run."""
    changed = yaml.safe_load(ON_SQLITE)
    changed["concurrency"]["pools"]["granularity"] = "op"
    changed["run_monitoring"]["free_slots_after_run_end_seconds"] = seconds
    return yaml.safe_dump(changed)


def kill_a_run_that_holds_a_slot(instance: dg.DagsterInstance, home: str) -> str:
    """Start a run in a process of its own, wait until it holds its slot, kill -9; its id."""
    checkout = str(ON_POSTGRES.parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER.format(checkout=checkout, home=home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=checkout,
    )
    run = process.stdout.readline().strip()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    process.stdout.close()
    assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.STARTED
    return run


def test_a_slot_of_a_killed_run_comes_free_and_the_next_run_goes_on(opened, tmp_path):
    instance = opened(by_step(FREED_AFTER))
    storage = instance.event_log_storage
    storage.set_concurrency_slots(ACCELERATOR_POOL, 1)
    run = kill_a_run_that_holds_a_slot(instance, str(tmp_path))
    daemon = SimpleNamespace(instance=instance)
    list(execute_concurrency_slots_iteration(daemon, SimpleNamespace(info=lambda _line: None)))
    assert storage.get_concurrency_info(ACCELERATOR_POOL).active_run_ids == {run}, "nobody knows that it died"
    assert end_killed_runs(instance, Home(tmp_path)) == 1
    assert instance.get_run_by_id(run).status in FINISHED_STATUSES
    time.sleep(FREED_AFTER + 1.5)
    list(execute_concurrency_slots_iteration(daemon, SimpleNamespace(info=lambda _line: None)))
    assert storage.get_concurrency_info(ACCELERATOR_POOL).active_run_ids == set()
    assert dg.materialize([on_a_device], instance=instance).success
