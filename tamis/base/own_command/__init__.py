"""Commands of the user's: started apart from Tamis, polled, stopped with all that they have started.

A command runs in a folder of its own under the home's cache, watched by `supervisor.py`, a small process that
outlives Tamis: it keeps the time limit, stops the command's process group, and writes down how it ended.
Whoever polls reads that folder, so a command is recognised again after Tamis was killed, and never started
twice in one folder. Output goes to a file there, since it may quote documents: error messages name the file.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.numbers import brief
from tamis.base.own_command.supervisor import end_processes
from tamis.base.processes import lives

GRACE_SECONDS = 60.0
"""Time between SIGTERM and SIGKILL for the processes of a command."""
POLL_SECONDS = 0.1
NO_GROUP = -1
STARTED_SECONDS = 60.0
"""Time in which a supervisor has to say that it runs, on however busy a machine."""
LOG = "log.txt"
LOCK, PROCESS, ENDED = "lock", "process.json", "ended.json"
"""Files of the supervisor: held while it runs, processes by host, id and start, how the command ended."""
FILES = {"lock": LOCK, "process": PROCESS, "ended": ENDED}
CACHES = {
    "HF_HOME": "cache/huggingface",
    "HF_DATASETS_CACHE": "cache/datasets",
    "TMPDIR": "temporary",
}
"""Variables that name folders in which libraries leave copies of documents."""
SHOWN_LINES, SHOWN_BYTES = 20, 4_000
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_NO_PROGRAM = {126: "the program cannot be executed", 127: "the program was not found"}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of a command; `code` is negative after a signal.

    `seconds`: wall-clock time. `peak_memory_bytes`: of its largest process. `timed_out`, `stopped`: ended by
    its time limit, or by somebody.
    """

    code: int | None
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    timed_out: bool = False
    stopped: bool = False

    @property
    def vanished(self) -> bool:
        """Return whether the machine or the supervisor ended before the command's end was written down."""
        return self.code is None

    @property
    def succeeded(self) -> bool:
        """Return whether the command ended by itself, with the exit code 0."""
        return self.code == 0 and not self.timed_out and not self.stopped

    def in_words(self, time_limit: float | None = None) -> str:
        """Say how the command ended, for the middle of a sentence."""
        if self.timed_out:
            limit = f" of {brief(time_limit)}" if time_limit is not None else ""
            return f"was stopped at its time limit{limit}"
        if self.stopped:
            return "was stopped"
        return exit_in_words(self.code)


class CommandFailedError(PermanentError):
    """A command of the user's failed; names its log, and shows its end on the terminal alone."""

    def __init__(self, key: str, said: str, folder: Path) -> None:
        self.key, self.log = key, folder / LOG
        message = f"the command of {key} {said}; its output is in {self.log}"
        super().__init__(message)
        if tail := last_lines(folder):
            self.withheld = f"{message}\n{tail}"


class UnknownProgramError(PermanentError):
    """The first word of a command is no program."""

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__(
            f"the program {program!r} cannot be executed; make it executable (chmod +x {program}), or name "
            'the program that runs it, such as ["python", ...] or ["bash", ...]'
            if (folder / program).is_file()
            else f"the program {program!r} was not found; name one that is on PATH, or a path relative to "
            f"{folder}"
        )


def placeholders(command: Sequence[str]) -> list[str]:
    """Return the names in braces of a command's words, each once, in order."""
    return list(dict.fromkeys(name for word in command for name in _PLACEHOLDER.findall(word)))


def fill(command: Sequence[str], values: Mapping[str, object]) -> list[str]:
    """Return a command with its placeholders replaced; raises `UnknownNameError` for others than `values`."""
    for name in placeholders(command):
        if name not in values:
            raise UnknownNameError("placeholder", f"{{{name}}}", (f"{{{valid}}}" for valid in values))
    return [_PLACEHOLDER.sub(lambda match: str(values[match[1]]), word) for word in command]


def start(
    command: Sequence[str], *, cwd: Path, folder: Path, time_limit: float, grace: float = GRACE_SECONDS
) -> None:
    """Start a filled command that outlives this process; where it was started in this folder, do nothing.

    `cwd`: working directory, the project's folder. `folder`: of this run alone, for the log, caches and
    temporary files. `time_limit`, `grace`: seconds. `python` is the interpreter that runs Tamis. Raises
    `UnknownProgramError`.
    """
    if was_started(folder):
        return
    environment = _environment(folder)
    program = shutil.which(command[0], path=environment["PATH"])
    if program is None and "/" in command[0]:
        program = shutil.which(cwd / command[0])
    if program is None:
        raise UnknownProgramError(command[0], cwd)
    for name in CACHES.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    job = {
        "command": [os.path.abspath(cwd / program), *command[1:]],
        "cwd": str(cwd),
        **{name: str(folder / file) for name, file in FILES.items()},
        "time_limit": time_limit,
        "grace": grace,
    }
    with (folder / LOG).open("ab") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-I", str(_SUPERVISOR), json.dumps(job)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    deadline = time.monotonic() + STARTED_SECONDS
    while folder.exists() and not was_started(folder):
        if supervisor.wait() or time.monotonic() > deadline:
            raise CommandFailedError("the supervisor", "did not start", folder)
        time.sleep(POLL_SECONDS / 10)


