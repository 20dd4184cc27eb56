"""Trials in MLflow: one run and one model for each trial and input key, however often logging is retried.

A run is found by its tags, never by a handle, so any process can finish what another began; all that is
written is idempotent, and a finished run is left alone. The model of a run is what it wrote: a
`LoggedModel`, whose metrics name the data set that it was trained on. Weights stay in the checkpoint folder:
MLflow holds its relative path and digests, so the home folder can be moved. Importing mlflow costs 1.4 s of
processor time, a run with 200 losses 0.1 s.
"""

import functools
import json
import logging
import os
import posixpath
import re
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from tamis.base.errors import MissingPackageError
from tamis.base.files import flush, flush_one
from tamis.base.installation import install_command
from tamis.base.sqlite import PATIENCE_SECONDS, DatabaseLockedError, is_locked, wait_until_free
from tamis.training.errors import DamagedTrackerError, DeletedExperimentError, TrackerUnavailableError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql"
CONNECT_SECONDS = 5
ARTIFACT_ROOT = "mlflow-artifacts:/"  # resolved by whoever serves the database; never a path of one machine
Given = ParamSpec("Given")
Found = TypeVar("Found")
DELETED = "deleted"
REMOVED = "tamis.removed"
SCHEME = "tamis:///"  # no place to fetch from: what follows is relative to a home that may be moved
TRIAL, INPUT_KEY, CHECKPOINT, MANIFEST = (
    "tamis.trial",
    "tamis.input_key",
    "tamis.checkpoint",
    "tamis.manifest",
)
REGISTERED, CONTENT = "tamis.registered", "tamis.content"
LOSS = "training_loss"
PROBE_SECONDS = 5.0
DIGEST_CHARACTERS = 32  # MLflow allows 36
MODEL_TYPE, MODEL_VERSIONS = "checkpoint", "mlflow.modelVersions"
_NOT_IN_MODEL_NAMES = re.compile(r"[/:.%\"']")
PARAMETERS_PER_CALL, METRICS_PER_CALL = 100, 1_000
LONGEST_METRIC = 250
_REFUSED = re.compile(r"[^\w\-.: /]|[^\S ]")
CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
"""Settings of MLflow's client where the environment says nothing else."""


def _file_of(uri: str) -> Path | None:
    """Return the file of an `sqlite:///` address, None of another one."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def _patient(asking: Callable[Concatenate[str, Given], Found]) -> Callable[Concatenate[str, Given], Found]:
    """Let a function wait for whoever has the database locked; it raises `DatabaseLockedError` in the end."""

    @functools.wraps(asking)
    def patient(uri: str, *given: Given.args, **named: Given.kwargs) -> Found:
        path = _file_of(uri)
        if path is None:
            return asking(uri, *given, **named)
        wait_until_free([path])
        try:
            return asking(uri, *given, **named)
        except Exception as error:
            if not is_locked(error):
                raise
            raise DatabaseLockedError.of([path], PATIENCE_SECONDS) from error

    return patient


def ensure_database(uri: str) -> None:
    """Create the file of an `sqlite:///` address and its folder when missing; leave other addresses alone."""
    path = _file_of(uri)
    if path is None or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as folder:
        draft = Path(folder) / path.name
        with _quiet_migrations(), _unflushed_connections():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            SqlAlchemyStore(f"{SQLITE}{draft}", ARTIFACT_ROOT).engine.dispose()
        flush(Path(folder))
        with suppress(FileExistsError):
            os.link(draft, path)
            flush_one(path.parent)


def require_database(uri: str) -> None:
    """Connect to a PostgreSQL database; raises `TrackerUnavailableError`, `MissingPackageError`."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": CONNECT_SECONDS})
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "psycopg2",
            "tracking in a PostgreSQL database",
            install_command("postgres"),
        ) from error
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError as error:
        raise TrackerUnavailableError(uri, str(error.orig).strip().splitlines()[0]) from error
    finally:
        engine.dispose()


@contextmanager
def _unflushed_connections() -> Iterator[None]:
    """SQLite connections opened inside do not wait for the disk."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


@contextmanager
def _quiet_migrations() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def model_name(experiment: str, trial: str) -> str:
    """Name of a trial's registered model."""
    return f"{experiment}.{trial}"


@_patient
def register_checkpoint(uri: str, experiment: str, run: str, manifest: str) -> str:
    """Register the checkpoint of a run that `log_trial` made, tag both with the manifest; return the version.

    A second call with the same run and manifest changes nothing.
    """
    client = open_tracker(uri)
    client.set_tag(run, MANIFEST, manifest)
    logged = client.get_run(run).data.tags
    tags = {tag: logged[tag] for tag in (TRIAL, INPUT_KEY, MANIFEST, CHECKPOINT)}
    name = model_name(experiment, tags[TRIAL])
    versions = client.search_model_versions(f"name = '{name}'")
    found = next((version for version in versions if tags.items() <= version.tags.items()), None)
    if found is None:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        model = _model_of(client, run)
        found = client.create_model_version(
            name,
            f"{SCHEME}{tags[CHECKPOINT]}",
            run_id=run,
            tags=tags,
            model_id=None if model is None else model.model_id,
        )
        if model is not None:
            # A server writes the second tag itself, a database does not; the pages of a model read it.
            linked = json.dumps([{"name": name, "version": str(found.version)}])
            client.set_logged_model_tags(model.model_id, {MANIFEST: manifest, MODEL_VERSIONS: linked})
    elif REMOVED in found.tags:  # it was removed by the rule, and is made again
        client.delete_model_version_tag(name, found.version, REMOVED)
        client.update_model_version(name, found.version, "")
        if model := _model_of(client, run):
            client.delete_logged_model_tag(model.model_id, REMOVED)
    return str(found.version)


