"""Declarations of packages: stages in `stage.py`, tables of control in `control.py`, found by these names.

Imports go down, and the store needs the tables of all: so they are looked up here when they are needed first,
as plugins are, and no list of packages is kept.
"""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

PACKAGE = "tamis"
"""Looked up by name, too: `tamis.select` imports from the layers above this one."""


@cache
def declaring_modules(name: str = "stage") -> tuple[ModuleType, ...]:
    """Return the modules of that name, by package.

    Each `stage` has `STAGES`, and `TABLES` for rows that no value lists; each `control` has `CONTROL`, tables
    that no stage writes: indexes, what people decided, and what is remembered of runs.
    """
    packages = {
        file.parent.name
        for folder in importlib.import_module(PACKAGE).__path__
        for file in Path(folder).glob(f"*/{name}.py")
    }
    return tuple(importlib.import_module(f"{PACKAGE}.{package}.{name}") for package in sorted(packages))
