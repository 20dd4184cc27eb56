"""Modules of a project that its Python files import, read as syntax trees: nothing of them is run."""

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

NEVER_SHADOWED = sys.stdlib_module_names | {"tamis"}
"""Modules that no file of a project takes the place of."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module that a file imports: its own file, None for a folder without an `__init__.py`."""

    path: Path | None
    is_package: bool = False


def imported_modules(names: Iterable[str], folders: Sequence[Path]) -> dict[str, Module]:
    """Return the modules of these folders with these names, and those that they import, by name.

    Modules that are named at run time alone are not seen.
    """
    modules: dict[str, Module] = {}
    pending = [names]
    while pending:
        for name in pending.pop():
            for part in _with_parents(name):
                if part in modules or (known := module_of(part, folders)) is None:
                    continue
                modules[part] = known
                if known.path is not None:
                    package = part if known.is_package else part.rpartition(".")[0]
                    pending.append(names_in_file(known.path, package))
    return modules


def names_in_file(path: Path, package: str = "") -> tuple[str, ...]:
    """Return the names that a file imports; none where it is no Python: that is said when it is run."""
    try:
        return _names_in_code(path.read_bytes(), package)
    except OSError:
        return ()


@lru_cache(maxsize=512)
def _names_in_code(code: bytes, package: str) -> tuple[str, ...]:
    try:
        return tuple(names_in(ast.parse(code), package))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()


def names_in(tree: ast.Module, package: str = "") -> Iterator[str]:
    """Yield the names that a module of this package imports, those of its members among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module or ""]))
            if base:
                yield base
            yield from (f"{base}.{one.name}" if base else one.name for one in node.names)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def module_of(name: str, folders: Sequence[Path]) -> Module | None:
    """Return the module of this name in the first folder that has it."""
    parts = name.split(".")
    if parts[0] in NEVER_SHADOWED:
        return None
    for folder in folders:
        place = folder.joinpath(*parts)
        if (place / "__init__.py").is_file():
            return Module(path=place / "__init__.py", is_package=True)
        if place.with_name(f"{parts[-1]}.py").is_file():
            return Module(path=place.with_name(f"{parts[-1]}.py"))
        if place.is_dir() and not _is_installed(parts[0]):
            return Module(path=None, is_package=True)
    return None


def _is_installed(package: str) -> bool:
    """Return whether an installed package has this name: a folder of data called so hides none."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
