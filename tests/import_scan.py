"""The imports of the product's files, read from their syntax trees: nothing is imported."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
OURS = {"tamis"}
FOLDERS = ("tamis", "assets", "resources", "sensors")


@cache
def product() -> dict[str, ast.Module]:
    """Syntax tree by file, relative to the checkout."""
    inside = (path for name in FOLDERS for path in (CHECKOUT / name).rglob("*.py") if not path.is_symlink())
    files = [CHECKOUT / "definitions.py", *inside]
    assert len(files) > 200
    return {str(path.relative_to(CHECKOUT)): ast.parse(path.read_text()) for path in files}


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Top name of each import, and whether it is in a function; not those for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0], inside
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(node, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
