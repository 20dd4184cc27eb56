"""Topics of texts: clusters of their vectors, named by the words that set each apart from the others."""

import warnings

import numpy as np
import polars as pl

from tamis.embedding.layout import Floats

MOST_TOPICS, FEWEST_A_TOPIC = 12, 20
READ_CHARACTERS = 500
WORDS = 3
COMMON_SHARE = 0.3
"""A word in more of all texts is no name."""
LEAST_RATIO = 1.3
"""A word names a topic only if it is in so many times as many of its texts as of all."""
_WORD = r"\p{L}[\p{L}\p{M}]{2,23}"


def cluster_centers(points_nk: Floats, most: int = MOST_TOPICS) -> Floats:
    """Return centres [c, k] of clusters of points [n, k] by k-means, the largest cluster first.

    Fewer of few points, and one of points that are all alike.
    """
    from scipy.cluster.vq import kmeans2

    wanted = min(most, len(points_nk) // FEWEST_A_TOPIC)
    if wanted < 2 or not points_nk.any():
        return np.zeros((1, points_nk.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an empty cluster: it goes
        center_ck, label_n = kmeans2(points_nk, wanted, iter=30, minit="++", rng=0)
    size_c = np.bincount(label_n, minlength=wanted)
    order_c = np.argsort(-size_c, kind="stable")
    return np.asarray(center_ck[order_c[size_c[order_c] > 0]])


def nearest_center(points_nk: Floats, center_ck: Floats) -> np.ndarray:
    """Return the nearest centre of each point, [n]."""
    return np.argmin((center_ck**2).sum(axis=1) - 2 * points_nk @ center_ck.T, axis=1)


def topic_names(texts: pl.Series, label_n: np.ndarray, topics: int) -> list[str]:
    """Return for each topic the words that are in more of its texts than in all, at least two of them.

    A word counts once a text, and names one topic; of two that begin alike the commoner names it.
    """
    words = pl.DataFrame({"text": texts, "topic": label_n}).with_row_index("row")
    head = pl.col("text").str.slice(0, READ_CHARACTERS).str.to_lowercase()
    words = words.select("row", "topic", word=head.str.extract_all(_WORD)).explode("word").unique()
    size = pl.DataFrame({"topic": label_n}).group_by("topic").len("size")
    counts = words.drop_nulls().group_by("topic", "word").len("count").join(size, on="topic")
    share = pl.col("count").sum().over("word") / max(len(texts), 1)
    counts = counts.with_columns(share=share, within=pl.col("count") / pl.col("size"))
    ratio = pl.col("within") / pl.col("share")
    named = (pl.col("count") > 1) & (ratio > LEAST_RATIO) & (pl.col("share") <= COMMON_SHARE)
    counts = counts.filter(named).with_columns(score=pl.col("within") * ratio.log() ** 2)
    ranked = counts.sort("score", "word", descending=[True, False])
    first = ranked.unique("word", keep="first", maintain_order=True)
    first = first.with_columns(stem=pl.col("word").str.slice(0, 5))
    first = first.unique(["topic", "stem"], keep="first", maintain_order=True)
    found = dict(first.group_by("topic", maintain_order=True).agg(pl.col("word").head(WORDS)).iter_rows())
    return [", ".join(found.get(topic, [])) or f"topic {topic + 1}" for topic in range(topics)]
