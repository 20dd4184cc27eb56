"""Texts, planted noise and judged arguments of the quality benchmark, and how its claims are printed."""

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._texts import enough, folder, read_texts
from tamis.embedding import load_encoder
from tamis.quality import grader_features, planted_noise, surface_features

# The prompt's examples were chosen on other files of that folder, and on docstrings.
PROSE = ("p_arxiv_a", "p_mixed_free", "p_mixed_research", "t_imdb_train")
FOREIGN = "q_nonenglish_udhr"
PACKAGES = ("scipy", "sklearn", "numpy", "torch", "matplotlib", "networkx")
SHORTEST = 200
KINDS_WITH_FOREIGN = 7  # one piece of noise in so many is a text in another language


@dataclass
class Report:
    """Prints JSON lines and remembers the claims that were missed."""

    missed: list[str] = field(default_factory=list)

    def line(self, name: str, wanted: Mapping[str, float] | None = None, **figures: Any) -> None:
        """One line; `wanted` names figures that must be at least so large."""
        claim: dict[str, Any] = {}
        if wanted is not None:
            short = [
                f"{key} {figures[key]:.4g}" for key, least in wanted.items() if not figures[key] >= least
            ]
            claim = {
                "wanted": {key: f">= {least:.4g}" for key, least in wanted.items()},
                "reached": not short,
            }
            self.missed += [f"{name}: {figure}, wanted {claim['wanted']}" for figure in short]
        print(json.dumps({"benchmark": name, **_rounded(figures), **claim}), flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def clean_texts(count: int, seed: int) -> tuple[str, list[str]]:
    """Name of the set and that many distinct texts in random order, as many of each of its files."""
    files = [folder() / "text" / f"{name}.parquet" for name in PROSE]
    if not all(file.is_file() for file in files):
        print(
            f"no texts in {folder()}: docstrings stand for them, figures are not comparable", file=sys.stderr
        )
        texts = pl.Series(sorted({text for package in PACKAGES for text in docstrings(package)}))
        drawn = enough(texts, count, "docstrings").sample(count, shuffle=True, seed=seed)
        return f"docstrings of {', '.join(PACKAGES)}", drawn.to_list()
    each = -(-count // len(files))
    long = [enough(_long_texts(file), each, f"long texts of {file.stem}") for file in files]
    mixed = pl.concat([texts.sample(each, shuffle=True, seed=seed) for texts in long])
    mixed = mixed.sample(count, shuffle=True, seed=seed)
    return ", ".join(PROSE), mixed.to_list()


def _long_texts(file: Path) -> pl.Series:
    texts = read_texts(file)["text"].str.strip_chars()
    return texts.filter(texts.str.len_chars() >= SHORTEST).unique().sort()


def docstrings(package: str) -> Iterator[str]:
    """Docstrings of at least 200 characters in the source of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(place).rglob("*.py")):
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = ast.get_docstring(node) or ""
                    if len(text) >= SHORTEST:
                        yield text


def noise_of(texts: Sequence[str], seed: int, languages: int) -> pl.DataFrame:
    """`text` and `kind`: a piece of noise made of each text, one in seven another language instead.

    languages: 0 or 1; the languages are dealt to these two, so that none is learned from and tested on.
    """
    noise = planted_noise(texts, seed)
    file = folder() / "text" / f"{FOREIGN}.parquet"
    if not file.is_file():
        return noise
    foreign = read_texts(file, "label")
    dealt = foreign.filter((pl.col("label").cast(pl.Categorical).to_physical() % 2) == languages)
    count = len(texts) // KINDS_WITH_FOREIGN
    rows = enough(dealt, count, f"texts of half of the languages of {FOREIGN}")
    rows = rows.sample(count, shuffle=True, seed=seed).select("text", kind=pl.lit("other_languages"))
    return pl.concat([noise.head(len(texts) - count), rows])


def arguments() -> pl.DataFrame | None:
    """Arguments of ukpconvarg1 (CC BY 4.0) with crowd scores: `doc_id`, `topic`, `text`, `bt_score`.

    One without an id or a score is left out, and so is the second of an id.
    """
    file = folder() / "quality" / "ukpconvarg1_args.parquet"
    if not file.is_file():
        print(f"no arguments in {file}; that part is left out", file=sys.stderr)
        return None
    named = pl.concat_str("topic", "arg_id", separator="/").alias("doc_id")
    rows = read_texts(file, "topic", "arg_id", "bt_score").select(named, "topic", "text", "bt_score")
    scored = rows.drop_nulls().filter(pl.col("bt_score").is_finite())
    return scored.unique("doc_id", keep="first", maintain_order=True)


def features_of(texts: Sequence[str], encoder: str, cache: Path) -> tuple[np.ndarray, int]:
    """The grader's columns [n, k] without perplexity, and how many of them are an embedding."""
    cache.mkdir(parents=True, exist_ok=True)
    vectors_nd = load_encoder(encoder, cache=cache).encode(texts)
    surface_nk = surface_features(texts)[1]
    return grader_features(vectors_nd, surface_nk, np.full(len(texts), np.nan)), vectors_nd.shape[1]
