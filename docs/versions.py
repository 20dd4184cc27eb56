"""Print the table of docs/versions.md: what `make test-oldest`, CI and `make test-newest` run with.

    python docs/versions.py

Rows: what pyproject.toml requires, but for its extra `dev`. The columns are what uv resolved into
build/oldest.txt, the pins of constraints.txt, and what uv resolved into build/newest.txt.
"""

import re
import tomllib
from itertools import chain
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
COLUMNS = {"oldest": "build/oldest.txt", "CI": "constraints.txt", "newest": "build/newest.txt"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required() -> list[str]:
    """Return the canonical names of what users install, sorted."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name != "dev"}
    lines = chain(project["dependencies"], *extras.values())
    return sorted({canonical(re.split(r"[^\w.-]", line)[0]) for line in lines})


def versions(path: Path) -> dict[str, str]:
    """Return the version of each package that a list of exact versions names, by canonical name."""
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE)
    return {canonical(name): version for name, version in pins}


def table(columns: dict[str, dict[str, str]]) -> str:
    """Return the table in Markdown; `columns`: versions by package, of each column."""
    rows = [["package", *columns], ["---"] * (1 + len(columns))]
    rows += [[name, *(column[name] for column in columns.values())] for name in required()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table({name: versions(CHECKOUT / path) for name, path in COLUMNS.items()}))
