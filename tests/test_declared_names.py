"""No string names a stage or a table of another package: it is found by its declaration."""

import ast
from pathlib import Path

from tamis.base.declared import declaring_modules

CHECKOUT = Path(__file__).resolve().parents[1]
SECTIONS = {"sampler_trials"}
"""Sections of tamis.toml that are called as a stage is."""
SCORES = {"pool_potential"}
"""Scores that are called as their table is."""


def declared_names() -> dict[str, str]:
    """Return the package that declares each name; names of one word are words of other things, too."""
    found = {}
    for module in declaring_modules():
        package = module.__name__.split(".")[1]
        tables = [table for stage in module.STAGES for table in stage.tables]
        for one in (*module.STAGES, *tables, *getattr(module, "TABLES", ())):
            found[one.name] = package
    return {name: package for name, package in found.items() if "_" in name and name not in SECTIONS | SCORES}


def test_no_string_names_a_stage_or_a_table_of_another_package():
    owner, found = declared_names(), []
    for root in ("tamis", "resources", "sensors"):
        for file in sorted((CHECKOUT / root).rglob("*.py")):
            place = file.relative_to(CHECKOUT)
            package = place.parts[1] if root == "tamis" else root
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                    continue
                if owner.get(node.value, package) != package and file.name != "stage.py":
                    found.append(f"{place}:{node.lineno} {node.value}")
    assert not found
    assert len(owner) > 30
