"""Benchmarks kept out, against brute force over word tuples, at once and shard by shard."""

import random
import re
from collections import Counter, defaultdict

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_shards import add_shard, remove_shard

from tamis.corpus import document_id
from tamis.selection.benchmarks import Benchmark
from tamis.selection.filtering import evidence_of, in_words
from tamis.selection.keep_out import (
    COUNTS,
    EXAMPLES,
    RUNS,
    TABLE,
    benchmark_lines,
    benchmark_warnings,
    shared_words,
    update_kept_out,
)
from tamis.selection.pool import exclusions, leaking
from tamis.settings.config import FiltersSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store

WORDS = [f"w{number}" for number in range(300)]
SHARE = 0.05


def benchmark(name: str, rows: list[dict[str, str]]) -> Benchmark:
    """Return the benchmark of these rows: text by column."""
    texts = [(number, column, text) for number, row in enumerate(rows) for column, text in row.items()]
    frame = pl.DataFrame(
        texts, schema={"row": pl.Int64, "column": pl.String, "text": pl.String}, orient="row"
    )
    without = sum(not row for row in rows)
    return Benchmark(name=name, texts=frame, rows=len(rows), without_text=without, unreadable=0)


def runs(words: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def runs_looked_for(rows: list[dict[str, str]]) -> dict[int, set[tuple[str, ...]]]:
    """Return the runs of each row that has any, by brute force."""
    of_texts, found = [], defaultdict(set)
    for number, row in enumerate(rows):
        texts = [text for text in row.values() if len(words_of(text)) >= 8]
        for text in texts or [" ".join(row.values())]:
            words = words_of(text)
            if len(words) >= 8:
                of_texts.append((number, text, runs(words, min(len(words), 13))))
    distinct = {text: own for _row, text, own in of_texts}
    holders = Counter(run for own in distinct.values() for run in own)
    most = max(SHARE * len(distinct), 3)
    for number, _text, own in of_texts:
        found[number] |= own
    rare = {number: {run for run in own if holders[run] <= most} for number, own in found.items()}
    return {number: rare[number] or own for number, own in found.items()}


def brute_force(pool: list[str], benchmarks: dict[str, list[dict[str, str]]]) -> set[tuple[str, str]]:
    """Return (benchmark, doc_id) of the documents that give a row away."""
    looked_for = {name: set().union(*runs_looked_for(rows).values()) for name, rows in benchmarks.items()}
    every = set().union(*looked_for.values())
    texts = {document_id(text): words_of(text) for text in pool}
    held = {
        doc_id: set().union(*(runs(words, size) for size in range(8, 14))) & every
        for doc_id, words in texts.items()
    }
    holders = Counter(run for own in held.values() for run in own)
    most = max(SHARE * len(texts), 3)
    rare = {doc_id: {run for run in own if holders[run] <= most} for doc_id, own in held.items()}
    return {(name, doc_id) for name, own in looked_for.items() for doc_id in rare if rare[doc_id] & own}


def drawn_row(rng: random.Random) -> dict[str, str]:
    sizes = {"question": rng.choice([2, 5, 7, 8, 10, 12, 13, 20]), "answer": rng.choice([1, 3, 6, 9])}
    return {column: " ".join(rng.choices(WORDS, k=size)) for column, size in sizes.items()}


def drawn_document(rng: random.Random, rows: list[dict[str, str]], template: str) -> str:
    words = rng.choices(WORDS, k=rng.choice([1, 6, 20, 40]))
    if rng.random() < 0.5:
        row = rng.choice(rows)
        copied = " ".join(row.values() if rng.random() < 0.5 else [row["question"]]).split()
        first = rng.choice([0, 0, 1])
        words[rng.randrange(len(words)) :] = copied[first : first + rng.choice([5, 8, 12, 13, 30])]
        words += rng.choices(WORDS, k=rng.choice([0, 3]))
    text = " ".join(words) + (f" {template}" if rng.random() < 0.3 else "")
    return text.upper() if rng.random() < 0.3 else text.replace(" ", ", ", 2)


def drawn(seed: int) -> tuple[list[str], dict[str, list[dict[str, str]]]]:
    rng = random.Random(seed)
    benchmarks = {name: [drawn_row(rng) for _ in range(12)] for name in ("exam", "quiz")}
    template = " ".join(rng.choices(WORDS, k=14))
    benchmarks["exam"][0]["question"] = f"{' '.join(rng.choices(WORDS, k=9))} {template}"
    for row in benchmarks["quiz"][:5]:
        row["question"] = f"{template} {row['question']}"
    rows = [row for rows in benchmarks.values() for row in rows]
    return [drawn_document(rng, rows, template) for _ in range(60)], benchmarks


def found(store: Store) -> set[tuple[str, str]]:
    return set(store.read(TABLE, ["benchmark", "doc_id"]).iter_rows())


def update(store: Store, benchmarks: dict[str, list[dict[str, str]]], changed: list[str] | None = None):
    return update_kept_out(store, [benchmark(*one) for one in benchmarks.items()], SHARE, changed)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_the_documents_that_brute_force_finds(tmp_path_factory, seed):
    pool, benchmarks = drawn(seed)
    store = Store(tmp_path_factory.mktemp("store"))
    add_shard(store, "a", sorted(set(pool)))
    update(store, benchmarks)
    expected = brute_force(pool, benchmarks)
    assert found(store) == expected
    counts = {row["benchmark"]: row for row in store.read(COUNTS).to_dicts()}
    for name, rows in benchmarks.items():
        assert counts[name]["rows"] == len(rows)
        assert counts[name]["too_short"] == len(rows) - len(runs_looked_for(rows))
        assert counts[name]["documents"] == sum(one == name for one, _doc_id in expected)


@pytest.mark.parametrize("seed", range(3))
def test_shards_that_come_change_and_go(tmp_path, seed):
    rng, store = random.Random(seed), Store(tmp_path)
    _pool, benchmarks = drawn(seed)
    rows, shards, most = [row for rows in benchmarks.values() for row in rows], {}, 0
    for step in range(6):
        name = f"s{rng.randint(0, 3)}"
        if name in shards:
            remove_shard(store, name)
            shards.pop(name)
        changed = []
        if rng.random() < 0.7 or not step:
            shards[name] = list({drawn_document(rng, rows, "of many") for _ in range(rng.randint(1, 40))})
            add_shard(store, name, shards[name])
            changed = [name]
        read = update(store, benchmarks, changed if step else None).read
        pool = [text for texts in shards.values() for text in texts]
        assert read == (len(set(shards[name])) if changed else 0)
        assert found(store) == (brute_force(pool, benchmarks) if pool else set())
        most = max(most, store.count(TABLE))
    assert most > 3, "the case must have something to find"


QUESTION = "At what temperature does the blue alloy of tin and cobalt begin to melt"
SHORT_QUESTION = "Which alloy of tin melts first in a furnace"


def stored(tmp_path, *texts: str) -> Store:
    """Return a store of these documents among 100 that share nothing."""
    store = Store(tmp_path)
    add_shard(store, "a", [*texts, *(f"unlike number {number} of all" for number in range(100))])
    return store


def of_document(store: Store, text: str) -> bool:
    return document_id(text) in {doc_id for _name, doc_id in found(store)}


def test_a_question_alone_is_a_leak_and_an_answer_is_none(tmp_path):
    texts = [
        f"A quiz. {QUESTION.upper()}?! Nobody knew.",
        f"Then: {SHORT_QUESTION}, they asked.",
        "Which alloy of tin melts first in a stove",
        "B",
        "begin to melt",
    ]
    store = stored(tmp_path, *texts)
    rows = [{"question": QUESTION, "answer": "B"}, {"question": SHORT_QUESTION, "answer": "begin to melt"}]
    update(store, {"exam": rows})
    assert [of_document(store, text) for text in texts] == [True, True, False, False, False]
    assert benchmark_lines(store) == [
        "benchmark exam: 2 rows of 2 found in 2 documents of the pool, which no selection chooses"
    ]
    assert benchmark_warnings(store) == []


def test_a_row_of_short_texts_is_recognised_by_them_together_and_a_shorter_row_is_counted(tmp_path):
    texts = ["Q: What melts tin? A: Quite a great deal of heat, it seems.", "Who? Me."]
    store = stored(tmp_path, *texts)
    update(
        store,
        {"exam": [{"q": "What melts tin", "a": "A great deal of heat"}, {"q": "Who", "a": "Me"}, {}]},
    )
    assert not of_document(store, texts[0]), "other words stand between question and answer"
    assert store.read(COUNTS).select("rows", "without_text", "too_short", "rows_found").row(0) == (3, 1, 1, 0)
    add_shard(store, "b", [joined := "They asked: what melts tin? A great deal of heat!"])
    update(store, {"exam": [{"q": "What melts tin", "a": "A great deal of heat"}]}, ["b"])
    assert of_document(store, joined)
    assert [line.split(": ", 1)[1].split(",")[0] for line in benchmark_warnings(store)] == []


def test_what_lessens_the_protection_is_said(tmp_path):
    copies = [f"{QUESTION} in the year {number}" for number in range(8)]
    store = stored(tmp_path, *copies)
    rows = [{"question": QUESTION}, {"question": "Why"}, {}]
    update(store, {"exam": rows})
    assert found(store) == set()
    (without, short, template) = benchmark_warnings(store)
    assert without.startswith("benchmark exam: 1 of its 3 rows has no text in the columns that are read")
    assert short.startswith("benchmark exam: 1 of its 3 rows is too short to recognise (fewer than 8 words)")
    assert template.startswith("benchmark exam: 1 of its 3 rows consists of words that many documents")
    assert benchmark_lines(store) == ["benchmark exam: none of its 3 rows found in the pool"]


def test_what_lessens_the_protection_of_several_rows_is_said_of_several(tmp_path):
    store = stored(tmp_path, "of no interest")
    update(store, {"exam": [{"question": "Why"}, {"question": "Who"}, {}, {}]})
    without, short = benchmark_warnings(store)
    assert without.startswith("benchmark exam: 2 of its 4 rows have no text")
    assert short.startswith("benchmark exam: 2 of its 4 rows are too short")


def test_a_pool_that_is_the_benchmark_is_said(tmp_path):
    rng = random.Random(3)
    rows = [{"question": " ".join(rng.choices(WORDS, k=20))} for _ in range(20)]
    store = stored(tmp_path, *(row["question"] for row in rows))
    update(store, {"exam": rows})
    assert len(found(store)) == 20
    (line,) = benchmark_warnings(store)
    assert line.startswith("benchmark exam: 20 of the 120 documents of the pool give its rows away; if")


def test_the_reason_names_the_benchmarks_and_the_explanation_shows_the_words(tmp_path):
    both, other = f"{QUESTION}. {SHORT_QUESTION}?", "of no interest to anybody"
    store = stored(tmp_path, both, other)
    update(store, {"quiz": [{"question": SHORT_QUESTION}], "exam": [{"question": QUESTION, "answer": "900"}]})
    doc_id = document_id(both)
    rows = exclusions(store).select("doc_id", "reason", "detail").rows()
    assert rows == [(doc_id, "keep_out", "exam, quiz")]
    assert leaking(store).rows() == rows
    assert shared_words(store, doc_id) == {"exam": QUESTION.lower(), "quiz": SHORT_QUESTION.lower()}
    assert shared_words(store, document_id(other)) == {}
    said = in_words(evidence_of(store, doc_id, "keep_out", "exam, quiz", FiltersSection()))
    assert said.startswith(
        f'shared_words = exam "{QUESTION.lower()}", quiz "{SHORT_QUESTION.lower()}"; allow'
    )


def test_a_training_example_that_repeats_a_row_is_counted_and_said(tmp_path):
    store = stored(tmp_path)
    examples = [
        ("train", f"{QUESTION}? At 900 degrees."),
        ("train", "of no interest"),
        ("held_out", QUESTION),
    ]
    rows = [
        {"target": "goal", "doc_id": document_id(text), "split": split, "text": text, "source": ""}
        for split, text in examples
    ]
    store.append("target_examples", pa.Table.from_pylist(rows, schema=schema_of("target_examples")))
    update(store, {"exam": [{"question": QUESTION}]})
    assert store.read(EXAMPLES).rows() == [("exam", "goal", rows[0]["doc_id"])]
    (line,) = benchmark_warnings(store)
    assert line.startswith(
        "benchmark exam: 1 training example of target goal repeats its rows and stays among"
    )


def test_the_kept_runs_are_hashes_and_hold_no_text(tmp_path):
    store = stored(tmp_path, QUESTION)
    update(store, {"exam": [{"question": QUESTION}]})
    assert store.count(RUNS) == store.count(TABLE) == 1
    for table in (TABLE, RUNS):
        assert store.schema(table).field("runs").type == pa.list_(pa.uint64())


def test_another_benchmark_reads_the_pool_again_and_forgets_the_one_before(tmp_path):
    store = stored(tmp_path, QUESTION, SHORT_QUESTION)
    update(store, {"exam": [{"question": QUESTION}]})
    update(store, {"quiz": [{"question": SHORT_QUESTION}]})
    assert found(store) == {("quiz", document_id(SHORT_QUESTION))}
    assert store.read(COUNTS)["benchmark"].to_list() == ["quiz"]


def test_a_frame_that_many_questions_share_is_no_leak(tmp_path):
    frame = "Read the text below with care and then choose the one answer that is right of these"
    texts = [f"{frame}: so it was printed.", f"{frame}. {QUESTION}"]
    store = stored(tmp_path, *texts)
    rows = [{"question": f"{frame}. unlike{n} others{n} in{n} kind{n}"} for n in range(8)]
    update(store, {"exam": [*rows, {"question": f"{frame}. {QUESTION}"}]})
    assert [of_document(store, text) for text in texts] == [False, True]
