"""Estimates: from measurements of earlier runs, by rows and by the growth of the pool, else unknown."""

import itertools

import pytest
from projects import (
    corpus,
    due_key,
    plain_project,
    record,
    rows_of,
    selection,
    settings,
    write_jsonl,
)

from tamis.graph.estimates import Estimate
from tamis.project import Project
from tamis.verbs.plan import plan_lines, read_plan

JUDGED = """
[judge]
model = "smollm2-135m"
sample = 50
price_per_million_tokens = 2.0
"""
SETTINGS = settings(selection("best", "ask-llm"), JUDGED)


@pytest.fixture
def project(tmp_path) -> Project:
    write(tmp_path, "a", 100)
    write(tmp_path, "b", 100)
    return plain_project(tmp_path, SETTINGS, {}).project


def write(root, name: str, rows: int) -> None:
    write_jsonl(root / "documents" / f"{name}.jsonl", [f"{number:08d}" for number in range(rows)])


def made(project: Project, asset: str, partition: str, rows: int, input_key="earlier", **beside) -> None:
    """Store the manifest and the current value that an earlier run would have left."""
    record(project.home, asset, partition, input_key=input_key, row_count=rows, beside=beside)


def stored(project: Project, shard: str, rows: int) -> None:
    values = [{"doc_id": f"{shard}{n}", "shard": shard, "row": n} for n in range(rows)]
    project.home.store.merge("occurrences", rows_of("occurrences", values))


def built(project: Project, empty: str = "") -> None:
    """Store shard a in its present state, and one without rows; half the pool is new."""
    stored(project, "web__a.jsonl", 100)
    read = [("web__a.jsonl", 100), *([(empty, 0)] if empty else [])]
    for asset, (shard, rows) in itertools.product(("raw_shards", "documents"), read):
        made(project, asset, shard, rows, due_key(project, asset, shard), partition_seconds=2.0)
    made(project, "near_duplicates", "", 10, partition_seconds=3.0)
    made(project, "judge_scores", "", 50, partition_seconds=60.0, asked=40, tokens_asked=40_000)


def entry(plan, asset: str, partition: str = "") -> Estimate:
    (found,) = [due for due in plan if (due["asset"], due["partition"]) == (asset, partition)]
    assert set(found) == {"asset", "partition", "reason", "waits_for", "rows", "seconds", "cost"}
    return Estimate(rows=found["rows"], seconds=found["seconds"], cost=found["cost"])


def test_before_anything_was_made_every_estimate_is_unknown(project):
    plan = read_plan(project)
    assert {(due["rows"], due["seconds"], due["cost"]) for due in plan if due["asset"] != "raw_shards"} == {
        (None, None, None)
    }
    assert "nothing has been timed yet" in plan_lines(plan)[-1]


def test_a_new_file_is_estimated_by_its_bytes_and_the_pool_by_its_growth(project):
    built(project)
    plan = read_plan(project)
    assert entry(plan, "documents", "web__b.jsonl") == Estimate(rows=100, seconds=2.0)
    assert entry(plan, "near_duplicates") == Estimate(rows=200, seconds=6.0)
    assert entry(plan, "judge_scores") == Estimate(rows=50, seconds=75.0, cost=0.1)
    assert entry(plan, "selected_subset", "best") == Estimate()
    lines = plan_lines(plan)
    assert "documents: new, 1 shard, about 100 rows, 2 s" in lines
    assert any(line.startswith("judge_scores: ") and "cost at most 0.1" in line for line in lines)
    assert "about 1 min in all, cost at most 0.1; without " in lines[-1]
    (project.root / "documents" / "b.jsonl").unlink()
    write(project.root, "c", 300)
    assert entry(read_plan(project), "documents", "web__c.jsonl") == Estimate(rows=300, seconds=6.0)


def test_a_file_that_holds_nothing_readable_does_not_make_the_growth_of_the_pool_unknown(project):
    write(project.root, "c", 0)
    built(project, empty="web__c.jsonl")
    assert entry(read_plan(project), "near_duplicates") == Estimate(rows=200, seconds=6.0)


def test_shards_of_a_page_say_little_of_a_large_one(project):
    stored(project, "web__a.jsonl", 100)
    for asset in ("raw_shards", "documents"):
        made(project, asset, "web__a.jsonl", 100, due_key(project, asset, "web__a.jsonl"))
    pages = [f"web__{number}.jsonl" for number in range(30)]
    for page in pages:
        stored(project, page, 1)
        made(project, "documents", page, 1, partition_seconds=0.5)
    write(project.root, "b", 500)
    assert entry(read_plan(project), "documents", "web__b.jsonl") == Estimate(rows=500, seconds=250.0)
    write(project.root, "b", 3000)
    assert entry(read_plan(project), "documents", "web__b.jsonl") == Estimate(rows=3000)
    key = due_key(project, "documents", "web__a.jsonl")
    made(project, "documents", "web__a.jsonl", 200, key, partition_seconds=2.0)
    assert entry(read_plan(project), "documents", "web__b.jsonl") == Estimate(rows=3000, seconds=30.0)


def test_without_a_price_there_is_no_cost(project):
    built(project)
    free = plain_project(project.root, SETTINGS.replace("price_per", "#price_per"), {}).project
    assert entry(read_plan(free), "judge_scores").cost is None


def test_files_of_a_corpus_that_was_never_read_are_unknown(project):
    built(project)
    (project.root / "other").mkdir()
    (project.root / "other" / "x.txt").write_text("one")
    plan = read_plan(plain_project(project.root, SETTINGS + corpus("other", "other"), {}).project)
    assert entry(plan, "documents", "other:.") == Estimate()
    assert entry(plan, "near_duplicates") == Estimate()
