"""Where imports are: Tamis and the standard library at the top of a file, heavy libraries inside functions.

That imports go down its layers, too, is for import-linter to say (`make lint`).
"""

import ast
import sys

import pytest
from import_scan import OURS, imports, product

LOADS_WHEN_CALLED = ("tamis/cli/__init__.py", "tamis/__init__.py")
"""`tamis --help` and `import tamis` load nothing that takes long."""


def misplaced(file: str, tree: ast.Module) -> list[str]:
    """What a file imports inside functions that belongs to its top."""
    at_the_top = OURS | set(sys.stdlib_module_names)
    found = [module for module, inside in imports(tree) if inside and module in at_the_top]
    return (
        [] if file.startswith(LOADS_WHEN_CALLED) else [f"{file} imports {one} in a function" for one in found]
    )


def test_only_libraries_of_others_are_imported_inside_functions():
    assert [line for file, tree in product().items() for line in misplaced(file, tree)] == []


@pytest.mark.parametrize("module", ["tamis.store.tables", "tamis.platform.definitions", "json"])
def test_an_import_inside_a_function_is_found(module):
    (line,) = misplaced("made_up.py", ast.parse(f"def f():\n    from {module} import anything"))
    assert module.partition(".")[0] in line


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("made_up.py", "import json\nfrom tamis.base.errors import TamisError\ndef f():\n    import torch"),
        ("tamis/cli/__init__.py", "def f():\n    from tamis.project import open_project"),
    ],
)
def test_an_import_in_its_place_is_none(file, source):
    assert misplaced(file, ast.parse(source)) == []
