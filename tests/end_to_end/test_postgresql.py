"""The whole graph with Dagster's state on PostgreSQL: the values of SQLite, and every command and sensor."""

import shutil

import dagster as dg
import pytest
import sqlalchemy
from projects import assets_made, make_project, sentences, watched, write_jsonl
from soundness import assert_sound, versions

from tamis.runtime.instance import open_instance
from tamis.runtime.instance_file import ON_POSTGRES, POSTGRES_URL
from tamis.store.home import ID_COPY, ID_MARKER


@pytest.fixture
def on_postgres(tmp_path, encoder_cache, postgres_url, monkeypatch):
    """The same project with an empty database of its own."""
    name = f"db_{abs(hash(str(tmp_path)))}"
    server = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    server.dispose()
    url = sqlalchemy.make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    # As people write it: the command names the driver.
    monkeypatch.setenv(POSTGRES_URL, url.replace("postgresql+psycopg2://", "postgresql://"))
    return make_project(tmp_path / "project", encoder_cache)


def test_everything_is_made_as_built_and_the_sensors_go_on_from_there(built, on_postgres, monkeypatch):
    on_postgres.tamis("materialize")
    assert versions(on_postgres) == versions(built)
    assert (on_postgres.home.dagster / "dagster.yaml").read_text() == ON_POSTGRES.read_text()
    assert list(on_postgres.home.dagster.rglob("*.db")) == [], "the state is in the database"
    assert_sound(on_postgres)
    for platform in watched(on_postgres, monkeypatch):
        assert platform.instance.get_runs_count() > 0
        assert platform.until_rest() == []
        write_jsonl(on_postgres.root / "landing" / "more.jsonl", sentences("algebra", 30, 5))
        platform.tamis("status")
        made = assets_made(platform.until_rest())
        assert {"documents", "embeddings", "transport_scores", "selected_subset"} <= made
    (on_postgres.root / "landing" / "more.jsonl").unlink()
    on_postgres.tamis("materialize")
    assert versions(on_postgres) == versions(built)


def test_a_home_moves_from_sqlite_to_a_database_and_is_not_opened_without_it(built, on_postgres, monkeypatch):
    shutil.rmtree(on_postgres.root)
    shutil.copytree(built.root, on_postgres.root)
    assert "logged again" in on_postgres.tamis("materialize").stderr
    assert on_postgres.json("audit")["status"] == "green"
    monkeypatch.delenv(POSTGRES_URL)
    said = on_postgres.tamis("audit", code=2).stderr
    assert POSTGRES_URL in said
    assert "set it" in said


def test_two_homes_in_one_database_are_told_apart_and_a_wiped_asset_is_logged_again(built, on_postgres):
    shutil.rmtree(on_postgres.root)
    homes = [built.copy(on_postgres.root), built.copy(on_postgres.root.with_name("other"))]
    for home in homes:
        for place in (ID_MARKER, ID_COPY):
            (home.home.root / place).unlink()  # copies of one home would be one home
        assert "logged again" in home.tamis("materialize").stderr
    with open_instance(homes[0].project) as instance:
        instance.wipe_assets([dg.AssetKey("selected_subset")])
    for home in homes:
        assert home.json("audit", code=1)["status"] == "red"
        assert "logged again: 2 " in home.tamis("materialize").stderr
        assert home.json("audit")["status"] == "green"


def test_a_database_that_does_not_answer_is_named_without_its_password(small_project, monkeypatch):
    monkeypatch.setenv(POSTGRES_URL, "postgresql://me:secret@127.0.0.1:1/tamis")
    said = small_project.tamis("audit", code=1).stderr
    assert "127.0.0.1:1/tamis" in said
    assert POSTGRES_URL in said
    assert "secret" not in said
    assert "Traceback" not in said
