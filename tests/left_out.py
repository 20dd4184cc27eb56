"""A pytest plugin: groups of tests that `make test` leaves out where nothing of theirs changed.

The goldens build whole projects, the scenarios of the graph go through several runs each, and the tests of
benchmarks/ and deploy/ are about programs next to the product, others about the checkout itself: what it
packs and imports, and what its tests do. So `make test` (`--leave-out unchanged`) has them where a change
calls for them, and says at its end what it left out and why; CI and `make test-all` always run them
(docs/decisions/0037). What is named on the command line is never left out. What is left out is not
collected, so no worker imports it.
"""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
CODE_VERSIONS = TESTS / "graph" / "test_graph_code_versions.py"
LINKS = sorted(path for path in (CHECKOUT / "tamis" / "platform").rglob("*") if path.is_symlink())
PRODUCT = ("tamis", *(str(link.resolve().relative_to(CHECKOUT)) for link in LINKS))
"""The package and what its platform links to, such as assets/ and workspace.yaml."""
LIBRARIES = ("constraints.txt", "pyproject.toml")
HELPERS = tuple(
    f"tests/{path.name}" for path in sorted(TESTS.glob("*.py")) if not path.name.startswith("test_")
)
"""Modules that tests of many folders import."""
LEFT_OUT = pytest.StashKey[dict[Path, str]]()


@dataclass(frozen=True, kw_only=True)
class Group:
    """Tests that are left out together: their files or folders, and how to run them.

    about: what they test, next to themselves; they are due where a file of either changed.
    changed: says what else calls for them, "" for nothing.
    otherwise: why they are not due where nothing does.
    """

    places: tuple[str, ...]
    target: str
    about: tuple[str, ...]
    otherwise: str
    changed: Callable[[], str] = lambda: ""


def changed_methods() -> str:
    """Name the methods whose code is not what was accepted (tests/graph/test_graph_code_versions.py)."""
    if str(CODE_VERSIONS.parent) not in sys.path:
        sys.path.insert(0, str(CODE_VERSIONS.parent))  # as pytest does for the tests in it
    versions = importlib.import_module(CODE_VERSIONS.stem)
    noted = json.loads(versions.NOTED.read_text()) if versions.NOTED.exists() else {}

    def differs(method: str) -> bool:
        try:
            return noted.get(method, {}).get("digest") != versions.digest_of(method)
        except (AssertionError, SyntaxError):  # a test of its own says what is wrong
            return True

    return ", ".join(filter(differs, versions.METHODS))


GROUPS = (
    Group(
        places=tuple(f"tests/golden/test_golden_{name}.py" for name in ("demo", "mixed", "wide", "open")),
        target="test-goldens",
        about=("tests/golden", *LIBRARIES),
        otherwise="every method's code is what tests/graph/code_digests.json notes",
        changed=changed_methods,
    ),
    Group(
        places=(
            "tests/graph/scenarios",
            "tests/end_to_end/test_user_interface.py",
            "tests/homes",
            "tests/audit/test_audit_records.py",
            "tests/quality/test_endpoint_server.py",
            "tests/runtime/test_aborts.py",
            "tests/sensors/test_reselection.py",
            "tests/training/test_training_retention.py",
            "tests/test_interrupts.py",
        ),
        target="test-scenarios",
        about=(
            *PRODUCT,
            *LIBRARIES,
            *HELPERS,
            "tests/graph",
            "tests/end_to_end",
            "tests/quality/judge_server.py",
        ),
        otherwise="no file of the product or of what these tests import changed",
    ),
    Group(
        places=(
            "tests/golden/test_golden_accept.py",
            "tests/golden/test_golden_faults.py",
            "tests/test_core_packages.py",
            "tests/test_cpu_time.py",
            "tests/test_import_names.py",
            "tests/test_import_places.py",
            "tests/test_left_out.py",
            "tests/test_packaging.py",
        ),
        target="test-checkout",
        about=(*PRODUCT, *LIBRARIES, "LICENSE", "Makefile", "README.md", ".ci", "benchmarks", "tests"),
        otherwise="no file of the product or of its tests changed",
    ),
    Group(
        places=("tests/benchmarks",),
        target="test-programs",
        about=("benchmarks",),
        otherwise="no file of benchmarks/ changed",
    ),
    Group(
        places=("tests/deploy",),
        target="test-programs",
        about=("deploy",),
        otherwise="no file of deploy/ changed",
    ),
)


