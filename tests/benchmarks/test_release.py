"""The release runs every benchmark once, and goes on where it was stopped."""

import json
from pathlib import Path

import pytest

from benchmarks import _release
from benchmarks._release import LEFT_OUT, MOST_HOURS, RELEASE, Entry, release

PUBLIC = {path.stem for path in Path(_release.__file__).parent.glob("[a-z]*.py")}


def test_every_benchmark_is_in_it_within_its_hours():
    assert {entry.module for entry in RELEASE} | set(LEFT_OUT) == PUBLIC
    assert len({entry.name for entry in RELEASE}) == len(RELEASE)
    assert sum(entry.minutes for entry in RELEASE) <= 60 * MOST_HOURS


def test_those_that_keep_a_home_take_one():
    folder = Path(_release.__file__).parent
    takes = {name for name in PUBLIC if '"--home"' in (folder / f"{name}.py").read_text()}
    assert {entry.module for entry in RELEASE if entry.keeps_home} <= takes


@pytest.fixture
def at_a_commit(monkeypatch):
    """A clean checkout, whatever this one is."""

    def set_to(name: str, *, modified: bool = False) -> None:
        monkeypatch.setattr(_release, "commit", lambda: {"commit": name, "modified": modified})

    return set_to


def test_what_is_done_at_this_commit_is_not_run_again(tmp_path, capsys, at_a_commit):
    entries = (Entry(name="yardstick", minutes=0.1),)

    def printed() -> str:
        assert release(entries, tmp_path, 1)
        return capsys.readouterr().out

    at_a_commit("one")
    assert printed() == "yardstick: exit 0\n"
    assert json.loads((tmp_path / "yardstick.jsonl").read_text().splitlines()[0])["benchmark"] == "yardstick"
    assert json.loads((tmp_path / "yardstick.done.json").read_text())["commit"] == "one"
    assert printed() == "yardstick: done at this commit\n"
    at_a_commit("one", modified=True)
    assert printed() == "yardstick: exit 0\n"


def test_a_failure_and_what_would_take_too_long_are_said(tmp_path, capsys, at_a_commit):
    at_a_commit("one")
    entries = (
        Entry(name="scaling:wrong", minutes=1, flags=("--no-such-flag",)),
        Entry(name="soak", minutes=61),
    )
    assert not release(entries, tmp_path, 1)
    assert capsys.readouterr().out == (
        "scaling:wrong: exit 2\nsoak: left out, as it would end after 1 hours\n"
    )
    assert "--no-such-flag" in (tmp_path / "scaling-wrong.log").read_text()
