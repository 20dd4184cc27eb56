"""Marked texts in every kind of row: only where a row or a file names them, and nowhere once withdrawn."""

import gzip
import html
import json
import re
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from marks import Sight, sights
from projects import CHOSEN, GRAPH, SCORED, SmallProject, lines, make_graph, texts, write

from tamis.corpus import document_id
from tamis.graph.failures import TABLE as FAILED_STEPS
from tamis.runtime import failures
from tamis.store.schemas import schema_of, tables
from tamis.store.tables import Store
from tamis.verbs.elsewhere.export import export_selection
from tamis.withdrawal.asking import WithdrawalReason
from tamis.withdrawal.places import tables_of_documents, tables_of_excerpts
from tamis.withdrawal.verifying import verify

MARK = "Zyzzyva-Quokka-4711"
WORDS = ["AssetMaterialization", "selected_subset", "cooking.jsonl"]
"""Documents of one word: one of Dagster's own, the name of an asset, the name of a file."""
MADE = CHOSEN | {"stg_documents", "stg_occurrences", "mart_documents", "mart_intake"}
"""Everything before training, and some of the SQL models."""
JUDGING = SCORED | {"judge_sample", "judge_scores"}
JUDGED = """
[judge]
url = "{url}"
model = "stub"
prompt = "examples"
sample = 40

[[selection]]
name = "good"
sampler = "ask-llm"
budget = 5
"""
TARGETS = """
[[target]]
name = "asked"
kind = "files"
path = "asked"
prompt_column = "prompt"
response_column = "response"
train = 6
held_out = 4

[[target]]
name = "named"
kind = "files"
path = "named"
label_column = "label"
train = 6
held_out = 4
"""


TEXT = {name: table.text for name, table in tables().items() if table.text}


def marked(kind: str) -> str:
    """A document that begins with a mark of its own."""
    return f"{MARK}-{kind} {texts('algebra', 1, len(kind))[0]}"


def as_lines(rows: list[dict]) -> list[str]:
    return [json.dumps(row) for row in rows]


