"""A pytest plugin: the CPU time of each file of the fast suite, and a warning where one takes too much of it.

CPU time is that of the tests and of the processes that they start and wait for; what a fixture of the session
makes for all is no file's. It hardly depends on what else the machine does, so a file that grows is noticed
where it grows. Processes that a test leaves to others to end are not seen.

A file over the limit is cut down: its scenarios go to the lowest place where they can fail, or get the mark
`slow`. Only where neither is possible does it get an allowance of its own, in long_files.py.

Machines differ in more than one piece of work shows, so `make test` warns; `python -m benchmarks.suite`, for
a machine that does nothing else, fails by these limits (`--cpu-limits fail`). Where slow tests run too, no
file is judged: what their processes used is counted where they end, in another file.
"""

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from long_files import ALLOWED_CPU_SECONDS

MOST_CPU_SECONDS = 20.0
REFERENCE_SECONDS = 0.030
"""Of `fixed_work` on the machine that the limits were chosen on, an AMD EPYC; a slower one has more time."""
SHOWN = 25
TESTS = Path(__file__).resolve().parent


def cpu_seconds() -> float:
    """CPU time of this process, of those it has waited for, and of commands in forked ones."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    forked = sys.modules.get("forked")  # imported by those that run commands so
    return sum(use.ru_utime + use.ru_stime for use in uses) + (forked.SPENT[0] if forked else 0.0)


def fixed_work() -> float:
    """CPU time of the same work on every machine, the shortest of five."""

    def once() -> float:
        before = time.process_time()
        sum(number * number for number in range(1_000_000))
        return time.process_time() - before

    return min(once() for _ in range(5))


def over_budget(seconds: dict[str, float], allowed: dict[str, float], slower: float = 1.0) -> list[str]:
    """A line for each file that takes more than all may, or more than it is allowed to.

    slower: how many times as long as on the reference this machine takes for the same work.
    """
    most = {file: allowed.get(file, MOST_CPU_SECONDS) * slower for file in seconds}
    return [
        f"{file}: {spent:.0f} s of CPU time, {most[file]:.0f} allowed"
        for file, spent in sorted(seconds.items(), key=lambda entry: -entry[1])
        if spent > most[file]
    ]


class CpuTime:
    """Counts CPU seconds by file, in each worker, and compares them where the session ends."""

    def __init__(self, failing: bool) -> None:
        self.failing = failing
        self.seconds: Counter[str] = Counter()
        self.judged = True
        self._shared = 0.0
        self.slower = max(1.0, fixed_work() / REFERENCE_SECONDS)
        """Of all workers, when they begin and when they end: the slowest moment."""

    @contextmanager
    def _counted(self, item: pytest.Item) -> Iterator[None]:
        before, shared = cpu_seconds(), self._shared
        yield
        if item.get_closest_marker("slow") is not None:
            self.judged = False
        else:
            spent = cpu_seconds() - before - (self._shared - shared)
            self.seconds[item.path.relative_to(TESTS).as_posix()] += max(spent, 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        with self._counted(item):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        before = cpu_seconds()
        try:
            return (yield)
        finally:
            if fixturedef.scope == "session":
                self._shared += cpu_seconds() - before

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        ended = getattr(node, "workeroutput", {})
        self.seconds.update(ended.get("cpu_seconds", {}))
        self.slower = max(self.slower, ended.get("slower", 1.0))
        self.judged = self.judged and ended.get("judged", True)

    def _over_budget(self) -> list[str]:
        return over_budget(self.seconds, ALLOWED_CPU_SECONDS, self.slower) if self.judged else []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workeroutput"):
            slower = max(self.slower, fixed_work() / REFERENCE_SECONDS)
            found = {"cpu_seconds": dict(self.seconds), "slower": slower, "judged": self.judged}
            session.config.workeroutput |= found
        elif self.failing and self._over_budget() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        longest = ", ".join(f"{file} {seconds:.0f}" for file, seconds in self.seconds.most_common(SHOWN))
        if sum(self.seconds.values()) >= MOST_CPU_SECONDS:
            total, slower = self.seconds.total(), self.slower
            terminalreporter.write_line(
                f"CPU seconds: {total:.0f} (limits times {slower:.2f}); most: {longest}"
            )
        for line in self._over_budget():
            said = f"too slow: {line}; tests/cpu_time.py says what to do"
            terminalreporter.write_line(said, red=self.failing, yellow=not self.failing)


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "what a file does that takes more CPU time than it may"
    parser.addoption("--cpu-limits", choices=("warn", "fail"), default="warn", help=what)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(CpuTime(config.getoption("--cpu-limits") == "fail"), "cpu-time")
