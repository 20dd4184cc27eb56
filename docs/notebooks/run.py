"""Runs the notebooks of this folder, cell by cell, and keeps in them what they show: no Jupyter is needed.

python docs/notebooks/run.py    after a change of a cell or of what it shows
"""

import ast
import base64
import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Execute the code cells in order and replace their outputs; return the names that they leave."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("agg")
    pyplot.close("all")  # a caller's own figure is none of the notebook's
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        cell["outputs"] = _outputs("".join(cell["source"]), f"cell {number}", number, names)
        cell["execution_count"] = number
    return names


def _outputs(source: str, name: str, number: int, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a cell shows: what it prints and warns of, its last value, its figures."""
    from matplotlib import pyplot

    tree, value = ast.parse(source, name), None
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        exec(compile(tree, name, "exec"), names)
        if last is not None:
            value = eval(compile(last, name, "eval"), names)
    found: list[dict[str, Any]] = []
    said = "".join(f"{one.category.__name__}: {one.message}\n" for one in caught)
    for stream, text in (("stdout", printed.getvalue()), ("stderr", said)):
        if text:
            found.append({"output_type": "stream", "name": stream, "text": text.splitlines(keepends=True)})
    figures = [pyplot.figure(figure) for figure in pyplot.get_fignums()]
    if value is not None and not figures:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        found.append(
            {"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}}
        )
    for figure in figures:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        shown = {"image/png": base64.b64encode(picture.getvalue()).decode()}
        found.append({"output_type": "display_data", "data": shown, "metadata": {}})
        pyplot.close(figure)
    return found


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        found = json.loads(path.read_text())
        run(found)
        path.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        print(path)
