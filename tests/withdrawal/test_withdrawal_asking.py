"""What a shard, source or corpus is to a withdrawal: all that is stored of it, whatever is listed now."""

import json
from datetime import datetime

import pytest
from projects import plain_project, rows_of, settings
from withdrawal_home import IDS, TEXTS

from tamis.base.errors import UnknownNameError
from tamis.corpus.listing import ListingError
from tamis.readers.text import loose_id
from tamis.store.erasing import forget_versions
from tamis.store.home import Home
from tamis.store.withdrawn import read_withdrawals
from tamis.withdrawal import telling
from tamis.withdrawal.asking import Asked, Asking, WithdrawalReason, corpora_of_shards
from tamis.withdrawal.telling import (
    NOTHING_FOUND,
    files_there,
    preview_lines,
    withdrawn_json,
    withdrawn_lines,
)
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import preview, withdraw

REASON = WithdrawalReason.COPYRIGHT


def named(home: Home, verb: str, *values) -> Asked:
    asking = Asking(store=home.store)
    getattr(asking, verb)(*values)
    return asking.done()


def test_a_corpus_is_what_is_stored_of_it_not_what_is_listed(home):
    assert named(home, "corpus", "web", {"web__a": "web"}).doc_ids == sorted(IDS)
    assert named(home, "corpus", "web", {}).doc_ids == sorted(IDS)
    bad = {"shard": "news__bad", "row": 0, "reason": "malformed_row", "detail": "", "excerpt": "no JSON"}
    home.store.append("quarantine", rows_of("quarantine", [bad, bad | {"shard": "target/goal/b.jsonl"}]))
    assert list(named(home, "corpus", "news", {}).shards) == ["news__bad"]
    with pytest.raises(UnknownNameError) as refused:
        named(home, "corpus", "nwes", {"more__c": "more"}, ["later"])
    assert refused.value.valid == ["later", "more", "news", "web"]


def test_the_corpus_of_a_file_is_the_one_that_was_noted(home):
    home.store.append("shard_files", rows_of("shard_files", [{"shard": "web__b", "corpus": "web__b.old"}]))
    small = {"shard": "notes__x.txt-0a1b2c3d", "part_of": "my:notes:", "corpus": "my.notes"}
    home.store.append("grouped_files", rows_of("grouped_files", [small]))
    place = {"shard": small["shard"], "row": 0, "doc_id": IDS[3], "source": "x.txt"}
    home.store.append("occurrences", rows_of("occurrences", [place]))
    assert corpora_of_shards(home.store) == {
        "web__a": "web",
        "web__b": "web__b.old",
        small["shard"]: "my.notes",
    }
    assert named(home, "corpus", "web", {}).doc_ids == sorted([*IDS[:3], IDS[5]])
    assert named(home, "corpus", "web__b.old", {}).doc_ids == sorted(IDS[3:])
    assert named(home, "corpus", "my.notes", {}).doc_ids == [IDS[3]]


def test_a_corpus_of_which_nothing_is_stored_is_found_nothing_of(home):
    asked = named(home, "corpus", "later", {}, ["later"])
    assert preview_lines(preview(home, asked)) == [NOTHING_FOUND]
    done = withdraw(home, asked, REASON)
    assert done.found_nothing
    assert withdrawn_lines(done, [], True) == [NOTHING_FOUND]


def test_a_dry_run_names_the_paths_of_files_and_the_key_of_a_file_that_is_gone(home):
    found = preview(home, named(home, "corpus", "web", {}))
    lines = preview_lines(found, {"web__a": "documents/a.jsonl"})
    assert any(line.startswith("  documents/a.jsonl: ") for line in lines)
    assert any(line.startswith("  web__b: ") for line in lines)


@pytest.mark.parametrize(
    ("verb", "values"),
    [("shard", ["web__b"]), ("source", ["web__b.jsonl"]), ("corpus", ["web", {}])],
)
def test_a_name_of_which_all_was_withdrawn_asks_for_it_again(home, verb, values):
    first = withdraw(home, named(home, verb, *values), REASON)
    again = withdraw(home, named(home, verb, *values), REASON)
    assert again.already == first.new
    assert not again.found_nothing
    assert withdrawn_lines(again, [], True)[0].startswith("nothing to do: all of this is already withdrawn")


