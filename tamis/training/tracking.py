"""Trials in MLflow: one run for each trial and input key, however often logging is retried.

A run is found by its tags, never by a handle, so any process can finish what another began; all that is
written is idempotent, and a finished run is left alone. Weights stay in the checkpoint folder: MLflow holds
its relative path and digests, so the home folder can be moved. Importing mlflow costs 1.4 s of processor
time, a run with 200 losses 0.1 s.
"""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from tamis.training.errors import TrackerUnavailableError
from tamis.training.tracking_database import (
    ARTIFACT_ROOT,
    POSTGRESQL,
    SQLITE,
    ensure_database,
    require_database,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRIAL, INPUT_KEY, CHECKPOINT, MANIFEST = (
    "tamis.trial",
    "tamis.input_key",
    "tamis.checkpoint",
    "tamis.manifest",
)
LOSS = "training_loss"
PROBE_SECONDS = 5.0
DIGEST_CHARACTERS = 32  # MLflow allows 36
PARAMETERS_PER_CALL, METRICS_PER_CALL = 100, 1_000


def log_trial(
    uri: str,
    experiment: str,
    trial: str,
    *,
    input_key: str,
    parameters: Mapping[str, object],
    metrics: Mapping[str, float],
    loss_history: Sequence[tuple[int, float]],
    datasets: Sequence[tuple[str, str, int]],
    checkpoint: str,
    artifacts: str = ARTIFACT_ROOT,
) -> str:
    """Log a finished trial and return its run id; a second call with the same trial and key changes nothing.

    `loss_history`: (step, nats a token). `datasets`: name, digest, rows of each
    stage. `checkpoint`: path relative to the home folder, else `ValueError`. `uri`: `sqlite:///file` (made if
    missing), PostgreSQL or a server.
    `artifacts`: where artifacts of a new experiment in a database go.
    """
    if PurePath(checkpoint).is_absolute():
        raise ValueError(f"checkpoint {checkpoint!r} must be relative to the home folder")
    client = open_tracker(uri)
    run = _find(client, experiment, trial, input_key)
    if run is None:
        tags = {TRIAL: trial, INPUT_KEY: input_key, CHECKPOINT: checkpoint}
        run = client.create_run(_experiment(client, uri, experiment, artifacts), tags=tags, run_name=trial)
    if run.info.status == "FINISHED":
        return run.info.run_id
    _log_parameters(client, run, parameters)
    _log_metrics(client, run, metrics, loss_history)
    _log_datasets(client, run, datasets)
    client.set_terminated(run.info.run_id)
    return run.info.run_id


def find_run(uri: str, experiment: str, trial: str, input_key: str | None = None) -> str | None:
    """Id of the newest run of a trial (of that input key, where given), or None."""
    run = _find(open_tracker(uri), experiment, trial, input_key)
    return None if run is None else run.info.run_id


def require_tracker(uri: str) -> None:
    """Ask a server whether it is there, before hours of training; raises `TrackerUnavailableError`."""
    if uri.startswith(POSTGRESQL):
        require_database(uri)
    if not uri.startswith(("http://", "https://")):
        return
    request = urllib.request.Request(f"{uri.rstrip('/')}/health", headers={"User-Agent": "tamis"})
    try:
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return
    except urllib.error.HTTPError:
        return  # an answer: a server that guards its pages is there
    except (OSError, ValueError) as error:
        raise TrackerUnavailableError(uri, str(getattr(error, "reason", error))) from error


def open_tracker(uri: str) -> "MlflowClient":
    """An MLflow client with telemetry off; an SQLite database is created when it is missing."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    ensure_database(uri)
    return MlflowClient(uri)


def _find(client: "MlflowClient", experiment: str, trial: str, input_key: str | None) -> "Run | None":
    if "'" in trial + (input_key or ""):
        raise ValueError(f"trial {trial!r} and input key {input_key!r} must not hold a quote")
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    query = f"tags.`{TRIAL}` = '{trial}'"
    if input_key is not None:
        query += f" and tags.`{INPUT_KEY}` = '{input_key}'"
    runs = client.search_runs(
        [found.experiment_id], query, max_results=1, order_by=["attributes.start_time DESC", "run_id"]
    )
    return runs[0] if runs else None


def _experiment(client: "MlflowClient", uri: str, name: str, artifacts: str = ARTIFACT_ROOT) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    # Without a location MLflow would store the absolute path of the working directory.
    location = f"{artifacts}{name}" if uri.startswith((SQLITE, POSTGRESQL)) else None
    return client.create_experiment(name, artifact_location=location)


def _log_parameters(client: "MlflowClient", run: "Run", parameters: Mapping[str, object]) -> None:
    """Write what is missing; a parameter never changes, so another value becomes the tag `changed.<name>`."""
    from mlflow.entities import Param

    present = run.data.params
    missing = [Param(name, str(value)) for name, value in parameters.items() if name not in present]
    for start in range(0, len(missing), PARAMETERS_PER_CALL):
        client.log_batch(run.info.run_id, params=missing[start : start + PARAMETERS_PER_CALL])
    for name, value in parameters.items():
        if present.get(name, str(value)) != str(value):
            client.set_tag(run.info.run_id, f"changed.{name}", str(value))


def _log_metrics(
    client: "MlflowClient", run: "Run", metrics: Mapping[str, float], losses: Sequence[tuple[int, float]]
) -> None:
    from mlflow.entities import Metric

    # Times follow from the run's start, so that a repeated entry is the same row and not another one.
    begin = run.info.start_time
    entries = [Metric(LOSS, loss, begin + step, step) for step, loss in losses]
    entries += [Metric(name, float(value), begin, 0) for name, value in metrics.items()]
    for start in range(0, len(entries), METRICS_PER_CALL):
        client.log_batch(run.info.run_id, metrics=entries[start : start + METRICS_PER_CALL])


def _log_datasets(client: "MlflowClient", run: "Run", datasets: Sequence[tuple[str, str, int]]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    inputs = [
        DatasetInput(
            Dataset(
                name=name,
                digest=digest[:DIGEST_CHARACTERS],
                source_type="tamis",
                source=f'{{"digest": "{digest}"}}',
                profile=f'{{"num_rows": {rows}}}',
            )
        )
        for name, digest, rows in datasets
    ]
    client.log_inputs(run.info.run_id, inputs)
