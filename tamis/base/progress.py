"""Progress of long work, on a terminal or elsewhere, and outputs that cannot take what is said."""

import errno
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TextIO, cast

from tamis.base.errors import TransientError
from tamis.base.limits import SIZE
from tamis.base.numbers import MINUTE, brief

if TYPE_CHECKING:
    from tqdm import tqdm

Advance = Callable[[int], None]
Style = Literal["auto", "quiet", "verbose"]
DRAWN_SECONDS = 0.2
"""Between two drawings of the live line."""
INTERVAL_SECONDS = 1.3
"""Between two lines of work whose lines go to a function, or to a person who asked for `--verbose`."""
SILENT_SECONDS = 30.0
"""The longest silence while something lasts and there is no live line."""
FIRST_LOGGED_SECONDS, LOG_INTERVAL_SECONDS = 5.0, 60.0
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_TURNING = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HIDDEN = _CONTROLS | {code: f"\\u{code:04x}" for code in _TURNING}


class OutputError(TransientError):
    """Standard output cannot be written; says why and what to do."""

    def __init__(self, error: OSError) -> None:
        problem = error.strerror or str(error)
        limited = f"; {SIZE.in_words}" if error.errno == errno.EFBIG and SIZE.value is not None else ""
        super().__init__(
            f"standard output cannot be written ({problem}{limited}), so the answer is incomplete; send it "
            "to a file or disk with room for it, then run the same command again"
        )


