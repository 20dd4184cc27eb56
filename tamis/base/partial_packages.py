"""Packages of which a few modules are imported, without what their own `__init__` brings along.

`import ot` loads scikit-learn and networkx for solvers that nobody here calls, and LanceDB the client of a
web service: a second or two of each command.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without_code_of(package: str) -> Iterator[None]:
    """Let modules of a package be imported inside without the code of the package itself.

    Whoever imports the package afterwards gets all of it, with the modules that are there already. Nothing is
    done where it has been imported, or is not installed.
    """
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None:
        yield
        return
    shell = sys.modules[package] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        if sys.modules.get(package) is shell:
            del sys.modules[package]
