"""The release runs every benchmark once, and goes on where it was stopped."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks import _release
from benchmarks._release import LEFT_OUT, MOST_HOURS, RELEASE, Entry, print_list, release
from benchmarks._stopping import run_within

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


@pytest.mark.parametrize("code", [0, 1, 2, -9, None])
def test_only_exit_0_is_done(code, tmp_path, monkeypatch, capsys, at_a_commit):
    """1 is a missed limit or a failure, -9 is one that was killed, None one that ran out of time."""
    at_a_commit("one")
    entry, given = Entry(name="filters", minutes=1), []

    def instead(seconds, *_command_and_files):
        given.append(seconds)
        return code

    monkeypatch.setattr(_release, "run_within", instead)
    first, again = release((entry,), tmp_path, 1), release((entry,), tmp_path, 1)
    assert first == again == (code == 0), "the next call does not forget a failure"
    ended = "stopped after 1 hours in all" if code is None else f"exit {code}"
    second = "done at this commit" if code == 0 else ended
    assert capsys.readouterr().out == f"filters: {ended}\nfilters: {second}\n"
    assert len(given) == 1 + (code != 0)
    assert all(3_590 < seconds <= 3_600 for seconds in given), "what is left of the hours"
    assert (tmp_path / "filters.done.json").exists() == (code is not None)


def test_one_that_runs_too_long_is_stopped(tmp_path, capsys, at_a_commit):
    at_a_commit("one")
    began = time.monotonic()
    assert not release((Entry(name="yardstick", minutes=0),), tmp_path, 0.1 / 3600)
    assert time.monotonic() - began < 20
    assert "yardstick: stopped after" in capsys.readouterr().out


def test_a_release_that_is_ended_ends_its_benchmark(tmp_path):
    command = [sys.executable, "-m", "benchmarks._release", "--only", "yardstick", "--to", str(tmp_path)]
    process, running = subprocess.Popen(command), []
    while not running:
        assert process.poll() is None
        time.sleep(0.02)
        with suppress(psutil.Error):  # git, which names the commit, may have ended
            children = psutil.Process(process.pid).children()
            running = [child for child in children if "benchmarks.yardstick" in child.cmdline()]
    process.terminate()
    assert process.wait(30) == 143
    assert not running[0].is_running()
    assert not (tmp_path / "yardstick.done.json").exists()


def test_a_command_is_ended_by_a_signal_that_comes_while_it_starts(tmp_path, monkeypatch):
    started, popen = [], subprocess.Popen

    def signalled_popen(*arguments, **options):
        started.append(popen(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", signalled_popen)
    with (tmp_path / "out").open("wb") as out, pytest.raises(KeyboardInterrupt):
        run_within(60, ["sleep", "60"], out)
    assert started[0].poll() is not None


def test_the_list_shows_what_was_measured_next_to_what_is_expected(tmp_path, capsys):
    entries = Entry(name="filters", minutes=30, flags=("--seed", "1")), Entry(name="soak", minutes=60)
    note = {"commit": "one", "seconds": 150, "exit": 1, "command": []}
    (tmp_path / "filters.done.json").write_text(json.dumps(note))
    print_list(entries, tmp_path)
    shown = capsys.readouterr().out.splitlines()
    assert shown[:4] == [
        "expected   measured",
        "  0.50 h    2.5 min  filters --seed 1 (ended with exit 1)",
        "  1.00 h          -  soak",
        "  1.50 h             in all",
    ]
