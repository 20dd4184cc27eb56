"""Code versions are raised by a person's decision: what a method consists of may not change unnoticed.

The digest of a method is over the syntax trees, without docstrings, of its modules and of all that they
import from tamis/. When it changes, decide: raise the method's code version if results change (everything
made with it is made again), or not if they stay the same, and then note the new digest with `make accept`,
which builds the goldens first and refuses where values differ that the commit does not name (tests/golden).
"""

import ast
import hashlib
import importlib
import json
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
NOTED = Path(__file__).with_name("code_digests.json")
# An engine runs what the methods give it: same results on every one (tests/engine).
ENGINE = ("engine", *(f"engine.{name}" for name in ("current", "errors", "local", "ray_cluster", "ray_engine",
          "ray_pool", "ray_worker")))  # fmt: skip
# Settings and declarations of stages reach a result through its input key, not through the code that reads
# them; the columns of tables are in the goldens.
WITHOUT_RESULTS = {
    f"tamis.{name}"
    for name in (
        "base.progress",
        "base.errors",
        "settings.config",
        "settings.references",
        "settings.sections",
        "project",
        "base.loading",
        "base.imports",
        "base.precision",
        "base.declared",
        "stage",
        *ENGINE,
    )
} | {f"tamis.{path.parent.name}.stage" for path in (CHECKOUT / "tamis").glob("*/stage.py")}
METHODS = {
    # method: (where its code version is, its modules; a package means all of its modules)
    "corpus": ("tamis.corpus:CODE_VERSION", ["tamis.corpus"]),
    "near_duplicates": (
        "tamis.corpus.near_duplicates:CODE_VERSION",
        ["tamis.corpus.near_duplicates", "tamis.corpus.near_index"],
    ),
    "near_copies": ("tamis.embedding.near_copies:CODE_VERSION", ["tamis.embedding.near_copies"]),
    "embedding": ("tamis.embedding:CODE_VERSION", ["tamis.embedding"]),
    "transport": ("tamis.transport:CODE_VERSION", ["tamis.transport"]),
    "gaps": ("tamis.transport:GAPS_CODE_VERSION", ["tamis.transport.gaps"]),
    "coverage": ("tamis.coverage:CODE_VERSION", ["tamis.coverage"]),
    "quality": (
        "tamis.quality:CODE_VERSION",
        ["tamis.quality.ask_llm", "tamis.quality.sample", "tamis.quality.active"],
    ),
    "second_asking": (
        "tamis.quality.second_asking:CODE_VERSION",
        ["tamis.quality.second_asking", "tamis.quality.noise_ceiling"],
    ),
    "grader": ("tamis.quality.grader:GRADER_CODE_VERSION", ["tamis.quality.grader", "tamis.quality.surface"]),
    "topics": ("tamis.topics:CODE_VERSION", ["tamis.topics"]),
    "token_counts": ("tamis.tokens:CODE_VERSION", ["tamis.tokens"]),
    "filters": ("tamis.filters:CODE_VERSION", ["tamis.filters"]),
    "selection": ("tamis.selection:CODE_VERSION", ["tamis.selection"]),
    "serving": ("tamis.selection:SERVING_CODE_VERSION", ["tamis.selection.serving"]),
    "training": ("tamis.training:CODE_VERSION", ["tamis.training", "tamis.graph.trial_data"]),
    "comparison": ("tamis.comparison:CODE_VERSION", ["tamis.comparison"]),
    "scaling": ("tamis.scaling:CODE_VERSION", ["tamis.scaling"]),
    "mixture": (
        "tamis.mixture:CODE_VERSION",
        ["tamis.mixture.law", "tamis.mixture.optimum", "tamis.mixture.analysis"],
    ),
    "mixture_runs": (
        "tamis.mixture.swarm:SWARM_CODE_VERSION",
        ["tamis.mixture.swarm", "tamis.mixture.sources", "tamis.mixture.runs"],
    ),
    "sql": ("tamis.sql.project:CODE_VERSION", ["tamis.sql"]),
}


@cache
def files() -> dict[str, Path]:
    """Every module of tamis/ by name."""
    found = {}
    for path in sorted((CHECKOUT / "tamis").rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(files()[module].read_text())


def imported(module: str) -> set[str]:
    """Modules of tamis/ that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found & set(files())


def closure(names: list[str]) -> list[str]:
    """The modules, those below them when they are packages, and all that they import."""
    waiting = [name for root in names for name in files() if name == root or name.startswith(f"{root}.")]
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module not in found and module not in WITHOUT_RESULTS:
            found.add(module)
            waiting += imported(module)
    return sorted(found)


@cache
def syntax(module: str) -> str:
    """The syntax tree of a module without docstrings, comments and layout."""
    copy = ast.parse(files()[module].read_text())
    for node in ast.walk(copy):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(copy)


def digest(names: list[str]) -> str:
    text = "\n".join(f"{module} {syntax(module)}" for module in closure(names))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def version_of(where: str) -> str:
    module, name = where.split(":")
    return str(getattr(importlib.import_module(module), name))


def code_now() -> dict[str, dict[str, str]]:
    """Code version and digest of every method; `make accept` notes them (tests/golden/golden_accept.py)."""
    return {
        method: {"version": version_of(where), "digest": digest(modules)}
        for method, (where, modules) in METHODS.items()
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_change_of_code_was_decided_about(method):
    where, modules = METHODS[method]
    noted = json.loads(NOTED.read_text()) if NOTED.exists() else {}
    now = {"version": version_of(where), "digest": digest(modules)}
    advice = f"the code of {method} changed: raise {where} if results change; then `make accept`"
    assert noted.get(method) == now, advice


def test_a_comment_changes_nothing_and_a_number_does(tmp_path, monkeypatch):
    texts = ['"""A."""\nX = 1\n', '"""B."""\n# why\nX = 1\n', "X = 2\n"]
    digests = []
    for text in texts:
        (tmp_path / "m.py").write_text(text)
        monkeypatch.setitem(files(), "m", tmp_path / "m.py")
        tree.cache_clear()
        syntax.cache_clear()
        digests.append(digest(["m"]))
    assert digests[0] == digests[1] != digests[2]
