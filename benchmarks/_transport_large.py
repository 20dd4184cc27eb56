"""Figures b and c of the transport benchmark: a million vectors from a Lance table, and on CUDA."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._transport_data import cache_folder, resampled, vectors
from benchmarks._transport_solvers import PeakMemory, overlap


def table(flags: argparse.Namespace, cache: Path) -> None:
    """Figure b: potential and all gradients of a Lance table, in a process of its own."""
    rows = flags.table_rows
    folder = cache / f"table-{rows}"
    if not (folder / "target.npy").exists():
        command = [sys.executable, "-m", "benchmarks.transport", "--worker", "build", "--folder", str(folder)]
        command += ["--rows", str(rows), "--targets", str(flags.table_targets), "--cache", str(cache)]
        subprocess.run(command, check=True)
    command = [sys.executable, "-m", "benchmarks.transport", "--folder", str(folder), "--worker"]
    if not (folder / "converged.npy").exists():
        subprocess.run([*command, "table-converged", "--tolerance", "1e-5"], check=True)
    subprocess.run([*command, "table", "--tolerance", str(flags.tolerance)], check=True)


def build_table(flags: argparse.Namespace) -> None:
    """Real vectors resampled with noise of .3 of their length, stored as 16-bit floats: not documents."""
    import lancedb
    import pyarrow as pa

    from tamis.store.tables import vector_column

    cache = cache_folder(flags.cache)
    pool = vectors("minilm", "pool", 50_000, cache)
    rng = np.random.default_rng(0)

    def blocks() -> Any:
        for start in range(0, flags.rows, 20_000):
            count = min(20_000, flags.rows - start)
            ids = pa.array([f"{row:032x}" for row in range(start, start + count)])
            block = vector_column(resampled(pool, count, 0.3, rng))
            yield pa.RecordBatch.from_arrays([ids, block], names=["doc_id", "vector"])

    schema = pa.schema([("doc_id", pa.string()), ("vector", pa.list_(pa.float16(), pool.shape[1]))])
    flags.folder.mkdir(exist_ok=True)
    lancedb.connect(str(flags.folder)).create_table(
        "embeddings_minilm", blocks(), schema=schema, mode="overwrite"
    )
    np.save(flags.folder / "target.npy", vectors("minilm", "target", 2_000, cache)[: flags.targets])


def work_table(flags: argparse.Namespace) -> None:
    """Solve and score from the table; the converged answer is kept, the timed one compared with it."""
    from tamis.store.tables import Store
    from tamis.store.vectors import VectorBlocks
    from tamis.transport import solve_and_score, solve_potential

    target = np.load(flags.folder / "target.npy")
    solve_potential(target[:500], target[:600])
    blocks = VectorBlocks(Store(flags.folder), "embeddings_minilm", dtype=np.float16)
    if flags.worker == "table-converged":
        potential = solve_potential(target, blocks, tolerance=flags.tolerance)
        np.save(flags.folder / "converged.npy", potential.gradient(blocks))
        return
    memory = PeakMemory()
    started = time.perf_counter()
    potential, scores = solve_and_score(target, blocks, tolerance=flags.tolerance)
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    again = potential.gradient(blocks)
    scoring = time.perf_counter() - started
    assert (again == scores).all()
    truth = np.load(flags.folder / "converged.npy")
    line = {
        "benchmark": "transport",
        "figure": "table",
        "N": len(scores),
        "M": len(target),
        "d": target.shape[1],
        "vectors": "MiniLM, resampled with noise of .3 of their length, 16 bits, from Lance",
        "seconds": round(seconds, 2),
        "scoring_alone_seconds": round(scoring, 2),
        "peak_memory_mib": round(memory.growth() + memory.before),
        "passes": round(potential.passes, 2),
        "marginal_error": float(f"{potential.marginal_error:.3g}"),
        "top_1_percent_overlap": round(overlap(scores, truth, 0.01), 4),
        "top_10_percent_overlap": round(overlap(scores, truth, 0.1), 4),
    }
    print(json.dumps(line), flush=True)


def gpu(flags: argparse.Namespace, cache: Path) -> None:
    """Figure c: 1,000,000 x 10,000 x 384 on CUDA, and its share of what matrix products alone would take."""
    import torch

    head = {"benchmark": "transport", "figure": "gpu"}
    if not torch.cuda.is_available():
        print(json.dumps({**head, "skipped": "torch sees no CUDA device"}), flush=True)
        return
    from tamis.transport import solve_potential

    device, rng = torch.device("cuda"), np.random.default_rng(0)
    x = torch.from_numpy(resampled(vectors("minilm", "pool", 50_000, cache), flags.table_rows, 0.3, rng))
    y = torch.from_numpy(resampled(vectors("minilm", "target", 2_000, cache), flags.gpu_targets, 0.3, rng))
    x, y = x.to(device), y.to(device)
    seconds = []
    for _ in range(flags.repeats + 1):
        torch.cuda.synchronize()
        started = time.perf_counter()
        potential = solve_potential(y, x, tolerance=flags.tolerance)
        solved = time.perf_counter() - started
        potential.gradient(x)
        torch.cuda.synchronize()
        seconds.append((solved, time.perf_counter() - started))
    products = (potential.passes + 1) * 2.0 * len(x) * len(y) * x.shape[1]
    rate = _product_rate(x, y)
    solved, total = min(seconds[1:])
    line = {
        **head,
        "device": torch.cuda.get_device_name(),
        "N": len(x),
        "M": len(y),
        "d": x.shape[1],
        "potential_seconds": round(solved, 3),
        "seconds": round(total, 3),
        "passes": round(potential.passes, 2),
        "marginal_error": float(f"{potential.marginal_error:.3g}"),
        "float32_product_tflops": round(rate / 1e12, 1),
        "share_of_float32_product_limit": round(products / rate / total, 3),
    }
    print(json.dumps(line), flush=True)


def _product_rate(x: Any, y: Any) -> float:
    """Operations a second of float32 products of the shape of a chunk."""
    import torch

    block, right = x[:8_192], y.T.contiguous()
    torch.mm(block, right)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(20):
        torch.mm(block, right)
    torch.cuda.synchronize()
    return 20 * 2.0 * len(block) * right.shape[1] * x.shape[1] / (time.perf_counter() - started)
