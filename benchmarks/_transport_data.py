"""Real vectors for the transport benchmarks: texts of the benchmark data, embedded once into a cache folder.

Candidates: all `p_*.parquet` files, shuffled; target: the training part of `t_science_a.parquet`. MiniLM
reads the first 200 characters of a text (52,000 texts take 3 minutes of two quiet cores); the static encoder
reads all of it (256 dimensions, 234,000 texts in a minute).
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._texts import files_of_texts, read_texts

CLIPPED = 200
BLOCK = 10_000
Floats = np.ndarray


def cache_folder(named: Path | None) -> Path:
    """Where embeddings are kept: the option, else TAMIS_BENCH_CACHE, else a temporary folder."""
    folder = named or Path(
        os.environ.get("TAMIS_BENCH_CACHE", Path(tempfile.gettempdir()) / "tamis-bench-cache")
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def texts(kind: str) -> pl.DataFrame:
    """Texts and their file of the "pool" or the "target", shuffled; exits when the data are absent."""
    frames = [
        read_texts(file, "source", "split")
        .filter(pl.lit(kind == "pool") | (pl.col("split") == "train"))
        .select("text", "source")
        for file in files_of_texts("p_*" if kind == "pool" else "t_science_a")
    ]
    frame = pl.concat(frames)
    return frame[np.random.default_rng(0 if kind == "pool" else 1).permutation(len(frame))]


def vectors(encoder: str, kind: str, count: int, cache: Path) -> Floats:
    """The first `count` vectors [count, d] of the pool or the target, made on first use."""
    return encoded(encoder, texts(kind)["text"].head(count).to_list(), cache)


def encoded(encoder: str, rows: list[str], cache: Path) -> Floats:
    """The vectors [n, d] of some texts, made on first use."""
    from tamis.embedding import encoder_identity

    clipped = rows if encoder == "static" else [text[:CLIPPED] for text in rows]
    digest = hashlib.sha256(encoder_identity(encoder).encode())
    blocks = []
    for start in range(0, len(clipped), BLOCK):
        block = clipped[start : start + BLOCK]
        key = digest.copy()
        key.update("\x00".join(block).encode("utf-8", "replace"))
        blocks.append(_block(encoder, block, cache / f"{encoder}-{key.hexdigest()[:24]}.npy", cache))
    return np.concatenate(blocks)


def _block(encoder: str, block: list[str], path: Path, cache: Path) -> Floats:
    from tamis.embedding import load_encoder

    if not path.exists():
        print(f"embedding {len(block):,} texts with {encoder}", file=sys.stderr)
        made = load_encoder(encoder, cache=cache).encode(block)
        np.save(path.with_suffix(".tmp.npy"), made)
        path.with_suffix(".tmp.npy").rename(path)
    return np.load(path)


def unit_vectors(vectors_nd: Floats, centre_d: Floats) -> Floats:
    """Rows less the centre, divided by their norm, float32."""
    moved_nd = vectors_nd - centre_d
    norm_n = np.linalg.norm(moved_nd, axis=1, keepdims=True)
    return np.ascontiguousarray(moved_nd / norm_n, dtype=np.float32)


def resampled(vectors_nd: Floats, count: int, noise: float, rng: np.random.Generator) -> Floats:
    """Real vectors drawn with replacement, each moved by Gaussian noise of that share of its length."""
    drawn_nd = vectors_nd[rng.integers(len(vectors_nd), size=count)]
    size = noise / vectors_nd.shape[1] ** 0.5
    return drawn_nd + size * rng.standard_normal(drawn_nd.shape, dtype=np.float32)
