"""What `make test` leaves out: only what no change calls for, and never in silence."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import left_out as plugin
import pytest
from import_scan import imports
from left_out import CHECKOUT, GROUPS, Group, changed_files, is_due, left_out

ABOUT = ("programs", "tests/programs")
PROGRAMS = Group(places=("tests/programs",), target="test-programs", about=ABOUT, otherwise="none changed")


def git(checkout: Path, *arguments: str) -> None:
    who = {f"GIT_{who}_{what}": "a@b.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *arguments], cwd=checkout, check=True, capture_output=True, env=os.environ | who)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A clone of a repository with a program and its test."""
    origin = tmp_path / "origin"
    for name in ("programs/one.py", "tests/programs/test_one.py", "product.py"):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_text("")
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "a commit")
    git(tmp_path, "clone", "-q", str(origin), "clone")
    return tmp_path / "clone"


def test_in_a_new_clone_and_after_a_change_elsewhere_they_are_not_due(checkout):
    assert not is_due(PROGRAMS, checkout)
    (checkout / "product.py").write_text("changed = True\n")
    assert not is_due(PROGRAMS, checkout)


@pytest.mark.parametrize("name", ["programs/one.py", "programs/new.py", "tests/programs/test_one.py"])
def test_a_changed_or_new_file_calls_for_them_until_upstream_has_it(checkout, name):
    (checkout / name).write_text("changed = True\n")
    assert changed_files(ABOUT, checkout) == [name]
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "change it")
    assert is_due(PROGRAMS, checkout), "committed, and upstream has it not"
    git(checkout, "push", "-q", "origin", "HEAD:refs/heads/next")
    git(checkout, "branch", "-q", "--set-upstream-to", "origin/next")
    assert not is_due(PROGRAMS, checkout)


def test_a_deleted_file_calls_for_them(checkout):
    (checkout / "programs" / "one.py").unlink()
    assert is_due(PROGRAMS, checkout)


def test_without_an_upstream_branch_the_last_commit_counts(checkout):
    git(checkout, "branch", "-q", "--unset-upstream")
    assert not is_due(PROGRAMS, checkout)
    (checkout / "programs" / "one.py").write_text("changed = True\n")
    assert is_due(PROGRAMS, checkout)


def committed(checkout: Path, name: str = "programs/one.py") -> None:
    (checkout / name).write_text("changed = True\n")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "change it")


@pytest.mark.parametrize(
    "state", ["new branch", "detached", "upstream gone", "worktree", "shallow", "renamed"]
)
def test_a_commit_that_no_remote_has_calls_for_them(checkout, tmp_path, state):
    if state == "new branch":
        git(checkout, "switch", "-q", "-c", "next", "--no-track")
    elif state == "detached":
        git(checkout, "switch", "-q", "--detach")
    elif state == "upstream gone":
        git(checkout, "push", "-q", "origin", "HEAD:refs/heads/next")
        git(checkout, "switch", "-q", "-c", "next", "--track", "origin/next")
        git(checkout, "push", "-q", "origin", ":next")
    elif state == "worktree":
        git(checkout, "worktree", "add", "-q", "-b", "next", str(tmp_path / "other_folder"))
        checkout = tmp_path / "other_folder"
    elif state == "shallow":
        committed(tmp_path / "origin", "other.py")
        git(tmp_path, "clone", "-q", "--depth", "1", f"file://{tmp_path / 'origin'}", "shallow")
        checkout = tmp_path / "shallow"
        git(checkout, "switch", "-q", "-c", "next", "--no-track")
    assert not is_due(PROGRAMS, checkout)
    if state == "renamed":
        git(checkout, "mv", "programs/one.py", "moved.py")
        git(checkout, "commit", "-q", "-m", "move it")
    else:
        committed(checkout)
    committed(checkout, "product.py")
    assert is_due(PROGRAMS, checkout)


def test_where_the_remote_has_another_history_they_are_due(checkout, tmp_path):
    """As in a shallow clone whose upstream was written again."""
    git(checkout, "switch", "-q", "--orphan", "other")
    (checkout / "programs").mkdir()
    committed(checkout)
    assert changed_files(ABOUT, checkout) is None
    assert is_due(PROGRAMS, checkout)


def test_what_only_a_person_ignores_calls_for_them(checkout):
    (checkout / ".gitignore").write_text("*.pyc\n")
    (checkout / ".git" / "info" / "exclude").write_text("own*\n")
    (checkout / "programs" / "one.pyc").write_text("")
    assert not is_due(PROGRAMS, checkout)
    (checkout / "programs" / "own.py").write_text("")
    assert changed_files(ABOUT, checkout) == ["programs/own.py"]


