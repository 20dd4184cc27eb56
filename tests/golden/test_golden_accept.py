"""`make accept`: digests are noted when the goldens hold, or when a new entry names what differs and why."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import golden_storing
import polars as pl
import pytest
from golden_accept import CHANGES, CHECKOUT, Place, UnreadableChangesError, accept, entries, write
from golden_compare import Golden, differences

DIGESTS = {"coverage": {"digest": "new", "version": "1"}}
ENTRY = '[[change]]\ndate = 2026-11-22\nvalues = [{}]\nwhy = "a better estimate of the density"\n'


def small(density: float = 2.0, ids: str = "ab", margin: float = 0.5) -> Golden:
    """A golden of two small tables."""
    count = len(ids)
    content = {
        "density": pl.DataFrame({"doc_id": list(ids), "density": [1.0] * (count - 1) + [density]}),
        "judge_again": pl.DataFrame(
            {"doc_id": list(ids), "answer_mass": [0.5] * count, "margin": [margin] * count}
        ),
    }
    return Golden(content=content, machine={"vendor": "one"}, packages={"numpy": "2"})


@pytest.fixture
def place(tmp_path) -> Place:
    """A checkout with one golden, digests and an empty changes.toml, all committed."""
    checkout = tmp_path / "checkout"
    goldens = checkout / "tests" / "golden"
    golden_storing.write(goldens / "tiny", small())
    (goldens / CHANGES).write_text("# none yet\n")
    (checkout / "digests.json").write_text("{}\n")
    git(checkout, "init", "-q")
    commit(checkout)
    return Place(checkout=checkout, goldens=goldens, digests=checkout / "digests.json")


def git(checkout: Path, *arguments: str) -> None:
    identity = {
        f"GIT_{who}_{what}": "a@b.test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(["git", *arguments], cwd=checkout, check=True, env={**os.environ, **identity})


def commit(checkout: Path) -> None:
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "--allow-empty", "-m", "a commit")


def accepted(place: Place, found: Golden) -> tuple[int, str]:
    said: list[str] = []
    return accept(place, ["tiny"], lambda _: found, lambda: DIGESTS, said.append), "\n".join(said)


def unchanged(place: Place) -> bool:
    done = subprocess.run(
        ["git", "status", "--porcelain", "tests/golden/tiny", "digests.json"],
        cwd=place.checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout == ""


def test_digests_are_noted_when_the_goldens_hold(place):
    code, said = accepted(place, small())
    assert (code, json.loads(place.digests.read_text())) == (0, DIGESTS)
    assert "everything is as in the golden" in said


def test_a_value_that_nobody_named_is_refused_and_nothing_is_written(place):
    code, said = accepted(place, small(density=2.1))
    assert code == 1
    assert unchanged(place)
    assert "density.density: 1 differ" in said
    assert "doc_id b: expected 2.0, got 2.1" in said


def test_a_value_that_a_new_entry_names_is_rewritten_and_no_other(place):
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.*"'))
    assert accepted(place, small(density=2.1, margin=0.6))[0] == 1
    assert unchanged(place)
    assert accepted(place, small(density=2.1, margin=0.5 * (1 + 1e-7)))[0] == 0
    assert json.loads(place.digests.read_text()) == DIGESTS
    stored = golden_storing.read(place.goldens / "tiny")
    assert differences(stored, small(density=2.1), True) == []
    assert stored.content["judge_again"]["margin"].to_list() == [0.5, 0.5]


def test_an_entry_of_an_earlier_commit_waves_nothing_through(place):
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.*"'))
    assert accepted(place, small(density=2.1))[0] == 0
    commit(place.checkout)
    assert accepted(place, small(density=2.1))[0] == 0  # the golden has it now
    commit(place.checkout)
    assert accepted(place, small(density=2.2))[0] == 1
    assert unchanged(place)
    with (place.goldens / CHANGES).open("a") as file:
        file.write(ENTRY.format('"tiny: density.density"').replace("a better", "a still better"))
    assert accepted(place, small(density=2.2))[0] == 0


def test_a_golden_that_was_altered_since_the_last_commit_counts_for_nothing(place):
    golden_storing.write(place.goldens / "tiny", small(density=2.1))
    assert accepted(place, small(density=2.1))[0] == 1
    (place.goldens / "tiny" / golden_storing.ABOUT).unlink()
    assert write(place, "tiny", small(density=2.1), lambda _: None) == 1
    shutil.rmtree(place.goldens / "tiny")
    assert accepted(place, small(density=2.1))[0] == 1


def test_a_checkout_inside_another_repository_has_its_own_entries(place):
    shutil.rmtree(place.checkout / ".git")
    git(place.checkout.parent, "init", "-q")
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.*"'))
    commit(place.checkout.parent)
    assert accepted(place, small(density=2.1))[0] == 1  # committed, and so not new


def test_rows_that_come_or_go_are_named_as_rows(place):
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.density"'))
    assert accepted(place, small(ids="abc"))[0] == 1
    (place.goldens / CHANGES).write_text(
        ENTRY.format('"tiny: density.(row)", "tiny: density.density", "tiny: judge*"')
    )
    assert accepted(place, small(ids="abc"))[0] == 0
    assert differences(golden_storing.read(place.goldens / "tiny"), small(ids="abc"), True) == []


def test_on_another_machine_a_golden_is_rewritten_as_a_whole(place):
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.*"'))
    found = replace(small(density=2.5, margin=0.5001), machine={"vendor": "two"})
    assert accepted(place, found)[0] == 0
    stored = golden_storing.read(place.goldens / "tiny")
    assert (stored.machine, differences(stored, found, True)) == ({"vendor": "two"}, [])


def test_a_golden_that_is_there_is_written_again_only_where_an_entry_names_what_differs(place):
    said: list[str] = []
    assert write(place, "new", small(), said.append) == 0
    assert write(place, "tiny", small(density=2.1), said.append) == 1
    assert unchanged(place)
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.*"'))
    assert write(place, "tiny", small(density=2.1), said.append) == 0
    assert differences(golden_storing.read(place.goldens / "tiny"), small(density=2.1), True) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ENTRY.format(""), "has date, values and why"),
        ('[[change]]\nvalues = ["*"]\nwhy = "all of it is better now"\n', "has date, values and why"),
        (ENTRY.format("").replace("[]", '"tiny: density.*"'), "are a list of texts"),
        ("values =", "is no TOML"),
        (ENTRY.format('"*"').replace("a better estimate of the density", "because"), "says too little"),
    ],
)
def test_an_entry_says_what_when_and_why(place, text, problem):
    (place.goldens / CHANGES).write_text(text)
    with pytest.raises(UnreadableChangesError, match=problem):
        accepted(place, small())


def test_a_list_of_changes_that_is_gone_or_was_never_committed_is_refused(place):
    (place.goldens / CHANGES).unlink()
    with pytest.raises(UnreadableChangesError, match="is gone"):
        accepted(place, small())
    commit(place.checkout)
    (place.goldens / CHANGES).write_text(ENTRY.format('"tiny: density.*"'))
    with pytest.raises(UnreadableChangesError, match="no entry can be new"):
        accepted(place, small(density=2.1))


def test_without_a_commit_no_entry_is_new(place):
    shutil.rmtree(place.checkout / ".git")
    git(place.checkout, "init", "-q")
    with pytest.raises(UnreadableChangesError, match="no commit"):
        accepted(place, small())


def test_the_entries_of_this_checkout_are_complete():
    for entry in entries((CHECKOUT / "tests" / "golden" / CHANGES).read_text()):
        assert all(": " in value and "." in value for value in entry["values"])


def test_no_variable_lets_pytest_note_digests(tmp_path):
    graph = tmp_path / "tests" / "graph"
    graph.mkdir(parents=True)
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "tamis", tmp_path / "tamis", symlinks=True, ignore=left_out)
    for name in ("test_graph_code_versions.py", "reached_code.py", "code_digests.json"):
        shutil.copyfile(CHECKOUT / "tests" / "graph" / name, graph / name)
    sketch = tmp_path / "tamis" / "coverage" / "sketch.py"
    sketch.write_text(sketch.read_text().replace("def emptied(self)", "def emptied(self, another=1)"))
    before = (graph / "code_digests.json").read_bytes()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(graph), "-k", "coverage"]
    environment = {**os.environ, "TAMIS_ACCEPT": "1", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "the code of coverage changed" in done.stdout
    assert (graph / "code_digests.json").read_bytes() == before


def test_make_accept_is_this():
    done = subprocess.run(["make", "-n", "accept"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "python tests/golden/golden_accept.py" in done.stdout
