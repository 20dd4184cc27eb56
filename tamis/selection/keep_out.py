"""Benchmarks kept out of training: documents and training examples that give rows of a benchmark away.

A text of a row is a leak where a document holds 13 of its words in a row: questions are shorter than the
held-out examples of `tamis.selection.leaks`. A text of 8 to 12 words is looked for as a whole. Shorter texts
of a row count only joined, since "A" and "in 1912" are in every pool; a row that is shorter even so counts as
too short. Runs that many documents, or many texts of the benchmark, hold are template text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tamis.base.numbers import counted
from tamis.base.progress import Advance, ignore
from tamis.corpus.stage import DOCUMENTS, TARGET_ANSWERS, TARGET_EXAMPLES
from tamis.corpus.targets import own_words_of_examples
from tamis.duplicates.minhash import split_words, windows_of
from tamis.duplicates.shared_text import own_words_of_file
from tamis.selection.benchmarks import Benchmark
from tamis.selection.leaks import Runs, current_runs, most_holders, shared_runs
from tamis.store.tables import ALL, Store, quoted

WINDOW = 13
"""Words of a run of a longer text; as in the decontamination of GPT-3."""
SHORTEST = 8
"""Words of the shortest text that is looked for, as a whole."""
MUCH_OF_THE_POOL = 0.1
"""Share of the pool from which the pool may be said to contain the benchmark itself."""
WORDS_SHOWN = 40
TABLE, RUNS, EXAMPLES, COUNTS = "kept_out", "kept_out_runs", "kept_out_examples", "benchmarks"
_EXAMPLES = {"benchmark": pl.String, "target": pl.String, "doc_id": pl.String}


@dataclass(frozen=True, kw_only=True)
class RowRuns:
    """Runs of words of a benchmark's rows: row and run, each pair once; `too_short`: rows without a run."""

    runs: pl.DataFrame
    too_short: int


def runs_of_rows(benchmark: Benchmark, maximum_share: float) -> RowRuns:
    """Return the runs by which the rows of a benchmark are recognised.

    Left out are the words that many rows share in a column, and runs that over `maximum_share` of the
    distinct texts hold; a row that has no other runs keeps them, so that it counts as one of template text.
    """
    words = _looked_for(benchmark)
    found = []
    for size in range(SHORTEST, WINDOW + 1):
        of_size = words.filter(pl.col("size") == size)
        windows = windows_of(of_size["words"], size)
        places = windows.document
        found.append(
            pl.DataFrame(
                {
                    "row": of_size["row"].gather(places),
                    "text": of_size["text"].gather(places),
                    "run": pl.Series(windows.hashes, dtype=pl.UInt64),
                }
            )
        )
    runs = pl.concat(found)
    most = most_holders(words["text"].n_unique(), maximum_share)
    runs = runs.with_columns(rare=pl.col("text").n_unique().over("run") <= most)
    kept = runs.filter(pl.col("rare") | ~pl.col("rare").any().over("row"))
    with_text = benchmark.texts["row"].n_unique()
    return RowRuns(
        runs=kept.select("row", "run").unique().sort("row", "run"),
        too_short=with_text - runs["row"].n_unique(),
    )


def _looked_for(benchmark: Benchmark) -> pl.DataFrame:
    """Return the texts that are long enough: row, text, words (a list), size of the runs to look for."""
    parts = []
    for _column, rows in benchmark.texts.group_by("column", maintain_order=True):
        ids, no_turns = rows["row"].cast(pl.String).str.zfill(12), pl.repeat(0, len(rows), eager=True)
        parts.append(rows.select("row", text=own_words_of_file(ids, rows["text"], no_turns).own_texts()))
    texts = _with_words(pl.concat(parts))
    long = texts.filter(pl.col("size") >= SHORTEST)
    rest = texts.join(long, on="row", how="anti", maintain_order="left")
    joined = _with_words(rest.group_by("row", maintain_order=True).agg(pl.col("text").str.join(" ")))
    return pl.concat([long, joined.filter(pl.col("size") >= SHORTEST)])