def test_a_corpus_that_cannot_be_listed_stops_no_withdrawal(tmp_path, monkeypatch, capsys):
    def unlisted(project):
        raise ListingError("web", tmp_path, "not mounted")

    monkeypatch.setattr(telling, "scan", unlisted)
    assert files_there(plain_project(tmp_path / "project", settings(), {}).project) == {}
    assert "not mounted" in capsys.readouterr().err


def left(home: Home, *shards: str) -> None:
    """Let files leave: their rows, and the documents that no other file has, are in old versions alone."""
    home.store.delete("occurrences", f"shard IN ({', '.join(map(repr, shards))})")
    stays = set(home.store.read("occurrences", ["doc_id"])["doc_id"])
    for doc_id in set(IDS) - stays:
        home.store.delete("documents", f"doc_id = '{doc_id}'")


def shown(home: Home, text: str) -> list[str]:
    """Names of the files of the home that have the bytes of a text."""
    files = (path for path in home.root.rglob("*") if path.is_file())
    return [path.name for path in files if text.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("verb", "values"),
    [("shard", ["web__b"]), ("source", ["web__b.jsonl"]), ("corpus", ["web", {}])],
)
def test_what_left_before_is_found_in_old_versions_and_goes_from_them(home, verb, values):
    """The last document is in both files, so it stays while the other file has it, unless that goes too."""
    left(home, "web__b")
    assert shown(home, TEXTS[3])
    bad = {"shard": "news__bad", "row": 0, "reason": "malformed_row", "detail": "", "excerpt": TEXTS[4][:50]}
    home.store.append("quarantine", rows_of("quarantine", [bad]))
    asked = named(home, verb, *values)
    expected = sorted(IDS) if verb == "corpus" else sorted(IDS[3:5])
    assert asked.doc_ids == expected
    assert sorted(asked.departed) == sorted(IDS[3:5])
    assert preview(home, asked).unknown == []
    assert "left all files, but in earlier versions of tables: 2 documents" in str(
        preview_lines(preview(home, asked))
    )
    done = withdraw(home, asked, REASON)
    assert (done.new, done.unknown, done.excerpts) == (expected, [], 1)
    assert "2 documents had left all files before" in str(withdrawn_lines(done, [], True))
    assert [shown(home, text) for text in TEXTS[3:5]] == [[], []]
    assert shown(home, TEXTS[0]) == ([] if verb == "corpus" else shown(home, TEXTS[1]))
    loose = read_withdrawals(home.store, f"doc_id = '{IDS[3]}'")["loose_id"].to_list()
    assert loose == [loose_id(TEXTS[3])]
    assert verify(home).holds


def test_what_another_corpus_has_now_is_not_withdrawn_with_the_one_that_it_left(home):
    place = {"shard": "news__c", "row": 0, "doc_id": IDS[3], "source": "c.jsonl"}
    home.store.append("occurrences", rows_of("occurrences", [place]))
    left(home, "web__a", "web__b")
    asked = named(home, "corpus", "web", {})
    assert asked.doc_ids == sorted({*IDS} - {IDS[3]})
    withdraw(home, asked, REASON)
    assert [bool(shown(home, text)) for text in TEXTS] == [number == 3 for number in range(6)]


def test_a_corpus_of_which_no_version_says_anything_leaves_no_old_version(home):
    """The index has been compacted since, but not the table of texts."""
    note = {"removal": "1", "entries": json.dumps(["documents[web__a]", "documents[web__b]"])}
    note |= {"begun_at": datetime(2026, 1, 1), "ended_at": datetime(2026, 1, 1), "allowed": "[]"}
    home.store.append("removals", rows_of("removals", [note]))
    left(home, "web__a", "web__b")
    forget_versions(home.store, "occurrences")
    assert shown(home, TEXTS[0])
    asked = named(home, "corpus", "web", {})
    assert (asked.doc_ids, asked.of_places) == ([], True)
    done = withdraw(home, asked, REASON)
    said = withdrawn_lines(done, [], True)
    assert said[0].startswith("removed what may be left of it: 0 rows, and old versions of ")
    assert [shown(home, text) for text in TEXTS] == [[]] * 6
    assert withdraw(home, asked, REASON).found_nothing


