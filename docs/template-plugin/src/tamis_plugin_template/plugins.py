"""Plug-ins: the arguments of their decorators are literals, since Tamis reads them without an import."""

import numpy as np
import polars as pl

from tamis.plugins import sampler, score
from tamis_plugin_template.words import distinct


@score(
    name="distinct-words",
    version="1",
    reads="text",
    higher="better",
    range=(0, 500),
    meaning="number of different words",
    cost=0.1,
)
def distinct_words(texts: list[str]) -> list[int]:
    return [distinct(text) for text in texts]


@sampler(name="many-words-first", version="1", reads="text", meaning="different words, the most first")
def many_words_first(
    candidates: pl.DataFrame, vectors_nd: np.ndarray | None, goal_md: np.ndarray | None, seed: int
) -> list[int]:
    return [-distinct(text) for text in candidates["text"]]