def write_marks(root: Path) -> None:
    """Good and bad rows of each format, and examples of each kind of target, that show the mark."""
    landing = root / "landing"
    good = {"text": marked("document"), "note": f"{MARK}-note"}
    bad = [{"text": [marked("list")]}, {"body": marked("body")}]
    write(landing / "marked.jsonl", [*as_lines([good, *bad]), json.dumps({"text": marked("cut")})[:90]])
    (landing / "marked.csv").write_text(
        f'text,n\n"{marked("csv")}",1\n"{marked("open")},2\nlast,row,of,{MARK}\n'
    )
    (landing / "whole.json").write_text(f'[{{"text": "{marked("json")}"}}, {{"text": {MARK}}}]')
    (landing / "head.parquet").write_bytes(b"PAR1" + marked("head").encode() + b"PAR1")
    pq.write_table(pa.table({"text": [[marked("cell")]]}), landing / "cells.parquet")
    packed = gzip.compress("\n".join(lines([marked("gzip"), *texts("sailing", 40, 5)])).encode())
    (landing / "packed.jsonl.gz").write_bytes(packed[: len(packed) * 2 // 3])
    pairs = [{"prompt": f"Which {n}?", "response": text} for n, text in enumerate(texts("algebra", 12, 9))]
    pairs += [{"prompt": f"{MARK}-prompt", "response": "one"}, {"prompt": 7, "response": marked("answer")}]
    write(root / "asked" / "a.jsonl", as_lines(pairs))
    named = [{"text": text, "label": str(n % 2)} for n, text in enumerate(texts("cooking", 14, 9))]
    named[0]["label"] = f"{MARK}-label"
    named += [{"text": named[0]["text"], "label": f"{MARK}-other"}]
    write(root / "named" / "a.jsonl", as_lines(named))
    goal = root / "target" / "goal.jsonl"
    cut = json.dumps({"text": marked("example")})[:90]
    write(goal, [*goal.read_text().splitlines(), *lines([marked("example")]), cut])


@pytest.fixture
def new_durable(tmp_path, encoder_cache, nowhere) -> Iterator[Callable[..., SmallProject]]:
    """Projects with nothing made yet, and Dagster's databases in their homes."""
    made: list[SmallProject] = []

    def make(settings: str = GRAPH) -> SmallProject:
        root = make_graph(tmp_path / "graph", encoder_cache, settings).root
        made.append(SmallProject(root, durable=True))
        return made[-1]

    yield make
    for graph in made:
        graph.close()


def named_documents(graph: SmallProject) -> set[str]:
    """Ids of documents and examples whose row shows the mark."""
    found = set()
    for table in ("documents", "occurrences", "target_examples", "target_answers"):
        rows = graph.store.read(table).iter_rows(named=True)
        found |= {row["doc_id"] for row in rows if MARK in str(row)}
    return found


def unnamed(graph: SmallProject) -> list[str]:
    """Where the mark is and no row or file names its document, or its shard and row."""
    known = named_documents(graph)
    return [sight.place for sight in sights(graph.home.root, MARK) if not _names(sight, known)]


def _names(sight: Sight, doc_ids: set[str]) -> bool:
    if sight.row:
        return sight.row.get("doc_id") in doc_ids or {"shard", "row"} <= sight.row.keys()
    if sight.place in {f"files of table {table}" for table in TEXT}:
        return True  # where they are not packed
    return sight.place.startswith(("exports/", "reports/")) and any(
        doc_id.encode() in sight.content for doc_id in doc_ids
    )


def withdraw_all(graph: SmallProject) -> None:
    """Withdraw every marked document, and the files with marked rows that are none."""
    bad = graph.store.read("quarantine").filter(
        pl.col("excerpt").str.contains(MARK) | pl.col("detail").str.contains(MARK)
    )
    shards = [shard for shard in bad["shard"].unique() if not shard.startswith("target/")]
    graph.withdraw(sorted(named_documents(graph)), shards)


def places(graph: SmallProject) -> list[str]:
    return [sight.place for sight in sights(graph.home.root, MARK)]


FILES_WITH_MARK = {
    "plain.txt": lambda: MARK.encode(),
    "wide.txt": lambda: MARK.encode("utf-16"),
    "page.html": lambda: html.escape(f"<p>{MARK}</p>").encode(),
    "packed.gz": lambda: gzip.compress(b"x" * 100 + MARK.encode() * 2),
    "packed.zst": lambda: zstandard.compress(b"x" * 100 + MARK.encode() * 2),
    "packed.zlib": lambda: zlib.compress(b"x" * 100 + MARK.encode() * 2),
    "twice.gz": lambda: gzip.compress(zstandard.compress(MARK.encode() * 2)),
}


@pytest.mark.parametrize("name", FILES_WITH_MARK)
def test_the_search_finds_a_mark_planted_in_a_file(tmp_path, name):
    (tmp_path / "other.bin").write_bytes(b"\x1f\x8bno gzip")
    (tmp_path / name).write_bytes(FILES_WITH_MARK[name]())
    assert [sight.place for sight in sights(tmp_path, MARK)] == [name]


def test_the_search_finds_a_mark_planted_in_rows_and_arrays(tmp_path):
    pl.DataFrame({"n": [1, 2], "text": [f"{MARK} a", "b"]}).write_parquet(tmp_path / "rows.parquet")
    np.savez_compressed(tmp_path / "arrays.npz", words=np.array([MARK]), numbers=np.arange(9))
    assert [sight.place for sight in sights(tmp_path, MARK)] == ["arrays.npz", "rows.parquet"]


@pytest.mark.parametrize(
    "value",
    [MARK, json.dumps({"a": [MARK]}), MARK.encode(), gzip.compress(MARK.encode(), mtime=0)],
    ids=["text", "JSON", "bytes", "gzip"],
)
def test_the_search_finds_a_mark_planted_in_a_database(tmp_path, value):
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        database.execute("CREATE TABLE events (id INTEGER, body)")
        database.execute("INSERT INTO events VALUES (1, ?)", [value])
        database.commit()
    assert "events.db, events.body" in {sight.place for sight in sights(tmp_path, MARK)}


@pytest.mark.parametrize("table", sorted(TEXT))
def test_the_search_finds_a_mark_planted_in_any_version_of_a_table(tmp_path, table):
    store = Store(tmp_path / "lance")
    for column in TEXT[table]:
        store.append(table, pa.Table.from_pylist([{column: MARK}], schema=schema_of(table)))
    store.delete(table, "true")
    assert {sight.place for sight in sights(tmp_path, MARK)} == {f"table {table}", f"files of table {table}"}


def test_a_table_that_shows_raw_input_names_its_columns_and_its_document():
    assert not any(table.evidence and table.text for table in tables().values())
    for kind, columns in TEXT.items():
        names = schema_of(kind).names
        assert set(columns) <= set(names)
        assert "doc_id" in names or {"shard", "row"} <= set(names), f"{kind} names no document"


def test_the_one_list_of_places_holds_every_table_that_shows_raw_input(tmp_path):
    store = Store(tmp_path / "lance")
    for kind in TEXT:
        store.append(kind, schema_of(kind).empty_table())
    assert {*tables_of_documents(store), *tables_of_excerpts(store)} == {*TEXT}


@pytest.mark.slow
@pytest.mark.with_pages
def test_marked_rows_are_only_where_they_are_named_and_nowhere_once_withdrawn(new_durable):
    graph = new_durable(GRAPH + TARGETS)
    write_marks(graph.root)
    graph.make(MADE)
    for form in ("jsonl", "parquet"):
        export_selection(graph.project, "near", form)
    found = places(graph)
    kinds = {
        f"table {table}" for table in TEXT if table != "topic_words"
    }  # a word of one text names no topic
    assert kinds <= {*found}, "every kind of row shows it"
    assert {"exports/near.jsonl", "exports/near.parquet", "reports/selection_near.html"} <= {*found}
    assert (graph.home.reports / "sql_stg_documents.html").exists()
    shown = graph.store.read("quarantine").filter(pl.col("excerpt").str.contains(MARK))
    assert {"web__marked.jsonl", "web__marked.csv", "web__head.parquet", "web__cells.parquet"} <= {
        *shown["shard"]
    }
    assert any(shard.startswith("target/") for shard in shown["shard"])
    assert unnamed(graph) == []
    withdraw_all(graph)
    assert places(graph) == []
    assert verify(graph.home, marked("document")).holds
    graph.make(MADE)
    assert places(graph) == []
    assert graph.audit().status == "green"


def test_an_error_that_quotes_a_document_is_kept_nowhere_but_shown_on_the_terminal(new_durable, monkeypatch):
    """Of another library, with a chain, and with a note as an engine adds one; then no text has a vector."""
    from tamis.embedding.static import StaticEncoder

    real, seen = StaticEncoder.encode, list[str]()

    def refuse(self, found, *more):
        seen.extend(text for text in found if MARK in text)
        if not seen:
            return real(self, found, *more)
        quoted = seen[0]
        error = RuntimeError(f"cannot encode {quoted!r}")
        error.add_note(f"in a worker: {quoted}")
        raise error from KeyError(quoted)

    graph = new_durable()
    write(graph.landing / "marked.jsonl", lines([marked("document")]))
    with monkeypatch.context() as broken:
        broken.setattr(StaticEncoder, "encode", refuse)
        broken.setattr(failures, "RETRY_SECONDS", 0.0)
        outcome = graph.try_making(SCORED)
    assert re.search(r"RuntimeError at tamis/\S+\.py:", outcome.failed["embeddings"])
    reasons = graph.store.read(FAILED_STEPS)["reason"]
    assert any("message not kept" in reason for reason in reasons)
    assert sum(f"cannot encode '{MARK}" in line for line in graph.said) == 1, "on the terminal, once"
    assert unnamed(graph) == []
    graph.make(SCORED)


class Echo(BaseHTTPRequestHandler):
    """A judge's server that refuses marked documents and repeats the request in its error."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _before, refused, rest = body.decode().partition(MARK)
        answer = {"choices": [{"logprobs": {"top_logprobs": [{" yes": -0.7, " no": -0.9}]}}]}
        said = json.dumps({"error": {"message": f"{MARK}{rest}"}} if refused else answer).encode()
        self.send_response(400 if refused else 200, f"{MARK} refused" if refused else "OK")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    """Address of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_what_a_judge_server_repeats_is_kept_nowhere(new_durable, echo):
    graph = new_durable(GRAPH + JUDGED.format(url=echo))
    write(graph.landing / "marked.jsonl", lines([marked("document")]))
    graph.try_making(JUDGING)  # whether one refusal stops the stage is not asked here
    assert graph.store.count("judge_sample", f"doc_id = '{document_id(marked('document'))}'")
    assert unnamed(graph) == []
    withdraw_all(graph)
    assert places(graph) == []


@pytest.mark.slow
def test_words_that_dagster_uses_itself_are_withdrawn_like_any_other_document(new_durable):
    graph = new_durable()
    write(graph.landing / "words.jsonl", lines(WORDS))
    graph.make()
    ids = [document_id(word) for word in WORDS]
    assert graph.store.count("documents", f"doc_id IN ({', '.join(map(repr, ids))})") == len(WORDS)
    graph.withdraw(ids, reason=WithdrawalReason.MISTAKE)
    assert graph.audit().status == "amber", "what went by intent is no damage"
    assert all(verify(graph.home, word).holds for word in WORDS)
    graph.make()
    assert graph.audit().status == "green"
    assert not graph.store.count("documents", f"doc_id IN ({', '.join(map(repr, ids))})")
