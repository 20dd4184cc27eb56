"""Progress of long work: rows done, rate and time left, a line at least every two seconds.

A daemon thread prints, so a line comes even while one batch takes long. Work reports by calling
`advance(rows)`, which every long function of Tamis takes as an optional argument. A log that is kept gets a
line after 5, 10, 20, 40 seconds and then every minute, and one at the end of what was logged at all: an hour
of work leaves some sixty.
"""

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

Advance = Callable[[int], None]
INTERVAL_SECONDS = 1.3
FIRST_LOGGED_SECONDS, LOG_INTERVAL_SECONDS = 5.0, 60.0
HEARTBEAT_SECONDS = 1.5  # longer, so that it speaks only where no progress does


def ignore(rows: int) -> None:
    """The `Advance` of callers that want no progress."""


def silent(line: str) -> None:
    """The sink of work that nobody watches in a terminal."""


class Progress:
    """Context manager that prints `label: done/total unit, rate, time left` until it is closed.

    `sink` gets every line, standard error unless it is given; `log` the few that are worth keeping.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "rows",
        sink: Callable[[str], None] | None = None,
        log: Callable[[str], None] = silent,
    ) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self._sink, self._log = sink or say, log
        self._log_at = FIRST_LOGGED_SECONDS
        self._logged = False
        self._started = self._advanced = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def advance(self, rows: int) -> None:
        """Count `rows` more as done."""
        self.done += rows
        self._advanced = time.monotonic()

    def line(self) -> str:
        """One line of the present state; the rate is of the last advance, so waiting does not lower it."""
        now = time.monotonic()
        if not self.done:
            return f"{self.label}: working, {now - self._started:.0f} s"
        rate = self.done / max(self._advanced - self._started, 1e-3)
        pace = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
        if self.total is None:
            return f"{self.label}: {self.done:,} {self.unit}, {pace}"
        left = max((self.total - self.done) / rate - (now - self._advanced), 0.0)
        total = max(self.total, self.done)  # a total may be an estimate
        return f"{self.label}: {self.done:,}/{total:,} {self.unit}, {pace}, {left:.0f} s left"

    def _tick(self) -> None:
        while not self._closed.wait(INTERVAL_SECONDS):
            self._sink(self.line())
            worked = time.monotonic() - self._started
            if worked >= self._log_at:
                self._log(self.line())
                self._logged = True
                self._log_at = worked + min(worked, LOG_INTERVAL_SECONDS)

    def close(self) -> None:
        """Stop printing; may be called again."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._logged:
            self._logged = False
            done = f"{self.done:,} {self.unit} in " if self.done else "ended after "
            self._log(f"{self.label}: {done}{time.monotonic() - self._started:.0f} s")
        _OPEN.discard(self)

    def __enter__(self) -> "Progress":
        _OPEN.add(self)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_OPEN: set[Progress] = set()


def close_all() -> None:
    """Stop every progress that is still printing: a step that failed may have left its own open."""
    for progress in list(_OPEN):
        progress.close()


class Heartbeat:
    """Context manager that speaks where nothing else does: between the parts of a long piece of work."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._started = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        while not self._closed.wait(HEARTBEAT_SECONDS / 20):
            if time.monotonic() - _LAST.spoken > HEARTBEAT_SECONDS:
                say(f"{self.label}: working, {time.monotonic() - self._started:.0f} s")

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()


class _Last:
    """When a line was last printed, by anyone."""

    spoken = time.monotonic()


_LAST = _Last()


def say(line: str) -> None:
    """Print a line for the person who waits, on standard error."""
    _LAST.spoken = time.monotonic()
    sys.stderr.write(f"{line}\n")  # one write a line: threads speak at the same time
    sys.stderr.flush()
