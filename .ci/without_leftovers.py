"""Run a command, then end every process it left behind, however far that one detached itself.

Servers and browsers that tests start may leave their process group and session; as the subreaper of its
descendants (Linux, prctl(2)) this process inherits them in the place of init. It adds 30 ms.
usage: python .ci/without_leftovers.py COMMAND [ARGUMENT ...]; exits as the command does
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 5.0


def main() -> int:
    """Exit code of the command."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return command.wait()
    except BaseException:
        # The whole group, so that a shell need not outwait its children before it cleans up.
        os.killpg(command.pid, signal.SIGTERM)
        raise
    finally:
        end_children()


def end_children() -> None:
    """End what is left, children of children included: they become ours as their parents end."""
    deadline = time.monotonic() + GRACE_SECONDS
    named: set[int] = set()
    while children := living_children():
        for process in children - named:
            print(f"left behind, ended: {process} {command_line(process)}", file=sys.stderr)
        named |= children
        for process in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL if time.monotonic() > deadline else signal.SIGTERM)
        time.sleep(0.2)


def living_children() -> set[int]:
    """Processes whose parent is this one, after collecting those that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if parent(folder) == os.getpid()}


def parent(folder: Path) -> int:
    """Parent of a process, by its folder in /proc; 0 when it has ended."""
    try:
        # The name is in brackets and may hold spaces; state and parent follow it.
        return int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def command_line(process: int) -> str:
    """The beginning of a process's command line; empty when it has ended."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes()
        return words.replace(b"\0", b" ").decode(errors="replace")[:150]
    return ""


if __name__ == "__main__":
    sys.exit(main())
