"""The notebooks of docs/ run, and hold what their cells show."""

import json
import runpy
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
RUN = runpy.run_path(str(NOTEBOOKS / "run.py"))


def shown(notebook: dict) -> list[list[str]]:
    """The kinds of outputs of each code cell."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [
        [kind for one in cell["outputs"] for kind in (one.get("name"), *sorted(one.get("data", {}))) if kind]
        for cell in cells
    ]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_holds(path, encoder_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("TAMIS_CACHE", str(encoder_cache))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    notebook = json.loads(path.read_text())
    before = shown(notebook)
    assert ["image/png"] in [kinds[-1:] for kinds in before]
    names = RUN["run"](notebook)
    assert shown(notebook) == before
    assert names["shares"]["got-d"] > 3 * names["shares"]["random"]
    assert str(Path.home()) not in path.read_text()


def test_a_cell_that_fails_fails_the_notebook():
    with pytest.raises(ZeroDivisionError):
        RUN["run"]({"cells": [{"cell_type": "code", "source": ["1 / 0"]}]})


def test_a_figure_that_was_open_before_is_not_shown():
    from matplotlib import pyplot

    pyplot.figure()
    notebook = {"cells": [{"cell_type": "code", "source": ["print(1)"]}]}
    RUN["run"](notebook)
    assert shown(notebook) == [["stdout"]]
