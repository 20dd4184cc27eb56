"""Names that tests replace exist: a slow test of one that was renamed fails long after the change."""

import ast
import importlib
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


def replaced() -> list[tuple[str, str]]:
    """Return test file and dotted name of each `setattr("tamis...", ...)`."""
    names = set()
    for file in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr" and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant) and str(name.value).startswith("tamis."):
                    names.add((file.relative_to(TESTS).as_posix(), str(name.value)))
    return sorted(names)


def test_names_are_read():
    assert len(replaced()) > 50


@pytest.mark.parametrize(("file", "name"), replaced())
def test_a_replaced_name_exists(file, name):
    place, _, attribute = name.rpartition(".")
    module = place
    while module:
        try:
            owner = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module = module.rpartition(".")[0]
    for part in place.removeprefix(module).split("."):
        owner = getattr(owner, part) if part else owner
    assert hasattr(owner, attribute), f"{file} replaces it"
