"""Examples of a target that nothing in the pool serves: how many are found of those known; JSON lines.

    python -m benchmarks.gaps

Of a set of texts with topics, ten topics are drawn (of news all four). A draw of their texts is the target;
the others of the set are the pool, less one topic, which is hidden from it. Named are the examples that
`tamis gaps` would name. Wanted, over ten draws: 80 % of the hidden topic's examples, and at most 5 % of the
others. `known`: what a linear classifier finds that was given the answers to other examples, while it names
5 % of those that are not hidden. `without_hiding`: named where the pool lacks nothing.

The settings were chosen on the first draws of clinc and ag_news. Vectors are those of the static encoder (see
_transport_data.py).
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._texts import read_texts
from benchmarks._transport_data import cache_folder, encoded, unit_vectors
from tamis.transport.gaps import find_gaps

FOUND, OTHERS = 0.8, 0.05
TOPICS, FEWEST_OF_A_TOPIC, FEWEST_HIDDEN = 10, 100, 20
ROWS = 16_000
SETS = {
    "clinc": ("t_intent", (pl.col("source") == "clinc150") & (pl.col("label") != "oos"), "label"),
    "ag_news": ("t_ag_news_train", pl.lit(True), "label"),
    "banking": ("t_intent", pl.col("source") == "banking77", "label"),
    "dialogue": ("p_dialogue", pl.lit(True), "label"),
    "mixed": ("p_mixed_free", pl.lit(True), "source"),
    "research": ("p_mixed_research", pl.col("source") != "brown", "label"),
    "arxiv": ("p_arxiv_a", pl.lit(True), "label"),
    "law": ("p_law", pl.col("source") != "us_congress_acts", "label"),
}
"""File, rows of it, and the column of topics."""
CHOSEN_ON = ("clinc", "ag_news")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Vectors of a target [M, d] and of the texts that could be in the pool [N, d], and which are hidden."""

    example_md: np.ndarray
    rest_nd: np.ndarray
    hidden_m: np.ndarray
    hidden_n: np.ndarray


def texts_of(name: str) -> pl.DataFrame:
    """Return text and topic of a set, each text once, shuffled; exits when the data are absent."""
    stem, wanted, topic = SETS[name]
    rows = read_texts(stem, "source", "label", "split").filter(wanted).drop_nulls(topic)
    rows = rows.unique("text", keep="first", maintain_order=True).sample(fraction=1, shuffle=True, seed=0)
    return rows.head(ROWS).select("text", topic=topic)


def problem(vectors_nd: np.ndarray, topic_n: np.ndarray, draw: int, examples: int) -> Problem:
    """Return the draw of a target of ten topics, and which of its examples and of the rest are hidden."""
    rng = np.random.default_rng([draw, 7])
    topics, counts = np.unique(topic_n, return_counts=True)
    chosen = rng.permutation(topics[counts >= FEWEST_OF_A_TOPIC])[:TOPICS]
    rows = rng.permutation(np.flatnonzero(np.isin(topic_n, chosen)))
    drawn = rows[: min(examples, len(rows) // 3)]
    topics, counts = np.unique(topic_n[drawn], return_counts=True)
    hidden = rng.choice(topics[counts >= FEWEST_HIDDEN])
    rest = np.setdiff1d(np.arange(len(topic_n)), drawn)
    return Problem(
        example_md=vectors_nd[drawn],
        rest_nd=vectors_nd[rest],
        hidden_m=topic_n[drawn] == hidden,
        hidden_n=topic_n[rest] == hidden,
    )


def measured(found: Problem, draw: int) -> tuple[float, float, float, float]:
    """Return the shares named: of the hidden examples, of the others, of all of a pool that lacks nothing;
    and what a classifier finds that knows them.
    """
    pool_nd = found.rest_nd[~found.hidden_n]
    named_m = find_gaps(found.example_md, pool_nd, center=pool_nd.mean(0), seed=draw).is_gap_m
    whole_m = find_gaps(found.example_md, found.rest_nd, center=found.rest_nd.mean(0), seed=draw).is_gap_m
    return (
        float(named_m[found.hidden_m].mean()),
        float(named_m[~found.hidden_m].mean()),
        float(whole_m.mean()),
        known(found, pool_nd, draw),
    )


def known(found: Problem, pool_nd: np.ndarray, draw: int, folds: int = 10) -> float:
    """Share of the hidden examples that a classifier finds, with 5 % of the others, in cross-validation."""
    from sklearn.linear_model import LogisticRegression

    fold_m = np.random.default_rng(draw).permutation(len(found.example_md)) % folds
    center_d = pool_nd.mean(0)
    example_md, pool_nd = (
        unit_vectors(rows, center_d) * rows.shape[1] ** 0.5 for rows in (found.example_md, pool_nd)
    )
    pool_nd = pool_nd[np.random.default_rng(draw).permutation(len(pool_nd))[:4_000]]
    score_m = np.zeros(len(found.example_md))
    for fold in range(folds):
        learnt_m = fold_m != fold
        given_nd = np.concatenate([example_md[learnt_m], pool_nd])
        answer_n = np.r_[found.hidden_m[learnt_m], np.zeros(len(pool_nd), bool)]
        model = LogisticRegression(C=0.003, class_weight="balanced", max_iter=300).fit(given_nd, answer_n)
        score_m[~learnt_m] = model.decision_function(example_md[~learnt_m])
    limit = np.quantile(score_m[~found.hidden_m], 1 - OTHERS)
    return float((score_m[found.hidden_m] > limit).mean())


def shares(name: str, flags: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Return the mean shares over the draws of one set."""
    rows = texts_of(name)
    vectors_nd, topic_n = encoded("static", rows["text"].to_list(), cache), rows["topic"].to_numpy()
    problems = [problem(vectors_nd, topic_n, draw, flags.examples) for draw in range(flags.draws)]
    found = np.array([measured(one, draw) for draw, one in enumerate(problems)])
    hidden, others, without, known_to = found.mean(0).round(3).tolist()
    line = {"set": name, "chosen_on": name in CHOSEN_ON, "draws": flags.draws, "texts": len(rows)}
    line |= {"hidden_named": hidden, "least_of_a_draw": round(float(found[:, 0].min()), 3)}
    line |= {"others_named": others, "without_hiding": without, "known": known_to}
    return {**line, "wanted": [FOUND, OTHERS], "reached": hidden >= FOUND and others <= OTHERS}


def main() -> None:
    """Print the shares of each set; exits 1 where one is not what is wanted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--draws", type=at_least(1), default=10)
    parser.add_argument("--examples", type=at_least(40), default=400)
    parser.add_argument("--cache", type=Path, help="folder for embeddings")
    flags = begin(parser)
    cache, reached = cache_folder(flags.cache), True
    for name in flags.sets:
        line = shares(name, flags, cache)
        print(json.dumps({"benchmark": "gaps", **line}), flush=True)
        reached &= line["reached"]
    sys.exit(not reached)


if __name__ == "__main__":
    main()