def _with_words(texts: pl.DataFrame) -> pl.DataFrame:
    """Return the texts by row with their words, and `size`: the number of these, at most that of a run."""
    words = texts.with_columns(split_words(texts["text"]).alias("words"))
    size = pl.col("words").list.len().cast(pl.Int64).clip(upper_bound=WINDOW)
    return words.with_columns(size=size).sort("row", maintain_order=True)


@dataclass(frozen=True, kw_only=True)
class KeptOut:
    """Counts of an update: documents read, and documents that give rows away."""

    read: int
    documents: int


def update_kept_out(
    store: Store,
    benchmarks: Sequence[Benchmark],
    maximum_share: float,
    changed_shards: Sequence[str] | None = None,
    advance: Advance = ignore,
) -> KeptOut:
    """Update the tables of benchmarks to match the documents and target examples that are stored.

    changed_shards: those whose documents differ since the last update by the same benchmarks; None reads the
    whole pool.
    """
    own = [(one, runs_of_rows(one, maximum_share)) for one in benchmarks]
    rows = pl.concat([found.runs.with_columns(benchmark=pl.lit(one.name)) for one, found in own])
    runs = Runs(hashes=np.unique(rows["run"].to_numpy()), sizes=tuple(range(SHORTEST, WINDOW + 1)))
    kept = store.read(RUNS, ["doc_id", "runs", "left_out_mark"])
    held = current_runs(store, kept, runs, changed_shards, advance)
    store.put(RUNS, held.runs, ALL)
    hits = held.runs.select("doc_id", run="runs").explode("run").drop_nulls("run")
    is_common = pl.len().over("run") > most_holders(held.documents, maximum_share)
    hits = hits.with_columns(is_common=is_common)
    common = hits.filter("is_common")["run"].unique()
    given = hits.filter(~pl.col("is_common")).join(rows, on="run")
    documents = given.group_by("benchmark", "doc_id").agg(runs=pl.col("run").unique().sort())
    store.put(TABLE, documents.sort("benchmark", "doc_id"), ALL)
    rare = rows.filter(~pl.col("run").is_in(common.implode()))
    examples = _examples_with(store, rare, runs, maximum_share)
    store.put(EXAMPLES, examples, ALL)
    template = rows.join(rare, on=["benchmark", "row"], how="anti")
    counts = [
        {
            "benchmark": one.name,
            "rows": one.rows,
            "without_text": one.without_text,
            "unreadable": one.unreadable,
            "too_short": found.too_short,
            "template": template.filter(benchmark=one.name)["row"].n_unique(),
            "rows_found": given.filter(benchmark=one.name)["row"].n_unique(),
            "documents": len(documents.filter(benchmark=one.name)),
        }
        for one, found in own
    ]
    store.put(COUNTS, pl.DataFrame(counts), ALL)
    return KeptOut(read=held.read, documents=documents["doc_id"].n_unique())


def _examples_with(store: Store, rows: pl.DataFrame, runs: Runs, maximum_share: float) -> pl.DataFrame:
    """Return benchmark, target and doc_id of training examples that hold a run of rows (benchmark, run)."""
    columns = ["target", "doc_id", "text"]
    examples = store.read(TARGET_EXAMPLES.name, columns, "split = 'train'").sort("target", "doc_id")
    answers = store.read(TARGET_ANSWERS.name, ["target", "doc_id", "turns"])
    examples = examples.join(answers, on=["target", "doc_id"], how="left", maintain_order="left")
    found = [pl.DataFrame(schema=_EXAMPLES)]
    for (target,), own in examples.group_by("target", maintain_order=True):
        texts = own_words_of_examples(own).own_texts().to_list()
        held = shared_runs([(own["doc_id"].to_list(), texts)], runs)
        hits = held.select("doc_id", run="runs").explode("run")
        rare = hits.filter(pl.len().over("run") <= most_holders(len(own), maximum_share))
        given = rare.join(rows, on="run").with_columns(target=pl.lit(target, pl.String))
        found.append(given.select(list(_EXAMPLES)).unique())
    return pl.concat(found).sort(list(_EXAMPLES))


