"""A stage is declared once: two files make one that is planned, made, audited, explained, withdrawn from,
estimated and shown, and no other file names it.
"""

import shutil
import sys
from pathlib import Path

import pytest
from projects import SAILING, corpus, make_graph, settings, target, texts, write_jsonl

import tamis
from tamis.base.declared import declaring_modules
from tamis.graph.estimates import estimates
from tamis.graph.plan import full_plan
from tamis.graph.stages import stages
from tamis.history.explain import explain_document
from tamis.platform import assets, definitions
from tamis.readers.text import document_id
from tamis.store import schemas
from tamis.withdrawal.verifying import verify

FILES = Path(__file__).with_name("made_up")
MADE_UP = frozenset({"novelty", "openings", "target_words", "word_counts"})
TABLES = ("novelty", "openings")
GOAL, OTHER = (target(name, train=8, held_out=4) for name in ("goal", "other"))
MADE = MADE_UP | {"raw_shards", "documents", "target_examples"}
REMEMBERED = (
    declaring_modules, schemas.tables, schemas.declared, stages, definitions.declared,
)  # fmt: skip


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The two files where Tamis looks for them."""
    folder = tmp_path_factory.mktemp("made-up")
    for name, package in (("stage.py", "tamis/novelty"), ("assets.py", "assets")):
        (folder / package).mkdir(parents=True)
        shutil.copy(FILES / name, folder / package / ("novelty.py" if name == "assets.py" else name))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tamis, "__path__", [*tamis.__path__, str(folder / "tamis")])
        patched.setattr(assets, "__path__", [*assets.__path__, str(folder / "assets")])
        for one in REMEMBERED:
            one.cache_clear()
        yield
    for name in ("tamis.novelty.stage", "tamis.novelty", "tamis.platform.assets.novelty"):
        sys.modules.pop(name, None)
    for one in REMEMBERED:
        one.cache_clear()


@pytest.fixture(scope="module")
def first(made_up, tmp_path_factory):
    """A project of two files and two targets, of which nothing is made."""
    both = settings(corpus(path="landing"), GOAL, OTHER)
    project = make_graph(tmp_path_factory.mktemp("first") / "project", None, both)
    yield project
    project.close()


@pytest.fixture(scope="module")
def whole(first, tmp_path_factory):
    """The same, made."""
    project = first.copy(tmp_path_factory.mktemp("whole") / "project")
    project.make(MADE)
    yield project
    project.close()


@pytest.fixture
def graph(whole, tmp_path):
    """A copy of it that a test may change."""
    project = whole.copy(tmp_path / "project")
    yield project
    project.close()


def test_it_is_planned_made_shown_estimated_and_sound(first, graph):
    planned = {due.asset for due in full_plan(first.snapshot, first.current)}
    assert planned >= MADE_UP
    shards = graph.snapshot.keys("shards")
    assert {(name, key) for name in TABLES for key in shards} <= set(graph.current)
    assert graph.store.count("novelty") == graph.store.count("documents")
    assert {target for (target,) in graph.store.read("target_words", ["target"]).unique().rows()} == {
        "goal",
        "other",
    }
    asset = graph.definitions().get_assets_def("novelty")
    assert asset.group_names_by_key[asset.key] == "novelty"
    graph.assert_sound(MADE)
    write_jsonl(graph.landing / "more.jsonl", texts("algebra", 3))
    plan = full_plan(graph.snapshot, graph.current)
    estimated = zip(plan, estimates(graph.project, graph.snapshot, graph.current, plan), strict=True)
    found = {due.asset: one for due, one in estimated if due.asset in MADE_UP}
    assert {*found} == MADE_UP - {"target_words"}
    assert all(one.seconds is not None and one.rows for one in found.values()), found


def test_what_was_altered_is_found(graph):
    doc_id = graph.store.read("openings", ["doc_id"])["doc_id"].sort()[0]
    graph.store.open("openings").update(where=f"doc_id = '{doc_id}'", values={"opening": "altered"})
    counts = next(graph.home.fitted.rglob("counts.json"))
    counts.write_text(counts.read_text() + " ")
    altered = {node.asset for node in graph.audit().nodes.values() if node.intact is False}
    assert altered == {"openings", "word_counts"}


def test_it_is_explained_and_withdrawn_from(graph):
    gone, stays = document_id(SAILING[0]), document_id(SAILING[1])
    scores = {one["scorer"] for one in explain_document(graph.home, gone)["scores"]}
    assert "novelty" in scores
    fitted = next(graph.home.fitted.rglob("counts.json"))
    done = graph.withdraw([gone])
    assert {one.asset for one in done.tainted} == {"word_counts"}
    assert not fitted.exists()
    for table in TABLES:
        left = set(graph.store.read(table, ["doc_id"])["doc_id"])
        assert gone not in left
        assert stays in left
    graph.make(MADE)
    assert verify(graph.home).problems == []
    graph.assert_sound(MADE)


def test_rows_leave_with_their_file_and_with_their_target(graph):
    (graph.landing / "cooking.jsonl").unlink()
    graph.reconfigure(OTHER, "")
    graph.try_making(MADE, allowed={"all"})
    for table in TABLES:
        assert set(graph.store.read(table, ["doc_id"])["doc_id"]) == set(
            graph.store.read("documents", ["doc_id"])["doc_id"]
        )
    assert graph.store.read("target_words", ["target"])["target"].unique().to_list() == ["goal"]
    graph.assert_sound(MADE)
