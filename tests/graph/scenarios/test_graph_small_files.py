"""Small txt and md files share shards: fewer events, and everything else goes on file by file."""

import os
from collections.abc import Iterator

import pytest
from projects import CHOSEN, CORPUS, GRAPH, SmallProject, make_graph, texts

from tamis.corpus import intake, listing
from tamis.corpus import shards as grouping
from tamis.corpus.shards import group_key, shard_key
from tamis.history.explain import explain_document, explanation_lines, paths_in_groups, training_lines
from tamis.platform.assets import corpus
from tamis.report.summary import first_places
from tamis.retention import reconciled
from tamis.retention.held_back import held_back
from tamis.runtime import step
from tamis.scan.sources import scan

MADE = frozenset({"raw_shards", "documents"})
NOTES = texts("cooking", 12, 40)
MORE = "a file that has just come and is long enough to be a document of the corpus, too"


def put(graph: SmallProject, name: str, text: str) -> None:
    """Write a small file of the folder notes/, whole."""
    path = graph.landing / "notes" / name
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{name}.tmp")
    part.write_text(text)
    os.replace(part, path)


def put_all(graph: SmallProject) -> None:
    for number, text in enumerate(NOTES):
        put(graph, f"n{number:02d}.txt", text)


def key(name: str) -> str:
    return shard_key("web", f"notes/{name}")


def shards(graph: SmallProject, asset: str = "documents") -> set[str]:
    return {partition for name, partition in graph.current if name == asset}


def groups(graph: SmallProject) -> set[str]:
    return {partition for partition in shards(graph) if ":" in partition}


def files(graph: SmallProject) -> set[str]:
    """Return the keys of the small files that have a document."""
    return {one for one in graph.rows("occurrences")["shard"] if ".txt" in one or ".md" in one}


def id_of(graph: SmallProject, text: str) -> str:
    pool = graph.rows("documents")
    return str(pool.filter(pool["text"] == text)["doc_id"].item())


@pytest.fixture(scope="module")
def made_notes(tmp_path_factory) -> Iterator[SmallProject]:
    """A project with a folder of twelve small files, made as far as its documents."""
    made = make_graph(tmp_path_factory.mktemp("notes") / "project", None, GRAPH)
    put_all(made)
    made.make(MADE)
    yield made
    made.close()


