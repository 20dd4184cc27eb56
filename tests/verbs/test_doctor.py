"""`tamis doctor` says what is installed and what is broken, in a project and outside."""

import builtins
import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from projects import CHECKOUT, plain_project, settings

from tamis.base import installation
from tamis.cli import main
from tamis.store.served import NOTE
from tamis.verbs import doctor


@pytest.fixture
def outside(tmp_path, monkeypatch):
    monkeypatch.delenv("TAMIS_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def diagnosed(capsys, code: int = 0) -> dict:
    assert main(["doctor", "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_outside_a_project_versions_and_extras_are_those_that_pip_knows(outside, capsys):
    found = diagnosed(capsys)
    assert found["healthy"]
    assert found["project"] is None
    stated = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert found["libraries"].keys() == {line.partition(">")[0] for line in stated["dependencies"]}
    assert all(found["libraries"][name] == version(name) for name in found["libraries"])
    extras = {*stated["optional-dependencies"]} - {"dev", "docs"}
    assert {one["name"] for one in found["extras"]} == extras | {"judge"}
    assert not list(outside.iterdir())


def test_a_missing_package_and_a_missing_extra_are_named_with_the_line_that_installs_them(
    outside, capsys, monkeypatch
):
    versions = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "" if name == "scipy" else versions(name))
    monkeypatch.setitem(doctor.EXTRAS, "ray", ("no_such_module", "work elsewhere"))
    found = diagnosed(capsys, code=1)
    assert found["libraries"]["scipy"] == "missing"
    (problem,) = found["problems"]
    assert problem.startswith("scipy is not installed")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert f"ray: not installed; work elsewhere ({installation.install_command('ray')})" in said
    monkeypatch.setattr(installation, "IN_CHECKOUT", False)
    assert installation.install_command("ray") == "pip install 'tamis[ray]'"


def test_a_build_of_torch_for_gpus_is_asked_and_one_that_is_broken_is_said(tmp_path, monkeypatch):
    made = tmp_path / "torch"
    made.mkdir()
    spec = type("Spec", (), {"origin": str(made / "__init__.py")})
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    (made / "version.py").write_text("__version__ = '9'\ncuda: Optional[str] = None\n")
    assert doctor._device("9") == ("CPU (torch is a build for CPUs)", [])
    (made / "version.py").write_text("__version__ = '9'\ncuda: Optional[str] = '12.8'\n")
    real = builtins.__import__

    def broken(name, *rest):
        if name == "torch":
            raise OSError("libcudart.so.12: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    device, problems = doctor._device("9")
    assert device == "unknown"
    assert "libcudart.so.12" in problems[0]


def test_the_project_here_is_looked_at_and_not_begun(outside, capsys, monkeypatch):
    project = plain_project(outside / "project", settings(), {})
    monkeypatch.chdir(project.root)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    before = sorted(project.root.rglob("*"))
    found = diagnosed(capsys)
    assert sorted(project.root.rglob("*")) == before
    assert found["project"] == str(project.root / "tamis.toml")
    assert [one["part"] for one in found["home"]] == ["home"]
    assert found["precision"] == "float32 (set in tamis.toml)"
    project.home.dagster.mkdir(parents=True)
    (project.home.dagster / NOTE).write_text('{"host": "::1", "port": 1, "process": "gone:1:1"}')
    found = diagnosed(capsys)
    assert {one["part"]: one["healthy"] for one in found["home"]} == dict.fromkeys(
        ("tables", "writer", "index"), True
    )
    assert "may have left processes" in " ".join(found["notes"])
    project.home.reports.mkdir()
    (project.home.reports / "index.html").write_text("a page")
    assert "the index of current values" in " ".join(diagnosed(capsys, code=1)["problems"])
    (project.root / "tamis.toml").write_text("[project]\nnme = 1\n")
    assert "nme" in " ".join(diagnosed(capsys, code=1)["problems"])


def test_little_space_is_noted(outside, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)
    notes = diagnosed(capsys)["notes"]
    assert any("memory has" in line for line in notes)
    assert any(str(outside) in line for line in notes)


def test_neither_dagster_nor_torch_is_imported():
    code = "import sys, tamis.verbs.doctor; assert not {'dagster', 'torch', 'mlflow'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_form_for_faults_asks_for_it():
    form = yaml.safe_load(Path(CHECKOUT, ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    asked = {one["id"]: one for one in form["body"]}
    assert "tamis doctor" in asked["doctor"]["attributes"]["label"]
    assert asked["doctor"]["validations"]["required"]