GROUP = "web:notes"
NOTES = ["web__notes-a.txt-0a1b2c3d", "web__notes-b.txt-0a1b2c3d"]


@pytest.fixture
def grouped(home) -> Home:
    """The home with a folder of two small files, which hold a document each that no other file has."""
    home.store.delete("occurrences", f"doc_id IN ('{IDS[0]}', '{IDS[1]}')")
    files = [{"shard": key, "part_of": GROUP, "corpus": "web"} for key in NOTES]
    home.store.append("grouped_files", rows_of("grouped_files", files))
    places = [{"shard": key, "row": 0, "doc_id": one} for key, one in zip(NOTES, IDS[:2], strict=True)]
    home.store.append("occurrences", rows_of("occurrences", places))
    return home


def left_group(home: Home, *files: str) -> None:
    """Let small files leave, as a removal does: the notes on them go, too."""
    left(home, *files)
    home.store.delete("grouped_files", f"shard IN ({', '.join(map(repr, files))})")
    note = {"removal": "1", "entries": json.dumps([f"documents[{one}]" for one in (*files, GROUP)])}
    note |= {"begun_at": datetime(2026, 1, 1), "ended_at": datetime(2026, 1, 1), "allowed": "[]"}
    home.store.append("removals", rows_of("removals", [note]))


@pytest.mark.parametrize("files", [NOTES, NOTES[:1]])
def test_files_that_left_a_group_are_found_in_old_versions(grouped, files):
    left_group(grouped, *files)
    asked = named(grouped, "shard", GROUP)
    assert asked.doc_ids == sorted(IDS[:2])
    assert sorted(asked.departed) == sorted(IDS[: len(files)])
    done = withdraw(grouped, asked, REASON)
    assert (done.new, done.unknown) == (sorted(IDS[:2]), [])
    assert [bool(shown(grouped, text)) for text in TEXTS] == [False] * 2 + [True] * 4
    assert verify(grouped).holds


def test_a_group_that_left_and_of_which_no_version_says_anything_leaves_no_old_version(grouped):
    left_group(grouped, *NOTES)
    forget_versions(grouped.store, "occurrences")
    forget_versions(grouped.store, "grouped_files")
    assert shown(grouped, TEXTS[0])
    done = withdraw(grouped, named(grouped, "shard", GROUP), REASON)
    assert withdrawn_lines(done, [], True)[0].startswith("removed what may be left of it: ")
    assert [shown(grouped, text) for text in TEXTS[:2]] == [[], []]


def test_a_document_of_a_group_that_another_file_has_now_stays(grouped):
    place = {"shard": "web__a", "row": 9, "doc_id": IDS[0]}
    grouped.store.append("occurrences", rows_of("occurrences", [place]))
    left_group(grouped, *NOTES)
    assert named(grouped, "shard", GROUP).doc_ids == [IDS[1]]


def test_a_group_that_never_was_is_unknown(grouped):
    with pytest.raises(UnknownNameError):
        named(grouped, "shard", "web:others")


def test_a_given_text_that_is_stored_with_other_white_space_is_said_to_stay(home):
    """As somebody copies it from a page; the whole text is stored under another id."""
    asked = named(home, "text", TEXTS[0].replace(" ", "\n", 1).upper(), "page.txt")
    said = f"document {IDS[0]} differs from withdrawn document {asked.doc_ids[0]} only in case or white space"
    assert said in str(preview_lines(preview(home, asked)))
    done = withdraw(home, asked, REASON)
    assert said in str(withdrawn_lines(done, [], True))
    assert withdrawn_json(done, [])["other_case_or_spaces"] == {IDS[0]: asked.doc_ids[0]}
    assert home.store.count("documents") == len(IDS)
