"""Commands that end within a time, with all processes that they started."""

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import IO

TO_STOP_SECONDS = 15.0


def run_within(
    seconds: float, command: Sequence[str], stdout: IO[bytes], stderr: IO[bytes] | None = None
) -> int | None:
    """Return a command's exit code, or None where it was stopped since it took longer than that.

    However it ends, and if this process is interrupted, nothing of its group is left.
    """
    # A signal while the command is being started waits until there is a process to stop.
    asked: list[int] = []
    handlers = {
        name: signal.signal(name, lambda number, _frame: asked.append(number))
        for name in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, start_new_session=True)
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
    try:
        for number in asked:
            signal.raise_signal(number)
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and its children: gently, then for good."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(TO_STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
