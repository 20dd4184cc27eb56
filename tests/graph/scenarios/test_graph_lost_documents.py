"""Losses counted by documents: half a mount is held back; renamed, split and merged files are no loss.

Most cases note what a run would have read, without one. A few go through the graph.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import dagster as dg
import polars as pl
import pytest
from projects import (
    QUIET,
    SmallProject,
    corpus,
    due_key,
    lines,
    names,
    plain_project,
    rows_of,
    settings,
    target,
    texts,
    write,
)

from tamis.corpus.intake import Shrinkage
from tamis.graph.snapshot import lost_too_many_documents, mostly_found
from tamis.readers.text import document_id
from tamis.records.current_values import CurrentValue, write_current_values
from tamis.retention.held_back import held_back
from tamis.retention.losses import ShrinkageLimits, absent_shards, as_once_read, note_absent, unread_files
from tamis.verbs.plan import checked_plan
from tamis.verbs.status import read_status

READ = frozenset({"raw_shards", "documents"})
FILES, EACH = 6, 30
Parts = Mapping[str, Iterable[str]]


def documents(number: int, first: int = 0, end: int = EACH) -> list[str]:
    return texts("cooking", end, seed=number)[first:]


def put(graph: SmallProject, files: Parts, folder: str = "documents") -> None:
    for name, rows in files.items():
        write(graph.root / folder / name, lines(rows))


def drop(graph: SmallProject, *numbers: int) -> None:
    for number in numbers:
        (graph.root / "documents" / f"{number}.jsonl").unlink()


def note_read(graph: SmallProject, files: Parts, name: str = "web") -> None:
    """Note these files of a corpus as a run leaves them that has read them."""
    for file, rows in files.items():
        key, scope = f"{name}__{file}", f"shard = '{name}__{file}'"
        places = [{"shard": key, "row": row, "doc_id": document_id(text)} for row, text in enumerate(rows)]
        graph.store.replace("occurrences", rows_of("occurrences", places), scope)
        graph.store.merge_values("shard_files", [{"shard": key, "corpus": name, "name": file}])
        version = graph.snapshot.fingerprints[key]
        for asset in ("raw_shards", "documents"):
            made = due_key(graph.project, asset, key) or ""
            value = CurrentValue(
                asset=asset, partition=key, manifest=made, input_key=made, data_version=version
            )
            write_current_values(graph.store, [value])


def lost(graph: SmallProject) -> set[str]:
    return {key.partition("__")[2] for key in graph.snapshot.lost}


SIX = {f"{number}.jsonl": documents(number) for number in range(FILES)}


@pytest.fixture(scope="module")
def noted(tmp_path_factory) -> SmallProject:
    """Six files of thirty documents, noted as read."""
    graph = plain_project(tmp_path_factory.mktemp("noted") / "project", settings(), {})
    put(graph, SIX)
    note_read(graph, SIX)
    return graph


@pytest.fixture
def mount(tmp_path, noted) -> SmallProject:
    return noted.copy(tmp_path / "project")


@pytest.mark.parametrize(
    ("lost", "had", "expected"),
    [(20, 99, True), (20, 100, False), (19, 20, False), (19, 19, True), (0, 0, False), (201, 1_000, True)],
)
def test_a_corpus_may_lose_a_fifth_of_its_documents_or_nineteen_but_not_all(lost, had, expected):
    assert lost_too_many_documents(lost, had) is expected


def test_files_of_which_a_fifth_of_the_documents_is_missing_are_mostly_found():
    assert mostly_found(20, 100)
    assert not mostly_found(21, 100)


def test_half_a_mount_is_held_back_however_few_its_files_and_whatever_comes_later(mount):
    drop(mount, 0, 1, 2, 3)
    four = {f"{number}.jsonl" for number in range(4)}
    assert lost(mount) == four
    (found,) = held_back(mount.snapshot, mount.current)
    assert "lost 4 files" in found.found
    note_absent(mount.store, mount.snapshot)
    new = {"new.jsonl": documents(50, end=900)}
    put(mount, new)
    assert lost(mount) == four
    note_read(mount, new)
    assert lost(mount) == four, "an arrival that makes the share small changes nothing"
    put(mount, {"0.jsonl": documents(0)})
    assert lost(mount) == four - {"0.jsonl"}


def test_one_file_of_six_is_no_loss_and_two_are(mount):
    drop(mount, 0)
    assert lost(mount) == set()
    drop(mount, 1)
    assert lost(mount) == {"0.jsonl", "1.jsonl"}


def test_under_twenty_documents_may_go_unless_they_are_all(tmp_path):
    graph = plain_project(tmp_path, settings(), {})
    few = {"a.jsonl": documents(1, end=19), "b.jsonl": documents(2, end=10), "empty.jsonl": []}
    put(graph, few)
    note_read(graph, few)
    (graph.root / "documents" / "a.jsonl").unlink()
    assert lost(graph) == set()
    (graph.root / "documents" / "b.jsonl").unlink()
    assert lost(graph) == {"a.jsonl", "b.jsonl"}
    (graph.root / "documents" / "empty.jsonl").unlink()
    assert lost(graph) == {"a.jsonl", "b.jsonl"}, "a file without documents is no loss"


def together(*numbers: int, first: int = 0, end: int = EACH) -> list[str]:
    return [text for number in numbers for text in documents(number, first, end)]


HALVES = ((0, EACH // 2), (EACH // 2, EACH))
PIECES = {f"{one}-{half[0]}.jsonl": documents(one, *half) for one in range(FILES) for half in HALVES}
CHANGES: dict[str, tuple[set[str], Parts]] = {
    "renamed": (set(), {f"part-{one}.jsonl": documents(one) for one in range(FILES)}),
    "merged": (set(), {"all.jsonl": together(*range(FILES))}),
    "split": (set(), PIECES),
    "repartitioned": (set(), {f"{one}.jsonl": together(2 * one, 2 * one + 1) for one in range(3)}),
    "two merged, four kept": ({f"{one}.jsonl" for one in range(4)}, {"all.jsonl": together(4, 5)}),
    "a sixth of each left out": (set(), {"all.jsonl": together(*range(FILES), end=25)}),
}
"""Of each change: the files that stay, and the others."""


def apply(graph: SmallProject, name: str) -> Parts:
    """Replace the files; returns the new ones."""
    stay, parts = CHANGES[name]
    for file in SIX.keys() - stay:
        (graph.root / "documents" / file).unlink()
    put(graph, parts)
    return parts


@pytest.mark.parametrize("name", CHANGES)
def test_renamed_split_and_merged_files_are_a_loss_until_they_are_read_and_none_then(mount, name):
    parts = apply(mount, name)
    snapshot = mount.snapshot
    gone = SIX.keys() - CHANGES[name][0] - parts.keys()
    assert lost(mount) == gone
    assert unread_files(snapshot, mount.current) == {"web": len(parts)}
    assert not [line for line in read_status(mount.project).problems() if "held back" in line]
    note_absent(mount.store, snapshot)
    note_read(mount, parts)
    assert lost(mount) == set()


def test_a_merge_that_lost_too_much_is_held_back(mount):
    drop(mount, *range(FILES))
    parts = {"all.jsonl": together(*range(FILES), end=20)}
    put(mount, parts)
    entries, checked = checked_plan(mount.project)
    assert "held_back" not in {entry["asset"] for entry in entries}
    assert "first looks for the documents in 1 new or changed file" in checked.lines[-1]
    note_absent(mount.store, mount.snapshot)
    note_read(mount, parts)
    assert lost(mount) == SIX.keys()
    (found,) = held_back(mount.snapshot, mount.current)
    assert found.line.endswith("of these files (180): `tamis materialize --allow-removal web`")
    rest = {"rest.jsonl": together(*range(FILES), first=20)}
    put(mount, rest)
    note_read(mount, rest)
    assert lost(mount) == set()


def test_what_a_file_held_before_it_changed_is_not_found_there(mount):
    copies = {"copies.jsonl": [*documents(0), *documents(1)]}
    put(mount, copies)
    note_read(mount, copies)
    drop(mount, 0, 1)
    assert lost(mount) == set()
    put(mount, {"copies.jsonl": documents(60)})
    assert lost(mount) == {"0.jsonl", "1.jsonl"}


def test_what_another_corpus_has_is_lost_to_this_one_while_tamis_toml_names_it(tmp_path):
    graph = plain_project(tmp_path, settings(corpus(), corpus("others", "others")), {})
    own = {f"{number}.jsonl": documents(number) for number in range(3)}
    others = {"all.jsonl": [*(text for rows in own.values() for text in rows), *documents(9)]}
    put(graph, own)
    put(graph, others, "others")
    note_read(graph, own)
    note_read(graph, others, "others")
    drop(graph, 0)
    assert lost(graph) == {"0.jsonl"}
    graph.configure(settings(corpus("others", "others")))
    assert lost(graph) == set()
    graph.configure(settings(corpus()))
    assert set(graph.snapshot.lost.values()) == {"others", "web"}


def shrunk(number: int, now: int) -> Shrinkage:
    rows = [document_id(text) for text in documents(number, first=now)]
    return Shrinkage(shard=f"web__{number}.jsonl", before=EACH, now=now, doc_ids=pl.Series(rows))


def test_files_that_shrink_together_take_no_more_than_a_fifth_of_their_corpus(mount):
    limits = ShrinkageLimits(mount.store, mount.snapshot, mount.current)
    assert [limits.are_passed_by(shrunk(number, 18)) for number in range(FILES)] == [False] * 3 + [True] * 3


def test_documents_that_other_files_have_by_then_are_not_lost(mount):
    limits = ShrinkageLimits(mount.store, mount.snapshot, mount.current)
    assert limits.are_passed_by(shrunk(0, 5))
    assert limits.are_passed_by(shrunk(1, 0))
    new = {"new.jsonl": [*documents(0, first=5), *documents(1, first=7)]}
    put(mount, new)
    note_read(mount, new)
    put(mount, {"0.jsonl": documents(0, end=5), "1.jsonl": [], "2.jsonl": []})
    limits = ShrinkageLimits(mount.store, mount.snapshot, mount.current)
    limits.count_what_is_found(["web__new.jsonl"])
    assert not limits.are_passed_by(shrunk(0, 5))
    assert limits.are_passed_by(shrunk(1, 0)), "it is empty, and over a fifth of its documents is nowhere"
    assert limits.are_passed_by(shrunk(2, 0)), "these were in this file alone"


def test_documents_that_were_replaced_are_not_lost(mount):
    gone = pl.Series([document_id(text) for text in documents(0)])
    limits = ShrinkageLimits(mount.store, mount.snapshot, mount.current)
    edited = Shrinkage(shard="web__0.jsonl", before=EACH, now=EACH - 1, doc_ids=gone)
    assert not limits.are_passed_by(edited)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[SmallProject]:
    """The six files, read by the graph."""
    graph = plain_project(tmp_path_factory.mktemp("made") / "project", settings(), {})
    put(graph, SIX)
    graph.make(READ)
    yield graph
    graph.close()


@pytest.fixture
def graph(tmp_path, made) -> Iterator[SmallProject]:
    copied = made.copy(tmp_path / "project")
    yield copied
    copied.close()


def stored(graph: SmallProject) -> set[str]:
    return set(graph.rows("documents")["text"])


def shards(graph: SmallProject) -> set[str]:
    return {key.removeprefix("web__") for asset, key in graph.current if asset == "documents"}


def test_the_command_reads_what_came_before_it_removes_what_left(graph):
    drop(graph, *range(FILES))
    rest = together(*range(FILES), first=10)
    put(graph, {"0.jsonl": documents(0, end=10), "rest.jsonl": rest})
    outcome = graph.make(READ)
    assert "documents[web__5.jsonl]" not in outcome.removed
    (found,) = held_back(graph.snapshot, graph.current)
    assert found.name == "web", "of five files a third is missing"
    assert stored(graph) == {text for rows in SIX.values() for text in rows}
    put(graph, {"first.jsonl": together(*range(1, FILES), end=10)})
    outcome = graph.make(READ)
    assert "documents[web__5.jsonl]" in outcome.removed
    assert shards(graph) == {"0.jsonl", "rest.jsonl", "first.jsonl"}
    assert stored(graph) == {text for rows in SIX.values() for text in rows}
    graph.assert_sound(of=READ, amber=True)


def test_a_renamed_corpus_with_an_empty_file_loses_nothing_once_its_other_files_are_read(graph):
    empty = {"empty.jsonl": []}
    put(graph, empty)
    note_read(graph, empty)
    (graph.root / "documents" / "empty.jsonl").unlink()
    graph.configure(settings(corpus("crawl", "documents")))
    assert lost(graph) == {*SIX, *empty}
    once_read = as_once_read(graph.snapshot, graph.current)
    assert held_back(once_read, graph.current) == []


def test_a_shrunken_file_is_read_last_and_judged_again_when_its_documents_come(graph):
    put(graph, {"0.jsonl": documents(0, end=2), "5.jsonl": documents(5, end=1)})
    put(graph, {"6.jsonl": documents(5, first=1)})
    graph.make(READ)
    (found,) = held_back(graph.snapshot, graph.current)
    assert found.name == "web__0.jsonl"
    assert len(graph.rows("occurrences").filter(shard="web__5.jsonl")) == 1, "its others are in a new file"
    put(graph, {"late.jsonl": documents(0, first=2)})
    graph.make(READ)
    assert held_back(graph.snapshot, graph.current) == []
    assert len(graph.rows("occurrences").filter(shard="web__0.jsonl")) == 2
    graph.assert_sound(of=READ, amber=True)


def sense(graph: SmallProject) -> None:
    """Let the sensors look, and make what they request of files, until nothing of them is requested."""
    keys = [dg.AssetKey(name) for name in READ]
    while any(READ.intersection(names(request)) for request in _requested(graph)):
        (request,) = (one for one in _requested(graph) if READ.intersection(names(one)))
        done = graph.job.execute_in_process(
            instance=graph.instance,
            asset_selection=keys,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            run_config=QUIET,
        )
        assert done.success


def _requested(graph: SmallProject) -> list[dg.RunRequest]:
    graph.arrive()
    return graph.tick()[0]


def test_the_sensors_hold_back_and_let_go_as_the_command_does(graph):
    drop(graph, *range(1, FILES))
    sense(graph)
    assert "held back: corpus 'web' lost 5 files" in graph.arrive()
    assert stored(graph) == {text for rows in SIX.values() for text in rows}
    put(graph, {"all.jsonl": together(*range(1, FILES))})
    sense(graph)
    assert shards(graph) == {"0.jsonl", "all.jsonl"}
    assert stored(graph) == {text for rows in SIX.values() for text in rows}
    assert held_back(graph.snapshot, graph.current) == []


def test_a_target_that_lost_many_examples_is_held_back(tmp_path, nowhere):
    graph = plain_project(tmp_path, settings(target(train=8, held_out=4)), {})
    put(graph, {"a.jsonl": documents(1)})
    goal = {f"{number}.jsonl": texts("algebra", 20, seed=number) for number in range(3)}
    put(graph, goal, "target")
    graph.make({"target_examples"})
    before = graph.rows("target_examples")
    (graph.root / "target" / "1.jsonl").unlink()
    graph.make({"target_examples"})
    (found,) = held_back(graph.snapshot, graph.current)
    assert (found.kind, found.name) == ("target", "goal")
    assert found.found == "target 'goal' lost 20 of 60 examples"
    assert graph.rows("target_examples").equals(before)
    assert graph.make({"target_examples"}).made == {}, "it is read once in one state"
    put(graph, goal, "target")
    assert held_back(graph.snapshot, graph.current) == []
    (graph.root / "target" / "1.jsonl").unlink()
    (found,) = held_back(graph.snapshot, graph.current)
    (name,) = re.findall("--allow-removal (.+)`", found.line)
    graph.try_making({"target_examples"}, allowed={name})
    assert held_back(graph.snapshot, graph.current) == []
    assert len(graph.rows("target_examples")) == 40
    assert absent_shards(graph.snapshot, graph.current, graph.snapshot.files) == {}
