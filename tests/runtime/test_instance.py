"""The instance of a home, whatever its folder is called: its own file counts, and telemetry is off."""

import os

import pytest
from projects import plain_project, selection, settings

from tamis.base.trust import accept
from tamis.runtime.instance import open_instance
from tamis.runtime.instance_file import asked_by, prepare_folder


@pytest.fixture(autouse=True)
def _switched_by_nobody(monkeypatch, nowhere):
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("DAGSTER_DISABLE_TELEMETRY")


@pytest.mark.parametrize("name", ["data [v2]", "all*", "[!a]", "[a-c]", "**", "plain"])
def test_the_file_of_a_folder_named_like_a_pattern_counts_and_no_other(tmp_path, name):
    project = plain_project(tmp_path / name, settings(selection("best")), {}).project
    for other in ("data v", "all of them", "b"):  # what the patterns would match
        folder = tmp_path / other / ".tamis" / "dagster"
        folder.mkdir(parents=True)
        (folder / "dagster.yaml").write_text("nux:\n  enabled: true\n")
    with open_instance(project) as instance:
        assert instance.get_settings("run_monitoring")["enabled"]
        assert instance.get_settings("nux") == {"enabled": False}
        assert not instance.telemetry_enabled
        passed_on = instance.get_ref()
    assert passed_on.settings["telemetry"] == {"enabled": False}, "services of `tamis ui` get this"
    assert "DAGSTER_DISABLE_TELEMETRY" in os.environ, "and what they start inherits this"


def test_telemetry_is_off_though_an_accepted_file_switches_it_on(tmp_path):
    project = plain_project(tmp_path, settings(selection("best")), {}).project
    (prepare_folder(project) / "dagster.yaml").write_text("telemetry:\n  enabled: true\n")
    accept(asked_by(project))
    with open_instance(project) as instance:
        assert not instance.telemetry_enabled
