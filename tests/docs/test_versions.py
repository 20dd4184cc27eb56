"""The page of versions has a row for all that users install: lower bounds, pins, and the newest."""

import runpy
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[2]
VERSIONS = runpy.run_path(str(CHECKOUT / "docs" / "versions.py"))
PAGE = (CHECKOUT / "docs" / "versions.md").read_text()
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
PRIVATE = {"dagster", "dagster-webserver", "dagster-postgres"}
"""Tamis uses private names of it (tamis/runtime/dagster_internals.py), and the others go with its version."""


def ranges() -> list[Requirement]:
    """Every requirement, extras included."""
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]


def rows() -> dict[str, list[str]]:
    """Return the versions of each package: oldest, of CI, newest."""
    table = PAGE.partition("| package |")[2].splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in table if line.startswith("|")]
    return {name: versions for name, *versions in cells}


def test_the_table_is_of_these_ranges_and_pins():
    pins = VERSIONS["versions"](CHECKOUT / "constraints.txt")
    assert list(rows()) == VERSIONS["required"]()
    assert {name: ci for name, (_oldest, ci, _newest) in rows().items()} == {
        name: pins[name] for name in rows()
    }
    for requirement in ranges():
        versions = rows().get(VERSIONS["canonical"](requirement.name), [])
        assert all(map(requirement.specifier.contains, versions)), requirement


def test_the_oldest_are_the_lower_bounds():
    for requirement in ranges():
        (lower,) = [part.version for part in requirement.specifier if part.operator == ">="]
        oldest = rows().get(VERSIONS["canonical"](requirement.name), [lower])[0]
        assert Version(oldest) == Version(lower), f"{requirement}, and {oldest} was tested"


def test_only_what_is_private_of_dagster_bounds_a_version_from_above():
    bounded = {
        requirement.name
        for requirement in ranges()
        if any(part.operator not in (">=", "!=") for part in requirement.specifier)
    }
    assert bounded == PRIVATE


def test_the_table_prints_as_it_stands():
    columns = [dict(zip(rows(), versions, strict=True)) for versions in zip(*rows().values(), strict=True)]
    assert VERSIONS["table"](dict(zip(VERSIONS["COLUMNS"], columns, strict=True))) in PAGE
