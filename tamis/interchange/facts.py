"""The published facts of an exported subset: counts, licences, sources, reasons, histograms; no text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from tamis.base.numbers import counted
from tamis.selection.decide import used_score_columns
from tamis.selection.pool import Tokens

BINS = 20
Share = tuple[str | None, int, int]
"""A licence or source (None: not stated), its documents and their UTF-8 bytes."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """The file of a subset, by its path from where its description is.

    `known`: columns that are not of the user's rows. `all_documents`: it has all of the pool, with scores.
    `in_training_order`: its rows are to be trained on in their order, copies of a document among them.
    """

    name: str
    columns: pa.Schema
    form: str
    size: int
    sha256: str
    known: frozenset[str]
    all_documents: bool = False
    in_training_order: bool = False


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Values of a score in bins of equal width: of the pool, and of the chosen among them."""

    score: str
    edges: tuple[float, ...]
    pool: tuple[int, ...]
    chosen: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All facts that a description or a card states of a subset.

    `copies`: its documents, each as often as the training set has it; `tokens` are those of all copies.
    `in_passages`: whether the pool has passages of long documents, each of which counts as a document;
    `passages`: those that were chosen, of `split` long documents.
    """

    project: str
    selection: str
    version: int
    manifest: str
    made_at: str
    settings: Mapping[str, Any]
    pool: int
    eligible: int
    documents: int
    copies: int
    n_bytes: int
    tokens: Tokens
    reasons: tuple[tuple[str, str | None, int], ...]
    licences: tuple[Share, ...]
    sources: tuple[Share, ...]
    shards: int
    histograms: tuple[Histogram, ...]
    in_passages: bool = False
    passages: int = 0
    split: int = 0

    @property
    def unit(self) -> str:
        """Name, in the plural, of what is decided on and counted."""
        return "documents and passages" if self.in_passages else "documents"

    @property
    def sentence(self) -> str:
        """Describe the subset in a sentence."""
        how = f"by the sampler {self.settings['sampler']} " if "sampler" in self.settings else ""
        parts = f"; {self.passages_words}" if self.in_passages else ""
        return (
            f"{self.documents:,} of {self.pool:,} {self.unit}, chosen {how}"
            f"for the selection {self.selection} of the project {self.project}{parts}."
        )

    @property
    def passages_words(self) -> str:
        """Say how many of the chosen are passages, and of how many documents."""
        return f"{self.passages:,} of the chosen are passages, of {counted(self.split, 'long document')}"


def shares(chosen: pl.DataFrame, column: str) -> tuple[Share, ...]:
    """Return documents and bytes of each value of a column, the most frequent first, ties by name."""
    grouped = chosen.group_by(column).agg(pl.len(), pl.col("n_bytes").sum())
    ordered = grouped.sort(pl.col("len"), pl.col(column), descending=[True, False], nulls_last=True)
    return tuple((value, int(documents), int(size)) for value, documents, size in ordered.iter_rows())


def histograms(decisions: pl.DataFrame) -> tuple[Histogram, ...]:
    """Return histograms of the scores that the sampler used."""
    found = (_histogram(decisions, name) for name in used_score_columns(decisions))
    return tuple(one for one in found if one is not None)


def _histogram(decisions: pl.DataFrame, score: str) -> Histogram | None:
    """Count values over the middle 99 % of the pool's; those outside count in the first or last bin."""
    known = decisions.filter(pl.col(score).is_finite())
    if known.is_empty():
        return None
    values_n = known[score].to_numpy()
    low, high = np.quantile(values_n, [0.005, 0.995])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    clipped_n = np.clip(values_n, edges[0], edges[-1])
    chosen_n = clipped_n[(known["verdict"] == "selected").to_numpy()]
    return Histogram(
        score=score,
        edges=tuple(float(edge) for edge in edges),
        pool=tuple(int(count) for count in np.histogram(clipped_n, edges)[0]),
        chosen=tuple(int(count) for count in np.histogram(chosen_n, edges)[0]),
    )
