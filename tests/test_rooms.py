"""Packages keep to a size, and modules begin with their constants: so the product stays readable."""

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterator

from import_scan import product

from benchmarks.size import LARGER, MOST_FILES, MOST_LINES


def test_no_package_but_training_has_over_25_files_or_4000_lines():
    lines = defaultdict(list)
    for file, tree in product().items():
        lines[file.rpartition("/")[0]].append(max((node.end_lineno or 0 for node in tree.body), default=0))
    found = {name: (len(sizes), sum(sizes)) for name, sizes in lines.items()}
    large = {name for name, (files, size) in found.items() if files > MOST_FILES or size > MOST_LINES}
    assert large <= {LARGER}, found
    assert len(found) > 25


def defined(statement: ast.stmt) -> set[str]:
    """Names that a statement of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def late_constants(tree: ast.Module) -> Iterator[str]:
    """Names of constants below the first function or class that need nothing from above them."""
    own = set().union(*(defined(statement) for statement in tree.body))
    known, begun = set(dir(builtins)), False
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            begun = True
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            read = {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
            }
            if not read & own - known:
                known |= defined(statement)
                if begun:
                    yield from defined(statement)


def test_constants_stand_above_functions_and_classes():
    late = {file: list(late_constants(tree)) for file, tree in product().items()}
    assert {file: names for file, names in late.items() if names and "__init__" not in file} == {}
    assert list(late_constants(ast.parse("A = 1\ndef f(): ...\nB = A\nC = f\nD = C"))) == ["B"]


def test_a_module_has_one_block_for_type_checkers():
    several = {
        file
        for file, tree in product().items()
        if sum(isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) for node in tree.body)
        > 1
    }
    assert several == set()
