"""Tables whose reading ends the process: found by a process of their own, before an audit reads them.

A length in a damaged file can make the storage layer ask for more memory than there is, which aborts, or for
less, which it fills with zeros before it notices. Hence the process has a limit of memory. Reading every
table once more costs a start of Python and some .2 s per million rows, texts by the speed of the disk.
"""

import contextlib
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Sequence

from tamis.store.tables import Store

LEAST_BYTES = 4 << 30
"""Memory that the process may always ask for; the tables of a million documents took less."""


def most_bytes_of_machine() -> int:
    """Return half of the machine's memory, in bytes, or `LEAST_BYTES` if that is more."""
    return max(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2, LEAST_BYTES)


def crashing_tables(store: Store, most_bytes: int | None = None) -> dict[str, str]:
    """Return the tables that cannot be read without the end of the process, each with what it said last.

    `most_bytes`: memory that the process may ask for; None: `most_bytes_of_machine`.
    """
    most_bytes = most_bytes or most_bytes_of_machine()
    found: dict[str, str] = {}
    names = store.names()
    while names:
        done = subprocess.run(
            # -P: the working directory is somebody's project, whose files must not be imported as modules.
            [sys.executable, "-P", "-m", "tamis.store.probing"],
            input=pickle.dumps((store, names, most_bytes)),
            capture_output=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=False,
        )
        reached = done.stdout.decode().split()
        if done.returncode == 0 or not reached:
            return found
        said = done.stderr.decode(errors="replace").strip().splitlines()
        found[reached[-1]] = next(
            (line for line in reversed(said) if "failed" in line), f"exit code {done.returncode}"
        )
        names = names[names.index(reached[-1]) + 1 :]
    return found


def limit_memory(most_bytes: int) -> None:
    """Let this process write to no more than so many bytes: a larger allocation fails, which aborts."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def read_all(store: Store, names: Sequence[str], most_bytes: int) -> None:
    """Read every column of these tables; prints each name first. Mere errors are for the audit to find."""
    limit_memory(most_bytes)
    for table in names:
        print(table, flush=True)
        with contextlib.suppress(Exception):
            for _block in store.sealed_blocks(table):
                pass


if __name__ == "__main__":
    read_all(*pickle.load(sys.stdin.buffer))
