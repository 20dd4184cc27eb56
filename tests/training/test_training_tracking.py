"""MLflow on a real SQLite database: one run a trial, whatever is retried, and no path of this machine."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tamis.base.sqlite import DatabaseLockedError
from tamis.training.errors import DamagedTrackerError, DeletedExperimentError, TrackerUnavailableError
from tamis.training.tracking import (
    LONGEST_METRIC,
    _experiment,
    add_metrics,
    find_run,
    log_trial,
    mark_removed,
    metric_name,
    model_name,
    open_tracker,
    register_checkpoint,
    require_experiment,
    require_tracker,
)

HISTORY = [(step, 5.0 / step) for step in range(1, 41)]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('home')}/mlflow/mlflow.db"


def log(uri: str, trial: str = "llama/200", input_key: str = "k1", **changes) -> str:
    values = {
        "parameters": {"learning_rate": 1e-3, "model": "llama"},
        "metrics": {"held_out_bits_per_byte": 1.5, "seconds": 3.0},
        "loss_history": HISTORY,
        "datasets": [("scipy-stats", "ab" * 32, 200)],
        "checkpoint": "checkpoints/llama-200",
    }
    return log_trial(uri, "tamis", trial, input_key=input_key, **{**values, **changes})


def test_run_holds_everything(uri):
    run_id = log(uri)
    client = open_tracker(uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"learning_rate": "0.001", "model": "llama"}
    assert run.data.metrics["held_out_bits_per_byte"] == 1.5
    assert run.data.tags["tamis.checkpoint"] == "checkpoints/llama-200"
    points = client.get_metric_history(run_id, "training_loss")
    assert sorted((point.step, point.value) for point in points) == HISTORY
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("scipy-stats", "ab" * 16)
    assert "200" in used.dataset.profile


def test_retries_change_nothing(uri):
    first = log(uri)
    assert log(uri, parameters={"learning_rate": 5}) == first
    assert find_run(uri, "tamis", "llama/200") == find_run(uri, "tamis", "llama/200", "k1") == first
    assert open_tracker(uri).get_run(first).data.params["learning_rate"] == "0.001"


def test_interrupted_run_is_completed_not_doubled(uri):
    client = open_tracker(uri)
    tags = {"tamis.trial": "cut", "tamis.input_key": "k1"}
    run = client.create_run(_experiment(client, uri, "tamis"), tags=tags)
    client.log_param(run.info.run_id, "learning_rate", "0.5")
    first = run.info.start_time
    for step, loss in HISTORY[:10]:
        client.log_metric(run.info.run_id, "training_loss", loss, timestamp=first + step, step=step)
    assert log(uri, trial="cut") == run.info.run_id
    done = client.get_run(run.info.run_id)
    assert done.info.status == "FINISHED"
    assert done.data.params == {"learning_rate": "0.5", "model": "llama"}
    assert done.data.tags["changed.learning_rate"] == "0.001"
    assert len(client.get_metric_history(run.info.run_id, "training_loss")) == len(HISTORY)


def test_new_input_key_is_a_new_run(uri):
    first = log(uri, trial="two")
    second = log(uri, trial="two", input_key="k2")
    assert first != second
    assert find_run(uri, "tamis", "two") == second
    assert find_run(uri, "tamis", "two", "k1") == first


def test_unknown_trials(uri):
    assert find_run(uri, "tamis", "nothing") is None
    assert find_run(uri, "no-such-experiment", "nothing") is None


def registered(uri: str, manifest: str = "cd" * 32, input_key: str = "k1") -> str:
    run = log(uri, trial="kept", input_key=input_key, checkpoint="checkpoints/kept")
    return register_checkpoint(uri, "tamis", run, manifest)


def test_a_checkpoint_is_a_model_version_with_its_manifest(uri):
    number = registered(uri)
    client = open_tracker(uri)
    version = client.get_model_version(model_name("tamis", "kept"), number)
    assert version.tags["tamis.manifest"] == "cd" * 32
    assert version.tags["tamis.checkpoint"] == "checkpoints/kept"
    assert version.source == "tamis:///checkpoints/kept"
    assert version.run_id == find_run(uri, "tamis", "kept", "k1")
    assert client.get_run(version.run_id).data.tags["tamis.manifest"] == "cd" * 32
    assert registered(uri) == number, "a retry makes no second version"
    later = registered(uri, "ef" * 32, "k2")
    assert later != number
    assert len(client.search_model_versions("name = 'tamis.kept'")) == 2


def models_of(uri: str, run: str) -> list:
    client = open_tracker(uri)
    experiment = client.get_run(run).info.experiment_id
    return list(client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'"))


def test_a_run_has_one_model_that_its_data_set_measures(uri):
    run = log(uri, trial="one/model.v2", datasets=[("warm-up", "12" * 32, 9), ("numpy", "34" * 32, 7)])
    assert log(uri, trial="one/model.v2") == run
    (model,) = models_of(uri, run)
    assert (model.name, model.status, model.model_type) == ("one-model-v2", "READY", "checkpoint")
    assert model.tags["tamis.checkpoint"] == "checkpoints/llama-200"
    client = open_tracker(uri)
    assert [output.model_id for output in client.get_run(run).outputs.model_outputs] == [model.model_id]
    (measured,) = client.search_logged_models(
        [model.experiment_id],
        filter_string="metrics.held_out_bits_per_byte < 9",
        datasets=[{"dataset_name": "numpy", "dataset_digest": "34" * 16}],
    )
    assert measured.model_id == model.model_id
    assert {(metric.key, metric.dataset_name) for metric in measured.metrics} == {
        ("held_out_bits_per_byte", "numpy"),
        ("seconds", "numpy"),
    }


@pytest.mark.parametrize("cut", ["log_outputs", "finalize_logged_model", "log_batch", "set_terminated"])
def test_a_cut_run_gets_one_model(uri, monkeypatch, cut):
    from mlflow import MlflowClient

    def fail(*_given, **_named):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, cut, fail)
        with pytest.raises(KeyboardInterrupt):
            log(uri, trial=f"cut-{cut}")
    run = log(uri, trial=f"cut-{cut}")
    (model,) = models_of(uri, run)
    assert model.status == "READY"
    assert {metric.key for metric in model.metrics} == {"held_out_bits_per_byte", "seconds"}
    assert len(open_tracker(uri).get_run(run).outputs.model_outputs) == 1


def test_later_metrics_are_the_models_too(uri):
    run = log(uri, trial="later")
    add_metrics(uri, run, {"evaluation_accuracy": 0.25})
    add_metrics(uri, run, {"evaluation_accuracy": 0.25})
    (model,) = models_of(uri, run)
    assert [metric.value for metric in model.metrics if metric.key == "evaluation_accuracy"] == [0.25]


def test_removed_weights_are_noted_on_the_model(uri):
    run = log(uri, trial="rule", checkpoint="checkpoints/rule")
    number = register_checkpoint(uri, "tamis", run, "aa" * 32)
    (model,) = models_of(uri, run)
    version = {"name": model_name("tamis", "rule"), "version": number}
    assert json.loads(model.tags["mlflow.modelVersions"]) == [version]
    assert model.tags["tamis.manifest"] == "aa" * 32
    mark_removed(uri, "rule", "aa" * 32, "superseded")
    assert models_of(uri, run)[0].tags["tamis.removed"] == "superseded"
    register_checkpoint(uri, "tamis", run, "aa" * 32)
    assert "tamis.removed" not in models_of(uri, run)[0].tags


def test_a_run_without_a_model_is_left_without(uri):
    """Runs that were logged by an earlier release."""
    client = open_tracker(uri)
    tags = {"tamis.trial": "old", "tamis.input_key": "k", "tamis.checkpoint": "checkpoints/old"}
    run = client.create_run(_experiment(client, uri, "tamis"), tags=tags).info.run_id
    client.set_terminated(run)
    assert log(uri, trial="old", input_key="k") == run
    add_metrics(uri, run, {"evaluation_accuracy": 0.5})
    assert register_checkpoint(uri, "tamis", run, "bb" * 32) == "1"
    mark_removed(uri, "old", "bb" * 32, "superseded")
    assert register_checkpoint(uri, "tamis", run, "bb" * 32) == "1"
    assert models_of(uri, run) == []


def test_an_erased_run_has_no_model(uri):
    run = log(uri, trial="erased", checkpoint="checkpoints/erased")
    register_checkpoint(uri, "tamis", run, "cc" * 32)
    client = open_tracker(uri)
    client.delete_run(run)
    client._tracking_client.store._hard_delete_run(run)
    add_metrics(uri, run, {"evaluation_accuracy": 0.5})
    mark_removed(uri, "erased", "cc" * 32, "superseded")
    (version,) = client.search_model_versions("name = 'tamis.erased'")
    assert version.tags["tamis.removed"] == "superseded"


@pytest.mark.slow
def test_a_server_takes_what_the_database_takes(tmp_path):
    """A server checks what it is sent, the source of a model version among it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", *options]
    with (tmp_path / "log").open("w") as log_file:
        server = subprocess.Popen(
            command, cwd=tmp_path, stdout=log_file, stderr=log_file, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        number = registered(address)
        assert registered(address) == number
        version = open_tracker(address).get_model_version(model_name("tamis", "kept"), number)
        assert version.source == "tamis:///checkpoints/kept"
        assert version.run_id == find_run(address, "tamis", "kept", "k1")
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            require_tracker(address)
            return
        except TrackerUnavailableError:
            time.sleep(0.5)
    raise TimeoutError(address)


def test_both_stages_are_dataset_inputs(uri):
    stages = [("near-algebra", "12" * 32, 20), ("algebra", "34" * 32, 30)]
    run = open_tracker(uri).get_run(log(uri, trial="staged", datasets=stages))
    found = [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs]
    assert sorted(found) == [("algebra", "34" * 16), ("near-algebra", "12" * 16)]


def test_bad_names(uri):
    with pytest.raises(ValueError, match="relative"):
        log(uri, checkpoint="/checkpoints/llama")
    with pytest.raises(ValueError, match="quote"):
        find_run(uri, "tamis", "it's")


def test_nothing_absolute_and_nothing_beside_the_database(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log(uri, trial="elsewhere")
    assert list(tmp_path.iterdir()) == []
    path = uri.removeprefix("sqlite:///")
    folder = path.rsplit("/", 2)[0]
    with sqlite3.connect(path) as connection:
        dump = "\n".join(connection.iterdump())
    assert folder not in dump
    assert "file:" not in dump
    locations = sqlite3.connect(path).execute("select artifact_location from experiments").fetchall()
    assert all(location.startswith("mlflow-artifacts:/") for (location,) in locations)


def test_databases_can_be_moved(uri, tmp_path):
    run_id = log(uri)
    copy = tmp_path / "moved.db"
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    assert find_run(f"sqlite:///{copy}", "tamis", "llama/200") == run_id


def test_an_experiment_that_somebody_deleted_is_said_before_training_with_the_way_back(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    require_experiment(uri, "tamis")
    assert not list(tmp_path.iterdir()), "asking makes no database"
    run = log(uri)
    require_experiment(uri, "tamis")
    client = open_tracker(uri)
    number = client.get_experiment_by_name("tamis").experiment_id
    client.delete_experiment(number)
    said = f"mlflow experiments restore --experiment-id {number}`"
    with pytest.raises(DeletedExperimentError, match=said):
        require_experiment(uri, "tamis")
    with pytest.raises(DeletedExperimentError, match=said):
        log(uri, trial="after")
    require_experiment(uri, "another")
    client.restore_experiment(number)
    require_experiment(uri, "tamis")
    assert log(uri) == run


def test_a_run_that_somebody_deleted_is_logged_again(uri):
    first = log(uri, trial="deleted")
    open_tracker(uri).delete_run(first)
    assert log(uri, trial="deleted") != first


def test_a_file_that_is_no_database_is_named_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 1000)
    with pytest.raises(DamagedTrackerError, match=r"mlflow.db cannot be read \(file is not a database\)"):
        require_tracker(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_that_another_program_has_locked_is_waited_for_and_then_named(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run = log(uri)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("tamis.base.sqlite.PATIENCE_SECONDS", 0.3)
        with pytest.raises(DatabaseLockedError, match=r"mlflow.db has been locked .* run the same command"):
            log(uri, trial="later")
        other.execute("ROLLBACK")
    assert log(uri) == run


@given(st.text(max_size=300))
@example("a/../b")
@example("strict, (hard)")
@example("a\u2003b\n")
def test_a_metric_of_any_task_has_a_name_that_mlflow_takes(task):
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric_name

    def takes(name: str) -> bool:
        try:
            _validate_metric_name(name)
        except MlflowException:
            return False
        return len(name) <= LONGEST_METRIC

    name = f"evaluation.{task}"
    assert takes(metric_name(name))
    assert metric_name(name) == name or not takes(name) or "\n" in name
