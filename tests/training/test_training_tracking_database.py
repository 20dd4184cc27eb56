"""MLflow on a real PostgreSQL server, with artifacts on an S3 server."""

import uuid

import pytest
import sqlalchemy
from projects import plain_project, settings

from tamis.base.errors import ConfigurationError
from tamis.settings.config import parse_settings
from tamis.training.errors import TrackerUnavailableError
from tamis.training.tracking import (
    find_run,
    log_trial,
    model_name,
    open_tracker,
    register_checkpoint,
    require_tracker,
)


@pytest.fixture
def database(postgres_url):
    """An empty database on the server, as people write its address."""
    name = f"mlflow_{uuid.uuid4().hex[:8]}"
    server = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    server.dispose()
    url = sqlalchemy.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    return url.replace("postgresql+psycopg2://", "postgresql://")


def test_runs_lie_in_the_database_and_artifacts_in_the_store(
    database, storage, storage_url, tmp_path, monkeypatch
):
    monkeypatch.setenv("TAMIS_MLFLOW_URL", database)
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    project = plain_project(tmp_path, settings()).project
    uri = project.tracking_uri
    require_tracker(uri)
    values = {
        "parameters": {"learning_rate": 1e-3},
        "metrics": {"held_out_bits_per_byte": 1.5},
        "loss_history": [(1, 5.0), (2, 4.0)],
        "datasets": [("scipy-stats", "ab" * 32, 200)],
        "checkpoint": "checkpoints/llama-200",
        "artifacts": project.artifact_root,
    }
    run = log_trial(uri, "tamis", "llama", input_key="k1", **values)
    assert (
        log_trial(uri, "tamis", "llama", input_key="k1", **values) == run == find_run(uri, "tamis", "llama")
    )
    assert register_checkpoint(uri, "tamis", run, "m1") == "1"
    client = open_tracker(uri)
    assert client.get_model_version(model_name("tamis", "llama"), "1").run_id == run
    client.log_text(run, "a note", "note.txt")
    prefix = storage_url.split("/", 3)[3]
    found = storage.objects(f"{prefix}/mlflow/tamis/")
    assert [name.rsplit("/", 1)[1] for name in found] == ["note.txt"]
    assert list(found.values()) == [b"a note"]
    assert not (tmp_path / ".tamis" / "mlflow").exists()


def test_a_database_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(TrackerUnavailableError) as raised:
        require_tracker("postgresql+psycopg2://me:hidden@127.0.0.1:1/mlflow")
    assert "127.0.0.1:1/mlflow" in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_password_in_the_project_file_is_refused_and_not_repeated():
    text = {"corpus": [{"name": "a", "kind": "files", "path": "a"}]}
    with pytest.raises(ConfigurationError, match="TAMIS_MLFLOW_URL") as raised:
        parse_settings(text | {"tracking": {"uri": "postgresql://me:hidden@host/mlflow"}})
    assert "hidden@" not in str(raised.value)
    assert parse_settings(text | {"tracking": {"uri": "postgresql://me@host/mlflow"}})