def shared_words(store: Store, doc_id: str) -> dict[str, str]:
    """Return, for each benchmark that a document gives away, its longest run of words of a row.

    "" where the words are together only without text that many documents of its file share.
    """
    where = f"doc_id = {quoted(doc_id)}"
    rows = store.read(TABLE, ["benchmark", "runs"], where).sort("benchmark")
    texts = store.read(DOCUMENTS.name, ["text"], where)["text"]
    if rows.is_empty() or texts.is_empty():
        return {}
    words = split_words(texts)
    windows = {size: windows_of(words, size) for size in range(SHORTEST, WINDOW + 1)}
    listed = words[0].to_list()
    shown = {}
    for benchmark, runs in rows.iter_rows():
        covered = np.zeros(len(listed) + WINDOW + 1, dtype=np.int64)
        for size, found in windows.items():
            held = np.isin(found.hashes, np.array(runs, dtype=np.uint64)) & (len(listed) >= size)
            np.add.at(covered, found.first_word[held], 1)
            np.add.at(covered, found.first_word[held] + size, -1)
        inside = np.cumsum(covered)[: len(listed)] > 0
        edges = np.diff(inside.astype(np.int64), prepend=0, append=0)
        begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        first, last = max(zip(begins, ends, strict=True), key=lambda one: one[1] - one[0], default=(0, 0))
        more = " ..." if last - first > WORDS_SHOWN else ""
        shown[benchmark] = " ".join(listed[first : min(last, first + WORDS_SHOWN)]) + more
    return shown


def kept_out_of(store: Store) -> pl.DataFrame:
    """Return doc_id and detail of the documents that give benchmarks away; the detail names these."""
    rows = store.read(TABLE, ["benchmark", "doc_id"]).sort("doc_id", "benchmark")
    names = pl.col("benchmark").str.join(", ").alias("detail")
    return rows.group_by("doc_id", maintain_order=True).agg(names)


def benchmark_lines(store: Store) -> list[str]:
    """Return a line for each benchmark: how many of its rows the pool holds, in how many documents."""
    return [
        f"benchmark {row['benchmark']}: {counted(row['rows_found'], 'row')} of {row['rows']:,} found in "
        f"{counted(row['documents'], 'document')} of the pool, which no selection chooses"
        if row["documents"]
        else f"benchmark {row['benchmark']}: none of its {counted(row['rows'], 'row')} found in the pool"
        for row in store.read(COUNTS).sort("benchmark").iter_rows(named=True)
    ]


def benchmark_warnings(store: Store) -> list[str]:
    """Return what lessens the protection of benchmarks, and what a person should do, in sentences."""
    lines, pool = [], store.count(DOCUMENTS.name)
    examples = store.read(EXAMPLES, ["benchmark", "target"])
    for row in store.read(COUNTS).sort("benchmark").iter_rows(named=True):
        name, of = f"benchmark {row['benchmark']}", f"of its {counted(row['rows'], 'row')}"
        if row["unreadable"]:
            lines.append(
                f"{name}: at least {counted(row['unreadable'], 'row')} could not be read, so nothing keeps "
                "documents with them out; correct the file"
            )
        if count := row["without_text"]:
            lines.append(
                f"{name}: {count:,} {of} {'has' if count == 1 else 'have'} no text in the columns that are "
                "read; text_columns in [[keep_out]] names others"
            )
        if count := row["too_short"]:
            lines.append(
                f"{name}: {count:,} {of} {'is' if count == 1 else 'are'} too short to recognise (fewer than "
                f"{SHORTEST} words), so documents with them stay"
            )
        if count := row["template"]:
            lines.append(
                f"{name}: {count:,} {of} {'consists' if count == 1 else 'consist'} of words that many "
                "documents of the pool or rows share, which count as template text, so documents with them "
                "stay; maximum_share in [decontamination] says how many"
            )
        if pool and row["documents"] > MUCH_OF_THE_POOL * pool:
            lines.append(
                f"{name}: {row['documents']:,} of the {counted(pool, 'document')} of the pool give its rows "
                "away; if the pool contains the benchmark itself, take its files out of the corpora"
            )
        repeated = examples.filter(benchmark=row["benchmark"]).group_by("target").len().sort("target")
        lines += [
            f"{name}: {counted(count, 'training example')} of target {target} "
            f"{'repeats its rows and stays' if count == 1 else 'repeat its rows and stay'} among the "
            "examples, so models trained on the target look better than they are; take them out of the "
            "target's files"
            for target, count in repeated.iter_rows()
        ]
    return lines
