"""Small txt and md files share shards: fewer events, and everything else goes on file by file."""

import os

import pytest
from projects import CHOSEN, CORPUS, SmallProject, lines, texts, write

from tamis.corpus import grouping, listing
from tamis.corpus.shards import group_key
from tamis.graph.held_back import held_back

MADE = CORPUS | {"embeddings"}
NOTES = texts("cooking", 12, 40)
ROOT = group_key("web", "notes", "")


def put(graph: SmallProject, name: str, text: str) -> None:
    """Write a small file of the folder notes/, whole."""
    path = graph.landing / "notes" / name
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{name}.tmp")
    part.write_text(text)
    os.replace(part, path)


def put_all(graph: SmallProject, count: int = 12) -> None:
    for number, text in enumerate(NOTES[:count]):
        put(graph, f"n{number:02d}.txt", text)


def shards(graph: SmallProject, asset: str = "documents") -> set[str]:
    return {key for name, key in graph.current if name == asset}


def groups(graph: SmallProject) -> set[str]:
    return {key for key in shards(graph) if ":" in key}


def files(graph: SmallProject) -> set[str]:
    """Keys of the files of notes/ that have a document."""
    return {key for key in graph.rows("occurrences")["shard"] if "notes" in key}


def read_of(graph: SmallProject) -> dict[str, int]:
    """How many files were read when each group was made last."""
    events = [one for one in graph.events() if one.asset == "documents" and ":" in one.partition]
    return {one.partition: one.metadata["files_read"] for one in events}