@_patient
def mark_removed(uri: str, trial: str, manifest: str, rule: str) -> None:
    """Let the model versions of a manifest say that their weights were removed, and by which rule."""
    client = open_tracker(uri)
    for version in _versions_of(client, trial):
        if version.tags.get(MANIFEST) == manifest:
            client.set_model_version_tag(version.name, version.version, REMOVED, rule)
            if version.run_id and (model := _model_of(client, version.run_id)):
                client.set_logged_model_tags(model.model_id, {REMOVED: rule})
            client.update_model_version(
                version.name,
                version.version,
                f"The weights were removed by the rule {rule}; the manifest is kept.",
            )


@_patient
def registered_manifests(uri: str, trial: str) -> set[str]:
    """Manifests of a trial's model versions."""
    return {one.tags.get(MANIFEST, "") for one in _versions_of(open_tracker(uri), trial)}


@_patient
def aliased_checkpoints(uri: str, trial: str) -> set[str]:
    """Folders, relative to the home, of the model versions that somebody gave an alias."""
    client = open_tracker(uri)
    return {
        client.get_model_version(name, version).tags.get(CHECKPOINT, "")
        for name in {one.name for one in _versions_of(client, trial)}
        for model in client.search_registered_models(f"name = '{name}'")
        for version in set(model.aliases.values())
    }


def _versions_of(client: "MlflowClient", trial: str) -> list["ModelVersion"]:
    """The versions of a trial, whatever the experiment was called when they were registered."""
    return list(client.search_model_versions(f"tags.`{TRIAL}` = '{trial}'"))


@_patient
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
        raise ValueError(f"the checkpoint's path {checkpoint!r} must be relative to the home folder")
    client = open_tracker(uri)
    run = _find(client, experiment, trial, input_key)
    if run is None:
        tags = {TRIAL: trial, INPUT_KEY: input_key, CHECKPOINT: checkpoint}
        run = client.create_run(_experiment(client, uri, experiment, artifacts), tags=tags, run_name=trial)
    if run.info.status == "FINISHED":
        return run.info.run_id
    _log_parameters(client, run, parameters)
    _log_datasets(client, run, datasets)
    tags = {TRIAL: trial, INPUT_KEY: input_key, CHECKPOINT: checkpoint}
    model = _log_model(client, run, trial, tags)
    _log_metrics(client, run, metrics, loss_history, model, datasets)
    client.set_terminated(run.info.run_id)
    return run.info.run_id


@_patient
def add_metrics(uri: str, run: str, metrics: Mapping[str, float]) -> None:
    """Log metrics of a run that may be finished; those that it has with these values are left alone.

    A run that somebody deleted gets none. Signs of a name that MLflow refuses become underscores.
    """
    metrics = {metric_name(name): value for name, value in metrics.items()}
    client = open_tracker(uri)
    known = _run(client, run)
    if known is None or known.info.lifecycle_stage == DELETED:
        return
    model = _model_of(client, run)
    for name, value in metrics.items():
        if known.data.metrics.get(name) != value:
            client.log_metric(run, name, value, model_id=None if model is None else model.model_id)


def metric_name(name: str) -> str:
    """Return a name as MLflow takes it: letters, digits and `_-.: /`, no path, at most 250 characters."""
    allowed = _REFUSED.sub("_", name)[:LONGEST_METRIC]
    return allowed if posixpath.normpath(allowed) == allowed else allowed.replace("/", "_")


@_patient
def log_registered(
    uri: str,
    experiment: str,
    checkpoint: str,
    *,
    manifest: str,
    content: str,
    parameters: Mapping[str, object],
    metrics: Mapping[str, float],
    dataset: tuple[str, str, int],
    artifacts: str = ARTIFACT_ROOT,
) -> str:
    """Log a checkpoint that was trained elsewhere and return its run id; a second call changes nothing.

    `content`: digest of its files. `dataset`: name, digest and rows of the export that it was trained on.
    Arguments are otherwise those of `log_trial`.
    """
    client = open_tracker(uri)
    place = _experiment(client, uri, experiment, artifacts)
    query = f"tags.`{REGISTERED}` = '{checkpoint}' and tags.`{MANIFEST}` = '{manifest}'"
    if logged := client.search_runs([place], query, max_results=1):
        run = logged[0]
    else:
        tags = {REGISTERED: checkpoint, MANIFEST: manifest, CONTENT: content}
        run = client.create_run(place, tags=tags, run_name=checkpoint)
    if REMOVED in run.data.tags:  # its entry was removed, and is made again
        client.delete_tag(run.info.run_id, REMOVED)
    if run.info.status != "FINISHED":
        _log_datasets(client, run, [dataset])
        tags = {REGISTERED: checkpoint, MANIFEST: manifest, CONTENT: content}
        model = _log_model(client, run, checkpoint, tags)
        _log_metrics(client, run, metrics, [], model, [dataset])
        client.set_terminated(run.info.run_id)
    _log_parameters(client, run, parameters)
    return run.info.run_id


