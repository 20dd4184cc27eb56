"""A file that leaves and comes back: no reader sees its rows, and nothing is computed or paid for twice."""

import json
import math
import threading
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest
from projects import COOKING, CORPUS, GRAPH, REPEATED, SCORED, VECTORS, SmallProject, lines, texts, write

from tamis.cli import main
from tamis.corpus import document_id
from tamis.embedding.static import StaticEncoder
from tamis.store.retained import retained_tables
from tamis.verbs.status import read_status
from tamis.withdrawal.verifying import verify

JUDGED = SCORED | {"judge_sample", "judge_scores"}
LEAVING = {document_id(text) for text in COOKING} - {document_id(REPEATED)}
EXPENSIVE = (VECTORS, "scores_judge", "scores_judge_again")
NOTHING = {"vectors": 0, "scores": 0, "server_answers": 0}


class Judge(ThreadingHTTPServer):
    """A judge's server that notes each question; its answer follows from the text's length."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["prompt"]
                judge.asked.append(prompt)
                yes = 0.1 + 0.8 * (len(prompt) % 89) / 89
                shown = {" yes": math.log(0.9 * yes), " no": math.log(0.9 * (1 - yes)), " so": -3.0}
                body = json.dumps({"choices": [{"logprobs": {"top_logprobs": [shown]}}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    server = Judge()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def first(tmp_path_factory, made_graph, judge) -> Iterator[SmallProject]:
    """Return the small graph with a judge behind a server that was asked about all documents."""
    graph = made_graph.copy(tmp_path_factory.mktemp("judged") / "graph")
    address = f"http://127.0.0.1:{judge.server_port}/v1"
    section = f'\n[judge]\nurl = "{address}"\nmodel = "stub"\nprompt = "examples"\nsample = 40\n'
    graph.configure(GRAPH + section)
    graph.make(JUDGED)
    assert judge.asked
    yield graph
    graph.close()


@pytest.fixture
def graph(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    copied = first.copy(tmp_path / "graph")
    yield copied
    copied.instance.dispose()


def remove_a_file(graph: SmallProject, only: Collection[str] = JUDGED) -> bytes:
    path = graph.landing / "cooking.jsonl"
    content = path.read_bytes()
    path.unlink()
    graph.make(only)
    return content


def retained(graph: SmallProject) -> dict[str, int]:
    return read_status(graph.project).to_json()["retained"]


def answers_about(graph: SmallProject, doc_ids: set[str]) -> int:
    """Count the judge's answers about documents, the second ones included."""
    found = [
        graph.store.read(table, ["doc_id"])["doc_id"] for table in ("scores_judge", "scores_judge_again")
    ]
    return sum(doc_id in doc_ids for ids in found for doc_id in ids)


def names(graph: SmallProject, table: str, doc_id: str) -> bool:
    """Return whether any version of a table names a document."""
    versions = [int(entry["version"]) for entry in graph.store.open(table).list_versions()]
    return any(doc_id in set(graph.store.read(table, ["doc_id"], version=one)["doc_id"]) for one in versions)


def age(graph: SmallProject) -> None:
    """Make all retained rows older than the days that they are kept."""
    for table in retained_tables(graph.store):
        rows = graph.store.read_arrow(table)
        at = rows.schema.get_field_index("left_at")
        old = pa.array([datetime.now() - timedelta(days=31)] * rows.num_rows, rows.schema.field(at).type)
        graph.store.merge(table, rows.set_column(at, rows.schema.field(at), old))


def rows(graph: SmallProject) -> dict[str, list[tuple]]:
    """Return the rows of each table of results, without what the judge was asked about noise."""
    return {table: frame.rows() for table, frame in graph.tables().items() if table != "scores_noise"}


def test_a_file_that_comes_back_is_neither_encoded_nor_judged_again(graph, judge, monkeypatch):
    before, versions = rows(graph), graph.versions()
    answers = answers_about(graph, LEAVING)
    assert answers >= 10
    content = remove_a_file(graph)
    for table in EXPENSIVE:
        assert LEAVING.isdisjoint(graph.store.read(table, ["doc_id"])["doc_id"]), table
    assert retained(graph) == {"vectors": 11, "scores": 0, "server_answers": answers}
    assert any("11 vectors for 30 days" in line for line in read_status(graph.project).lines())
    graph.assert_sound(of=SCORED)
    encoded: list[str] = []
    encode = StaticEncoder.encode

    def noting(self: StaticEncoder, some: list[str], **named: object) -> object:
        encoded.extend(some)
        return encode(self, some, **named)

    monkeypatch.setattr(StaticEncoder, "encode", noting)
    judge.asked.clear()
    (graph.landing / "cooking.jsonl").write_bytes(content)
    graph.make(JUDGED)
    assert encoded == []
    assert judge.asked == []
    after = rows(graph)
    second = after.pop("scores_judge_again")
    assert all(row in second for row in before.pop("scores_judge_again")), "others may have been asked since"
    assert after == before
    assert {entry: graph.versions()[entry] for entry in versions} == versions
    assert retained(graph) == NOTHING
    graph.assert_sound(of=SCORED)


@pytest.mark.slow
def test_what_expires_goes_with_other_work_and_what_was_paid_for_stays_until_it_is_purged(
    graph, judge, monkeypatch, capsys
):
    answers = answers_about(graph, LEAVING)
    content = remove_a_file(graph)
    age(graph)
    graph.make(JUDGED)
    assert retained(graph)["vectors"] == 11, "nothing is due, so nothing is collected"
    write(graph.landing / "more.jsonl", lines(texts("sailing", 1, 9)))
    graph.make(JUDGED)
    assert retained(graph) == {"vectors": 0, "scores": 0, "server_answers": answers}
    monkeypatch.chdir(graph.root)
    for expected in (answers, 0):
        assert main(["purge", "--answers", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"server_answers": expected}
    assert retained(graph) == NOTHING
    judge.asked.clear()
    (graph.landing / "cooking.jsonl").write_bytes(content)
    graph.make(JUDGED)
    assert sum(any(text in prompt for prompt in judge.asked) for text in COOKING) >= 10
    graph.assert_sound(of=SCORED)


def test_a_withdrawal_erases_what_is_retained_at_once(graph):
    doc_id = min(set(graph.store.read("scores_judge", ["doc_id"])["doc_id"]) & LEAVING)
    remove_a_file(graph, CORPUS)
    tables = {f"retained_{VECTORS}", "retained_scores_judge"}
    assert {name for name in retained_tables(graph.store) if names(graph, name, doc_id)} >= tables
    done = graph.withdraw([doc_id])
    assert (done.new, done.unknown) == ([doc_id], [])
    assert set(done.purged.rows) >= tables
    assert not [name for name in retained_tables(graph.store) if names(graph, name, doc_id)]
    assert verify(graph.home).holds
    row = graph.store.read_arrow("retained_scores_judge").slice(0, 1)
    at = row.schema.get_field_index("doc_id")
    graph.store.append("retained_scores_judge", row.set_column(at, row.schema.field(at), pa.array([doc_id])))
    assert any("retained_scores_judge" in problem for problem in verify(graph.home).problems)


def test_a_damaged_table_of_retained_vectors_stops_nothing(graph):
    embedded = CORPUS | {"embeddings"}
    content = remove_a_file(graph, embedded)
    for file in (graph.home.root / "lance" / f"retained_{VECTORS}.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    (graph.landing / "cooking.jsonl").write_bytes(content)
    graph.make(embedded)
    assert any(line.startswith(f"table retained_{VECTORS} cannot be read") for line in graph.said)
    graph.assert_sound(of=embedded)
