"""Texts of one word in a pool: what share of each sampler's choice they are. JSON lines on stdout.

    python -m benchmarks.short_texts
    python -m benchmarks.short_texts --documents 500 --asked 0

Half of the pool are texts of one to three words ("ok", "N/A", single words of the other half), which teach a
model next to nothing. Film reviews are the goal. In one pool a fifth of the long texts are film reviews, too;
in the other none is, so that what is chosen is like the goal only by accident. Samplers that need no more
choose a tenth and three tenths of each pool, as `tamis.select` does. SmolLM2-135M ranks a part of the pool,
as perplexity and ask-llm do.

Wanted: at most half of the pool's share, so that a sampler does not choose short texts because they are
short. `random` and `density`, which draw, are measured without a claim. Exit code 1 where one is missed. Text
is found through TAMIS_BENCH_DATA. 6 minutes on two cores.
"""

import argparse
import random
import sys
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

import tamis
from benchmarks._flags import at_least, begin
from benchmarks._quality_data import Report
from benchmarks._texts import enough, read_texts
from tamis.settings.samplers import SAMPLERS

OTHERS = ("p_arxiv_a", "p_dialogue", "p_law", "p_wikipedia")
SAID = ("ok", "lol", "N/A", "yes", "no", "thanks", "hi", "?", "...", "test", "nice", "good movie", "so bad")
DRAWING = ("random", "density")
SAMPLERS_MEASURED = (
    *DRAWING,
    *("got-d", "got-d-rounds", "knn", "round-robin", "tsds", "unbalanced"),
    *("dsir", "classifier", "semdedup", "prototypes"),
)
BUDGETS = ("10%", "30%")
GOAL, LONG_WORDS, MOST_OF_POOL = 600, 20, 0.5
Pool = tuple[list[str], list[str]]


def short_texts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """That many distinct texts of one to three words, `SAID` among them, the others words of the texts."""
    draw, found = random.Random(seed), dict.fromkeys(SAID)
    while len(found) < count:
        words = draw.choice(texts).split()
        start, size = draw.randrange(len(words)), draw.choices((1, 2, 3), (8, 1, 1))[0]
        found[" ".join(words[start : start + size])] = None
    return list(found)[:count]


def pools_and_goal(documents: int, seed: int) -> tuple[Mapping[str, Pool], list[str]]:
    """Long and short texts of the pools with and without texts like the goal, and the goal."""
    reviews = _long("t_imdb_train", seed)
    reviews = enough(reviews, GOAL + documents // 5, "reviews")
    goal, like = reviews[:GOAL], reviews[GOAL : GOAL + documents // 5]
    each = -(-documents // len(OTHERS))
    others = [text for name in OTHERS for text in _long(name, seed)[:each]]
    random.Random(seed).shuffle(others)
    longs = {"with": [*like, *others][:documents], "without": others[:documents]}
    return {name: (long, short_texts(long, len(long), seed)) for name, long in longs.items()}, goal


def _long(name: str, seed: int) -> list[str]:
    texts = read_texts(name)["text"].unique().sort().sample(fraction=1, shuffle=True, seed=seed)
    return texts.filter(texts.str.split(" ").list.len() > LONG_WORDS).to_list()


def bench_samplers(pools: Mapping[str, Pool], goal: Sequence[str], seed: int, report: Report) -> None:
    """Shares in the choices of samplers that need no more than texts."""
    for like_goal, (long, short) in pools.items():
        for name in SAMPLERS_MEASURED:
            for budget in BUDGETS:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = tamis.select(
                        [*long, *short],
                        goal if SAMPLERS[name].needs_target else None,
                        budget,
                        sampler=name,
                        seed=seed,
                    )
                chosen = found.filter(pl.col("verdict") == "selected")["row"].to_numpy()
                _print(report, name, chosen >= len(long), like_goal=like_goal, budget=budget)


def bench_models(pool: Pool, count: int, seed: int, report: Report) -> None:
    """Shares in what samplers choose that ask a model about every document."""
    from tamis.quality import AskLLM
    from tamis.training.evaluation import document_bits_per_byte

    draw = random.Random(seed)
    texts = [text for side in pool for text in draw.sample(side, min(count // 2, len(side)))]
    is_short = np.arange(len(texts)) >= len(texts) - min(count // 2, len(pool[1]))
    scores = {
        "ask-llm:smollm2-135m": -AskLLM("smollm2-135m").score(texts)["margin"].to_numpy(),
        "perplexity:smollm2-135m": document_bits_per_byte("smollm2-135m", texts),
    }
    for name, score in scores.items():
        for budget in BUDGETS:
            chosen = np.argsort(score, kind="stable")[: int(len(texts) * float(budget[:-1]) / 100)]
            _print(report, name, is_short[chosen], like_goal="without", budget=budget)


def _print(report: Report, sampler: str, is_short: np.ndarray, **of: str) -> None:
    share = float(is_short.mean())
    wanted = None if sampler in DRAWING else {"longer": 1 - MOST_OF_POOL / 2}
    shares = {"short": share, "longer": 1 - share}
    report.line("short_texts", wanted, sampler=sampler, **of, chosen=len(is_short), **shares)


def main() -> None:
    """Choose by every sampler and print the shares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(100), default=1_000, help="long texts of a pool")
    parser.add_argument("--asked", type=at_least(0), default=200, help="texts that models read")
    parser.add_argument("--seed", type=int, default=0)
    flags = begin(parser)
    report = Report()
    pools, goal = pools_and_goal(flags.documents, flags.seed)
    bench_samplers(pools, goal, flags.seed, report)
    if flags.asked:
        bench_models(pools["without"], flags.asked, flags.seed, report)
    for line in report.missed:
        print(line, file=sys.stderr)
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
