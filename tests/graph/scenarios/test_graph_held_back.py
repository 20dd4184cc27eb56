"""Held-back losses: a short listing, a typo or a truncated tamis.toml removes nothing by itself."""

import json
import os
import shutil
import time

import polars as pl
import pytest
from projects import CHOSEN, COOKING, CORPUS, GRAPH, SCORED, VECTORS, SmallProject, lines, texts, write

from tamis.graph.snapshot import lost_too_many, shrank_too_much
from tamis.platform.sensors.requests import SETTLED_SECONDS
from tamis.retention.held_back import held_back
from tamis.verbs.plan import plan_lines, read_plan
from tamis.verbs.status import read_status

DOCUMENTS = ("documents", "occurrences", VECTORS, "scores_density", "near_duplicate_bands")


def held(graph: SmallProject) -> dict[str, str]:
    """Return the kind of each loss that is held back, by the name that lets it go."""
    return {one.name: one.kind for one in held_back(graph.snapshot, graph.current)}


def rows(graph: SmallProject, names=DOCUMENTS) -> dict[str, pl.DataFrame]:
    return {name: graph.rows(name) for name in names}


def assert_unchanged(graph: SmallProject, before: dict[str, pl.DataFrame]) -> None:
    """Check that the tables hold the rows that they held."""
    assert [name for name, frame in rows(graph, before).items() if not frame.equals(before[name])] == []


def corpus_of_many(graph: SmallProject, count: int, documents: int = 2) -> None:
    """Write further files into the corpus, all with documents of their own."""
    for number in range(count):
        write(graph.landing / f"many-{number}.jsonl", lines(texts("algebra", documents, seed=number + 20)))


@pytest.mark.parametrize(
    ("lost", "had", "expected"),
    [(1, 1, True), (3, 3, True), (2, 3, False), (4, 5, False), (5, 6, True), (5, 25, False), (6, 25, True)],
)
def test_a_corpus_may_lose_a_fifth_of_its_files_or_four(lost, had, expected):
    assert lost_too_many(lost, had) is expected


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [(40, 19, True), (40, 20, False), (20, 1, False), (19, 0, True), (1, 0, True), (0, 0, False)],
)
def test_a_file_may_lose_half_of_its_documents_or_nineteen_but_not_all(before, now, expected):
    assert shrank_too_much(before, now) is expected


def test_an_emptied_folder_loses_nothing_until_a_person_lets_it_go(graph):
    before, versions = rows(graph), graph.versions()
    away = shutil.move(graph.landing, graph.root / "away")
    graph.landing.mkdir()
    outcome = graph.make()
    assert (outcome.made, outcome.removed) == ({}, [])
    assert held(graph) == {"web": "corpus"}
    assert_unchanged(graph, before)
    assert graph.versions() == versions
    status = read_status(graph.project)
    assert "--allow-removal web" in status.problems()[0]
    assert status.to_json()["held_back"][0]["name"] == "web"
    write(graph.landing / "new.jsonl", lines(texts("algebra", 3)))
    graph.make(CORPUS)
    assert ("documents", "web__new.jsonl") in graph.current
    assert len(graph.rows("documents")) == len(before["documents"]) + 3
    graph.assert_sound(of=CORPUS, amber=True)
    shutil.copytree(away, graph.landing, dirs_exist_ok=True)
    assert held(graph) == {}
    (graph.landing / "new.jsonl").unlink()
    graph.make(CORPUS)
    assert graph.versions() == versions
    for path in graph.landing.glob("*.jsonl"):
        path.unlink()
    outcome = graph.try_making(CORPUS, allowed={"web"})
    assert any(entry.startswith("documents[") for entry in outcome.removed)
    assert len(graph.rows("documents")) == len(graph.rows("occurrences")) == 0


@pytest.mark.slow
def test_a_typo_in_include_costs_nothing(graph):
    before = rows(graph)
    graph.configure(GRAPH.replace('path = "landing"', 'path = "landing"\ninclude = ["*.josnl"]'))
    graph.make()
    assert_unchanged(graph, before)
    graph.configure(GRAPH)
    outcome = graph.make()
    assert (outcome.made, outcome.removed, held(graph)) == ({}, [], {})


