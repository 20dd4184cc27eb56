"""A file added, edited, renamed, cut, deleted, doubled, half-written or replaced under way, both ways.

What has to be embedded, judged and scored again is counted, by the sensors' way and by `tamis materialize`.
"""

import gzip
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from projects import make_project, sentences, small_settings, watched, write_jsonl
from soundness import BY_SENSORS, WHOLE_POOL, assert_pool, versions

from tamis.verbs.plan import read_plan

JUDGED = """
[judge]
model = "longer is better"
prompt = "ask-llm"
sample = 40
url = "http://127.0.0.1:{port}/v1"

[[selection]]
name = "good"
sampler = "ask-llm"
budget = 20
"""
WAYS = ("certified", "settled")
SELECTIONS = frozenset({"near-algebra", "uniform", "good"})


class LongerIsBetter(BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose answer depends on the text alone."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        yes = -0.1 - (len(json.dumps(body)) % 50) / 50
        shown = {" yes": yes, " no": -1.5, "yes": yes - 3, "no": -4.5}
        top = [{"token": token, "logprob": value} for token, value in shown.items()]
        logprobs = {"content": [{"top_logprobs": top}], "top_logprobs": [shown]}
        text = json.dumps({"choices": [{"logprobs": logprobs}], "usage": {"total_tokens": 9}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def judge_port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), LongerIsBetter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def built(tmp_path_factory, encoder_cache, judge_port):
    os.environ["NO_PROXY"] = "127.0.0.1"
    text = small_settings(JUDGED.format(port=judge_port))
    project = make_project(tmp_path_factory.mktemp("changing") / "project", encoder_cache, text)
    project.tamis("materialize")
    return project


@pytest.fixture
def platform(built, tmp_path, monkeypatch):
    yield from watched(built.copy(tmp_path / "copy"), monkeypatch)


def edit(landing: Path) -> None:
    path = landing / "cooking.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    write_jsonl(path, [*sentences("cooking", 1, 99), *texts[1:]])


def cut(landing: Path) -> None:
    path = landing / "cooking.jsonl"
    write_jsonl(path, [json.loads(line)["text"] for line in path.read_text().splitlines()[:40]])


def half_write(landing: Path) -> None:
    lines = [json.dumps({"text": text}) for text in sentences("sailing", 3, 42)]
    (landing / "half.jsonl").write_text("\n".join(lines)[:-20])


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to the files, documents new and in all, what of it a person has to allow, and which
    selections change or stay."""

    make: Callable[[Path], object]
    new: int
    documents: int
    allowed: str = ""
    changes: frozenset[str] = frozenset()
    stays: frozenset[str] = frozenset()


CHANGES = {
    "added": Change(
        make=lambda landing: write_jsonl(landing / "more.jsonl", sentences("algebra", 30, 5)),
        new=30,
        documents=210,
        changes=frozenset({"near-algebra"}),
    ),
    "edited in place": Change(make=edit, new=1, documents=180),
    "renamed": Change(
        make=lambda landing: (landing / "cooking.jsonl").rename(landing / "kitchen.jsonl"),
        new=0,
        documents=180,
        stays=SELECTIONS,
    ),
    "truncated": Change(make=cut, new=0, documents=160),
    "deleted": Change(
        make=lambda landing: (landing / "algebra.jsonl").unlink(),
        new=0,
        documents=120,
        allowed="landing",
        changes=frozenset({"near-algebra"}),
    ),
    "duplicated": Change(
        make=lambda landing: shutil.copy(landing / "cooking.jsonl", landing / "again.jsonl"),
        new=0,
        documents=180,
        stays=SELECTIONS,
    ),
    "half-written": Change(make=half_write, new=2, documents=182),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CHANGES)
def test_the_right_rows_and_only_they_are_done_again(platform, name, way):
    change, landing = CHANGES[name], platform.root / "landing"
    before, events = versions(platform), events_so_far(platform)
    judged = ids(platform, "scores_judge")
    change.make(landing)
    if change.allowed:
        platform.let_go(change.allowed)
    keep_up(platform, way)
    assert counted(platform, events, "embeddings", "encoded") == change.new
    sample = ids(platform, "judge_sample")
    assert counted(platform, events, "judge_scores", "asked") == len(sample - judged)
    assert len(sample - judged) <= change.new + len(judged - sample)
    assert platform.store.count("documents") == change.documents
    after = versions(platform)
    for selection in change.changes:
        assert after["selected_subset", selection] != before["selected_subset", selection]
    for selection in change.stays:
        assert after["selected_subset", selection] == before["selected_subset", selection]
    keep_up(platform, way)
    assert versions(platform) == after


def keep_up(platform, way: str) -> None:
    if way == "certified":
        platform.until_rest()
        assert platform.tick() == ([], "every selection is current")
    else:
        platform.make(None)
        assert read_plan(platform.project) == []
    kept_whole = (*BY_SENSORS, "scores_quality") if way == "certified" else WHOLE_POOL
    assert_pool(platform.store, platform.snapshot, kept_whole)


def ids(platform, table: str) -> set[str]:
    return set(platform.store.read(table, ["doc_id"])["doc_id"])


def events_so_far(platform) -> dict[str, int]:
    """Storage id of the latest materialization of each asset that counts what it does."""
    found = {}
    for asset in ("embeddings", "judge_scores"):
        records = platform.instance.fetch_materializations(dg.AssetKey(asset), limit=1).records
        found[asset] = records[0].storage_id
    return found


def counted(platform, since: dict[str, int], asset: str, what: str) -> int:
    records = platform.instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
    later = [record.asset_materialization for record in records if record.storage_id > since[asset]]
    return sum(int(event.metadata[what].value) for event in later)


@pytest.mark.parametrize("way", WAYS)
def test_a_half_written_file_leaves_quarantine_when_it_is_whole(platform, way):
    landing = platform.root / "landing"
    whole = gzip.compress(
        "".join(json.dumps({"text": text}) + "\n" for text in sentences("sailing", 9, 8)).encode()
    )
    (landing / "late.jsonl.gz").write_bytes(whole[:-30])
    keep_up(platform, way)
    assert set(platform.store.read("quarantine")["shard"]) == {"landing__late.jsonl.gz"}
    (landing / "late.jsonl.gz").write_bytes(whole)
    keep_up(platform, way)
    assert platform.store.count("quarantine") == 0
    assert platform.store.count("occurrences", "shard = 'landing__late.jsonl.gz'") == 9


@pytest.mark.parametrize("way", WAYS)
def test_a_file_replaced_while_a_run_is_in_flight_is_taken_as_it_is_in_the_end(platform, way, monkeypatch):
    from tamis.platform.assets import embedding

    landing, events = platform.root / "landing", events_so_far(platform)
    embed_missing, replaced = embedding.embed_missing, []

    def embed_while_a_file_is_replaced(*arguments, **named):
        if not replaced:
            replaced.append(write_jsonl(landing / "sailing.jsonl", sentences("sailing", 45, 33)))
        return embed_missing(*arguments, **named)

    monkeypatch.setattr("tamis.platform.assets.embedding.embed_missing", embed_while_a_file_is_replaced)
    edit(landing)
    keep_up(platform, way)
    assert replaced
    assert counted(platform, events, "embeddings", "encoded") == 1 + 45
    assert platform.store.count("occurrences", "shard = 'landing__sailing.jsonl'") == 45


@pytest.mark.parametrize("way", WAYS)
def test_what_was_read_of_a_file_that_changed_and_changed_back_is_not_taken_for_the_file(
    platform, way, monkeypatch
):
    from tamis.platform.assets import corpus

    path, read_as, flipped = platform.root / "landing" / "cooking.jsonl", corpus.read_as, []

    def read_while_the_file_is_another(shard, section, reading):
        if flipped or shard.path != path:
            yield from read_as(shard, section, reading)
            return
        right = path.read_bytes()
        flipped.append(write_jsonl(path, sentences("sailing", 5, 66)))
        yield from read_as(shard, section, reading)
        path.write_bytes(right)

    monkeypatch.setattr("tamis.platform.assets.corpus.read_as", read_while_the_file_is_another)
    edit(path.parent)
    keep_up(platform, way)
    assert flipped
    assert platform.store.count("occurrences", "shard = 'landing__cooking.jsonl'") == 60
    assert platform.store.count("documents") == 180
