"""Commands in processes forked from one that has imported what they need: 1 s until it begins, instead of 4.

What is imported beforehand is other people's code. Tamis's own is imported by each command, and so is
lancedb, which starts a thread, and a thread does not outlive a fork. All share the hash seed of the process
they come from. What a test kills, and a home that is compared with one that another command made, wants a
process of its own (`SmallProject.command`, `SmallProject.tamis(alone=True)`).
"""

import atexit
import functools
import json
import os
import random
import resource
import runpy
import subprocess
import sys
import tempfile
import threading
from multiprocessing import get_context
from pathlib import Path

LIBRARIES = [
    "alembic.command",
    "dagster",
    "lance_namespace",
    "matplotlib.figure",
    "pandas",
    "polars",
    "psutil",
    "pyarrow.parquet",
    "scipy.sparse",
    "sqlalchemy",
    "sqlglot.lineage",
    "torch",
]
SPENT = [0.0]
"""CPU seconds of all commands so far: they are no children of this process, so nothing else counts them."""
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(LIBRARIES)


def run_forked(
    arguments: list[str], folder: Path, environment: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """`tamis` with these arguments in `folder`: exit code and what it said, as `subprocess.run` has them."""
    with tempfile.TemporaryDirectory() as scratch:
        said = [Path(scratch) / name for name in ("output", "errors", "spent")]
        for place in said:
            place.touch()  # a command that is killed before it begins has said nothing
        process = SERVER.Process(target=_command, args=(arguments, folder, environment, said, _path()))
        process.start()
        process.join(timeout)
        late = process.exitcode is None
        if late:
            process.kill()
            process.join()
        output, errors, spent = (place.read_text(encoding="utf-8") for place in said)
        SPENT[0] += float(spent or 0.0)
    if late:
        raise subprocess.TimeoutExpired(arguments, timeout, output, errors)
    return subprocess.CompletedProcess(arguments, process.exitcode, output, errors)


def _command(
    arguments: list[str], folder: Path, environment: dict[str, str], said: list[Path], path: list[str]
) -> None:
    """In the forked process: what an interpreter of its own would find, then the command."""
    *said, spent = said
    for number, place in enumerate((Path(os.devnull), *said)):
        with place.open("wb" if number else "rb") as stream:
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = [str(folder), *path]
    sys.argv = ["tamis", *arguments]
    tempfile.tempdir = None
    _draw_anew()
    try:
        runpy.run_module("tamis.cli", run_name="__main__", alter_sys=True)
    finally:
        threading._shutdown()  # in the order of an interpreter that ends; a forked process leaves both out
        atexit._run_exitfuncs()
        uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        spent.write_text(str(sum(use.ru_utime + use.ru_stime for use in uses)))


def _draw_anew() -> None:
    """Other draws in each command, as after a start, so that a draw without a seed is still found."""
    import numpy as np
    import torch

    random.seed()
    np.random.seed()
    torch.seed()


@functools.cache
def _path() -> list[str]:
    """Where a new interpreter looks for modules, its own folder left out; pytest's has the tests as well."""
    found = subprocess.check_output(
        [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"]
    )
    return list(json.loads(found))