def _own_imports(files: list[Path]) -> set[str]:
    """The files of tests/ that these import by themselves or through others, each by its bare name."""
    known = {path.stem: path for path in (CHECKOUT / "tests").rglob("*.py")}
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        names = {name for name, _inside in imports(ast.parse(waiting.pop().read_text()))}
        new = {known[name] for name in names & known.keys()} - found
        found |= new
        waiting += new
    return {str(file.relative_to(CHECKOUT)) for file in found}


def test_what_scenarios_and_tests_of_the_checkout_import_calls_for_them():
    for group in GROUPS[1:3]:
        files = [CHECKOUT / "tests" / "conftest.py"]
        for place in (CHECKOUT / one for one in group.places):
            files += sorted(place.rglob("*.py")) if place.is_dir() else [place]
        imported = _own_imports(files)
        assert "tests/projects.py" in imported
        known = [Path(one) for one in (*group.about, *group.places)]
        assert [one for one in imported if not any(Path(one).is_relative_to(place) for place in known)] == []


def test_all_that_the_platform_links_to_is_of_the_product():
    named = {"tamis", "assets", "dbt_like_sql", "definitions.py", "resources", "sensors", "workspace.yaml"}
    assert named < set(plugin.PRODUCT)


def test_where_git_knows_nothing_they_are_due(tmp_path, monkeypatch):
    assert changed_files(ABOUT, tmp_path) is None
    assert is_due(PROGRAMS, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_due(PROGRAMS, tmp_path)


@pytest.fixture
def one_method(monkeypatch):
    """The module of the digests with one method, and nothing else that calls for the goldens."""
    monkeypatch.setattr(plugin, "changed_files", lambda *_: [])
    monkeypatch.syspath_prepend(plugin.CODE_VERSIONS.parent)
    versions = importlib.import_module(plugin.CODE_VERSIONS.stem)
    monkeypatch.setattr(versions, "METHODS", {"gaps": versions.METHODS["gaps"]})
    return versions


def test_a_method_whose_code_was_not_accepted_calls_for_the_goldens(one_method, monkeypatch):
    noted = json.loads(one_method.NOTED.read_text())["gaps"]["digest"]
    for digest, changed in ((noted, ""), ("another", "gaps")):
        monkeypatch.setattr(one_method, "digest_of", lambda _, digest=digest: digest)
        assert plugin.changed_methods() == changed
        assert is_due(GROUPS[0]) is bool(changed)


@pytest.mark.parametrize("error", [SyntaxError, AssertionError])
def test_a_method_whose_code_cannot_be_read_calls_for_the_goldens(error, one_method, monkeypatch):
    """As in the middle of a change: a file that is no Python yet, or a function by another name."""

    def unread(_method):
        raise error

    monkeypatch.setattr(one_method, "digest_of", unread)
    assert plugin.changed_methods() == "gaps"
    assert is_due(GROUPS[0])


def test_what_is_named_on_the_command_line_is_never_left_out():
    goldens = {CHECKOUT / place for place in GROUPS[0].places}
    assert left_out("nothing", [CHECKOUT / "tests"]) == {}
    assert goldens < set(left_out("all", [CHECKOUT / "tests"]))
    named = left_out("all", [CHECKOUT / "tests" / "golden" / "test_golden_demo.py"])
    assert goldens.isdisjoint(named)
    assert CHECKOUT / "tests" / "deploy" in named


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.places[0])
def test_every_group_is_there_and_has_a_target_of_the_makefile_that_ci_runs(group):
    assert all((CHECKOUT / place).exists() for place in (*group.places, *group.about))
    for target in (group.target, "test-left-out"):
        said = subprocess.run(
            ["make", "-n", target], cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout
        assert all(place in said for place in group.places), target
    assert "run_tests test-left-out " in (CHECKOUT / ".ci" / "run").read_text()


def test_a_run_with_workers_says_what_it_left_out_and_why(tmp_path):
    """Of a checkout in which one test of a group would fail, and another one passes."""
    tests = tmp_path / "tests"
    (tests / "deploy").mkdir(parents=True)
    shutil.copy(plugin.__file__, tests)
    (tests / "deploy" / "test_deploy.py").write_text("def test_it(): assert False\n")
    (tests / "test_other.py").write_text("def test_it(): assert True\n")
    command = ["pytest", "-p", "left_out", "-n", "2", "--leave-out", "all", f"--rootdir={tests}", str(tests)]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
    )
    said = [f"left out: {place}; make {group.target}" for group in GROUPS for place in group.places]
    assert [line for line in said if line not in done.stdout] == [], done.stdout
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_no_two_modules_of_tests_have_one_name():
    """pytest stops before the first test of a run that reads both, which is none but `make test-all`."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
