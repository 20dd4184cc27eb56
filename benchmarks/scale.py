"""Past one machine: JSON lines on stdout, exit 1 when a figure misses its limit.

    python -m benchmarks.scale [--part ray|million|capacity|cores|gpu] [--documents 100000] [--sentences 8192]
                               [--sizes 100000 1000000]

ray: two workers of a Ray cluster against the local engine, which has both processors too, side by side on the
same stored documents: vectors of both encoders, density, transport. The ratio of their times bounds what the
cluster costs on one machine. About five minutes on two quiet cores.

million: `tamis materialize` from files to a GOT-D selection (static encoder), at 100,000 and at 1,000,000
documents recombined from real text: seconds, most memory of all processes, and whether the time a document
stays flat; and a line a stage.

capacity: the same graph over a grid of documents, target sizes and shards: seconds a stage at each point, how
they grow and a formula of them, memory, bytes on disk. About ten minutes.

cores: the stages of part ray by 1, 2, 4, 8 and 16 Ray workers of a processor each, as many as there are:
parallel efficiency, judged from four processors on.

gpu: a million documents of 128 tokens to MiniLM vectors, scores of 10,000 examples and a selection. Without
CUDA 2,000 documents on the processor, which shows that it runs; no limit is judged then.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks._flags import begin
from benchmarks._scale_capacity import costs_and_growth
from benchmarks._scale_cores import efficiency
from benchmarks._scale_gpu import embed_to_select
from benchmarks._scale_million import files_to_selection
from benchmarks._scale_ray import ray_beside_local

PARTS = ("ray", "million", "capacity", "cores", "gpu")


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
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000], help="of part million")
    parser.add_argument("--base", type=int, default=40_000, help="documents of the smallest of part capacity")
    parser.add_argument("--gpu-documents", type=int, help="of part gpu")
    flags = begin(parser)
    parts, holds = flags.part or PARTS, []
    with tempfile.TemporaryDirectory() as folder:
        if "ray" in parts:
            holds += [ray_beside_local(Path(folder), flags.documents, flags.sentences, flags.repeats, line)]
        if "million" in parts:
            holds += [files_to_selection(Path(folder) / "million", flags.sizes, line)]
        if "capacity" in parts:
            costs_and_growth(Path(folder) / "capacity", flags.base, line)
        if "cores" in parts:
            holds += [efficiency(Path(folder) / "cores", flags.documents, flags.sentences, line)]
        if "gpu" in parts:
            holds += [embed_to_select(Path(folder) / "gpu", flags.gpu_documents, line)]
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