def was_started(folder: Path) -> bool:
    """Return whether a command was started in a folder."""
    return (folder / PROCESS).exists()


def poll(folder: Path) -> Ended | None:
    """Return how the command of a folder ended, None while it runs.

    One that never started, or whose machine was switched off, has vanished. One whose supervisor was killed
    runs on, for as long as the supervisor would have let it.
    """
    if ended := _read_ended(folder):
        return ended
    if _is_supervised(folder):
        return None
    if ended := _read_ended(folder):
        return ended
    processes = _processes(folder)
    if "command" in processes and _is_running(processes["command"]) and time.time() < processes["until"]:
        return None
    return Ended(code=None)


def stop(folder: Path, grace: float = GRACE_SECONDS) -> Ended:
    """End the command of a folder with all processes that it has started, and return how it ended.

    SIGTERM to each; SIGKILL after the grace with which it was started, or after `grace` where its
    supervisor has died. A command of another machine ends when its folder is erased.
    """
    processes = _processes(folder)
    supervisor = processes.get("supervisor")
    if supervisor and lives(supervisor) is None:
        return poll(folder) or Ended(code=None)
    if supervisor and _is_supervised(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(_number(supervisor), signal.SIGTERM)
        while _is_supervised(folder):
            time.sleep(POLL_SECONDS)
    if (child := processes.get("command")) and _read_ended(folder) is None:
        # The number of a group is given out again once no process of the group is left.
        end_processes(_number(child) if _is_running(child) else NO_GROUP, processes.get("mark", ""), grace)
    return _read_ended(folder) or Ended(code=None)


def forget(folder: Path) -> None:
    """Stop the command of a folder, and let it be started again there; what it has written stays."""
    stop(folder)
    for name in (ENDED, LOCK, PROCESS):
        (folder / name).unlink(missing_ok=True)


def supervisor_of(folder: Path) -> int:
    """Return the process to send SIGTERM to where somebody wants the command of a folder to be stopped."""
    return _number(_processes(folder)["supervisor"])


def run_to_end(
    command: Sequence[str],
    *,
    cwd: Path,
    folder: Path,
    time_limit: float,
    grace: float = GRACE_SECONDS,
    wait: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a filled command and return how it ended; arguments as those of `start`.

    It is stopped where this function is left by an exception, as after Ctrl-C. `wait` is called at each look.
    """
    start(command, cwd=cwd, folder=folder, time_limit=time_limit, grace=grace)
    try:
        while (ended := poll(folder)) is None:
            wait()
            time.sleep(POLL_SECONDS)
    except BaseException:
        stop(folder, grace)
        raise
    return ended


def last_lines(folder: Path) -> str:
    """Return the end of a command's output. It may quote documents: for the terminal, never stored."""
    try:
        with _opened(folder / LOG) as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - SHOWN_BYTES))
            return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-SHOWN_LINES:])
    except OSError:
        return ""


def exit_in_words(code: int | None) -> str:
    """Say what an exit code means: a negative one, and one over 128, names a signal."""
    if code is None:
        return "ended without an exit code, as when the machine restarts"
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return f"ended with exit code {128 + number}: it was killed, often for lack of memory"
    with contextlib.suppress(ValueError):
        if number > 0:
            return f"ended with exit code {128 + number}: it was ended by {signal.Signals(number).name}"
    return f"ended with exit code {code}" + (f": {_NO_PROGRAM[code]}" if code in _NO_PROGRAM else "")


def _environment(folder: Path) -> dict[str, str]:
    """Return this process's variables, but libraries keep data in `folder`.

    Downloaded models and the token of the hub stay where the user has them: neither holds documents.
    """
    given = os.environ
    home = Path(given.get("HF_HOME") or Path("~/.cache/huggingface").expanduser())
    kept = {"HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token")}
    path = os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", os.defpath)])
    return {**kept, **given, "PATH": path} | {name: str(folder / place) for name, place in CACHES.items()}


def _is_supervised(folder: Path) -> bool:
    """Return whether the supervisor runs: it holds a lock, or is of another machine and not overdue."""
    try:
        with _opened(folder / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    processes = _processes(folder)
    supervisor = processes.get("supervisor")
    elsewhere = supervisor is not None and lives(supervisor) is None
    return elsewhere and time.time() < processes["until"]


def _processes(folder: Path) -> dict[str, Any]:
    return _read(folder / PROCESS)


def _read_ended(folder: Path) -> Ended | None:
    found = _read(folder / ENDED)
    return Ended(**found) if found else None


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object of the supervisor's, empty where there is none.

    It is written whole, but the command may write there, too.
    """
    try:
        with _opened(path) as file:
            return dict(json.loads(file.read()))
    except (FileNotFoundError, IsADirectoryError, ValueError, TypeError):
        return {}


def _opened(path: Path) -> BinaryIO:
    """Open a file to read; where a command has put a pipe, nobody waits for its other end."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _is_running(process: str) -> bool:
    """Return whether a process of this machine runs; after its end it may stay as a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(lives(process)) and psutil.Process(_number(process)).status() != psutil.STATUS_ZOMBIE
    return False


def _number(process: str) -> int:
    return int(process.rsplit(":", 2)[1])