def changed_files(places: Iterable[str], checkout: Path = CHECKOUT) -> list[str] | None:
    """Files below `places` that differ from the last commit that upstream has too; untracked ones count.

    Of what git ignores only what the repository says it should: a person's own list may name any file.
    None where git knows nothing of the checkout.
    """
    base = published(checkout)
    if base is None:
        return None
    differing = _git(
        checkout, "diff", "--name-only", "--relative", "--ignore-submodules=none", base, "--", *places
    )
    ignored = "--exclude-per-directory=.gitignore"
    untracked = _git(checkout, "ls-files", "--others", ignored, "--", *places)
    return None if differing is None or untracked is None else differing + untracked


def published(checkout: Path = CHECKOUT) -> str | None:
    """Return the last commit that upstream has too; None where git cannot tell.

    Without an upstream branch, as of a new branch or a detached HEAD, or after it is gone, the last one that
    any branch of a remote has; without a remote the last commit.
    """
    if base := _git(checkout, "merge-base", "HEAD", "@{upstream}"):
        return base[0]
    has_remotes = _git(checkout, "for-each-ref", "--count=1", "refs/remotes")
    own = _git(checkout, "rev-list", "--topo-order", "HEAD", "--not", "--remotes") if has_remotes else []
    if own is None:
        return None
    # Of a shallow clone the first of these may have no parent here.
    base = _git(checkout, "rev-parse", "--verify", "--quiet", f"{own[-1]}^" if own else "HEAD")
    return base[0] if base else None


def _git(checkout: Path, *arguments: str) -> list[str] | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def is_due(group: Group, checkout: Path = CHECKOUT) -> bool:
    """Return whether a change calls for a group; True where git cannot tell."""
    return changed_files((*group.about, *group.places), checkout) != [] or group.changed() != ""


def left_out(mode: str, named: Iterable[Path], groups: Iterable[Group] = GROUPS) -> dict[Path, str]:
    """Return the files and folders that a run leaves out, with the target that runs them and the reason.

    mode: "nothing", "unchanged" or "all". named: what the command line asks for by name.
    """
    asked = [place.resolve() for place in named]
    found = {}
    for group in groups:
        places = [CHECKOUT / place for place in group.places]
        if mode == "nothing" or any(one.is_relative_to(place) for one in asked for place in places):
            continue
        if mode == "all" or not is_due(group):
            why = "as asked" if mode == "all" else group.otherwise
            found |= dict.fromkeys(places, f"make {group.target} runs them: {why}")
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "of the groups of tests/left_out.py those that no change calls for, or all"
    parser.addoption("--leave-out", choices=("nothing", "unchanged", "all"), default="nothing", help=what)


def pytest_configure(config: pytest.Config) -> None:
    # One process decides for all: workers that collect different tests end the session.
    given = getattr(config, "workerinput", {}).get("left_out")
    if given is None:
        named = [config.invocation_params.dir / name.partition("::")[0] for name in config.args]
        config.stash[LEFT_OUT] = left_out(config.getoption("--leave-out"), named)
    else:
        config.stash[LEFT_OUT] = {Path(place): why for place, why in given.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["left_out"] = {str(place): why for place, why in node.config.stash[LEFT_OUT].items()}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path in config.stash[LEFT_OUT] else None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for place, why in config.stash[LEFT_OUT].items():
        terminalreporter.write_line(f"left out: {place.relative_to(CHECKOUT)}; {why}")
