"""Texts, vectors and planted copies of the coverage benchmark, and how its claims are printed."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._texts import files_of_texts, read_texts
from tamis.base.progress import Progress
from tamis.embedding import encoder_identity, load_encoder

Floats = np.ndarray
ENCODED_AT_ONCE = 20_000


@dataclass
class Report:
    """Prints JSON lines and remembers whether a claim failed."""

    failed: list[str] = field(default_factory=list)

    def line(self, name: str, holds: bool | None = None, **figures: Any) -> None:
        """One line; `holds` None makes no claim."""
        claim = {} if holds is None else {"holds": bool(holds)}
        self.failed += [name] if holds is False else []
        rounded = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in figures.items()}
        print(json.dumps({"benchmark": name, **rounded, **claim}), flush=True)


@dataclass(kw_only=True)
class Stopwatch:
    """Wall-clock and processor seconds of a block of code."""

    wall: float = 0.0
    processor: float = 0.0

    def __enter__(self) -> "Stopwatch":
        self.wall, self.processor = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.processor += time.process_time()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line says."""

    cache: Path
    sizes: list[int]
    documents: int
    seed: int
    rows: int
    hashes: int


def texts(count: int, seed: int, report: Report) -> list[str]:
    """That many distinct texts in random order; exits when there are none."""
    every = pl.concat([read_texts(file) for file in files_of_texts()])["text"]
    whole = every.str.strip_chars().unique().sort()
    whole = whole.filter(whole.str.len_chars() > 0).sample(fraction=1.0, shuffle=True, seed=seed)
    chosen = whole.head(count)
    if len(chosen) < count:
        pieces = whole.str.extract_all(r"(?s)[^\n]{80,}|(?:[^.!?]+[.!?]+){10}").explode().drop_nulls()
        pieces = pieces.str.strip_chars().unique(maintain_order=True)
        pieces = pieces.filter((pieces != "") & ~pieces.is_in(chosen.implode()))  # "": a line of spaces
        chosen = pl.concat([chosen, pieces]).head(count)
    pieces_used = len(chosen) - min(len(whole), count)
    report.line("texts", distinct=len(whole), used=len(chosen), pieces=pieces_used)
    return chosen.to_list()


def vectors(rows: list[str], cache: Path) -> Floats:
    """Static vectors [n, 256] of the texts, kept in blocks in the cache folder."""
    cache.mkdir(parents=True, exist_ok=True)
    encoder, blocks = None, []
    with Progress("embedding", len(rows)) as progress:
        for start in range(0, len(rows), ENCODED_AT_ONCE):
            block = rows[start : start + ENCODED_AT_ONCE]
            key = hashlib.sha256(encoder_identity("static").encode())
            key.update("\x00".join(block).encode("utf-8", "replace"))
            path = cache / f"coverage-{key.hexdigest()[:24]}.npy"
            if not path.exists():
                encoder = encoder or load_encoder("static", cache=cache)
                partial = path.with_suffix(".partial.npy")
                np.save(partial, encoder.encode(block))
                partial.replace(path)
            blocks.append(np.load(path))
            progress.advance(len(block))
    return np.concatenate(blocks)


def near(originals_nd: Floats, cosine: float, rng: np.random.Generator) -> Floats:
    """A unit vector at that cosine to each unit vector [n, d], in a random direction."""
    noise_nd = rng.normal(size=originals_nd.shape)
    noise_nd -= np.einsum("nd,nd->n", noise_nd, originals_nd)[:, None] * originals_nd
    noise_nd /= np.linalg.norm(noise_nd, axis=1, keepdims=True)
    return (cosine * originals_nd + np.sqrt(1 - cosine**2) * noise_nd).astype(np.float32)


def ids_of(count: int) -> list[str]:
    """Ids as documents have them, 128 bits in hex."""
    return [hashlib.sha256(str(row).encode()).hexdigest()[:32] for row in range(count)]
