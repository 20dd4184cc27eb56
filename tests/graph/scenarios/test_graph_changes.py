"""Files that come, change, go, are bad or cannot be listed: what follows of each, and nothing else."""

import gzip
import json

import pytest
from projects import (
    BAD_ROWS,
    COOKING,
    CORPUS,
    FITTED,
    NEAR,
    REPEATED,
    SAILING,
    SCORED,
    VECTORS,
    SmallProject,
    heads_of,
    lines,
    texts,
    write,
)

from tamis.corpus import ListingError, document_id
from tamis.records.manifest import ManifestFolder
from tamis.retention.reconciled import find_gone
from tamis.scan.sources import scan_files

MORE = [*texts("sailing", 6, 9), f"{SAILING[2]} certainly", COOKING[5]]


def tables(graph: SmallProject) -> dict[str, list[tuple]]:
    return {name: frame.rows() for name, frame in graph.tables().items()}


def test_a_file_that_comes_and_goes_leaves_everything_as_it_was(graph):
    before, versions = tables(graph), graph.versions()
    write(graph.landing / "more.jsonl", [*lines(MORE), *BAD_ROWS])
    graph.make()
    assert len(tables(graph)["documents"]) == len(before["documents"]) + len(MORE) - 1
    assert len(tables(graph)["quarantine"]) == 2 * len(BAD_ROWS)
    graph.assert_sound()
    (graph.landing / "more.jsonl").unlink()
    outcome = graph.make()
    assert set(outcome.removed) >= {"raw_shards[web__more.jsonl]", "documents[web__more.jsonl]"}
    after = tables(graph)
    for table, rows in before.items():
        assert after[table] == rows, table
    assert graph.versions() == versions
    graph.assert_sound()


def test_of_values_that_arrivals_replace_the_current_files_stay_and_those_before(graph):
    """A density sketch and three lists as long as the pool would be added by each arrival."""
    assets = {"scores_density": "density_scores", "near_duplicate_bands": "near_duplicates"}
    for number in range(3):
        write(graph.landing / f"more-{number}.jsonl", lines(MORE[number : number + 2]))
        graph.make(SCORED)
        graph.assert_sound(of=SCORED)
    folder, current = ManifestFolder.of(graph.home), heads_of(graph.home)
    manifests = folder.readable(folder.ids()).values()
    for table, asset in assets.items():
        named = {one.rows[table] for one in manifests if one.asset == asset}
        kept = {digest for digest in named if folder.rows_path(digest).exists()}
        assert len(named) == 4
        assert len(kept) == 2
        assert folder.read(current[asset, ""].manifest).rows[table] in kept
    sketches = [path.parent.name for path in (graph.home.fitted / "density_sketch").rglob("*.npz")]
    assert len(sketches) == 2
    assert current["density_sketch", ""].input_key[:16] in sketches


def test_a_file_that_goes_takes_every_row_of_its_documents_at_once(graph):
    """Before anything that listed them is made again: no reader may meet a score of a document that left."""
    (graph.landing / "cooking.jsonl").unlink()
    graph.make(CORPUS)
    left = set(graph.store.read("documents", ["doc_id"])["doc_id"])
    assert left == {document_id(text) for text in (*SAILING, *NEAR, REPEATED)}
    for table in ("near_duplicate_bands", VECTORS, "scores_density", "occurrences"):
        assert set(graph.store.read(table, ["doc_id"])["doc_id"]) == left, table


def test_a_file_that_changes_and_changes_back_leaves_everything_as_it_was(graph):
    before, versions = tables(graph), graph.versions()
    path = graph.landing / "sailing.jsonl"
    content = path.read_bytes()
    write(path, lines([*SAILING[4:], *MORE]))
    graph.make(SCORED)
    path.write_bytes(content)
    graph.make(SCORED)
    assert tables(graph) == before
    assert graph.versions() == versions
    graph.assert_sound()


