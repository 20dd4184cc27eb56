"""How many small mistakes the tests notice: random mutants of some modules, as JSON lines on stdout.

    python -m benchmarks.mutants --coverage DATA --seconds FILE [--count 200] [--seed 1] MODULE ...

Draws mutants (`_mutations.py`), makes each in a scratch copy of the checkout, and runs the tests that cover
its line, fastest first, at most `--most` of them, spread over their files, until one fails. Which tests cover
a line, and how long they take, is noted before by a run under coverage with the plugin `_covering.py`:

    TAMIS_SECONDS=FILE coverage run -m pytest -p benchmarks._covering -m "not slow"; coverage combine

A line that no test covers counts as survived, a test that takes longer than `--limit` as failed. A test that
fails without the mutant, too, says nothing: it is left out. `--checkout` tries another checkout, `--also`
draws only mutants that this one has as well: two checkouts are compared on the same ones.
"""

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from importlib import import_module
from importlib.util import cache_from_source
from pathlib import Path

from benchmarks._flags import at_least, begin
from benchmarks._mutant_tests import CHECKOUT, COLLECTION, Ran, Tests, copy_checkout, run_tests
from benchmarks._mutations import Mutation, mutations

LIBRARIES = [
    "dagster",
    "hypothesis",
    "matplotlib.figure",
    "pandas",
    "polars",
    "pyarrow.parquet",
    "pytest",
    "scipy.sparse",
    "scipy.stats",
    "sentence_transformers",
    "sqlalchemy",
    "sqlglot.lineage",
    "torch",
]
"""Other people's code that is imported once for all mutants; none may start a thread."""


def try_mutant(mutation: Mutation, copy: Path, tests: Tests, most: int, limit: float) -> dict[str, object]:
    """Make a mutant and run its tests; return what killed it, "" where it survived."""
    path = copy / mutation.key[0]
    clean = path.read_text(encoding="utf-8")
    byte_code = Path(cache_from_source(str(path)))
    began = time.monotonic()
    while True:
        chosen, covering = tests.covering(mutation, most)
        byte_code.unlink(missing_ok=True)  # it would pass for that of a text of the same size and second
        path.write_text(mutation.made(clean), encoding="utf-8")
        ran = run_tests(copy, chosen, limit) if chosen else Ran("", "no test covers it")
        byte_code.unlink(missing_ok=True)
        path.write_text(clean, encoding="utf-8")
        if not ran.failed or (ran.failed in tests.sound and not ran.late):
            break
        # Many tests together may be late on a busy machine, whatever the mutant does.
        without = run_tests(copy, chosen if ran.late or ran.failed == COLLECTION else [ran.failed], limit)
        if without.failed == COLLECTION:
            raise RuntimeError(f"the tests cannot begin ({without.why}):\n{without.output}")
        if not without.failed:
            tests.sound |= {ran.failed} - {COLLECTION}
            break
        tests.left_out.add(without.failed)
    seconds = round(time.monotonic() - began, 1)
    return {
        "killed_by": ran.failed,
        "why": ran.why,
        "covering": covering,
        "run": len(chosen),
        "seconds": seconds,
    }


def drawn(modules: list[str], checkouts: list[Path], count: int, seed: int) -> list[tuple[str, ...]]:
    """Return keys of mutants that all checkouts have, in the order in which they are tried."""
    keys = [{one.key for name in modules for one in read(folder, name)} for folder in checkouts]
    common = sorted(set.intersection(*keys))
    return random.Random(seed).sample(common, min(count, len(common)))


def read(checkout: Path, module: str) -> list[Mutation]:
    """Return all mutants of a module."""
    return mutations(module, (checkout / module).read_text(encoding="utf-8"))


def work(flags: argparse.Namespace) -> None:
    """Try the mutants, in a process that has computed nothing and so may be forked."""
    tests = Tests(flags.checkout, flags.coverage, flags.seconds)
    known = {one.key: one for name in flags.modules for one in read(flags.checkout, name)}
    for name in LIBRARIES:
        import_module(name)
    gc.freeze()  # searches for garbage in the forked processes leave it out
    if threading.active_count() > 1:
        raise RuntimeError(f"a library has started a thread: {threading.enumerate()}")
    killed = tried = 0
    with tempfile.TemporaryDirectory(prefix="tamis-mutants-") as scratch:
        copy = Path(scratch) / "checkout"
        copy_checkout(flags.checkout, copy)
        for key in drawn(flags.modules, [flags.checkout, *flags.also], flags.count, flags.seed):
            mutation = known[key]
            found = try_mutant(mutation, copy, tests, flags.most, flags.limit)
            killed, tried = killed + bool(found["killed_by"]), tried + 1
            place = f"{mutation.key[0]}:{mutation.start[0]}"
            print(json.dumps({"mutant": place, "what": mutation.what, **found}), flush=True)
    print(json.dumps({"killed": killed, "mutants": tried, "left_out": sorted(tests.left_out)}))


def main() -> int:
    """Parse the flags, and have a process of its own try the mutants."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="+", help="paths of modules in the checkout")
    parser.add_argument("--coverage", type=Path, required=True, help="data with a context for each test")
    parser.add_argument("--seconds", type=Path, required=True, help="lines of seconds and node id")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="another checkout than this")
    parser.add_argument("--also", type=Path, action="append", default=[], help="has the same mutants")
    parser.add_argument("--count", type=at_least(1), default=200, help="mutants (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default 1)")
    parser.add_argument("--most", type=at_least(1), default=12, help="tests of a mutant (default 12)")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of a mutant (default 60)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    flags = begin(parser)
    if flags.worker:
        work(flags)
        return 0
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "POLARS_MAX_THREADS": "2"}
    command = [sys.executable, "-m", "benchmarks.mutants", "--worker", *sys.argv[1:]]
    return subprocess.run(command, env=os.environ | quiet | {"OMP_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
