"""Rows of a trained comparison with the losses that a test asks for."""

import numpy as np
import polars as pl

from tamis.store.schemas import schema_of

SIZES = [200, 500, 300, 1_000, 400, 600]


def rows(losses: dict[str, float], data_seeds: int = 4, noise: float = 0.01, failed: str | None = None):
    """Runs whose losses are these plus a little luck; one of them failed where asked."""
    draw = np.random.default_rng(0)
    found = []
    for place in range(data_seeds):
        shared = 0.1 * draw.normal()
        for sampler, loss in losses.items():
            value = loss + shared + noise * draw.normal()
            bits = [value * size for size in SIZES]
            row = {
                "run": f"{sampler}{place}",
                "sampler": sampler,
                "budget": "100%" if sampler == "full" else "10%",
                "data_seed": place,
                "training_seed": 0,
                "documents": 30,
                "tokens": 1_000,
                "epochs": 2.0,
                "target_bits_per_byte": value,
                "pool_bits_per_byte": value,
                "target_document_bits": bits,
                "target_document_bytes": SIZES,
                "pool_document_bits": bits,
                "pool_document_bytes": SIZES,
                "curve_tokens": [500, 1_000],
                "curve_target": [value + 0.5, value],
            }
            if sampler == failed and place == 0:
                keep = ("run", "sampler", "budget", "data_seed", "training_seed", "documents")
                row = {name: row[name] for name in keep} | {"failure": "diverged: the loss is not finite"}
            found.append(row)
    return pl.DataFrame(found, schema=pl.from_arrow(schema_of("sampler_trials").empty_table()).schema)
