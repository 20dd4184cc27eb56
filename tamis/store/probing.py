"""Tables whose reading ends the process: found by a process of their own, before an audit reads them.

A length in a damaged file can make the storage layer ask for more memory than there is, which aborts. Reading
every table once more costs a start of Python and some .2 s per million rows, texts by the speed of the disk.
"""

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence

from tamis.store.tables import Store


def crashing_tables(store: Store) -> dict[str, str]:
    """Return the tables that cannot be read without the end of the process, each with what it said last."""
    found: dict[str, str] = {}
    names = store.names()
    while names:
        done = subprocess.run(
            # -P: the working directory is somebody's project, whose files must not be imported as modules.
            [sys.executable, "-P", "-m", "tamis.store.probing"],
            input=pickle.dumps((store, names)),
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


def read_all(store: Store, names: Sequence[str]) -> None:
    """Read every column of these tables; prints each name first. Mere errors are for the audit to find."""
    for table in names:
        print(table, flush=True)
        with contextlib.suppress(Exception):
            for _block in store.sealed_blocks(table):
                pass


if __name__ == "__main__":
    read_all(*pickle.load(sys.stdin.buffer))
