"""Scores of a user's own: a column of a million rows, and a classifier. JSON lines on stdout.

    python -m benchmarks.own_scores
    python -m benchmarks.own_scores --documents 20000 --texts 100

column: the time from kept rows of about 500 bytes to the values of a [[score]] in the store. Wanted: a
million within 20 s. classifier: documents a CPU second of MiniLM with a drawn head, next to transformers'
pipeline in batches of 32, in turns on the same texts, cut to 1,000 characters; gap: the largest difference of
a value. Wanted: at most 1e-4. Exit code 1 where a claim is missed. Texts are found through TAMIS_BENCH_DATA.
Two minutes on two cores.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from benchmarks._flags import at_least, begin
from benchmarks._quality_data import Report, clean_texts
from tamis.columns.rows import Files
from tamis.embedding.identity import locate
from tamis.scores.classifier import Classifier
from tamis.scores.stage import COLUMN_SCORES
from tamis.scores.storing import update_column_scores
from tamis.settings.sections import CorpusSection, ScoreSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

MILLION, WITHIN_SECONDS = 1_000_000, 20.0
BLOCK, ROWS_A_SHARD, FILLING = 100_000, 50_000, 400
TURNS, BATCH, CHARACTERS, CLOSE = 3, 32, 1_000, 1e-4


def write_rows(store: Store, count: int) -> None:
    """Write kept rows and places of that many documents, in shards of 50,000."""
    draw = np.random.default_rng(0)
    heading = json.dumps({"text_column": "text", "types": None})
    shards = [f"web/{number:04d}.jsonl" for number in range(-(-count // ROWS_A_SHARD))]
    heads = {"doc_id": "", "shard": shards, "row": -1, "content": heading}
    store.put("kept_rows", pl.DataFrame(heads).with_columns(pl.col("row").cast(pl.Int64)))
    for start in range(0, count, BLOCK):
        places = np.arange(start, min(start + BLOCK, count))
        ids = [f"{place:032x}" for place in places]
        names = [shards[place // ROWS_A_SHARD] for place in places]
        rows = places % ROWS_A_SHARD
        contents = [
            json.dumps({"url": f"https://example.org/{place}", "meta": {"edu": value}, "note": "x" * FILLING})
            for place, value in zip(places.tolist(), draw.uniform(0, 5, len(places)).round(3), strict=True)
        ]
        known = pl.DataFrame({"doc_id": ids, "shard": names, "row": rows})
        store.put("kept_rows", known.with_columns(pl.Series("content", contents)))
        lacking = {name: None for name in schema_of("occurrences").names if name not in known.columns}
        store.put("occurrences", known.with_columns(**lacking))


def measure_column(report: Report, count: int) -> None:
    """Print the time of a score that is a column."""
    score = ScoreSection(name="edu", column="meta.edu")
    corpus = CorpusSection(name="web", kind="files", path="web")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        write_rows(store, count)
        began, began_cpu = time.perf_counter(), time.process_time()
        update_column_scores(store, [score], Files(shards={}, corpora={"web": corpus}))
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        stored = store.count(COLUMN_SCORES.name, "value IS NOT NULL")
    wanted = {"million_in_20_s": 1.0} if count >= MILLION else None
    within = WITHIN_SECONDS * count / MILLION / seconds
    report.line(
        "own_score_column",
        wanted,
        documents=count,
        stored=stored,
        seconds=seconds,
        cpu_seconds=cpu,
        million_in_20_s=within,
    )


def measure_classifier(report: Report, count: int) -> None:
    """Print the speed of a classifier, ours and transformers', in turns."""
    source, texts = clean_texts(count, 0)
    texts = [text[:CHARACTERS] for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        minilm = locate("minilm").folder
        AutoModelForSequenceClassification.from_pretrained(minilm, num_labels=2).save_pretrained(folder)
        AutoTokenizer.from_pretrained(minilm).save_pretrained(folder)
        ours = Classifier(folder, "LABEL_1")
        theirs = pipeline("text-classification", model=folder, top_k=None, truncation=True, batch_size=BATCH)
        ours.score(texts[:BATCH])
        theirs(texts[:BATCH])
        seconds: dict[str, list[float]] = {"tamis": [], "pipeline": []}
        for _ in range(TURNS):
            began = time.process_time()
            values_n = ours.score(texts)
            seconds["tamis"].append(time.process_time() - began)
            began = time.process_time()
            answers = theirs(texts)
            seconds["pipeline"].append(time.process_time() - began)
        expected_n = [next(one["score"] for one in answer if one["label"] == "LABEL_1") for answer in answers]
    gap = float(np.abs(values_n - np.array(expected_n)).max())
    best = {name: count / min(found) for name, found in seconds.items()}
    report.line(
        "own_score_classifier",
        {"as_pipeline": 1.0},
        texts=source,
        documents=count,
        documents_a_cpu_second=best["tamis"],
        by_pipeline=best["pipeline"],
        gap=gap,
        as_pipeline=float(gap <= CLOSE),
    )


def main() -> None:
    """Measure both kinds of scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(1_000), default=MILLION)
    parser.add_argument("--texts", type=at_least(BATCH), default=1_000)
    flags, report = begin(parser), Report()
    measure_column(report, flags.documents)
    measure_classifier(report, flags.texts)
    if report.missed:
        sys.exit("; ".join(report.missed))


if __name__ == "__main__":
    main()
