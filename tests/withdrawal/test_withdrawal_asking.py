"""What a shard, source or corpus is to a withdrawal: all that is stored of it, whatever is listed now."""

import pytest
from projects import plain_project, rows_of, settings
from withdrawal_home import IDS

from tamis.base.errors import UnknownNameError
from tamis.corpus.listing import ListingError
from tamis.store.home import Home
from tamis.withdrawal import telling
from tamis.withdrawal.asking import Asked, Asking, WithdrawalReason, corpora_of_shards
from tamis.withdrawal.telling import NOTHING_FOUND, files_there, preview_lines, withdrawn_lines
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