@_patient
def mark_forgotten(uri: str, run: str, command: str) -> None:
    """Let the run of a registered checkpoint say which command removed its entry."""
    open_tracker(uri).set_tag(run, REMOVED, command)


@_patient
def find_run(uri: str, experiment: str, trial: str, input_key: str | None = None) -> str | None:
    """Id of the newest run of a trial (of that input key, where given), or None."""
    run = _find(open_tracker(uri), experiment, trial, input_key)
    return None if run is None else run.info.run_id


@_patient
def require_experiment(uri: str, name: str) -> None:
    """Raise `DeletedExperimentError` where somebody deleted an experiment; a missing one is made later."""
    path = _file_of(uri)
    if path is not None and not path.exists():
        return
    found = open_tracker(uri).get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == DELETED:
        raise DeletedExperimentError(uri, name, found.experiment_id)


def require_tracker(uri: str) -> None:
    """Ask a server whether it is there, or read a database, before hours of training.

    Raises `TrackerUnavailableError` and `DamagedTrackerError`.
    """
    if uri.startswith(POSTGRESQL):
        require_database(uri)
    path = _file_of(uri)
    if path is not None and path.exists():
        _require_readable(path)
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


def _require_readable(path: Path) -> None:
    """Raise `DamagedTrackerError` for a file that is no database: MLflow would try it for minutes."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        if not is_locked(error):
            raise DamagedTrackerError(path, str(error)) from error


def open_tracker(uri: str) -> "MlflowClient":
    """An MLflow client with telemetry off; an SQLite database is created when it is missing."""
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    ensure_database(uri)
    return MlflowClient(uri)


def _find(client: "MlflowClient", experiment: str, trial: str, input_key: str | None) -> "Run | None":
    if "'" in trial + (input_key or ""):
        raise ValueError(f"trial {trial!r} and input key {input_key!r} must not contain a single quote")
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
        if found.lifecycle_stage == DELETED:
            raise DeletedExperimentError(uri, name, found.experiment_id)
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


def _run(client: "MlflowClient", run: str) -> "Run | None":
    """Return a run by its id; None where somebody erased it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _model_of(client: "MlflowClient", run: str) -> "LoggedModel | None":
    """Return the model that a run wrote; None of runs that were logged before models were, or are erased."""
    known = _run(client, run)
    if known is None:
        return None
    experiment = known.info.experiment_id
    models = client.search_logged_models([experiment], f"source_run_id = '{run}'", max_results=1)
    return models[0] if models else None


def _log_model(client: "MlflowClient", run: "Run", name: str, tags: Mapping[str, str]) -> "LoggedModel":
    """Return the model of a run, made where it is missing, as its output; its weights are not MLflow's."""
    from mlflow.entities import LoggedModelOutput

    model = _model_of(client, run.info.run_id) or client.create_logged_model(
        run.info.experiment_id,
        name=_NOT_IN_MODEL_NAMES.sub("-", name),
        source_run_id=run.info.run_id,
        tags=dict(tags),
        model_type=MODEL_TYPE,
    )
    outputs = client.get_run(run.info.run_id).outputs
    if outputs is None or model.model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY")


def _log_metrics(
    client: "MlflowClient",
    run: "Run",
    metrics: Mapping[str, float],
    losses: Sequence[tuple[int, float]],
    model: "LoggedModel",
    datasets: Sequence[tuple[str, str, int]],
) -> None:
    """Log losses of the run, and its metrics as those of its model on the last data set that it learnt."""
    from mlflow.entities import Metric

    # Times follow from the run's start, so that a repeated entry is the same row and not another one.
    begin = run.info.start_time
    entries = [Metric(LOSS, loss, begin + step, step) for step, loss in losses]
    name, digest = next(((name, digest) for name, digest, _rows in reversed(datasets)), (None, ""))
    entries += [
        Metric(
            metric,
            float(value),
            begin,
            0,
            model_id=model.model_id,
            dataset_name=name,
            dataset_digest=digest[:DIGEST_CHARACTERS] or None,
        )
        for metric, value in metrics.items()
    ]
    for start in range(0, len(entries), METRICS_PER_CALL):
        client.log_batch(run.info.run_id, metrics=entries[start : start + METRICS_PER_CALL])


def _log_datasets(client: "MlflowClient", run: "Run", datasets: Sequence[tuple[str, str, int]]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    client.log_inputs(
        run.info.run_id,
        [
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
        ],
    )
