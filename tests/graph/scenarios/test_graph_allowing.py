"""A held-back loss prints the command that lets it go and no other; what loses nothing is not held back."""

import html
import re
import shutil

import pytest
from projects import (
    SmallProject,
    corpus,
    lines,
    plain_project,
    record,
    selection,
    settings,
    target,
    texts,
    write,
)

from tamis.report.index import write_index
from tamis.retention.held_back import held_back
from tamis.verbs.plan import checked_plan

READ = frozenset({"raw_shards", "documents", "target_examples"})
CORPORA = (corpus(), corpus("old", "old"), corpus("notes", "notes"))
TARGETS = (target("goal", train=8, held_out=4), target("former", "former", train=8, held_out=4))


def everything_lost(root) -> SmallProject:
    """Return a project with a loss of each kind; a corpus, a target and a selection share a name."""
    graph = plain_project(root, settings(*CORPORA, *TARGETS, selection("old"), selection("all")), {})
    for number in range(6):
        write(root / "documents" / f"{number}.jsonl", lines(texts("cooking", 30, number)))
    write(root / "old" / "a.jsonl", lines(texts("sailing", 5, 1)))
    write(root / "old" / "b.txt", texts("sailing", 1, 2))
    for number, text in enumerate(texts("sailing", 9, 3)):
        write(root / "notes" / f"{number}.txt", [text])
    for name in ("target", "former"):
        for number in range(3):
            write(root / name / f"{number}.jsonl", lines(texts("algebra", 20, number)))
    graph.make(READ)
    for asset, name in (("selected_subset", "old"), ("selected_subset", "all"), ("base_models", "small")):
        record(graph.home, asset, name)
    for number in range(3):
        (root / "documents" / f"{number}.jsonl").unlink()
    write(root / "documents" / "3.jsonl", lines(texts("cooking", 30, 3)[:3]))
    for number in range(6):
        write(root / "notes" / f"{number}.txt", [""])
    (root / "target" / "1.jsonl").unlink()
    graph.configure(settings(corpus(), corpus("notes", "notes"), TARGETS[0]))
    return graph


def index_of(graph: SmallProject) -> str:
    """Return the page of all pages."""
    graph.home.reports.mkdir(parents=True, exist_ok=True)
    (graph.home.reports / "selection_all.html").write_text("")
    write_index(graph.snapshot, graph.current, [])
    return html.unescape((graph.home.reports / "index.html").read_text())


def test_each_command_lets_one_loss_go(tmp_path, nowhere):
    graph = everything_lost(tmp_path)
    graph.make(READ)
    left = {(one.kind, one.name): one for one in held_back(graph.snapshot, graph.current)}
    assert {(kind, name): one.allow for (kind, name), one in left.items()} == {
        ("corpus", "old"): "corpus:old",
        ("corpus", "web"): "web",
        ("file", "notes:."): "notes:.",
        ("file", "web__3.jsonl"): "web__3.jsonl",
        ("model", "small"): "small",
        ("selection", "all"): "selection:all",
        ("selection", "old"): "selection:old",
        ("target", "former"): "former",
        ("target", "goal"): "goal",
    }
    page = index_of(graph)
    assert [one.line for one in left.values() if one.line.partition("`")[0] not in page] == []
    while left:
        loss, one = left.popitem()
        (command,) = re.findall("`(tamis materialize --allow-removal [^`]+)`", one.line)
        before = len(graph.said)
        graph.try_making(READ, allowed={command.rpartition(" ")[2]})
        assert "nothing is held back" not in " ".join(graph.said[before:]), loss
        now = {(other.kind, other.name) for other in held_back(graph.snapshot, graph.current)}
        assert now == left.keys(), loss
    assert graph.store.count("documents") == 3 + 2 * 30 + 3
    assert graph.store.count("target_examples") == 40
    assert {asset for asset, _name in graph.current} == READ


@pytest.mark.parametrize("change", ["renamed", "no files any more"])
def test_a_corpus_in_which_nothing_was_found_is_no_loss(tmp_path, nowhere, change):
    """The template of `tamis init` calls its corpus web; its files had another column."""
    graph = plain_project(tmp_path, settings(corpus(), corpus("others", "others")), {})
    write(tmp_path / "documents" / "a.jsonl", ['{"content": "text"}', '{"content": "other text"}'])
    write(tmp_path / "documents" / "b.txt", [""])
    write(tmp_path / "others" / "a.jsonl", lines(texts("cooking", 3)))
    graph.make(READ)
    if change == "renamed":
        graph.configure(settings(corpus("mine", text_column="content"), corpus("others", "others")))
    else:
        shutil.rmtree(tmp_path / "documents")
        (tmp_path / "documents").mkdir()
    assert held_back(graph.snapshot, graph.current) == []
    planned = {entry["asset"] for entry in checked_plan(graph.project)[0]}
    assert "removal" in planned
    assert "held_back" not in planned
    outcome = graph.make(READ)
    assert "documents[web__a.jsonl]" in outcome.removed
    assert graph.store.count("documents") == (5 if change == "renamed" else 3)


@pytest.mark.parametrize(
    ("asset", "stated", "is_loss"),
    [
        ("selected_subset", {"row_count": 3}, True),
        ("selected_subset", {"row_count": 0}, False),
        ("base_models", {"row_count": 0, "files": {"checkpoints/base_models/small/a/model": "1"}}, True),
        ("base_models", {"row_count": 0}, False),
        ("target_examples", {"row_count": 0}, False),
    ],
)
def test_a_name_that_left_without_a_result_is_no_loss(tmp_path, asset, stated, is_loss):
    graph = plain_project(tmp_path, settings())
    record(graph.home, asset, "mine", **stated)
    assert bool(held_back(graph.snapshot, graph.current)) is is_loss


def test_a_selection_that_chose_documents_before_is_a_loss(tmp_path):
    graph = plain_project(tmp_path, settings())
    record(graph.home, "selected_subset", "mine", row_count=0)
    version = {"selection": "mine", "version": 1, "documents": 4, "pool": 9}
    graph.store.merge_values("selection_versions", [version])
    assert [one.name for one in held_back(graph.snapshot, graph.current)] == ["mine"]
