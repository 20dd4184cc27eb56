"""Benchmarks kept out: which copies of rows are recognised in documents of real text. JSON lines on stdout.

    python -m benchmarks.keep_out
    python -m benchmarks.keep_out --documents 2000 --rows 40

Rows are real texts of four kinds: headlines of 8 to 12 words, sentences of papers of 13 to 25 and of 26 to 60
words, and news of two or more sentences, 30 to 60 words. Each row is planted once, in a document of its own
from other files, between two of its words, as one of these copies:

- verbatim; upper: in capitals, without punctuation; first_half, second_half: half of the words, rounded up
- reordered: sentences in reverse order (news alone)
- paraphrase_5, _10, _20: each word is replaced with that probability, in %, by a word drawn from all rows,
  and dropped with half of it. The word stands for a synonym: which word it is does not matter to a comparison
  by words.

recall: share of the planted documents that are found for the right benchmark, next to runs of 20 words, as
held-out examples are protected by. false_positives: share of the documents without a row that are found.
Wanted: .99 of verbatim and upper, and at most .002 of the others. Paraphrases and halves have no claim: they
are missed where no run of 13 words (of a short row, the whole) is left. Exit code 1 where a claim is missed.
Text is found through TAMIS_BENCH_DATA. A minute on two cores.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._quality_data import Report
from benchmarks._texts import enough, read_texts
from tamis.corpus import document_id
from tamis.selection.benchmarks import Benchmark
from tamis.selection.keep_out import TABLE, update_kept_out
from tamis.selection.leaks import contaminated_among, runs_of_texts, shared_runs
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

POOL = ("p_arxiv_a", "p_dialogue", "p_law", "p_mixed_free")
ROWS = {
    "headlines_8_12": ("q_clickbait_headlines", 8, 12),
    "sentences_13_25": ("t_science_a", 13, 25),
    "sentences_26_60": ("t_science_a", 26, 60),
    "news_30_60": ("t_ag_news_train", 30, 60),
}
RATES = (5, 10, 20)
COPIES = (
    *("verbatim", "upper", "first_half", "second_half", "reordered"),
    *(f"paraphrase_{rate}" for rate in RATES),
)
CLAIMED = ("verbatim", "upper")
SHARE, CONTAMINATION_NGRAM = 0.01, 20
_WORD, _SENTENCE = re.compile(r"\w+"), re.compile(r"(?<=[.!?])\s+")


def rows_of(name: str, count: int, seed: int) -> list[str]:
    """Return that many distinct texts of a kind of rows, shuffled."""
    file, least, most = ROWS[name]
    texts = read_texts(file)["text"].unique().sort().sample(fraction=1, shuffle=True, seed=seed)
    fitting = [text for text in texts if least <= len(_WORD.findall(text)) <= most]
    if name.startswith("news"):
        fitting = [text for text in fitting if len(_SENTENCE.split(text)) > 1]
    return enough(fitting, count, f"rows of {name}")[:count]


def hosts_of(count: int, seed: int) -> list[str]:
    """Return that many distinct documents of the pool, as many of each file, shuffled."""
    each = -(-count // len(POOL))
    texts = []
    for name in POOL:
        own = read_texts(name)["text"].unique().sort().sample(fraction=1, shuffle=True, seed=seed)
        texts += enough(own, each, f"documents of {name}")[:each].to_list()
    random.Random(seed).shuffle(texts)
    return texts[:count]


def copy_of(row: str, copy: str, draw: random.Random, vocabulary: Sequence[str]) -> str:
    """Return a copy of a row."""
    words = row.split()
    middle = -(-len(words) // 2)
    match copy:
        case "verbatim":
            return row
        case "upper":
            return " ".join(_WORD.findall(row.upper()))
        case "first_half":
            return " ".join(words[:middle])
        case "second_half":
            return " ".join(words[-middle:])
        case "reordered":
            return " ".join(_SENTENCE.split(row)[::-1])
    rate = int(copy.rpartition("_")[2]) / 100
    changed = [draw.choice(vocabulary) if draw.random() < rate else word for word in words]
    return " ".join(word for word in changed if draw.random() >= rate / 2)


def planted(host: str, text: str, draw: random.Random) -> str:
    """Return a document with a text between two of its words."""
    words = host.split(" ")
    place = draw.randrange(len(words) + 1)
    return " ".join([*words[:place], text, *words[place:]])


def benchmark_of(name: str, rows: Sequence[str]) -> Benchmark:
    """Return rows as a benchmark of one column."""
    columns = {"row": range(len(rows)), "column": ["question"] * len(rows), "text": rows}
    texts = pl.DataFrame(columns, schema_overrides={"row": pl.Int64})
    return Benchmark(name=name, texts=texts, rows=len(rows), without_text=0, unreadable=0)


def store_of(folder: Path, texts: Sequence[str]) -> Store:
    """Return a store of documents, all of one file."""
    store, ids = Store(folder), [document_id(text) for text in texts]
    known = {
        "documents": {"doc_id": ids, "text": texts},
        "occurrences": {"doc_id": ids, "shard": ["pool"] * len(ids), "row": range(len(ids))},
    }
    for table, columns in known.items():
        lacking = {field.name: None for field in schema_of(table) if field.name not in columns}
        store.append(table, pl.DataFrame(columns).with_columns(**lacking).to_arrow().cast(schema_of(table)))
    return store


def main() -> None:
    """Plant copies, look for them by both lengths of runs, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(100), default=20_000, help="documents without a row")
    parser.add_argument("--rows", type=at_least(10), default=200, help="rows of each kind and copy")
    parser.add_argument("--seed", type=int, default=0)
    flags, report = begin(parser), Report()
    draw = random.Random(flags.seed)
    copies = {name: [one for one in COPIES if one != "reordered" or "news" in name] for name in ROWS}
    rows = {name: rows_of(name, flags.rows * len(copies[name]), flags.seed) for name in ROWS}
    vocabulary = sorted({word for texts in rows.values() for text in texts for word in text.split()})
    count = sum(map(len, rows.values()))
    hosts = hosts_of(flags.documents + count, flags.seed)
    left, documents = iter(hosts), dict[tuple[str, str], list[str]]()
    for name, texts in rows.items():
        for place, copy in enumerate(copies[name]):
            own = texts[place * flags.rows : (place + 1) * flags.rows]
            documents[name, copy] = [
                planted(next(left), copy_of(row, copy, draw, vocabulary), draw) for row in own
            ]
    clean = list(left)
    pool = [*clean, *(text for texts in documents.values() for text in texts)]
    random.Random(flags.seed).shuffle(pool)
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), pool)
        began = time.perf_counter()
        update_kept_out(store, [benchmark_of(*one) for one in rows.items()], SHARE)
        seconds = time.perf_counter() - began
        found = set(store.read(TABLE, ["benchmark", "doc_id"]).iter_rows())
    by_20 = _by_20_words(pool, [text for texts in rows.values() for text in texts])
    for (name, copy), texts in documents.items():
        ids = [document_id(text) for text in texts]
        recall = sum((name, doc_id) in found for doc_id in ids) / len(ids)
        report.line(
            "keep_out",
            {"recall": 0.99} if copy in CLAIMED else None,
            rows=name,
            copy=copy,
            planted=len(ids),
            recall=recall,
            recall_by_runs_of_20=sum(doc_id in by_20 for doc_id in ids) / len(ids),
        )
    _report_clean(report, clean, found, by_20)
    report.line(
        "keep_out_speed", documents=len(pool), seconds=seconds, rows=count, per_second=len(pool) / seconds
    )
    if report.missed:
        sys.exit("; ".join(report.missed))


def _by_20_words(pool: Sequence[str], rows: Sequence[str]) -> set[str]:
    """Return the documents that runs of 20 words find, as of held-out examples."""
    bounds = [*range(0, len(pool), 5_000), len(pool)]
    batches = ((list(map(document_id, pool[a:b])), pool[a:b]) for a, b in pairwise(bounds))
    shared = shared_runs(batches, runs_of_texts(rows, CONTAMINATION_NGRAM))
    return set(contaminated_among(shared, len(pool), SHARE))


def _report_clean(report: Report, clean: Sequence[str], found: set[tuple[str, str]], by_20: set[str]) -> None:
    ids = {document_id(text) for text in clean}
    wrong: Mapping[str, int] = {
        name: sum(doc_id in ids for one, doc_id in found if one == name) for name in ROWS
    }
    share = len({doc_id for _name, doc_id in found} & ids) / len(ids)
    report.line(
        "keep_out_others",
        {"left_alone": 0.998},
        documents=len(ids),
        left_alone=1 - share,
        false_positives=share,
        false_positives_by_runs_of_20=len(by_20 & ids) / len(ids),
        **{f"found_{name}": count for name, count in wrong.items()},
    )


if __name__ == "__main__":
    main()
