"""Notes on held-back losses: permissions hold once, and a corpus that left tamis.toml is named."""

from dataclasses import replace

import pytest
from projects import CORPUS, plain_project, settings, write_jsonl

from tamis.corpus.intake import ShardShrunkError
from tamis.graph import reconciliation
from tamis.graph.held_back import held_back
from tamis.graph.removal_names import FILE, allows
from tamis.graph.scan import scan
from tamis.graph.shrunken_files import forget_shrunken, note_shrunken, read_shrunken
from tamis.graph.snapshot import Shrunken

A, B = "web__a", "web__b"


def shrunken(shard: str, allowed: bool) -> Shrunken:
    return Shrunken(
        shard=shard, input_key="k", before=100, now=3, bad_rows={"empty_text": 2}, allowed=allowed
    )


def test_a_permission_is_forgotten_once_its_file_was_read(imagined):
    store = imagined.project.home.store
    noted = {A: shrunken(A, allowed=True), B: shrunken(B, allowed=False)}
    note_shrunken(store, list(noted.values()))
    assert read_shrunken(store, [A, B]) == noted
    forget_shrunken(store, [A])
    assert read_shrunken(store, [A, B]) == {B: noted[B]}


def test_a_corpus_that_left_the_settings_is_named_with_the_command_that_lets_it_go(imagined):
    lost = replace(imagined.snapshot(), absent={"old__a": "old", "old__b": "old"})
    (found,) = held_back(lost, {})
    assert (found.kind, found.name) == ("corpus", "old")
    assert found.found == "corpus 'old' is no longer in tamis.toml; it had 2 files (old__a, old__b)"
    assert found.line.endswith("`tamis materialize --allow-removal old`")
    (found,) = held_back(replace(lost, absent={A: "web"}), {})
    assert found.found == f"corpus 'web' lost 1 file ({A})"


def test_a_file_loses_documents_and_a_group_files_with_a_document():
    words = "the number of small files with a document in"
    for key, found, file in (
        (A, "the number of documents in file web__a", "the file"),
        ("web:notes", f"{words} notes/ of corpus web", "the files"),
        ("web:.", f"{words} corpus web", "the files"),
        ("web:.:3f", f"{words} shard web:.:3f", "the files"),
    ):
        assert shrunken(key, allowed=False).found.startswith(f"{found} fell from 100 to 3 (")
        said = str(ShardShrunkError(key, 100, 3, {}))
        assert said.startswith(f"{found} fell from 100 to 3, so the documents stored earlier are kept")
        assert f"Restore {file}, or" in said
        assert said.endswith(f"`tamis materialize --allow-removal file:{key}`")
        assert allows({f"file:{key}"}, FILE, key)


class KilledError(BaseException):
    """The process died."""


def test_a_removal_that_was_killed_and_undone_allows_no_later_loss(tmp_path, monkeypatch):
    """The sensors alone see that the files are back."""
    graph, folder = plain_project(tmp_path, settings()), tmp_path / "documents"
    write_jsonl(folder / "b.jsonl", ["documents two"])
    graph.make(CORPUS)
    assert graph.arrive() == "no changes"
    folder.rename(tmp_path / "away")
    folder.mkdir()

    def die(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(reconciliation, "forget_gone", die)
        with pytest.raises(KilledError):
            reconciliation.remove(scan(graph.project, allowed={"web"}), graph.current)
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    graph.arrive()
    assert graph.store.read("removals")["ended_at"].null_count() == 0
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert "--allow-removal web" in graph.arrive()
    assert graph.store.count("documents") == 2
