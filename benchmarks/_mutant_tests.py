"""Tests of a mutant: which cover it, and a run of them in a process that has imported other people's code."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._mutations import Mutation

CHECKOUT = Path(__file__).resolve().parents[1]
OWN = ("benchmarks", "tamis")
NO_TEST_OF_A_CHANGE = ("tests/faults", "tests/graph/test_graph_code_versions.py")
"""Every change of code fails these, whatever it does."""
COLLECTION = "collection"
"""Represents a test that failed where none began."""
ENCODER = Path(".pytest_cache", "d", "tamis")


@dataclass(frozen=True)
class Ran:
    """What a run of some tests came to: the test that failed, "" where none did, and why."""

    failed: str
    why: str
    output: str = ""
    late: bool = False


@dataclass(eq=False)  # pytest wants its plugins hashable
class Order:
    """A plugin of pytest that keeps the order of the tests and notes which one runs."""

    tests: list[str]
    place: Path

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Run the fastest test first."""
        items.sort(key=lambda item: self.tests.index(item.nodeid) if item.nodeid in self.tests else 0)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note the test that begins; -x ends the run with the one that fails."""
        self.place.write_text(nodeid)


def copy_checkout(checkout: Path, copy: Path) -> None:
    """Copy the files of a checkout that git does not ignore, and the encoder that its tests distilled."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=checkout, text=True).split("\0"):
        source = checkout / name
        if name and (source.is_symlink() or source.is_file()):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    if (checkout / ENCODER).is_dir():
        shutil.copytree(checkout / ENCODER, copy / ENCODER)


def run_tests(copy: Path, tests: list[str], limit: float) -> Ran:
    """Run tests in a process forked from this one, until the first fails or the time is over."""
    with tempfile.TemporaryDirectory(prefix="tamis-mutant-") as scratch:
        order = Order(tests, Path(scratch) / "running")
        child = os.fork()
        if not child:
            with suppress(BaseException):
                os._exit(_in_child(copy, Path(scratch), order))
            os._exit(70)
        until, ended, status = time.monotonic() + limit, 0, 0
        while not ended and time.monotonic() < until:
            time.sleep(0.05)
            ended, status = os.waitpid(child, os.WNOHANG)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # the child, or servers that it has left
        if not ended:
            os.waitpid(child, 0)
        running = order.place.read_text() if order.place.is_file() else COLLECTION
        output = (Path(scratch) / "output").read_text(errors="replace")[-3000:]
    if not ended:
        return Ran(running, f"no end after {limit:.0f} s", output, late=True)
    code = os.waitstatus_to_exitcode(status)
    return Ran(running if code else "", f"exit {code}" if code > 1 or code < 0 else "", output)


def _in_child(copy: Path, scratch: Path, order: Order) -> int:
    """Become a process that finds the copy's code, and run pytest in it."""
    os.setsid()
    for number in (1, 2):
        os.dup2(os.open(scratch / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(copy)
    for name in [name for name in sys.modules if name.split(".")[0] in OWN]:
        del sys.modules[name]
    here = {str(CHECKOUT), "", os.getcwd()}
    sys.path[:] = [str(copy), *(place for place in sys.path if place not in here)]
    os.environ |= {"PYTHONPATH": str(copy), "TMPDIR": str(scratch), "CI": "true"}
    tempfile.tempdir = None
    import pytest

    # The time of a file is no matter here (cpu_time), and neither is what a run leaves for the next.
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cpu_time", f"--basetemp={scratch / 'base'}"]
    return int(pytest.main([*options, *order.tests], plugins=[order]))


class Tests:
    """Which tests cover a line of a checkout, and how long each takes."""

    def __init__(self, checkout: Path, data: Path, seconds: Path) -> None:
        from coverage import CoverageData

        self.checkout, self.data = checkout, CoverageData(str(data))
        self.data.read()
        rows = (line.split(" ", 1) for line in seconds.read_text().splitlines())
        self.seconds = {test: float(spent) for spent, test in rows}
        self.left_out: set[str] = set()
        """They fail without a mutant."""
        self.sound: set[str] = set()
        """They pass without."""

    def covering(self, mutation: Mutation, most: int, at_once: float = 30.0) -> tuple[list[str], int]:
        """Return tests of the mutation's lines, the fastest of each file first, and how many there are."""
        by_line = self.data.contexts_by_lineno(str(self.checkout / mutation.key[0]))
        found = {test for line in mutation.lines for test in by_line.get(line, ())}
        known = sorted((test for test in found if self.known(test)), key=lambda test: self.seconds[test])
        turn: dict[str, int] = {}
        for test in known:
            turn[test] = sum(other.split("::")[0] == test.split("::")[0] for other in turn)
        chosen: list[str] = []
        for test in sorted(known, key=lambda test: (turn[test], self.seconds[test]))[:most]:
            if not chosen or sum(map(self.seconds.__getitem__, [*chosen, test])) <= at_once:
                chosen.append(test)
        return sorted(chosen, key=lambda test: self.seconds[test]), len(known)

    def known(self, test: str) -> bool:
        """Whether a context is a test that can tell a mutant from the code as it is."""
        return test in self.seconds and test not in self.left_out and not test.startswith(NO_TEST_OF_A_CHANGE)
