"""Installation of the core, timed and weighed: JSON lines on stdout, exit 1 when a limit is missed.

    python -m benchmarks.install [--dev]

Runs `make venv`, the installation that `make demo` and `make ui` begin with, into an empty temporary folder,
and prints seconds of the clock and of the processors, gigabytes (10^9 bytes of the blocks that the files
occupy, byte code included) and the number of packages. --dev runs `make venv-dev` instead, which tests,
linters and benchmarks need; it has no limits. The time includes what pip downloads.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from benchmarks._flags import begin
from benchmarks._yardstick import most_seconds

CHECKOUT = Path(__file__).resolve().parents[1]
MOST_SECONDS, MOST_GIGABYTES = 110.0, 2.9  # of the reference machine: files unpacked, modules compiled


def install(target: str, venv: Path) -> dict[str, float]:
    """Run the target of the Makefile into an empty folder; return seconds of clock and processors.

    Raises `CalledProcessError` when the installation fails.
    """
    # Without what `make bench` was started with (VENV, say) or a path on which pip finds a checkout.
    left_out = ("MAKE", "MFLAGS", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    before, began = _processor_seconds(), time.perf_counter()
    command = ["make", "--no-print-directory", target, f"VENV={venv}"]
    subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=sys.stderr, check=True)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(_processor_seconds() - before, 1),
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def weigh(venv: Path) -> dict[str, float]:
    """Gigabytes of the folder and, of those, its byte code; the number of packages in it."""
    sizes = {path: path.lstat().st_blocks * 512 for path in (venv, *venv.rglob("*"))}
    byte_code = sum(size for path, size in sizes.items() if path.suffix == ".pyc")
    (site,) = venv.glob("lib/python*/site-packages")
    return {
        "gigabytes": round(sum(sizes.values()) / 1e9, 3),
        "gigabytes_of_byte_code": round(byte_code / 1e9, 3),
        "packages": sum(1 for _ in metadata.distributions(path=[str(site)])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dev", action="store_true", help="with the extra `dev`; without limits")
    target = "venv-dev" if begin(parser).dev else "venv"
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        figures = install(target, venv) | weigh(venv)
    limit = most_seconds(MOST_SECONDS, "core")
    limits = {} if target == "venv-dev" else {**limit.figures(), "limit_gigabytes": MOST_GIGABYTES}
    print(json.dumps({"benchmark": "install", "target": target, **figures, **limits}), flush=True)
    within = figures["seconds"] <= limit.here and figures["gigabytes"] <= MOST_GIGABYTES
    sys.exit(not (within or target == "venv-dev"))


if __name__ == "__main__":
    main()
