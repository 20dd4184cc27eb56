"""How fast documents are filtered, and what a classifier finds: JSON lines on stdout.

    python -m benchmarks.filters --documents 5000

- speed: documents a CPU second of each family of rules, of those of `tamis init` together, of languages and
  of personal data, best of three on one set of real texts. No claim; a pool should not wait for its filters.
- languages: documents a CPU second in batches, as Tamis identifies them, and text by text, as py3langid does;
  answers that differ. Wanted: none, and 3 times as many.
- english: the share of English texts that language identification calls something else with confidence.
  Wanted: under .2 %.
- word order: the rules of word salad on real English texts and on the same with their words shuffled. Wanted:
  at most 5 in 10,000 real ones broken, and half of the shuffled ones found (short ones are hard to tell).
- classifier: film reviews as target, others of the same kind hidden among texts of other kinds (one source
  of the data is film reviews as well and is left out there). What share of its first choices, as many as are
  hidden, are hidden ones? Next to it DSIR, which draws, and a random choice. Wanted: at least .8.

Each line with a claim says what was wanted and whether it was reached; exit code 1 when one was missed. Text
is found through TAMIS_BENCH_DATA (default ../shared/data next to the checkout). Half a minute.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from benchmarks._flags import begin
from benchmarks._quality_data import Report
from benchmarks._texts import data_folder, enough, read_texts
from tamis.filters import Plan, measured
from tamis.filters.language import LONGEST, identified
from tamis.samplers.methods import METHODS, MethodProblem

ENGLISH = ("p_arxiv_a", "p_mixed_free", "p_mixed_research", "t_imdb_train")
LEAST_FOUND, MOST_MISTAKEN, CONFIDENCE = 0.8, 0.002, 0.5
LEAST_SHUFFLED, MOST_ORDERED = 0.5, 0.0005
LEAST_TIMES = 3.0
PLANS = {
    "noise": Plan(heuristics=("noise",)),
    "boilerplate": Plan(heuristics=("boilerplate",)),
    "noise and boilerplate": Plan(heuristics=("noise", "boilerplate")),
    "form": Plan(heuristics=("form",)),
    "rules of init": Plan(heuristics=("noise", "boilerplate", "form")),
    "gopher": Plan(heuristics=("gopher",)),
    "fineweb": Plan(heuristics=("fineweb",)),
    "word_order": Plan(heuristics=("word_order",)),
    "language": Plan(language="detected"),
    "personal_data": Plan(personal_data=True),
}


def texts_of(name: str) -> pl.Series:
    """Distinct texts of a file, sorted."""
    texts = read_texts(name)["text"]
    return texts.filter(texts.str.len_chars() >= 200).unique().sort()


def film_reviews() -> pl.Series:
    """Texts that are film reviews, whatever file they are in."""
    mixed = read_texts("p_mixed_free", "source")
    others = mixed.filter(pl.col("source") == "movie_reviews_2004")["text"]
    return pl.concat([texts_of("t_imdb_train"), others.cast(pl.String)])


def english(count: int, seed: int) -> pl.DataFrame:
    """That many English texts, as many of each file: `text`, and `language` as nobody stated it."""
    each = -(-count // len(ENGLISH))
    parts = [found.sample(min(each, len(found)), seed=seed) for found in map(texts_of, ENGLISH)]
    return pl.DataFrame({"text": pl.concat(parts)}).with_columns(language=pl.lit(None, dtype=pl.String))


def best_of_three(run: Callable[[], object]) -> float:
    """Least CPU seconds."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        run()
        seconds.append(time.process_time() - began)
    return min(seconds)


def bench_speed(texts: pl.DataFrame, report: Report) -> None:
    """Documents a CPU second by what is measured."""
    for name, plan in PLANS.items():
        seconds = best_of_three(lambda plan=plan: measured(texts, plan))  # type: ignore[misc]
        mean = float(texts["text"].str.len_chars().mean())  # type: ignore[arg-type]
        report.line(
            "filter_speed", measured=name, documents_per_cpu_second=len(texts) / seconds, characters=mean
        )


