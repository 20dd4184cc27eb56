"""What this machine does in a second, and what the machines of stated limits do: JSON lines on stdout.

    python -m benchmarks.yardstick
    python -m benchmarks.yardstick --record epyc-2026-11     # on a quiet machine: note it as a reference

- float32_gflops, bfloat16_gflops: square products of 512 by torch, on the threads that it takes;
- tokens_per_second: the tokenizer of MiniLM on generated words, one thread;
- fsync_ms: until 4 kB more of a temporary file are on the disk (median of twelve);
- python_ms, numpy_ms: from the start of a Python process to its end, one that does nothing and one that
  imports numpy.

The best of three turns counts. Every benchmark prints the first line, with commit and machine, before it
measures anything; absolute limits are scaled by it (_yardstick.py). Then a line for each reference: how many
times as long each kind of work takes here, and whether a limit would be scaled as far as that. Five seconds.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

from benchmarks._flags import begin
from benchmarks._yardstick import LEAST_FACTOR, MOST_FACTOR, TABLE, Kind, line, slower_than


def print_comparisons() -> None:
    """Print a line for each reference of the table."""
    for reference in json.loads(TABLE.read_text()):
        slower = {kind: round(slower_than(reference, kind), 3) for kind in get_args(Kind)}
        beyond = [kind for kind, factor in slower.items() if not LEAST_FACTOR <= factor <= MOST_FACTOR]
        compared = {"reference": reference, "slower": slower, "clamped": beyond}
        print(json.dumps({"benchmark": "yardstick", **compared}))


def record(name: str, found: dict[str, Any], path: Path = TABLE) -> None:
    """Write a yardstick, as `line` gives it, into the table under that name; exits on a busy machine."""
    if found["load"] > found["machine"]["cores"] / 2:
        sys.exit(f"the load is {found['load']}: wait until the machine is quiet, then record {name} again")
    table, found = json.loads(path.read_text()) if path.is_file() else {}, {**found}
    about = {key: found.pop(key) for key in ("commit", "machine", "python", "torch", "load")}
    figures = {key: value for key, value in found.items() if isinstance(value, float)}
    table[name] = {**about, "figures": figures}
    path.write_text(json.dumps(table, indent=1) + "\n")


def main() -> None:
    """Take the yardstick, and record or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", metavar="NAME", help=f"note this machine in {TABLE.name} as a reference")
    flags = begin(parser)
    if flags.record:
        record(flags.record, line())
    print_comparisons()


if __name__ == "__main__":
    main()