@pytest.mark.slow
def test_what_settles_after_arrivals_is_what_everything_at_once_gives(graph, new_graph):
    write(graph.landing / "more.jsonl", lines(MORE))
    graph.make(FITTED, certified=True)
    assert not graph.current["target_potential", "goal"].settled, "the potential was kept"
    graph.make(FITTED)
    other = new_graph("other")
    write(other.landing / "more.jsonl", lines(MORE))
    other.make(FITTED)
    expected = other.versions()
    assert {entry: version for entry, version in graph.versions().items() if entry in expected} == expected
    graph.assert_sound(of=FITTED)


def test_the_removal_of_the_kept_document_promotes_the_next(graph):
    kept = {row[1] for row in graph.store.read("near_duplicates", ["doc_id", "kept"]).iter_rows()}
    assert len(kept) == 1
    places = graph.store.read("occurrences", ["doc_id", "shard", "row"]).filter(doc_id=next(iter(kept)))
    ((_doc_id, shard, row),) = places.rows()
    path = graph.landing / shard.removeprefix("web__")
    rows = path.read_text().splitlines()
    del rows[row]
    write(path, rows)
    graph.make(CORPUS)
    heirs = graph.store.read("near_duplicates", ["doc_id", "kept"])
    group = {row[0] for row in heirs.rows()} | {row[1] for row in heirs.rows()}
    assert (len(heirs), len(group)) == (1, 2)
    assert heirs["kept"][0] == min(group)


def test_bad_rows_and_files_cost_themselves_alone(graph):
    write(graph.landing / "mixed.jsonl", [BAD_ROWS[0], *lines(MORE[:3]), BAD_ROWS[1], *lines(MORE[3:])])
    (graph.landing / "cut.jsonl.gz").write_bytes(
        gzip.compress("".join(f"{row}\n" for row in lines(texts("algebra", 900, 5))).encode())[:-2_000]
    )
    (graph.landing / "other.jsonl").write_text(json.dumps({"body": "no text column"}) + "\n")
    graph.make(SCORED)
    found = graph.store.read("quarantine", ["shard", "row", "reason"]).sort("shard", "row").rows()
    assert ("web__mixed.jsonl", 0, "malformed_row") in found
    assert [(row, reason) for shard, row, reason in found if shard == "web__mixed.jsonl"] == [
        (0, "malformed_row"),
        (4, "missing_text_column"),
    ]
    assert [reason for shard, _row, reason in found if "cut" in shard] == ["broken_compression"]
    assert len([shard for shard, _row, _reason in found if "other" in shard]) == 1
    places = graph.store.read("occurrences", ["shard", "row"])
    assert places.filter(shard="web__mixed.jsonl")["row"].sort().to_list() == [1, 2, 3, *range(5, 10)]
    cut = places["shard"].str.contains("cut").sum()
    assert 100 < cut < 900, "the rows before the cut are kept"


def test_a_corpus_that_cannot_be_listed_is_not_an_empty_one(graph):
    before = tables(graph)
    graph.landing.rename(graph.root / "unmounted")
    with pytest.raises(ListingError):
        graph.make()
    assert tables(graph) == before
    (graph.root / "unmounted").rename(graph.landing)
    assert graph.make().made == {}


def test_a_file_that_is_being_written_keeps_what_it_had(graph):
    before = tables(graph)
    graph.reconfigure("settle_seconds = 0.0", "settle_seconds = 30.0")
    path = graph.landing / "sailing.jsonl"
    content = path.read_bytes()
    path.write_bytes(content[:500])  # half of it is there
    write(graph.landing / "new.jsonl", lines(MORE[:1]))
    seen = scan_files(graph.project)
    assert list(seen.held) == ["web__new.jsonl"]
    assert find_gone(graph.store, seen, graph.current) == []
    assert seen.fingerprints["web__sailing.jsonl"] == graph.versions()["raw_shards", "web__sailing.jsonl"]
    (graph.home.cache / "fingerprints.json").unlink()  # nobody remembers what a file at work held
    seen = scan_files(graph.project)
    assert "web__sailing.jsonl" in seen.held
    assert find_gone(graph.store, seen, graph.current) == []
    assert tables(graph) == before
