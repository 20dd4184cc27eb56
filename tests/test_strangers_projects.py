"""Files of a project that somebody else made are data: nothing imports or runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from projects import CHECKOUT, plain_project, selection, settings

from tamis.embedding.identity import EncoderUnavailableError
from tamis.embedding.sentence import SentenceEncoder
from tamis.records import manifest
from tamis.report.rendering import new_figure, png_of
from tamis.store.home import Home
from tamis.store.probing import crashing_tables

MARK = "import pathlib; pathlib.Path({!r}).touch()\n"
MODULES = ("pickle", "lancedb", "numpy", "polars", "sitecustomize", "usercustomize", "tamis", "resources")


@pytest.fixture
def strangers(tmp_path, monkeypatch) -> Path:
    """A project in the working directory, full of modules with names that Python looks for."""
    project = plain_project(tmp_path / "project", settings(selection("best"))).root
    for name in MODULES:
        (project / f"{name}.py").write_text(MARK.format(str(tmp_path / "ran")))
    (project / ".env").write_text(f"PYTHONSTARTUP={project / 'pickle.py'}\nTAMIS_HOME={project}\n")
    monkeypatch.chdir(project)
    return project


def test_the_process_that_reads_tables_imports_nothing_of_the_working_directory(strangers, tmp_path):
    home = Home(tmp_path / "home")
    home.store.append("things", pa.table({"doc_id": ["a"]}))
    assert crashing_tables(home.store) == {}
    assert not (tmp_path / "ran").exists()


def test_commands_import_nothing_of_the_working_directory(strangers, tmp_path):
    command = Path(sys.executable).with_name("tamis")
    environment = os.environ | {"TAMIS_HOME": str(tmp_path / "home"), "PYTHONPATH": str(CHECKOUT)}
    for call in (["status"], ["trust"]):
        ran = subprocess.run([command, *call], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "ran").exists()


def test_figures_do_not_go_by_a_matplotlibrc_of_the_working_directory(strangers):
    program = (
        "from tamis.report.rendering import new_figure, png_of; import matplotlib\n"
        "figure, (axes,) = new_figure(); axes.set_title('a')\n"
        "assert not matplotlib.rcParams['text.usetex']; print(len(png_of(figure)))"
    )
    (strangers / "matplotlibrc").write_text(
        "text.usetex: True\ntext.latex.preamble: \\input{/etc/hostname}\n"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 500
    assert png_of(new_figure()[0])


def test_git_is_asked_about_the_clone_alone(tmp_path, monkeypatch):
    """An environment in a stranger's repository: git would run what its configuration names."""
    subprocess.run(["git", "init", "-q", tmp_path / "project"], check=True)
    committing = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first"]
    subprocess.run(["git", "-C", tmp_path / "project", *committing], check=True)
    config = tmp_path / "project" / ".git" / "config"
    config.write_text(config.read_text() + f'[core]\n\tfsmonitor = "touch {tmp_path / "ran"}"\n')
    installed = tmp_path / "project" / ".venv" / "lib"
    installed.mkdir(parents=True)
    monkeypatch.setattr(manifest, "ROOT", installed)
    assert manifest.git_state.__wrapped__() == {}
    assert not (tmp_path / "ran").exists()


def test_a_model_folder_that_names_a_module_of_its_own_is_refused(tiny_folder, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    (folder / "modeling_own.py").write_text(MARK.format(str(tmp_path / "ran")) + "class Own: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[-1]["type"] = "modeling_own.Own"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderUnavailableError, match="does not need remote code"):
        SentenceEncoder("own", folder, "fingerprint", "cpu")
    assert not (tmp_path / "ran").exists()
