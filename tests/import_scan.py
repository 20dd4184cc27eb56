"""The imports of the product's files, read from their syntax trees: nothing is imported."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
OURS = {"tamis", "assets", "resources", "sensors", "definitions"}


@cache
def product() -> dict[str, ast.Module]:
    """Syntax tree by file, relative to the checkout."""
    folders = [CHECKOUT / name for name in OURS if (CHECKOUT / name).is_dir()]
    files = [CHECKOUT / "definitions.py", *(path for folder in folders for path in folder.rglob("*.py"))]
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
