"""A marked document in a made graph: no text in the event log, and none anywhere once it is withdrawn."""

import json
from collections.abc import Iterator

import dagster as dg
import pytest
from projects import CORPUS, SCORED, SmallProject, lines, texts, write

from tamis.base.errors import PermanentError
from tamis.corpus import document_id
from tamis.corpus.refusing import WITHHELD
from tamis.graph.failures import TABLE as FAILED_STEPS
from tamis.history.versions import read_versions, restore
from tamis.records.manifest import ManifestFolder
from tamis.store.withdrawn import read_places, read_withdrawals
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.status import read_status
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import Withdrawn

MARK = "Zyzzyva-Quokka-4711"
TEXT = f"{MARK} {texts('algebra', 1, 7)[0]}"
SHOWN_IN_A_BAD_ROW = f'{{"text": "{TEXT[:60]}'


@pytest.fixture(scope="module")
def first(tmp_path_factory, made_graph) -> Iterator[SmallProject]:
    """The graph with a marked document near the target, which is chosen, and a bad row that shows it."""
    graph = made_graph.copy(tmp_path_factory.mktemp("marked") / "graph")
    write(graph.landing / "marked.jsonl", [*lines([TEXT, *texts("sailing", 2, 8)]), SHOWN_IN_A_BAD_ROW])
    graph.make()
    chosen = graph.store.read("selected_subset", ["doc_id"], "selection = 'near'")["doc_id"]
    assert document_id(TEXT) in chosen.to_list()
    yield graph
    graph.instance.dispose()


@pytest.fixture
def marked(tmp_path, first, nowhere) -> Iterator[SmallProject]:
    """A copy of it that a test may change."""
    graph = first.copy(tmp_path / "graph")
    yield graph
    graph.instance.dispose()


def where(graph: SmallProject) -> set[str]:
    """Tables, in any version that can be read, and files of the home that show the mark."""
    found = set()
    for table in graph.store.names():
        for entry in graph.store.open(table).list_versions():
            if MARK in str(graph.store.read_arrow(table, version=int(entry["version"])).to_pylist()):
                found.add(table)
    files = (path for path in graph.home.root.rglob("*") if path.is_file())
    return found | {path.name for path in files if MARK.encode() in path.read_bytes()}


def withdrawn(graph: SmallProject) -> Withdrawn:
    """Withdraw the marked document."""
    return graph.withdraw([document_id(TEXT)])


def test_no_text_of_a_document_or_bad_row_is_in_the_event_log(first, nowhere):
    entries = list(first.logged())
    assert any("web__marked.jsonl" in entry for entry in entries), "the search finds what is there"
    texts_of_pool = first.store.read("documents", ["text"])["text"].to_list()
    for text in (MARK, *(text[:25] for text in texts_of_pool)):
        assert not [entry[:300] for entry in entries if text in entry]


def test_a_step_that_fails_says_so_without_the_text(marked, monkeypatch):
    from tamis.embedding.static import StaticEncoder

    def refuse(self, texts, **named):
        raise PermanentError("the vector of row 0 is zero")

    monkeypatch.setattr(StaticEncoder, "encode", refuse)
    write(marked.landing / "again.jsonl", lines([f"{TEXT} and more"]))
    assert marked.try_making(SCORED).failed
    assert not [entry[:300] for entry in marked.logged() if MARK in entry]
    failed = marked.store.read(FAILED_STEPS)
    assert len(failed)
    assert MARK not in str(failed.to_dicts())


def test_a_withdrawn_document_is_nowhere_is_refused_and_is_green_again(marked):
    done = export_selection(marked.project, "near", "jsonl")
    exported = done.path
    assert done.documents == 5
    assert {"documents", "quarantine", exported.name} <= where(marked)
    done = withdrawn(marked)
    assert (done.new, done.excerpts) == ([document_id(TEXT)], 1)
    assert where(marked) == set()
    assert verify(marked.home, TEXT).holds
    assert marked.audit().status == "amber", "what went by intent is no damage"
    assert len(exported.read_text().splitlines()) == 4
    assert {one.name for one in done.tainted if one.current} >= {"density_sketch", "target_potential[goal]"}
    marked.make()
    assert where(marked) == set()
    assert marked.audit().status == "green"
    shown = marked.store.read("quarantine", ["shard", "detail", "excerpt"]).filter(shard="web__marked.jsonl")
    assert shown.rows() == [("web__marked.jsonl", WITHHELD, "")]
    decided = marked.store.read("decisions", ["doc_id"])["doc_id"]
    assert document_id(TEXT) not in decided.to_list()


def test_a_restored_version_names_what_was_withdrawn_of_it(marked):
    chosen_in = read_versions(marked.store, "near")[-1].version
    withdrawn(marked)
    _pin, lacking = restore(marked.project, "near", chosen_in)
    assert lacking == {document_id(TEXT): "was withdrawn"}


def test_it_is_refused_when_it_arrives_again(marked):
    withdrawn(marked)
    write(
        marked.landing / "back.jsonl", [*lines(texts("cooking", 1, 6)), json.dumps({"text": f"  {TEXT}\r\n"})]
    )
    marked.make(CORPUS)
    assert where(marked) == set()
    back = marked.store.read("occurrences", ["shard", "row"]).filter(shard="web__back.jsonl")
    assert back["row"].to_list() == [0]
    places = read_places(marked.store).filter(shard="web__back.jsonl")
    assert places["row"].to_list() == [1]
    marked.assert_sound(of=CORPUS)


def test_it_is_refused_although_the_table_of_withdrawals_and_the_receipt_are_lost(marked):
    (receipt,) = withdrawn(marked).receipts
    marked.store.drop("withdrawals")
    ManifestFolder.of(marked.home).path(receipt).unlink()
    marked.make(CORPUS)
    assert where(marked) == set()
    assert any("the ids were taken from the places" in line for line in marked.said)
    rows = read_withdrawals(marked.store)
    assert document_id(TEXT) in set(rows["doc_id"])
    assert rows["receipt"].null_count() == 0


def test_a_withdrawn_text_that_comes_back_in_other_case_and_spaces_is_named(marked):
    withdrawn(marked)
    write(marked.landing / "marked.jsonl", lines(texts("sailing", 2, 8)))
    changed, again = f"  {TEXT.upper().replace(' ', chr(10), 3)}  ", TEXT.replace(" ", "  ")
    write(marked.landing / "back.jsonl", lines([changed, again, TEXT, *texts("sailing", 1, 9)]))
    marked.make(CORPUS)
    pool = set(marked.store.read("documents", ["doc_id"])["doc_id"])
    assert document_id(TEXT) not in pool
    expected = {document_id(changed): document_id(TEXT), document_id(again): document_id(TEXT)}
    assert set(expected) <= pool, "they are other documents"
    status = read_status(marked.project)
    assert status.to_json()["near_repeats_of_withdrawn"] == expected
    named = [line for line in status.lines() if "only in case or white space" in line]
    assert len(named) == 2
    assert f"`tamis withdraw {document_id(again)}`" in "".join(named)
    found = verify(marked.home)
    assert (found.problems, found.near_repeats) == ([], expected), "named, and no fault"
    arrived = dg.AssetRecordsFilter(dg.AssetKey("documents"), asset_partitions=["web__back.jsonl"])
    (record,) = marked.instance.fetch_materializations(arrived, limit=1).records
    assert record.asset_materialization.metadata["near_repeats_of_withdrawn"].value == expected
    assert MARK.lower() not in "".join(marked.logged()).lower()

    marked.withdraw(expected)
    assert read_status(marked.project).near_repeats == {}
    assert verify(marked.home).near_repeats == {}
