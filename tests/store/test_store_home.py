"""The form of a home: what another version of Tamis wrote is refused with the way to rebuild it."""

import pyarrow as pa
import pytest
from projects import plain_project, selection, settings

from tamis.project import open_project
from tamis.store.home import (
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
