"""Which partitions a process died of: of a fault or for want of memory, never because somebody killed it."""

import signal
import subprocess
import sys

import pytest
from projects import CHECKOUT

from resources import process_deaths as aborts
from resources.process_deaths import OUT_OF_MEMORY, forget_aborts, read_aborts, watching
from tamis.store.home import Home

PROGRAM = """
import os, sys
from pathlib import Path
from resources.process_deaths import watching
from tamis.store.home import Home

with watching(Home(Path(sys.argv[1])), "documents") as watch:
    watch.begin({"made": "k0"})
    watch.begin({"bad": "k1"})
    watch.begin({"left": "k2"})
    watch.end(["made", "left"])
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path)


def die(home: Home, number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(home.root), str(int(number))], cwd=CHECKOUT, capture_output=True
    )
    assert done.returncode == -number, done.stderr.decode()


def counted(home: Home) -> dict[tuple[str, str], tuple[int, str]]:
    """What is counted once the next process has looked."""
    with watching(home, "embeddings"):
        pass
    return {(one.asset, one.partition): (one.count, one.reason) for one in read_aborts(home)}


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGABRT, "aborted"), (signal.SIGSEGV, "segmentation fault")]
)
def test_a_fault_counts_against_what_was_at_work_alone(home, number, reason):
    die(home, number)
    assert counted(home) == {("documents", "bad"): (1, reason)}
    die(home, number)
    assert counted(home) == {("documents", "bad"): (2, reason)}
    assert counted(home) == {("documents", "bad"): (2, reason)}, "a death is counted once"
    assert forget_aborts(home) == 1
    assert counted(home) == {}


def test_a_process_that_somebody_kills_counts_for_nothing(home):
    die(home, signal.SIGSEGV)
    die(home, signal.SIGKILL)
    die(home, signal.SIGTERM)
    assert counted(home) == {("documents", "bad"): (1, "segmentation fault")}


def test_a_process_that_the_system_kills_for_want_of_memory_counts(home, monkeypatch):
    die(home, signal.SIGKILL)
    kernel = aborts._kernel()
    assert kernel["boot"], "of this machine it is known"
    monkeypatch.setattr(aborts, "_kernel", lambda: kernel | {"killed": "oom_kill 1000000"})
    assert counted(home) == {("documents", "bad"): (1, OUT_OF_MEMORY)}
    monkeypatch.undo()
    die(home, signal.SIGKILL)
    monkeypatch.setattr(aborts, "_kernel", lambda: {"boot": "another", "killed": "oom_kill 2000000"})
    assert counted(home) == {("documents", "bad"): (1, OUT_OF_MEMORY)}, "the machine was started since"


def test_other_inputs_begin_a_new_count_and_what_is_made_has_none(home):
    die(home, signal.SIGSEGV)
    with watching(home, "documents") as watch:
        assert watch.suspected.keys() == {"bad"}
        watch.begin({"bad": "k9"})
        watch.end(["bad"], made=True)
        assert watch.suspected == {}
    assert counted(home) == {}


@pytest.mark.parametrize("left", [b"", b'{"asset": "docu'])
def test_a_note_that_was_cut_off_counts_for_nothing(home, left):
    die(home, signal.SIGSEGV)
    (home.cache / "at_work" / "partitions").write_bytes(left)
    assert counted(home) == {}
