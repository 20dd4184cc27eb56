"""Topics of texts: clusters of their vectors, named by the words that set each apart from the others."""

import warnings

import numpy as np
import polars as pl

from tamis.embedding.layout import Floats, principal_components, unit

MOST_TOPICS, FEWEST_A_TOPIC = 12, 20
AXES_OF_TOPICS, STARTS = 16, 8
READ_CHARACTERS = 500
WORDS = 3
COMMON_SHARE = 0.3
"""A word in more of all texts is no name."""
WITNESSES = 10
"""Texts that are noted with a word of a name: the word may be shown as long as one of them is there."""
LEAST_RATIO = 1.3
"""A word names a topic only if it is in so many times as many of its texts as of all."""
_WORD = r"\p{L}[\p{L}\p{M}]{2,23}"


def cluster_centers(points_nk: Floats, most: int = MOST_TOPICS, seed: int = 0) -> Floats:
    """Return centres [c, k] of clusters of points [n, k] by k-means, the largest cluster first.

    Fewer of few points or few distinct ones, and one of points that are all alike.
    """
    from scipy.cluster.vq import kmeans2

    rows_nk = np.ascontiguousarray(points_nk)  # as bytes, rows sort faster than as numbers
    distinct = len(np.unique(rows_nk.view(f"V{rows_nk.itemsize * rows_nk.shape[1]}")))
    wanted = min(most, len(points_nk) // FEWEST_A_TOPIC, distinct)
    if wanted < 2 or not points_nk.any():
        return np.zeros((1, points_nk.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an empty cluster: it goes
        center_ck, label_n = kmeans2(points_nk, wanted, iter=30, minit="++", rng=seed)
    size_c = np.bincount(label_n, minlength=wanted)
    order_c = np.argsort(-size_c, kind="stable")
    return np.asarray(center_ck[order_c[size_c[order_c] > 0]])


def fit_centers(vectors_nd: np.ndarray, most: int, seed: int) -> Floats:
    """Return centres [c, d] among unit vectors, of clusters of vectors [n, d] in their first components.

    Of unit vectors, the nearest of these is the nearest in the components, too: what is beyond them is as
    far from each. There are at least as many components as topics, since centres spread along no more. Of
    some starts of k-means the nearest centres count, the largest cluster first; one of fewer than 20 vectors
    joins the others.
    """
    components = principal_components(vectors_nd, max(AXES_OF_TOPICS, most))
    points_nk = components.of(vectors_nd.astype(np.float64))
    found = [cluster_centers(points_nk, most, seed + start) for start in range(STARTS)]
    center_ck = min(
        found,
        key=lambda center_ck: ((points_nk - center_ck[nearest_center(points_nk, center_ck)]) ** 2).sum(),
    )
    size_c = _sizes(points_nk, center_ck)
    while len(center_ck) > 1 and size_c.min() < FEWEST_A_TOPIC:
        center_ck = _means(points_nk, np.delete(center_ck, size_c.argmin(), axis=0))
        size_c = _sizes(points_nk, center_ck)
    center_ck = center_ck[np.argsort(-size_c, kind="stable")]
    return np.asarray(components.center_d + center_ck @ components.axes_dk.T)


def _sizes(points_nk: Floats, center_ck: Floats) -> np.ndarray:
    """Return how many points are nearest to each centre, [c]."""
    return np.bincount(nearest_center(points_nk, center_ck), minlength=len(center_ck))


def _means(points_nk: Floats, center_ck: Floats) -> Floats:
    """Return the means of the points nearest to each centre, [c, k]; one that has none stays."""
    label_n = nearest_center(points_nk, center_ck)
    size_c = np.bincount(label_n, minlength=len(center_ck))[:, None]
    sum_ck = np.zeros_like(center_ck)
    np.add.at(sum_ck, label_n, points_nk)
    return np.where(size_c > 0, sum_ck / np.maximum(size_c, 1), center_ck)


def nearest_center(points_nk: Floats, center_ck: Floats) -> np.ndarray:
    """Return the nearest centre of each point, [n]; of equally near ones the first."""
    return np.argmin((center_ck**2).sum(axis=1) - 2 * points_nk @ center_ck.T, axis=1)


def nearest_topic(vectors_nd: np.ndarray, center_cd: Floats) -> np.ndarray:
    """Return for vectors [n, d] of any length the nearest centre of `fit_centers`, [n]."""
    return nearest_center(unit(vectors_nd), center_cd)


def kept_numbers(old_n: np.ndarray, new_n: np.ndarray, topics: int, most: int) -> list[int]:
    """Return a number for each of the new topics: that of an old one which it continues, or one above `most`.

    It continues an old one where each holds over half of the other's documents. old_n: number of the old
    topic of each document, 0 for none, `most` the largest; new_n: its new topic, from 0.
    """
    both_oc = np.zeros((most + 1, topics), dtype=np.int64)
    np.add.at(both_oc, (old_n, new_n), 1)
    of_old_o1, of_new_c = both_oc.sum(axis=1, keepdims=True), both_oc.sum(axis=0)
    continues_oc = (2 * both_oc > of_old_o1) & (2 * both_oc > of_new_c)
    continues_oc[0] = False
    further = iter(range(most + 1, most + topics + 1))
    return [int(own_o.argmax()) if own_o.any() else next(further) for own_o in continues_oc.T]


def naming_words(texts: pl.Series, label_n: np.ndarray) -> pl.DataFrame:
    """Return topic, place, word and rows: words that name each topic, the best first, and texts with them.

    They are in more of its texts than of all, at least two of them. A word counts once a text, and names one
    topic; of two that begin alike the commoner names it. rows: the first `WITNESSES` texts of the topic that
    contain the word.
    """
    head = pl.col("text").str.slice(0, READ_CHARACTERS).str.to_lowercase()
    words = (
        pl.DataFrame({"text": texts, "topic": label_n})
        .with_row_index("row")
        .select("row", "topic", word=head.str.extract_all(_WORD))
        .explode("word")
        .unique()
    )
    size = pl.DataFrame({"topic": label_n}).group_by("topic").len("size")
    counts = words.drop_nulls().group_by("topic", "word").len("count").join(size, on="topic")
    share = pl.col("count").sum().over("word") / max(len(texts), 1)
    counts = counts.with_columns(share=share, within=pl.col("count") / pl.col("size"))
    ratio = pl.col("within") / pl.col("share")
    named = (pl.col("count") > 1) & (ratio > LEAST_RATIO) & (pl.col("share") <= COMMON_SHARE)
    counts = counts.filter(named).with_columns(score=pl.col("within") * ratio.log() ** 2)
    first = (
        counts.sort("score", "word", descending=[True, False])
        .unique("word", keep="first", maintain_order=True)
        .with_columns(stem=pl.col("word").str.slice(0, 5))
        .unique(["topic", "stem"], keep="first", maintain_order=True)
        .with_columns(place=pl.int_range(pl.len()).over("topic"))
        .filter(pl.col("place") < WORDS)
    )
    rows = words.join(first, on=["topic", "word"], how="semi").group_by("topic", "word")
    return first.join(rows.agg(rows=pl.col("row").sort().head(WITNESSES)), on=["topic", "word"]).select(
        "topic", "place", "word", "rows"
    )


def topic_names(words: pl.DataFrame, topics: int) -> list[str]:
    """Return the name of each topic: its `naming_words`, or its number, from 1, if it has none."""
    words = words.sort("topic", "place").group_by("topic", maintain_order=True).agg("word")
    found = dict(words.iter_rows())
    return [", ".join(found.get(topic, [])) or f"topic {topic + 1}" for topic in range(topics)]
