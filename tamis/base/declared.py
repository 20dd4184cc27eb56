"""The stages that packages of Tamis declare: every `stage.py` of a package, found by its name.

Imports go down, and the store needs the tables of all stages: so they are looked up here when they are needed
first, as plugins are, and no list of packages is kept.
"""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

PACKAGE = "tamis"
"""Looked up by name, too: `tamis.select` imports from the layers above this one."""


@cache
def declaring_modules() -> tuple[ModuleType, ...]:
    """Return the modules by name: each has `STAGES`, and `TABLES` for rows that no value lists."""
    folders = importlib.import_module(PACKAGE).__path__
    packages = {file.parent.name for folder in folders for file in Path(folder).glob("*/stage.py")}
    return tuple(importlib.import_module(f"{PACKAGE}.{package}.stage") for package in sorted(packages))
