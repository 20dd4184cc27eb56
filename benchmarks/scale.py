"""Past one machine: JSON lines on stdout, exit 1 when a figure misses its limit.

    python -m benchmarks.scale [--part ray] [--documents 100000] [--sentences 8192] [--repeats 1]

ray: two workers of a Ray cluster against the local engine, which has both processors too, side by side on the
same stored documents: vectors of both encoders, density, transport. The ratio of their times bounds what the
cluster costs on one machine. About ten minutes on two quiet cores.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks._scale_ray import ray_beside_local

PARTS = ("ray",)


def line(part: str, **values: object) -> None:
    """One line of results, with the load of the machine when it was written."""
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({"benchmark": "scale", "part": part, **shown, "load": load}), flush=True)


def main() -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--sentences", type=int, default=8_192, help="documents for MiniLM")
    parser.add_argument("--repeats", type=int, default=1)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        holds = ray_beside_local(Path(folder), flags.documents, flags.sentences, flags.repeats, line)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
