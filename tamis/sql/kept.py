"""What took sqlglot long to find out, kept in the user's cache for the next process.

The folder of models takes it a second to read, and each model a quarter of one for its plan and its lineage:
more than DuckDB needs to run it. A cache that cannot be read or written costs the time that it would have
saved.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tamis.base.files import user_cache, write_atomically
from tamis.sql.project import Project

PARSERS = ("sqlglot", "jinja2", "pyyaml")
MOST_KEPT = 8
"""Versions of folders in the user's cache; each takes 150 kB."""


def code_and_parsers() -> list[str]:
    """Return what decides an answer besides the files: this code, and what parses them."""
    code = [f"{path}:{digest_of(path)}" for path in sorted(Path(__file__).parent.glob("*.py"))]
    return [*(metadata.version(name) for name in PARSERS), *code]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_kept(path: Path, content: bytes) -> None:
    """Write a file of the cache; those of its folder that were written longest ago make room."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-MOST_KEPT]:
            old.unlink(missing_ok=True)


class Answers:
    """Answers about the models of one project, each JSON, by question."""

    def __init__(self, identity: str) -> None:
        self._path = user_cache() / "sql" / "answers" / f"{identity}.json"
        self._known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = dict(json.loads(self._path.read_bytes()))

    def of(self, question: str, find: Callable[[], Any]) -> Any:
        """Return the answer that is known, else the one that is found now, which is kept."""
        if question not in self._known:
            self._known[question] = find()
            write_kept(self._path, json.dumps(self._known).encode())
        return self._known[question]


_answers: dict[int, tuple[Project, Answers]] = {}


def answers_about(project: Project) -> Answers:
    """Return the answers about a project: of all that it was loaded with, and the code that answers."""
    found = _answers.get(id(project))
    if found is None:
        stated = [TypeAdapter(Project).dump_json(project).decode(), *code_and_parsers()]
        identity = hashlib.sha256(json.dumps(stated).encode()).hexdigest()
        _answers.clear()
        found = _answers[id(project)] = project, Answers(identity)
    return found[1]
