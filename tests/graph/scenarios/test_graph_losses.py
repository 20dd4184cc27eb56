"""Notes on held-back losses: permissions hold once, and a corpus that left tamis.toml is named."""

from dataclasses import replace

import pytest
from projects import CORPUS, corpus, due_key, note_made, plain_project, record, settings, texts, write_jsonl

from tamis.corpus import read_shard
from tamis.corpus.intake import ShardShrunkError, store_shards
from tamis.graph.snapshot import Shrunken
from tamis.retention import reconciled
from tamis.retention.held_back import held_back, note_files
from tamis.retention.losses import FILE, allows, forget_shrunken, note_shrunken, read_shrunken
from tamis.retention.reconciled import find_gone
from tamis.scan.sources import scan
from tamis.verbs.plan import plan_lines, read_plan

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


def read_project(folder, names: dict[str, int], **keys):
    """Return a project whose files, each of so many documents, were read; then its section has these keys."""
    for number, (name, documents) in enumerate(names.items()):
        write_jsonl(folder / "documents" / name, texts("algebra", documents, number))
    project = plain_project(folder, settings(corpus()), {})
    sections = project.project.settings.corpus
    shards = list(project.snapshot.shards.values())
    for _group in store_shards(project.store, [(one.key, read_shard(one, sections[0])) for one in shards]):
        pass
    note_files(project.store, shards)
    note_made(project.project, "raw_shards", *(one.key for one in shards))
    for one in shards:
        record(project.home, "documents", one.key, input_key=due_key(project.project, "documents", one.key))
    project.configure(settings(corpus(**keys)))
    return project


def test_files_that_a_section_leaves_out_are_not_said_to_be_lost(tmp_path):
    names = {f"notes/{number}.jsonl": 3 for number in range(8)} | {"a.jsonl": 3}
    project = read_project(tmp_path, names, exclude=["notes/*"])
    (found,) = held_back(project.snapshot, project.current)
    assert found.found.startswith("of corpus 'web' tamis.toml leaves out 8 files (web__notes-0.jsonl-")
    assert found.found.endswith(" and 5 more) still in the folder")
    assert (
        "nothing was removed. Take them back in (exclude or include in [[corpus]] web), or allow the removal "
        "of all documents of these files (24): `tamis materialize --allow-removal web`"
    ) in replace(found, unread=0).line
    (tmp_path / "documents" / "notes" / "3.jsonl").unlink()
    (found,) = held_back(project.snapshot, project.current)
    assert found.found.startswith("corpus 'web' lost 1 file (web__notes-3.jsonl-")
    assert "); of corpus 'web' tamis.toml leaves out 7 files (" in found.found
    assert (
        "Restore what is missing, take the others back in (exclude or include in [[corpus]] web), or allow"
    ) in replace(found, unread=0).line
    assert find_gone(project.store, project.snapshot, project.current) == [], "nothing is let go"


@pytest.mark.parametrize("keys", [{"exclude": ["b.jsonl"]}, {"include": ["[ac-z]*.jsonl"]}, {}])
def test_a_plan_says_whether_a_file_is_gone_or_left_out(tmp_path, keys):
    project = read_project(tmp_path, {"a.jsonl": 40, "b.jsonl": 2, "c.jsonl": 40}, **keys)
    if not keys:
        (tmp_path / "documents" / "b.jsonl").unlink()
    why = "tamis.toml leaves it out (exclude or include), the file is still there" if keys else ""
    first = plan_lines(read_plan(project.project))[0]
    assert first == f"removal: {why or 'its file is gone'}: documents[web__b.jsonl]"


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
        patch.setattr(reconciled, "forget_gone", die)
        with pytest.raises(KilledError):
            reconciled.remove(scan(graph.project, allowed={"web"}), graph.current)
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    graph.arrive()
    assert graph.store.read("removals")["ended_at"].null_count() == 0
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert "--allow-removal web" in graph.arrive()
    assert graph.store.count("documents") == 2
