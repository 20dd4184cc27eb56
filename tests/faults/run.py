"""Make every fault of the list in a scratch checkout, one at a time, and run the tests that must catch it.

A fault is caught when a test fails, and not when the tests cannot run. The scratch checkouts are copies of
the files that git knows or does not ignore, in a temporary folder. Exit code 1: a fault was not caught, no
longer applies, or its tests fail without it.
usage: python tests/faults/run.py [--only NAME ...] [--whole] [--list FILE]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from catalogue import CHECKOUT, LIST, Fault, FaultError, read_faults

PASSED, FAILED = 0, 1
NOT_WHOLE = (
    # Every change of code fails these two, whatever it does: they say nothing about a fault.
    "--ignore=tests/faults",
    "--ignore=tests/graph/test_graph_code_versions.py",
)
ENCODER = CHECKOUT / ".pytest_cache" / "d" / "tamis"
"""The static encoder, where the tests have distilled it before: that takes half a minute."""
SUMMARY = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """What a run of pytest came to: exit code, seconds, the first test that failed, and its output."""

    code: int
    seconds: float
    output: str

    @property
    def failed(self) -> str:
        """Return the first test that failed, "" when none did."""
        found = SUMMARY.search(self.output)
        return found[1] if found else ""


def copy_checkout(scratch: Path) -> Path:
    """Copy the files of the checkout that git does not ignore, next to the same benchmark data."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    copy = scratch / "clean" / "checkout"
    for name in filter(None, listed.stdout.split("\0")):
        if os.path.lexists(CHECKOUT / name):  # a file that was deleted and not yet committed is still listed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, copy / name, follow_symlinks=False)
    if ENCODER.is_dir():
        shutil.copytree(ENCODER, copy / ENCODER.relative_to(CHECKOUT))
    return copy


def run_tests(checkout: Path, arguments: list[str]) -> Ran:
    """Run pytest in a checkout, on its own code, until the first test fails."""
    data = CHECKOUT.parent / "shared" / "data"
    environment = os.environ | {"PYTHONPATH": str(checkout), "CI": "true"}  # CI: hypothesis draws the same
    environment.setdefault("OMP_NUM_THREADS", "1")
    if data.is_dir():
        environment.setdefault("TAMIS_BENCH_DATA", str(data))
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-x", "-q", "-rfE", "--tb=short", *arguments]
    started = time.monotonic()
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    return Ran(done.returncode, time.monotonic() - started, done.stdout + done.stderr)


def imported_from(checkout: Path) -> Path:
    """Return the checkout whose tamis a test in `checkout` imports."""
    done = subprocess.run(
        [sys.executable, "-c", "import tamis; print(tamis.__file__)"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(done.stdout.strip()).parents[1]


def try_fault(fault: Fault, clean: Path, arguments: list[str]) -> tuple[bool, str]:
    """Make one fault in a copy of the clean checkout and run the tests; return whether it is caught."""
    checkout = clean.parents[1] / "faulty" / "checkout"
    # With the clean cache of pytest: no fault reaches another's tests.
    shutil.copytree(clean, checkout, symlinks=True)
    try:
        fault.apply(checkout)
        ran = run_tests(checkout, arguments)
    except FaultError as error:
        return False, str(error)
    finally:
        shutil.rmtree(checkout)
    if ran.code == FAILED and ran.failed:
        return True, f"{ran.seconds:.1f} s, by {ran.failed}"
    if ran.code == PASSED:
        return False, f"{ran.seconds:.1f} s, every test passed"
    return False, f"the tests could not run (exit {ran.code}):\n{ran.output[-3000:]}"


def main() -> int:
    """Try the faults; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="try this fault alone")
    parser.add_argument("--whole", action="store_true", help="run the whole fast suite for each fault")
    parser.add_argument("--workers", type=int, default=1, help="processes of pytest (default 1)")
    parser.add_argument("--list", type=Path, default=LIST, help="another list of faults")
    options = parser.parse_args()
    faults = read_faults(options.list)
    if unknown := set(options.only) - {fault.name for fault in faults}:
        parser.error(f"no fault {', '.join(sorted(unknown))}; known: {', '.join(one.name for one in faults)}")
    faults = [fault for fault in faults if not options.only or fault.name in options.only]
    for fault in [fault for fault in faults if not fault.tried]:
        print(f"left out: {fault.name}: {fault.needs} is not there")
        faults.remove(fault)
    parallel = ["-n", str(options.workers), "--dist", "loadfile"] if options.workers > 1 else []
    with tempfile.TemporaryDirectory(prefix="tamis-faults-") as scratch:
        clean = copy_checkout(Path(scratch))
        if imported_from(clean) != clean:
            print(f"the tests would import {imported_from(clean)} and not the scratch checkout {clean}")
            return 1
        named = [*dict.fromkeys(test for fault in faults for test in fault.tests)]
        without = run_tests(clean, [*parallel, *(NOT_WHOLE if options.whole else named)])
        if without.code != PASSED:
            print(f"the tests fail without any fault (exit {without.code}):\n{without.output[-5000:]}")
            return 1
        print(f"without a fault the tests pass ({without.seconds:.1f} s)", flush=True)
        escaped = []
        for fault in faults:
            chosen = [*NOT_WHOLE] if options.whole else [*fault.tests]
            caught, how = try_fault(fault, clean, [*parallel, *chosen])
            print(
                f"{'caught' if caught else 'NOT CAUGHT'}: {fault.name} ({fault.guarantee}): {how}", flush=True
            )
            escaped += [] if caught else [fault.name]
    print(f"{len(faults) - len(escaped)} of {len(faults)} faults are caught")
    return int(bool(escaped))


if __name__ == "__main__":
    sys.exit(main())