def test_more_than_a_fifth_of_the_files_is_held_back_and_less_is_removed(graph):
    corpus_of_many(graph, 10)
    graph.make({"raw_shards", "documents"})
    for number in range(5):
        (graph.landing / f"many-{number}.jsonl").unlink()
    assert held(graph) == {"web": "corpus"}
    graph.make({"raw_shards", "documents"})
    assert ("documents", "web__many-0.jsonl") in graph.current
    write(graph.landing / "many-4.jsonl", lines(texts("algebra", 2, seed=24)))
    graph.make({"raw_shards", "documents"})
    assert "lost 4 files" in held_back(graph.snapshot, graph.current)[0].found, "one is back, four are held"
    outcome = graph.try_making({"raw_shards", "documents"}, allowed={"web__many-0.jsonl"})
    assert "documents[web__many-0.jsonl]" in outcome.removed
    assert ("documents", "web__many-1.jsonl") in graph.current
    outcome = graph.try_making({"raw_shards", "documents"}, allowed={"web"})
    assert sum(entry.startswith("documents[") for entry in outcome.removed) == 3
    assert ("documents", "web__many-0.jsonl") not in graph.current


def test_files_behind_a_link_that_leads_nowhere_are_held_back_however_few(graph):
    corpus_of_many(graph, 10)
    disk = graph.root / "disk"
    (graph.landing / "many-0.jsonl").rename(disk.with_suffix(".jsonl"))
    disk.mkdir()
    (graph.landing / "many-1.jsonl").rename(disk / "many-1.jsonl")
    (graph.landing / "disk").symlink_to(disk)
    (graph.landing / "linked.jsonl").symlink_to(disk.with_suffix(".jsonl"))
    graph.configure(GRAPH.replace('path = "landing"', 'path = "landing"\nfollow_links = true'))
    graph.make({"raw_shards", "documents"})
    disk.rename(graph.root / "unmounted")
    disk.with_suffix(".jsonl").unlink()
    (graph.landing / "many-2.jsonl").unlink()
    assert "lost 2 files (web__disk-many-1" in held_back(graph.snapshot, graph.current)[0].found
    assert graph.make({"raw_shards", "documents"}).removed == [
        f"{asset}[web__many-2.jsonl]" for asset in ("raw_shards", "documents")
    ]
    (graph.landing / "linked.jsonl").unlink()
    (graph.landing / "disk").unlink()
    assert held(graph) == {"web": "corpus"}, "what was noted stays"
    outcome = graph.try_making({"raw_shards", "documents"}, allowed={"web"})
    assert sum(entry.startswith("documents[") for entry in outcome.removed) == 2


def test_a_file_that_was_moved_unchanged_is_no_loss(graph):
    texts_before = graph.rows("documents")
    (graph.landing / "old").mkdir()
    for path in list(graph.landing.glob("*.jsonl")):
        path.rename(graph.landing / "old" / path.name)
    status = read_status(graph.project)
    assert status.held_back == [], "the status says what the next run will find"
    assert "held_back" not in {entry["asset"] for entry in read_plan(graph.project)}
    assert held(graph) == {"web": "corpus"}, "until they are read again, nothing is removed"
    outcome = graph.make()
    assert outcome.made["selected_subset"] == 2, "of the pool under the new names alone"
    assert held(graph) == {}
    assert any(entry.startswith("documents[") for entry in outcome.removed)
    assert graph.rows("documents").equals(texts_before)
    graph.assert_sound()


def test_a_file_renamed_to_what_is_not_read_in_the_same_way_is_a_loss(graph):
    for path in list(graph.landing.glob("*.jsonl")):
        path.rename(path.with_suffix(".csv"))
    assert [one.name for one in read_status(graph.project).held_back] == ["web"]


def test_a_withdrawal_from_a_file_that_is_gone_is_due_until_the_next_run(graph):
    chosen = graph.rows("selected_subset").filter(selection="near")["doc_id"][0]
    shutil.move(graph.landing, graph.root / "away")
    graph.landing.mkdir()
    graph.make()
    graph.withdraw([chosen])
    (shard,) = {
        key for (asset, key), value in graph.current.items() if asset == "documents" and not value.finished
    }
    due = {(one.asset, one.partition): one for one in read_status(graph.project).due}
    assert due["documents", shard].reason == "interrupted"
    assert due["selected_subset", "near"].waits_for
    graph.make()
    assert chosen not in set(graph.rows("selected_subset")["doc_id"])
    assert [one for one in read_status(graph.project).due if one.asset in CHOSEN] == []