class _Guarded(io.TextIOWrapper):
    """A text stream that drops everything after its first failure; `raises`: that failure is an error.

    A closed pipe is no failure: whoever reads it, such as `head`, has seen enough.
    """

    raises = True

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._drop_all(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._drop_all(error)

    def _drop_all(self, error: OSError) -> None:
        """Send what is left to nowhere, which the buffers would try to write again until the end."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self.raises and not isinstance(error, BrokenPipeError):
            raise OutputError(error) from error


def guard_standard_streams() -> None:
    """Put streams in place of `sys.stdout` and `sys.stderr` that fail as this module says.

    A stream that whoever started the command has closed takes everything and keeps nothing.
    """
    sys.stdout = _guarded(sys.stdout, raises=True)
    sys.stderr = _guarded(sys.stderr, raises=False)


def _guarded(stream: TextIO | None, raises: bool) -> TextIO:
    if stream is None:
        return open(os.devnull, "w")
    try:
        descriptor = stream.fileno()
    except OSError:  # a stream in memory, which whoever called from Python put here
        return stream
    before = cast(io.TextIOWrapper, stream)
    guarded = _Guarded(
        io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False)),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering or before.write_through,
    )
    guarded.raises = raises
    return guarded


def ignore(rows: int) -> None:
    """The `Advance` of callers that want no progress."""


def silent(line: str) -> None:
    """The sink of work that nobody watches in a terminal."""


def visible(text: str) -> str:
    r"""Return a text with what controls a terminal or turns the direction of text written out, as `\x1b`.

    Names of files and sources come from crawls: printed as they are, they could move the cursor, overwrite
    what a terminal shows, or reverse the words after them. Ends of lines stay; `visible_line` has none.
    """
    return text.translate(_HIDDEN)


def visible_line(line: str) -> str:
    """Return a line as `visible` does; a name in it that has several could pass for a message of ours."""
    return visible(line).replace("\n", "\\n")


def visible_name(name: str) -> str:
    """Return a name as `visible_line` does, without tabs."""
    return visible_line(name).replace("\t", "\\t")


class Progress:
    """Context manager that shows how far a piece of work is, until it is closed.

    `sink` gets lines in place of the terminal; `log` the few that are worth keeping. `background`: shown only
    where nothing else is, as what surrounds other pieces of work.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        unit: str = "rows",
        sink: Callable[[str], None] | None = None,
        log: Callable[[str], None] = silent,
        *,
        background: bool = False,
    ) -> None:
        self.label, self.total, self.unit, self.background = label, total, unit, background
        self.done = 0
        self._sink, self._log = sink, log
        self._log_at = FIRST_LOGGED_SECONDS
        self._logged = False
        self.started = self._advanced = self._printed = time.monotonic()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def advance(self, rows: int) -> None:
        """Count `rows` more as done."""
        self.done += rows
        self._advanced = time.monotonic()

    def line(self) -> str:
        """One line of the present state."""
        if not self.done:
            return f"{self.label}: working, {self.pace()}"
        total = "" if self.total is None else f"/{max(self.total, self.done):,}"  # a total may be an estimate
        return f"{self.label}: {self.done:,}{total} {self.unit}, {self.pace()}"

    def pace(self) -> str:
        """Rate and time left; the rate is of the last advance, so waiting does not lower it."""
        now = time.monotonic()
        if not self.done:
            return _short(now - self.started)
        rate = self.done / max(self._advanced - self.started, 1e-3)
        slow = f"{rate:.1f}/s" if rate >= 0.1 else f"{60 * rate:.1g}/min"
        shown = f"{rate:,.0f}/s" if rate >= 10 else slow
        if self.total is None:
            return shown
        left = max((self.total - self.done) / rate - (now - self._advanced), 0.0)
        return f"{shown}, {_short(left)} left"

    def _run(self) -> None:
        interval = DRAWN_SECONDS if self._sink is None else INTERVAL_SECONDS
        while not self._closed.wait(min(interval, INTERVAL_SECONDS)):
            if self._sink is not None:
                self._sink(self.line())
            else:
                _SCREEN.draw(self)
            worked = time.monotonic() - self.started
            if worked >= self._log_at:
                self._log(self.line())
                self._logged = True
                self._log_at = worked + min(worked, LOG_INTERVAL_SECONDS)

    def close(self) -> None:
        """Stop showing it; may be called again."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._logged:
            self._logged = False
            done = f"{self.done:,} {self.unit} in " if self.done else "ended after "
            self._log(f"{self.label}: {done}{time.monotonic() - self.started:.0f} s")
        _SCREEN.closed(self)

    def __enter__(self) -> "Progress":
        _SCREEN.opened(self)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _short(seconds: float) -> str:
    return brief(seconds) if seconds >= MINUTE else f"{seconds:.0f} s"


class Heartbeat(Progress):
    """Progress of what surrounds other work: shown only between the parts of it."""

    def __init__(self, label: str) -> None:
        super().__init__(label, background=True)


@dataclass
class _Screen:
    """What a person sees on standard error: lines that stay, and below them one that is drawn again."""

    style: Style = "auto"
    step: str = ""
    assets: str = ""
    open: list[Progress] = field(default_factory=list)
    _bar: "tqdm[None] | None" = None
    _barred: Progress | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _spoken: float = field(default_factory=time.monotonic)
    _terminal: TextIO | None = None

    def attach(self) -> None:
        """Keep hold of the terminal, if standard error is one: Dagster redirects it while steps run."""
        if self._terminal is None and sys.stderr.isatty():
            self._terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w", errors="replace")

    @property
    def stream(self) -> TextIO:
        """Where lines go."""
        return self._terminal or sys.stderr

    @property
    def live(self) -> bool:
        """Whether a line can be drawn again: standard error is a terminal that says how wide it is."""
        if self.style != "auto" or self._terminal is None or os.environ.get("TERM", "dumb") == "dumb":
            return False
        return os.get_terminal_size(self._terminal.fileno()).columns > 0

    def opened(self, progress: Progress) -> None:
        with self._lock:
            self.open.append(progress)

    def closed(self, progress: Progress) -> None:
        with self._lock:
            if progress in self.open:
                self.open.remove(progress)
            if progress is self._barred or not self.open:
                self._erase()

    def say(self, line: str) -> None:
        with self._lock:
            self._erase()
            self._spoken = time.monotonic()
            self._write(f"{visible_line(line)}\n")

    def _write(self, text: str) -> None:
        """Write in one piece, since threads speak at the same time; work goes on where nobody listens."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:  # a pipe that was closed, or a terminal that is gone
            self._terminal, sys.stderr = None, open(os.devnull, "w")  # noqa: SIM115

    def draw(self, progress: Progress) -> None:
        """Show a piece of work, unless another one is to be shown; called every moment of its own thread."""
        with self._lock:
            in_front = [one for one in self.open if not one.background and one._sink is None]
            if progress is not (in_front or self.open or [progress])[-1]:
                return
            if self.live:
                self._bar_of(progress).refresh()
                return
            most = INTERVAL_SECONDS if self.style == "verbose" else SILENT_SECONDS
            if self.style != "quiet" and time.monotonic() - self._spoken >= most:
                self.say(f"{self._before(progress.label)}{progress.line()}")

    def _bar_of(self, progress: Progress) -> "tqdm[None]":
        """The bar of a piece of work as it is now."""
        total = None if progress.total is None else max(progress.total, progress.done)
        label = f"{self._before(progress.label)}{progress.label}".replace("{", "{{").replace("}", "}}")
        if not progress.done:
            form = f"{label}, {progress.pace()}"
        elif total is None:
            form = f"{label}: {{n:,}} {progress.unit}, {progress.pace()}"
        else:
            form = f"{label}: {{n:,}}/{{total:,}} {progress.unit}, {progress.pace()} |{{bar:20}}|"
        if self._bar is None or self._barred is not progress or self._bar.total != total:
            self._erase()
            self._bar, self._barred = _new_bar(self.stream, progress.done, total, form), progress
        self._bar.n, self._bar.bar_format = progress.done, form
        return self._bar

    def _before(self, label: str) -> str:
        """Return the step, with its asset where the label does not say which it is."""
        assets = self.assets.split(", ")
        words = [asset.replace("_", " ").removesuffix("s") for asset in assets]
        said = label in self.assets or any(asset in label.replace("-", " ") for asset in words)
        return self.step if said else f"{self.step}{assets[0]}: "

    def _erase(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = self._barred = None


def _new_bar(stream: TextIO, done: int, total: int | None, form: str) -> "tqdm[None]":
    from tqdm import tqdm

    class Bar(tqdm):
        monitor_interval = 0  # no thread of its own: it is drawn again anyway

    return Bar(initial=done, total=total, file=stream, leave=False, dynamic_ncols=True, bar_format=form)


_SCREEN = _Screen()


def show(style: Style) -> None:
    """Choose what a person sees: with "quiet" problems alone, with "verbose" a line every moment."""
    _SCREEN.style = style
    _SCREEN.attach()


def begin_step(step: str, assets: str = "") -> None:
    """Name the step that what is shown belongs to, `[3/14] `, and its assets; "" for none."""
    _SCREEN.step, _SCREEN.assets = step, assets


def is_verbose() -> bool:
    """Return whether a person asked for every line."""
    return _SCREEN.style == "verbose"


def is_quiet() -> bool:
    """Return whether a person asked for problems alone."""
    return _SCREEN.style == "quiet"


def close_all(*, background: bool = True) -> None:
    """Stop every progress that is still shown: a step that failed may have left its own open.

    `background`: also those of what surrounds other work.
    """
    for progress in list(_SCREEN.open):
        if background or not progress.background:
            progress.close()


def say(line: str) -> None:
    """Print a line for the person who waits, on standard error; nothing with `--quiet`."""
    if _SCREEN.style != "quiet":
        _SCREEN.say(line)


def complain(line: str) -> None:
    """Print a line about what is wrong, on standard error, with `--quiet` too."""
    _SCREEN.say(line)
