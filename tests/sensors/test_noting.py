"""What sensors say is noted in the home, without a change in what they are for Dagster."""

from pathlib import Path

import dagster as dg
import pytest
from projects import plain_project, settings

from tamis.graph.used_stages import used_by
from tamis.platform.assets.removal import removal
from tamis.platform.resources.store import StoreResource
from tamis.platform.sensors import noting
from tamis.platform.sensors.defined import sensors_of
from tamis.platform.sensors.noting import noted
from tamis.platform.sensors.reselection import reselection
from tamis.store.served import said_by


class Tables:
    """Stands for the store of a sensor."""

    def __init__(self, home) -> None:
        self.home = home


@pytest.fixture
def store(tmp_path):
    return Tables(plain_project(tmp_path, settings()).home)


def tick(store, found):
    def made(context, store):
        """Look."""
        if isinstance(found, Exception):
            raise found
        return found

    assert noted(made)(None, store) is found
    return said_by(store.home, "made")


REQUEST = dg.RunRequest(asset_selection=[dg.AssetKey(name) for name in ("documents", "embeddings")])


@pytest.mark.parametrize(
    ("found", "text", "working"),
    [
        (dg.SensorResult(run_requests=[REQUEST]), "requested: documents, embeddings", True),
        (dg.SensorResult(run_requests=[dg.RunRequest(job_name="removal")]), "requested: removal", True),
        (dg.SkipReason("no changes"), "no changes", False),
        (dg.SkipReason("a run is in progress; the sensor continues when it ends"), "a run is in", True),
        (dg.SkipReason("new shards are being registered"), "new shards", True),
        (dg.SkipReason("not materialized yet: best; run `tamis materialize`"), "not materialized", False),
    ],
)
def test_what_a_sensor_says_is_noted(store, found, text, working):
    said = tick(store, found)
    assert said.text.startswith(text)
    assert said.working == working


def test_what_was_asked_for_last_stays_while_its_run_goes_on(store):
    tick(store, dg.SensorResult(run_requests=[REQUEST]))
    busy = dg.SkipReason("a run is in progress; the sensor continues when it ends")
    first = tick(store, busy)
    assert first.asked == "requested: documents, embeddings"
    assert tick(store, busy) == first, "nothing is written where nothing is new"


def test_a_sensor_that_fails_is_noted_by_the_class_of_its_error_alone(store):
    with pytest.raises(ValueError, match="a line of a document"):
        tick(store, ValueError("a line of a document"))
    said = said_by(store.home, "made")
    assert said.text.startswith("failed (ValueError)")
    assert not said.working


def test_a_home_that_cannot_be_written_stops_no_sensor(store, monkeypatch):
    def refuse(*_given, **_more):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tamis.store.served.whole_file", refuse)
    noted(lambda context, store: dg.SkipReason("x"))(None, store)


def test_a_tamis_toml_that_cannot_be_read_stops_no_sensor(tmp_path):
    file = tmp_path / "tamis.toml"
    file.write_text("[retention]\nday = 3\n")
    said = dg.SkipReason("day is no key; sensors wait until tamis.toml is corrected")
    unreadable = StoreResource(project_file=str(file))
    assert noted(lambda context, store: said)(None, unreadable) is said


def test_dagster_sees_the_same_sensors(tmp_path):
    project = plain_project(tmp_path / "other", settings()).project
    by_name = {one.name: one for one in sensors_of(used_by(project), removal)}
    assert by_name["reselection"].description.startswith("Keep every materialized selection current")
    assert by_name["reselection"].required_resource_keys == {"store"}
    assert noted(reselection).__name__ == "reselection"


def test_each_phrase_by_which_waiting_is_known_is_one_that_sensors_say():
    folder = Path(noting.__file__).parent
    said = "".join(file.read_text() for file in folder.glob("*.py") if file.name != "noting.py")
    assert [words for words in noting.GOES_ON if words not in said] == []