@pytest.mark.parametrize(
    "kind", ["selection", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("target", "corpus"))]
)
def test_what_vanished_from_the_settings_is_kept_until_a_person_lets_it_go(graph, kind):
    """A tamis.toml that was truncated has the same effect."""
    every = {"decisions", "selected_subset", "target_examples", "transport_goal", *DOCUMENTS}
    before, versions = rows(graph, every), graph.versions()
    start = GRAPH.index('[[selection]]\nname = "near"')
    cut = {
        "selection": GRAPH[: GRAPH.index('[[selection]]\nname = "thin"')],
        "target": GRAPH[:start].replace(
            '[[target]]\nname = "goal"\nkind = "files"\npath = "target"\ntrain = 8\nheld_out = 4', ""
        ),
        "corpus": GRAPH.replace('name = "web"', 'name = "other"').replace(
            'path = "landing"', 'path = "empty"'
        ),
    }[kind]
    (graph.root / "empty").mkdir()
    graph.configure(cut)
    names = {"selection": {"thin"}, "target": {"goal", "near", "thin"}, "corpus": {"web"}}[kind]
    outcome = graph.make()
    assert (outcome.made, outcome.removed) == ({}, [])
    assert set(held(graph)) == names
    assert_unchanged(graph, before)
    assert graph.versions() == versions
    graph.assert_sound(amber=True)
    plan = read_plan(graph.project)
    assert {entry["partition"] for entry in plan if entry["asset"] == "held_back"} == names
    assert not [entry for entry in plan if entry["asset"] in CHOSEN]
    assert "--allow-removal" in plan_lines(plan)[0]
    graph.configure(GRAPH)
    outcome = graph.make()
    assert (outcome.made, outcome.removed) == ({}, [])
    graph.configure(cut)
    graph.try_making(allowed=names)
    assert held(graph) == {}
    gone = {"selection": "thin", "target": "goal", "corpus": "web__cooking.jsonl"}[kind]
    assert gone not in {partition for _asset, partition in graph.current}
    if "thin" in names:
        assert [path.name for path in graph.home.reports.glob("*thin*")] == []


def test_a_file_that_lost_most_of_its_documents_is_held_back_and_everything_else_goes_on(graph):
    long = graph.landing / "long.jsonl"
    write(long, lines(texts("algebra", 40, seed=3)))
    graph.make(CORPUS)
    before, versions = rows(graph), graph.versions()
    write(long, [*lines(texts("algebra", 10, seed=3)), "{no json"])
    write(graph.landing / "new.jsonl", lines(texts("sailing", 3, seed=4)))
    graph.make(CORPUS)
    assert held(graph) == {"web__long.jsonl": "file"}
    assert (
        "1 not_json" in read_status(graph.project).problems()[0]
        or "json" in read_status(graph.project).problems()[0]
    )
    assert set(before["documents"]["doc_id"]) < set(graph.rows("documents")["doc_id"])
    assert ("documents", "web__new.jsonl") in graph.current
    assert (
        graph.current["documents", "web__long.jsonl"].data_version == versions["documents", "web__long.jsonl"]
    )
    graph.assert_sound(of=CORPUS, amber=True)
    outcome = graph.make(CORPUS)
    assert (outcome.made, outcome.removed) == ({}, []), "it is read once in one state"
    graph.try_making(CORPUS, allowed={"web__long.jsonl"})
    assert held(graph) == {}
    assert len(graph.rows("occurrences").filter(shard="web__long.jsonl")) == 10
    assert len(graph.rows("quarantine").filter(shard="web__long.jsonl")) == 1
    graph.assert_sound(of=CORPUS, amber=True)


def test_a_file_that_yields_nothing_is_held_back_and_a_permission_that_nothing_needed_is_not_kept(graph):
    """A name of a column that was mistyped, twice; in between a person let everything go that was missing."""
    before, versions = rows(graph), graph.versions()
    typo = GRAPH.replace('path = "landing"', 'path = "landing"\ntext_column = "txet"')
    files = {"web__cooking.jsonl": "file", "web__sailing.jsonl": "file"}
    graph.configure(typo)
    graph.make()
    assert held(graph) == files
    assert_unchanged(graph, before)
    graph.configure(GRAPH)
    (graph.landing / "cooking.jsonl").write_bytes(b"")
    graph.make()
    assert held(graph) == {"web__cooking.jsonl": "file"}
    write(graph.landing / "cooking.jsonl", lines(COOKING))
    graph.try_making(allowed={"all"})
    assert graph.versions() == versions
    graph.configure(typo)
    graph.make()
    assert held(graph) == files
    assert_unchanged(graph, before)
    graph.try_making(allowed={"web"})
    assert len(graph.rows("documents")) == 0


def test_a_plan_names_removals_first(graph):
    (graph.landing / "sailing.jsonl").unlink()
    plan = read_plan(graph.project)
    assert plan[0]["asset"] == "removal"
    assert "web__sailing.jsonl" in plan[0]["partition"]
    assert plan_lines(plan)[0].startswith("removal: its file is gone: ")


