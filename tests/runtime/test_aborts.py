"""Which partitions a process died of: of a fault or for want of memory, never because somebody killed it."""

import shutil
import signal
import subprocess
import sys

import pytest
from projects import CHECKOUT

from tamis.graph import failures as aborts
from tamis.graph.failures import OUT_OF_MEMORY, PartitionAbortedError, forget_aborts, read_aborts, watching
from tamis.store.home import Home

PROGRAM = """
import os, sys
from pathlib import Path
from tamis.graph.failures import watching
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


def die(home: Home, number: signal.Signals, program: str = PROGRAM) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, str(home.root), str(int(number))], cwd=CHECKOUT, capture_output=True
    )
    assert done.returncode == -number, done.stderr.decode()


def counted(home: Home) -> dict[tuple[str, str], tuple[str, ...]]:
    """What is counted once the next process has looked."""
    with watching(home, "embeddings"):
        pass
    return {(one.asset, one.partition): one.reasons for one in read_aborts(home)}


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGABRT, "aborted"), (signal.SIGSEGV, "segmentation fault")]
)
def test_a_fault_counts_against_what_was_at_work_alone(home, number, reason):
    die(home, number)
    assert counted(home) == {("documents", "bad"): (reason,)}
    die(home, number)
    assert counted(home) == {("documents", "bad"): (reason, reason)}
    assert counted(home) == {("documents", "bad"): (reason, reason)}, "a death is counted once"
    assert forget_aborts(home) == 1
    assert counted(home) == {}


def test_a_process_that_somebody_kills_counts_for_nothing(home):
    die(home, signal.SIGSEGV)
    die(home, signal.SIGKILL)
    die(home, signal.SIGTERM)
    assert counted(home) == {("documents", "bad"): ("segmentation fault",)}


def test_a_process_that_the_system_kills_for_want_of_memory_counts(home, monkeypatch):
    die(home, signal.SIGKILL)
    kernel = aborts._kernel()
    assert kernel["boot"], "of this machine it is known"
    monkeypatch.setattr(aborts, "_kernel", lambda: kernel | {"killed": "oom_kill 1000000"})
    assert counted(home) == {("documents", "bad"): (OUT_OF_MEMORY,)}
    monkeypatch.undo()
    die(home, signal.SIGKILL)
    monkeypatch.setattr(aborts, "_kernel", lambda: {"boot": "another", "killed": "oom_kill 2000000"})
    assert counted(home) == {("documents", "bad"): (OUT_OF_MEMORY,)}, "the machine was started since"


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


HEAD = b'{"asset": "documents", "boot": "b", "killed": ""}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("aborts.json", b'[{"asset"'),
        ("aborts.json", b'[{"asset": "documents", "unknown": 1}]'),
        ("aborts.json", b'{"asset": "documents"}'),
        ("partitions", b"\0\0\0\0\n"),
        ("partitions", HEAD + b'{"bad": "k\n'),
        ("partitions", b'{"bad": "k1"}\n{"bad": "k1"}\n'),
        ("partitions", HEAD + b'["bad"]\n'),
        ("fault", None),
        ("fault", aborts.SAID_OF_A_FAULT.encode()),
    ],
)
def test_a_damaged_note_is_logged_and_counts_for_nothing(home, name, content):
    die(home, signal.SIGSEGV)
    path = home.cache / "at_work" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    if name == "aborts.json":
        (path.parent / "partitions").unlink()
    logged: list[str] = []
    with watching(home, "documents", logged.append) as watch:
        assert watch.suspected == {}
        watch.begin({"bad": "k1"})
        watch.end(["bad"], made=True)
    (line,) = logged
    assert (
        f"{path.parent / ('aborts.json' if name == 'aborts.json' else 'partitions')} cannot be read" in line
    )


def test_a_step_whose_cache_is_deleted_meanwhile_ends_well(home):
    with watching(home, "documents") as watch:
        watch.begin({"made": "k0"})
        shutil.rmtree(home.cache)
        watch.end(["made"], made=True)
    assert counted(home) == {}


CLOSED_LATE = """
import os, sys
from pathlib import Path
from tamis.graph.failures import watching
from tamis.store.home import Home

home = Home(Path(sys.argv[1]))
given_up = watching(home, "embeddings")
given_up.__enter__().begin({"other": "k0"})
with watching(home, "documents") as watch:
    watch.begin({"bad": "k1"})
    given_up.__exit__(None, None, None)
    os.kill(os.getpid(), int(sys.argv[2]))
"""


def test_a_step_that_is_closed_late_leaves_the_notes_of_the_next_one(home):
    die(home, signal.SIGSEGV, CLOSED_LATE)
    assert counted(home) == {("documents", "bad"): ("segmentation fault",)}


def test_a_field_that_is_not_known_leaves_the_others_as_they_are(home):
    die(home, signal.SIGSEGV)
    expected = counted(home)
    path = home.cache / "at_work" / "aborts.json"
    path.write_text(path.read_text().replace('"asset"', '"later": 1, "asset"'))
    assert counted(home) == expected == {("documents", "bad"): ("segmentation fault",)}


def test_what_is_forgotten_need_not_be_readable(home):
    path = home.cache / "at_work" / "aborts.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'[{"asset"')
    assert forget_aborts(home) == 0
    assert path.read_bytes() == b"[]"


def test_each_of_two_reasons_is_named(home):
    die(home, signal.SIGSEGV)
    counted(home)
    die(home, signal.SIGABRT)
    counted(home)
    (abort,) = read_aborts(home)
    assert "2 times (segmentation fault, then aborted)" in str(PartitionAbortedError(abort))