def bench_languages(texts: pl.DataFrame, report: Report) -> None:
    """Documents a CPU second in batches and text by text."""
    classify = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True).classify
    identified(texts["text"].head(1))
    began = time.process_time()
    batched = identified(texts["text"]).rows()
    between = time.process_time()
    single = [classify(text) for text in texts["text"].str.slice(0, LONGEST)]
    seconds = between - began, time.process_time() - between
    differing = sum(one != other for one, other in zip(batched, single, strict=True))
    report.line(
        "filter_languages",
        {"same": 1.0, "times": LEAST_TIMES},
        same=1 - differing / len(texts),
        times=seconds[1] / seconds[0],
        documents_per_cpu_second=len(texts) / seconds[0],
        text_by_text=len(texts) / seconds[1],
    )


def bench_english(texts: pl.DataFrame, report: Report) -> None:
    """English texts called something else."""
    found = measured(texts, PLANS["language"])
    wrong = (found["detected_language"] != "en") & (found["language_confidence"] >= CONFIDENCE)
    share = float(wrong.sum()) / len(texts)
    report.line("filter_english", {"right": 1 - MOST_MISTAKEN}, right=1 - share, n=len(texts))


def bench_word_order(texts: pl.DataFrame, seed: int, report: Report) -> None:
    """Texts as they are, and their words shuffled."""
    words = pl.col("text").str.extract_all(r"\S+").list
    shuffled = texts.with_columns(text=words.sample(fraction=1.0, shuffle=True, seed=seed).list.join(" "))
    broken = [float((measured(one, PLANS["word_order"])["broken"] != "").mean()) for one in (texts, shuffled)]  # type: ignore[arg-type]
    wanted = {"kept": 1 - MOST_ORDERED, "found": LEAST_SHUFFLED}
    report.line("filter_word_order", wanted, kept=1 - broken[0], found=broken[1], n=len(texts))


def bench_classifier(pool_size: int, hidden: int, seed: int, report: Report) -> None:
    """Hidden reviews among the first choices of each method."""
    long = enough(texts_of("t_imdb_train"), 2 * hidden, "long texts of t_imdb_train")
    reviews = long.sample(2 * hidden, shuffle=True, seed=seed).to_list()
    others = english(pool_size + hidden, seed).filter(~pl.col("text").is_in(film_reviews().implode()))
    pool = [*reviews[hidden:], *others["text"].to_list()[: pool_size - hidden]]
    ids = [f"{place:032x}" for place in np.random.default_rng(seed).permutation(len(pool))]
    settings = {"relative_epsilon": 0.03, "tolerance": 1e-3}
    problem = MethodProblem(
        target=reviews[:hidden], candidates=pool, k=hidden, ids=ids, seed=seed, settings=settings
    )
    for name in ("classifier", "dsir"):
        began = time.perf_counter()
        first = np.argsort(METHODS[name](problem), kind="stable")[:hidden]
        seconds = time.perf_counter() - began
        wanted = {"found": LEAST_FOUND} if name == "classifier" else None
        figures = {"found": float((first < hidden).mean()), "by_chance": hidden / len(pool)}
        rate = len(pool) / seconds
        report.line("classifier", wanted, method=name, **figures, n=len(pool), documents_per_second=rate)


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=4_000)
    parser.add_argument("--pool", type=int, default=8_000)
    parser.add_argument("--hidden", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    flags = begin(parser)
    data_folder()
    report = Report()
    texts = english(flags.documents, flags.seed)
    bench_speed(texts, report)
    bench_languages(texts, report)
    bench_english(texts, report)
    bench_word_order(english(10 * flags.documents, flags.seed), flags.seed, report)
    bench_classifier(flags.pool, flags.hidden, flags.seed, report)
    print(*report.missed, sep="\n", end="\n" if report.missed else "", file=sys.stderr)
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
