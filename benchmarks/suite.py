"""Measure what `make test` costs, its processes included; fail by the limits of its files.

    python -m benchmarks.suite [--workers 3] [--checkout OTHER] [PYTEST ARGUMENTS ...]

Runs what `make test` runs in a checkout, by default this one, with the Python of its virtual environment.
With nothing else at work the CPU seconds of two checkouts can be compared, in the same hour and by turns;
limits are in tests/cpu_time.py. Exit code 1 where a test fails or a file takes more than it may.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._flags import at_least, begin

CHECKOUT = Path(__file__).resolve().parents[1]
OPTIONS = {
    # Options of the suite since 0.3; what is older always fails by its limits, and leaves nothing out.
    "cpu_time.py": ("--cpu-limits", "fail"),
    "left_out.py": ("--leave-out", "unchanged"),
}
"""By the plugin in tests/ that has the option."""


def cpu_seconds() -> float:
    """CPU time of the processes that have ended, those of the yardstick included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Run the suite and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=at_least(1), default=3, help="processes that run tests")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="with a virtual environment in .venv")
    parser.add_argument("arguments", nargs="*", metavar="PYTEST ARGUMENT")
    flags = begin(parser)
    checkout = flags.checkout.resolve()
    python = checkout / ".venv" / "bin" / "python"
    command = [str(python if python.exists() else sys.executable), "-m", "pytest", "-m", "not slow"]
    command += ["-n", str(flags.workers), "--dist", "loadfile", "--no-loadscope-reorder"]
    for plugin, option in OPTIONS.items():
        file = checkout / "tests" / plugin
        if file.exists() and option[0] in file.read_text():
            command += option
    began, before = time.monotonic(), cpu_seconds()
    done = subprocess.run(
        [*command, *flags.arguments],
        cwd=checkout,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=sys.stderr,
    )
    print(
        json.dumps(
            {
                "cpu_seconds": round(cpu_seconds() - before, 1),
                "seconds": round(time.monotonic() - began, 1),
                "exit_code": done.returncode,
            }
        )
    )
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