@pytest.fixture
def notes(graph) -> SmallProject:
    put_all(graph)
    graph.make(MADE)
    return graph


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the small files that are read from here on."""
    from assets import corpus
    from tamis.corpus import documents

    found: list[str] = []
    before = documents.read_files_of_group

    def counting(files, *others):
        found.extend(file.name for file in files)
        return before(files, *others)

    monkeypatch.setattr(corpus, "read_files_of_group", counting)
    return found


def test_the_files_of_a_folder_are_one_shard_and_each_is_named(notes):
    assert groups(notes) == {"web:notes"}
    assert len(files(notes)) == 12
    notes.assert_sound(MADE)
    notes.make(MADE)  # which writes a cache
    before = notes.state()
    notes.make(MADE)
    assert notes.state() == before


def test_a_changed_file_is_read_alone(notes, reads):
    vectors = notes.rows("documents")["doc_id"]
    put(notes, "n03.txt", "something else that is long enough to be a document of its own")
    put(notes, "n12.txt", "a file that has just come and is long enough to be a document, too")
    notes.make(MADE)
    assert reads == ["notes/n03.txt", "notes/n12.txt"]
    assert len(set(notes.rows("documents")["doc_id"]) - set(vectors)) == 2
    assert len(files(notes)) == 13
    notes.assert_sound(MADE)


def test_one_bad_file_costs_itself_only(notes):
    put(notes, "n01.txt", "")
    (notes.landing / "notes" / "n02.txt").write_bytes(b"\xff\xfe\x00")
    (notes.landing / "notes" / "n04.md").write_bytes(b"caf\xe9 au lait")
    notes.make(MADE)
    bad = notes.rows("quarantine").filter(notes.rows("quarantine")["shard"].str.contains("notes"))
    assert dict(bad.select("shard", "reason").iter_rows()) == {
        shard_key_of("n01.txt"): "empty_file",
        shard_key_of("n02.txt"): "wrong_encoding",
        shard_key_of("n04.md"): "wrong_encoding",
    }
    assert len(files(notes)) == 10
    put(notes, "n01.txt", NOTES[1])
    notes.make(MADE)
    assert len(files(notes)) == 11
    notes.assert_sound(MADE)


def shard_key_of(name: str) -> str:
    from tamis.corpus.shards import shard_key

    return shard_key("web", f"notes/{name}")


def test_a_deleted_file_takes_its_document_along_and_reads_nothing(notes, reads):
    (notes.landing / "notes" / "n05.txt").unlink()
    outcome = notes.make(MADE)
    assert outcome.removed == [f"documents[{shard_key_of('n05.txt')}]"]
    assert reads == []
    assert len(files(notes)) == 11
    assert NOTES[5] not in set(notes.rows("documents")["text"])
    notes.assert_sound(MADE)
    put(notes, "n05.txt", NOTES[5])
    notes.make(MADE)
    assert len(files(notes)) == 12
    notes.assert_sound(MADE)


def test_a_deleted_folder_is_held_back_by_its_files(notes):
    before, pool = files(notes), notes.rows("documents")
    for path in (notes.landing / "notes").iterdir():
        path.unlink()
    outcome = notes.make(MADE)
    assert outcome.removed == []
    (held,) = held_back(notes.snapshot, notes.current)
    assert (held.name, "12 files" in held.found, "12 documents" in held.goes) == ("web", True, True)
    assert notes.rows("documents").equals(pool)
    put(notes, "n00.txt", NOTES[0])
    put(notes, "n20.txt", "another one that comes while the others are held back, long enough")
    notes.make(MADE)
    assert files(notes) == {*before, shard_key_of("n20.txt")}
    notes.assert_sound(MADE, amber=True)
    outcome = notes.try_making(MADE, allowed=["web"])
    assert not outcome.failed
    assert files(notes) == {shard_key_of("n00.txt"), shard_key_of("n20.txt")}
    notes.assert_sound(MADE)
    for name in ("n00.txt", "n20.txt"):
        (notes.landing / "notes" / name).unlink()
    assert not notes.try_making(MADE, allowed=["all"]).failed
    assert (groups(notes), files(notes)) == (set(), set())
    assert not len(notes.rows("grouped_files"))
    notes.assert_sound(MADE)


def test_a_moved_file_is_no_loss_and_is_embedded_once(notes, reads):
    pool, vectors = set(notes.rows("documents")["doc_id"]), notes.rows("documents")
    (notes.landing / "others").mkdir()
    for number in range(12):
        os.replace(
            notes.landing / "notes" / f"n{number:02d}.txt", notes.landing / "others" / f"n{number:02d}.txt"
        )
    notes.make(MADE)
    notes.make(MADE)
    assert set(notes.rows("documents")["doc_id"]) == pool
    assert notes.rows("documents").equals(vectors)
    assert groups(notes) == {"web:others"}
    notes.assert_sound(MADE)


def test_a_group_that_outgrows_the_limit_is_divided_and_nothing_is_read_again(notes, reads, monkeypatch):
    before = notes.rows("documents"), notes.rows("occurrences")
    monkeypatch.setattr(grouping, "MOST_FILES", 12)
    put(notes, "n12.txt", "a file more than a group may hold, which is long enough to be a document")
    outcome = notes.make(MADE)
    assert outcome.removed == []
    assert reads == ["notes/n12.txt"]
    assert groups(notes) == {group_key("web", "notes", digit) for digit in digits(notes)}
    assert len(groups(notes)) > 1
    assert shards(notes, "embeddings") == shards(notes)
    assert set(before[1].rows()) <= set(notes.rows("occurrences").rows())
    notes.assert_sound(MADE)
    (notes.landing / "notes" / "n12.txt").unlink()
    notes.make(MADE)
    assert groups(notes) == {"web:notes"}
    assert (notes.rows("documents").equals(before[0]), reads) == (True, ["notes/n12.txt"])
    assert notes.rows("occurrences").equals(before[1])
    notes.assert_sound(MADE)


def digits(graph: SmallProject) -> set[str]:
    names = [f"notes/{path.name}" for path in (graph.landing / "notes").iterdir()]
    return {grouping.path_hash(name)[0] for name in names}


def test_a_file_that_grows_leaves_its_group_and_comes_back(notes):
    put(notes, "n03.txt", "word " * 20_000)
    notes.make(MADE)
    assert shard_key_of("n03.txt") in shards(notes)
    assert len(files(notes)) == 12
    notes.assert_sound(MADE)
    put(notes, "n03.txt", NOTES[3])
    outcome = notes.make(MADE)
    assert outcome.removed == []
    assert shard_key_of("n03.txt") not in shards(notes)
    assert len(files(notes)) == 12
    notes.assert_sound(MADE)


def test_a_home_with_a_shard_a_file_is_taken_over_without_a_loss(graph, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(listing, "is_one_text", lambda name: False)
        put_all(graph)
        (graph.landing / "notes" / "bad.txt").write_bytes(b"caf\xe9")
        graph.make()
    gone = graph.rows("documents").filter(graph.rows("documents")["text"] == NOTES[7])["doc_id"][0]
    graph.withdraw([gone])
    versions, tables = (
        graph.versions(),
        {name: graph.rows(name) for name in ("documents", "occurrences", "quarantine")},
    )
    assert shard_key_of("n00.txt") in shards(graph)
    encoded = embedded(graph)
    outcome = graph.make()
    assert outcome.removed == []
    assert groups(graph) == {"web:notes"}
    assert shard_key_of("n00.txt") not in {key for _asset, key in graph.current}
    for name, frame in tables.items():
        assert graph.rows(name).equals(frame), name
    assert embedded(graph).equals(encoded)
    assert held_back(graph.snapshot, graph.current) == []
    graph.assert_sound()
    graph.make()
    before_again = graph.state()
    graph.make()
    assert graph.state() == before_again
    assert set(graph.instance.get_dynamic_partitions("shards")) == shards(graph)
    del versions


def embedded(graph: SmallProject):
    from projects import VECTORS

    return graph.rows(VECTORS)


def test_a_withdrawn_file_of_a_group_is_refused_when_it_comes_again(notes, reads):
    doc_id = notes.rows("documents").filter(notes.rows("documents")["text"] == NOTES[2])["doc_id"][0]
    notes.withdraw([doc_id])
    notes.make(MADE)
    assert reads == []
    assert doc_id not in set(notes.rows("documents")["doc_id"])
    put(notes, "copy.txt", NOTES[2])
    notes.make(MADE)
    assert reads == ["notes/copy.txt"]
    assert doc_id not in set(notes.rows("documents")["doc_id"])
    places = notes.store.read("withdrawn_places")
    assert {key for key in places["shard"]} == {shard_key_of("n02.txt"), shard_key_of("copy.txt")}
    notes.assert_sound(MADE)


def test_an_altered_row_of_a_file_is_found_and_not_taken_over(notes, reads):
    frame = notes.store.read("occurrences", where=f"shard = '{shard_key_of('n04.txt')}'")
    altered = frame.with_columns(source=frame["source"] + "x")
    notes.store.merge("occurrences", altered.to_arrow().cast(notes.store.schema("occurrences")))
    assert notes.audit().nodes["documents[web:notes]"].status == "red"
    put(notes, "n12.txt", "another file that is long enough to be a document of this corpus")
    notes.make(MADE)
    assert reads == ["notes/n04.txt", "notes/n12.txt"]
    notes.assert_sound(MADE)


def test_the_sensors_take_one_more_file_into_its_group(graph, reads):
    put_all(graph)
    graph.make()
    reads.clear()
    put(graph, "n12.txt", "a file that is dropped while the sensors look, long enough for a document")
    graph.until_rest()
    assert reads == ["notes/n12.txt"]
    (graph.landing / "notes" / "n06.txt").unlink()
    graph.until_rest()
    assert reads == ["notes/n12.txt"]
    assert len(files(graph)) == 12
    graph.assert_sound()


def test_files_that_are_written_wait_alone(new_graph):
    graph = new_graph("slow")
    write(graph.landing / "more.jsonl", lines(texts("sailing", 3, 3)))
    put_all(graph, 3)
    graph.make(CORPUS)
    graph.reconfigure("settle_seconds = 0.0", "settle_seconds = 1000.0")
    put(graph, "n03.txt", NOTES[3])
    put(graph, "n01.txt", "half of")
    from tamis.graph.scan import scan

    snapshot = scan(graph.project)
    assert set(snapshot.held) == {shard_key_of("n03.txt")}
    assert snapshot.fingerprints == graph_fingerprints(graph)


def graph_fingerprints(graph: SmallProject) -> dict[str, str]:
    return {key: value.data_version for (asset, key), value in graph.current.items() if asset == "raw_shards"}