def test_what_a_removal_deletes_is_noted_before(graph, monkeypatch):
    from tamis.retention import reconciled as reconcile

    (graph.landing / "sailing.jsonl").unlink()
    monkeypatch.setattr(reconcile, "forget_gone", lambda *_: pytest.fail("the power went"))
    outcome = graph.try_making({"raw_shards", "documents"})
    assert "removal" in outcome.failed
    note = graph.store.read("removals").row(0, named=True)
    assert "documents[web__sailing.jsonl]" in json.loads(note["entries"])
    assert note["documents"] > 0
    assert note["ended_at"] is None
    monkeypatch.undo()
    graph.make({"raw_shards", "documents"})
    notes = graph.store.read("removals").sort("begun_at")
    assert notes["ended_at"][-1] is not None
    assert set(notes["entries"]) == {note["entries"]}


def test_sensors_delete_nothing_themselves_and_name_what_is_held_back(graph, monkeypatch):
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", SETTLED_SECONDS)
    before, current = rows(graph), graph.current
    graph.file.touch()
    assert "tamis.toml has just changed" in graph.arrive()
    assert "tamis.toml has just changed" in graph.tick()[1]
    os.utime(graph.file, (time.time() - 60,) * 2)
    (graph.landing / "sailing.jsonl").unlink()
    found = graph.sense("arrivals")
    assert [request.job_name for request in found.run_requests] == ["removal"]
    assert "of removed files or sections have been deleted" in graph.tick()[1]
    (graph.landing / "cooking.jsonl").unlink()
    said = graph.arrive()
    assert "held back: corpus 'web' lost 2 files" in said
    assert "--allow-removal web" in said
    assert graph.current == current
    assert_unchanged(graph, before)


def test_a_removal_that_was_killed_is_finished_and_a_file_that_is_back_is_read_again(graph, monkeypatch):
    from tamis.retention import reconciled as reconcile

    class PowerCutError(BaseException):
        pass

    def die(*_):
        raise PowerCutError

    before, path = rows(graph), graph.landing / "sailing.jsonl"
    content = path.read_bytes()
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "forget_current_values", die)
        with pytest.raises(PowerCutError):
            reconcile.remove(graph.snapshot, graph.current)
    assert len(graph.rows("occurrences")) < len(before["occurrences"])
    path.write_bytes(content)
    graph.make(SCORED)
    assert_unchanged(graph, before)
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "forget_current_values", die)
        with pytest.raises(PowerCutError):
            reconcile.remove(graph.snapshot, graph.current)
    (graph.landing / "cooking.jsonl").unlink()
    assert held(graph) == {"web": "corpus"}
    assert "all documents of these files (12)" in held_back(graph.snapshot, graph.current)[0].goes
    graph.make(CORPUS)
    assert ("documents", "web__sailing.jsonl") not in graph.current


@pytest.mark.slow
def test_the_same_bytes_under_a_name_that_yields_nothing_are_a_loss(graph):
    before = graph.rows("documents")
    for path in list(graph.landing.glob("*.jsonl")):
        path.rename(path.with_suffix(".bak"))
    graph.make()
    assert held(graph) == {"web": "corpus"}
    assert graph.rows("documents").equals(before)


@pytest.mark.slow
def test_a_shrunken_file_that_is_renamed_or_deleted_stays_held_back(graph):
    long = graph.landing / "long.jsonl"
    write(long, lines(texts("algebra", 40, seed=3)))
    graph.make(CORPUS)
    write(long, lines(texts("algebra", 10, seed=3)))
    graph.make(CORPUS)
    before = graph.rows("documents")
    long.rename(graph.landing / "renamed.jsonl")
    graph.make(CORPUS)
    assert held(graph) == {"web": "corpus"}
    assert graph.rows("documents").equals(before)
    (graph.landing / "renamed.jsonl").rename(long)
    graph.try_making(CORPUS, allowed={"web__long.jsonl"})
    assert len(graph.rows("documents")) == len(before) - 30
    write(long, lines(texts("algebra", 40, seed=3)))
    graph.make(CORPUS)
    write(long, lines(texts("algebra", 10, seed=3)))
    graph.make(CORPUS)
    assert held(graph) == {"web__long.jsonl": "file"}, "a permission is for one time"


@pytest.mark.slow
def test_held_back_documents_follow_a_withdrawal_and_new_settings(graph):
    for path in graph.landing.glob("*.jsonl"):
        path.unlink()
    graph.make()
    doc_id = graph.rows("documents")["doc_id"][0]
    graph.withdraw([doc_id])
    write(graph.landing / "new.jsonl", lines(texts("algebra", 3)))
    graph.configure(GRAPH + '\n[filters]\nheuristics = ["gopher"]\n')
    graph.make(CHOSEN | {"document_flags"})
    pool = set(graph.rows("documents")["doc_id"])
    assert doc_id not in pool
    assert set(graph.rows("decisions").filter(selection="near")["doc_id"]) == pool
    graph.assert_sound(amber=True)