@pytest.fixture
def notes(tmp_path, made_notes, nowhere) -> Iterator[SmallProject]:
    copied = made_notes.copy(tmp_path / "notes")
    yield copied
    copied.close()


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the small files that are read from here on."""
    found: list[str] = []
    before = corpus.read_files_of_group

    def noting(some, *others):
        found.extend(file.name.rpartition("/")[2] for file in some)
        return before(some, *others)

    monkeypatch.setattr(corpus, "read_files_of_group", noting)
    return found


def assert_rows(graph: SmallProject) -> None:
    """Check that tables and manifests agree on the pool, and that no note is left of what is gone."""
    graph.assert_sound(MADE)
    nodes = graph.audit().nodes.values()
    assert {node.name for node in nodes if node.status == "red"} == set()
    assert set(graph.rows("grouped_files")["part_of"]) == groups(graph)


def test_a_second_run_makes_nothing(notes):
    assert (groups(notes), len(files(notes))) == ({"web:notes"}, 12)
    assert_rows(notes)
    notes.make(MADE)  # which writes a cache
    before = notes.state()
    notes.make(MADE)
    assert notes.state() == before


def test_a_changed_file_is_read_alone(notes, reads):
    before = notes.rows("documents")
    put(notes, "n03.txt", "something else that is long enough to be a document of its own")
    put(notes, "n12.txt", MORE)
    notes.make(MADE)
    assert reads == ["n03.txt", "n12.txt"]
    assert (len(notes.rows("documents")), len(files(notes))) == (len(before) + 1, 13)
    assert notes.manifest("documents", "web:notes").row_count == 13
    assert_rows(notes)


def test_explain_names_the_file_as_a_row_of_its_group(notes):
    found = explain_document(notes.home, id_of(notes, NOTES[3]))
    assert found["occurrences"] == [{"shard": "web:notes", "row": "n03.txt", "source": "notes/n03.txt"}]


def test_a_person_reads_the_path_of_a_small_file(notes):
    found = explain_document(notes.home, id_of(notes, NOTES[3]))
    corpora = notes.project.settings.corpus
    for sections, path in ((corpora, "landing/notes/n03.txt"), ((), "notes/n03.txt")):
        paths = paths_in_groups(notes.home.store, sections, found["occurrences"])
        assert f"  found in {path}" in explanation_lines(found, {}, paths)
    trained = {"checkpoint": "small", "how": "fine-tuned on", "data": "documents", "documents": []}
    trained["documents"] = [{"doc_id": "0f", "training_count": 1, "occurrences": found["occurrences"]}]
    paths = paths_in_groups(notes.home.store, corpora, found["occurrences"])
    lines = training_lines({"checkpoint": "small", "manifest": "1" * 64, "stages": [trained]}, paths)
    assert lines[-1] == "    0f  landing/notes/n03.txt"


def test_the_best_documents_of_a_selection_are_named_by_the_path_of_a_small_file(notes):
    doc_id = id_of(notes, NOTES[3])
    assert first_places(notes.project, [doc_id]) == {doc_id: "found in landing/notes/n03.txt"}


def test_one_bad_file_costs_itself_only(notes):
    put(notes, "n01.txt", "")
    (notes.landing / "notes" / "n02.txt").write_bytes(b"\xff\xfe\x00")
    (notes.landing / "notes" / "n12.md").write_bytes(b"caf\xe9 au lait")
    notes.make(MADE)
    bad = notes.rows("quarantine")
    bad = bad.filter(bad["row"] == -1)
    assert dict(bad.select("shard", "reason").iter_rows()) == {
        key("n01.txt"): "empty_file",
        key("n02.txt"): "wrong_encoding",
        key("n12.md"): "wrong_encoding",
    }
    assert len(files(notes)) == 10
    put(notes, "n01.txt", NOTES[1])
    notes.make(MADE)
    assert len(files(notes)) == 11
    assert_rows(notes)


def test_a_deleted_file_takes_its_document_along_and_reads_nothing(notes, reads):
    (notes.landing / "notes" / "n05.txt").unlink()
    assert notes.make(MADE).removed == [f"documents[{key('n05.txt')}]"]
    assert (reads, len(files(notes))) == ([], 11)
    assert NOTES[5] not in set(notes.rows("documents")["text"])
    assert_rows(notes)


def test_a_deleted_folder_is_held_back_by_its_files(notes):
    before, pool = files(notes), notes.rows("documents")
    for path in (notes.landing / "notes").iterdir():
        path.unlink()
    assert notes.make(MADE).removed == []
    (held,) = held_back(notes.snapshot, notes.current)
    assert (held.name, held.goes) == ("web", "all documents of these files (12)")
    assert "12 files" in held.found
    assert notes.rows("documents").equals(pool)
    put(notes, "n00.txt", NOTES[0])
    put(notes, "n12.txt", MORE)
    notes.make(MADE)
    assert files(notes) == {*before, key("n12.txt")}
    assert not notes.try_making(MADE, allowed=["web"]).failed
    assert files(notes) == {key("n00.txt"), key("n12.txt")}
    for name in ("n00.txt", "n12.txt"):
        (notes.landing / "notes" / name).unlink()
    assert not notes.try_making(MADE, allowed=["all"]).failed
    assert (groups(notes), files(notes)) == (set(), set())
    assert_rows(notes)


def test_a_folder_that_left_is_withdrawn_by_the_key_of_its_group(notes):
    kept = NOTES[0]
    put(notes, "n12.md", kept)
    for number in range(12):
        (notes.landing / "notes" / f"n{number:02d}.txt").unlink()
    assert not notes.try_making(MADE, allowed=["web"]).failed
    (notes.landing / "notes" / "n12.md").rename(notes.landing / "moved.md")
    assert not notes.try_making(MADE, allowed=["all"]).failed
    assert groups(notes) == {"web:."}
    done = notes.withdraw([], ["web:notes"])
    assert len(done.new) == len(done.departed) == 11
    files = [path.read_bytes() for path in notes.home.root.rglob("*") if path.is_file()]
    assert [any(text.encode() in one for one in files) for text in NOTES] == [True] + [False] * 11


@pytest.mark.slow
def test_a_corpus_that_left_the_settings_keeps_its_groups_until_it_is_let_go(notes):
    before = notes.rows("occurrences")
    notes.reconfigure('name = "web"', 'name = "other"')
    notes.reconfigure('path = "landing"', 'path = "elsewhere"')
    (notes.root / "elsewhere").mkdir()
    (notes.root / "elsewhere" / "one.txt").write_text(MORE)
    assert notes.make(MADE).removed == []
    assert set(before.rows()) < set(notes.rows("occurrences").rows())
    assert groups(notes) == {"web:notes", "other:."}
    assert not notes.try_making(MADE, allowed=["web"]).failed
    assert groups(notes) == {"other:."}
    assert files(notes) == {"other__one.txt"}
    assert_rows(notes)


@pytest.mark.slow
def test_moved_files_are_no_loss(notes):
    pool = notes.rows("documents")
    os.replace(notes.landing / "notes", notes.landing / "others")
    notes.make(MADE)
    notes.make(MADE)
    assert notes.rows("documents").equals(pool)
    assert groups(notes) == {"web:others"}
    assert_rows(notes)


def test_a_group_that_outgrows_the_limit_is_divided_and_nothing_is_read_again(notes, reads, monkeypatch):
    before = notes.rows("documents"), notes.rows("occurrences")
    monkeypatch.setattr(grouping, "MOST_FILES", 12)
    put(notes, "n12.txt", MORE)
    assert notes.make(MADE).removed == []
    assert reads == ["n12.txt"]
    names = [f"notes/{path.name}" for path in (notes.landing / "notes").iterdir()]
    assert groups(notes) == {group_key("web", "notes", grouping.path_hash(name)[0]) for name in names}
    assert set(before[1].rows()) < set(notes.rows("occurrences").rows())
    assert_rows(notes)
    (notes.landing / "notes" / "n12.txt").unlink()
    notes.make(MADE)
    assert (groups(notes), reads) == ({"web:notes"}, ["n12.txt"])
    assert notes.rows("documents").equals(before[0])
    assert notes.rows("occurrences").equals(before[1])
    assert_rows(notes)


@pytest.mark.slow
def test_a_file_that_grows_leaves_its_group_and_comes_back(notes):
    put(notes, "n03.txt", "word " * 20_000)
    notes.make(MADE)
    assert key("n03.txt") in shards(notes)
    assert_rows(notes)
    put(notes, "n03.txt", NOTES[3])
    assert notes.make(MADE).removed == []
    assert (key("n03.txt") in shards(notes), len(files(notes))) == (False, 12)
    assert_rows(notes)


def as_before(graph: SmallProject, monkeypatch: pytest.MonkeyPatch, only: frozenset[str]) -> None:
    """Make the project as it was made while each file was a shard."""
    with monkeypatch.context() as patched:
        patched.setattr(listing, "is_one_text", lambda name: False)
        put_all(graph)
        (graph.landing / "notes" / "bad.txt").write_bytes(b"caf\xe9")
        graph.make(only)
    assert groups(graph) == set()


@pytest.mark.slow
def test_a_home_with_a_shard_a_file_is_taken_over_without_a_loss(new_graph, monkeypatch):
    graph, only = new_graph("before"), CORPUS | {"embeddings"}
    as_before(graph, monkeypatch, only)
    graph.withdraw([id_of(graph, NOTES[7])])
    made = {name: graph.rows(name) for name in graph.store.names() if "embeddings" in name}
    tables = {name: graph.rows(name) for name in ("documents", "occurrences", "quarantine")}
    assert graph.make(only).removed == []
    assert groups(graph) == {"web:notes"}
    assert {one for _asset, one in graph.current if "notes" in one} == {"web:notes"}
    for name, frame in (made | tables).items():
        assert graph.rows(name).equals(frame), name
    assert held_back(graph.snapshot, graph.current) == []
    assert set(graph.instance.get_dynamic_partitions("shards")) == shards(graph)
    assert_rows(graph)


@pytest.mark.slow
def test_a_run_that_is_killed_while_files_change_their_groups_is_resumed(tmp_path, new_graph, monkeypatch):
    graph, copies = new_graph("killed"), []
    as_before(graph, monkeypatch, MADE)
    monkeypatch.setattr(grouping, "MOST_FILES", 6)

    def change() -> None:
        put(graph, "n12.txt", MORE)
        put(graph, "n03.txt", f"{MORE} indeed")
        (graph.landing / "notes" / "n05.txt").unlink()

    def photographed(owner, name):
        before = getattr(owner, name)

        def photographing(*given, **named):
            copies.append(graph.copy(tmp_path / f"copy-{len(copies)}"))
            return before(*given, **named)

        monkeypatch.setattr(owner, name, photographing)

    photographed(step, "write_current_values")
    photographed(intake._Group, "_note_files")
    photographed(intake, "note_places")
    photographed(corpus, "forget_regrouped")
    photographed(reconciled, "forget_current_values")
    graph.make(MADE)  # all files come into groups
    change()
    graph.make(MADE)
    monkeypatch.undo()
    monkeypatch.setattr(grouping, "MOST_FILES", 6)
    assert len(copies) > 6
    names = ("documents", "occurrences", "quarantine", "grouped_files")
    for copy in copies[:: max(1, len(copies) // 6)]:
        for name in ("n03.txt", "n05.txt", "n12.txt"):
            path = graph.landing / "notes" / name
            (copy.landing / "notes" / name).unlink(missing_ok=True)
            if path.exists():
                put(copy, name, path.read_text())
        copy.make(MADE)
        assert all(copy.rows(name).equals(graph.rows(name)) for name in names)
        assert copy.versions() == graph.versions()
        assert_rows(copy)
        copy.close()


def test_a_withdrawn_file_of_a_group_is_refused_when_it_comes_again(notes, reads):
    doc_id = id_of(notes, NOTES[2])
    notes.withdraw([doc_id])
    notes.make(MADE)
    assert reads == []
    put(notes, "copy.txt", NOTES[2])
    notes.make(MADE)
    assert reads == ["copy.txt"]
    assert doc_id not in set(notes.rows("documents")["doc_id"])
    assert set(notes.rows("withdrawn_places")["shard"]) == {key("n02.txt"), key("copy.txt")}
    assert_rows(notes)
    notes.withdraw([], shards=["web:notes"])
    notes.make(MADE)
    assert files(notes) == set()
    assert_rows(notes)


def test_an_altered_row_of_a_file_is_read_again_and_not_taken_over(notes, reads):
    frame = notes.store.read("occurrences", where=f"shard = '{key('n04.txt')}'")
    altered = frame.with_columns(source=frame["source"] + "x")
    notes.store.merge("occurrences", altered.to_arrow().cast(notes.store.schema("occurrences")))
    notes.store.delete("occurrences", f"shard = '{key('n06.txt')}'")
    red = {node.name for node in notes.audit().nodes.values() if node.status == "red"}
    assert "documents[web:notes]" in red
    put(notes, "n12.txt", MORE)
    notes.make(MADE)
    assert reads == ["n04.txt", "n06.txt", "n12.txt"]
    assert len(files(notes)) == 13
    assert_rows(notes)


def test_files_that_are_being_written_wait_alone(notes):
    before = {
        one: value.data_version for (asset, one), value in notes.current.items() if asset == "raw_shards"
    }
    notes.reconfigure("settle_seconds = 0.0", "settle_seconds = 1000.0")
    put(notes, "n12.txt", NOTES[3])
    put(notes, "n01.txt", "half of")
    snapshot = scan(notes.project)
    assert set(snapshot.held) == {key("n12.txt")}
    assert snapshot.fingerprints == before


@pytest.mark.slow
def test_the_sensors_take_one_more_file_into_its_group(graph, reads):
    put_all(graph)
    graph.make()
    reads.clear()
    put(graph, "n12.txt", MORE)
    graph.until_rest()
    assert reads == ["n12.txt"]
    (graph.landing / "notes" / "n06.txt").unlink()
    graph.until_rest()
    assert (reads, len(files(graph))) == (["n12.txt"], 12)
    graph.assert_sound(amber=True)


@pytest.mark.slow
def test_the_sensors_take_over_a_home_with_a_shard_a_file(graph, monkeypatch):
    as_before(graph, monkeypatch, CHOSEN)
    pool, chosen = graph.rows("documents"), graph.rows("decisions")
    graph.until_rest()
    assert {one for _asset, one in graph.current if "notes" in one} == {"web:notes"}
    assert graph.rows("documents").equals(pool)
    assert (
        graph.rows("decisions")
        .select("selection", "doc_id", "verdict")
        .equals(chosen.select("selection", "doc_id", "verdict"))
    )
    assert set(graph.instance.get_dynamic_partitions("shards")) == shards(graph)
    graph.assert_sound(amber=True)
