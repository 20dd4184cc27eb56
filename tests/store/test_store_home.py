"""The form of a home: what another version of Tamis wrote is refused with the way to rebuild it."""

import os
import re

import dagster as dg
import pyarrow as pa
import pytest
from projects import plain_project, selection, settings

from tamis.cli import main
from tamis.project import open_project
from tamis.runtime.instance import open_instance
from tamis.store.home import (
    MOST_BYTES,
    PROJECT_MARKER,
    Home,
    HomeFormError,
    HomeNotAFolderError,
    HomeOfAnotherError,
    HomePathError,
    claim,
    placed,
    writing,
)
from tamis.store.schemas import schema_of
from tamis.training.tracking import ensure_database


def test_a_home_of_another_form_is_refused_and_the_error_says_how_to_rebuild_it(tmp_path):
    home = Home(tmp_path)
    schema = schema_of("heads")
    without = pa.schema([field.remove_metadata() for field in schema])
    home.store.append("heads", pa.Table.from_pylist([], schema=without))
    with pytest.raises(HomeFormError, match=r"by Tamis 0.1, .* move the .* away and run `tamis materialize`"):
        placed(home)


def test_a_home_of_this_form_is_opened(tmp_path):
    home = Home(tmp_path)
    home.store.append("heads", pa.Table.from_pylist([], schema=schema_of("heads")))
    assert placed(home) == home


def test_a_home_holds_the_results_of_one_project(tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_HOME", str(tmp_path / "home"))
    first = plain_project(tmp_path / "first", settings(selection("best"), name="first")).project
    second = plain_project(tmp_path / "second", settings(selection("best"), name="second"))
    assert second.project.home.root == first.home.root, "nothing was written yet, so both may have it"
    claim(first.home, "first")
    claim(first.home, "first")
    with pytest.raises(HomeOfAnotherError, match=r"of the project 'first', but .* describes 'second'"):
        open_project(second.root)
    assert open_project(first.root).home == first.home
    (first.home.root / PROJECT_MARKER).write_text("second\n")
    assert second.project.settings.project.name == "second", "who renamed the project says so"


def test_an_object_store_holds_the_results_of_one_project(tmp_path, storage_url):
    first, second = (Home(tmp_path / name, storage_url) for name in ("one", "two"))
    with writing(first, "the first project"):
        claim(first, "first")
    with pytest.raises(HomeOfAnotherError, match="storage url of its own"), writing(second, "the second"):
        claim(second, "second")
    with writing(second, "the first project, of another machine"):
        claim(second, "first")


def test_a_file_or_a_link_to_nothing_in_the_place_of_a_home_is_named(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(HomeNotAFolderError, match=f"because {tmp_path}/file is a file; rename"):
            placed(Home(home))
    with pytest.raises(HomeNotAFolderError, match="link is a link to gone, which does not exist; mount"):
        placed(Home(tmp_path / "link"))
    (tmp_path / "gone").mkdir()
    assert placed(Home(tmp_path / "link")).root == tmp_path / "link"


@pytest.mark.parametrize(("name", "found"), [("a?b", "?"), ("a%41b", "%41"), ("100%25", "%25")])
def test_a_path_that_means_another_one_in_the_address_of_a_database_is_refused(tmp_path, name, found):
    with pytest.raises(HomePathError, match="rename the folder, or set TAMIS_HOME to a path") as caught:
        placed(Home(tmp_path / name / ".tamis"))
    assert caught.value.found == found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("line\nbreak", r"the path \S*line\\nbreak\S* contains a line break"),
        ("return\rhere", "contains a line break"),
        ("bell\x07", r"contains the control character '\\x07'"),
        ("next\x85line", "contains a line break"),
        (os.fsdecode(b"lat\xe9"), r"lat\\xe9\S* is not valid UTF-8 \(byte 0xe9\)"),
        ("/".join(letter * 200 for letter in "abc"), "and at most 443 work, since SQLite takes no more"),
    ],
)
@pytest.mark.parametrize("by", ["folder", "TAMIS_HOME", "TAMIS_PROJECT"])
def test_a_path_that_databases_do_not_take_is_refused_in_one_line(
    tmp_path, monkeypatch, capsys, name, said, by
):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    project = plain_project(folder if by != "TAMIS_HOME" else tmp_path / "plain", settings(), {})
    if by == "TAMIS_HOME":
        monkeypatch.setenv("TAMIS_HOME", str(folder))
    if by == "TAMIS_PROJECT":
        monkeypatch.setenv("TAMIS_PROJECT", str(project.file))
    for call in (["status"], ["plan"], ["materialize"], ["trust"], ["health"]):
        arguments = call if by == "TAMIS_PROJECT" else ["-C", str(project.root), *call]
        assert main(arguments) == 2, call
        said_of_it = capsys.readouterr().err.splitlines()
        (line,) = [line for line in said_of_it if "starting tamis" not in line]  # slow imports are said
        assert re.search(said, line), line
        assert re.search("(rename or )?move the folder", line)


@pytest.mark.parametrize(
    "name", ["100%(x)s", "{x}", "a;b:c,d", "a'b\"c", "~", "<b>&amp;", "#1", "ä\u0301 \U0001f600"]
)
def test_other_signs_in_a_path_work_for_all_databases(tmp_path, monkeypatch, name):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    project = plain_project(tmp_path / name, settings(), {}).project
    with open_instance(project) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("documents"))
    ensure_database(project.tracking_uri)
    assert (project.home.dagster / "history" / "runs" / "index.db").is_file()
    assert (project.home.mlflow / "mlflow.db").is_file()


def test_the_longest_path_that_is_taken_works(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    folder = tmp_path
    while (left := MOST_BYTES - len("/.tamis") - len(str(folder)) - 1) > 0:
        folder = folder / ("x" * (left if left < 200 else 150))
    project = plain_project(folder, settings(), {}).project
    assert len(str(project.home.root)) == MOST_BYTES
    with open_instance(project) as instance:
        run = instance.create_run_for_job(dg.GraphDefinition("g").to_job())
        instance.report_run_failed(run)
        assert len(instance.all_logs(run.run_id)) == 1
