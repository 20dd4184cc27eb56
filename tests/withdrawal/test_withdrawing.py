"""Withdrawing from a home without a run: what is named, what goes, what proves it, cut short anywhere."""

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import heads_of, manifests_of, rows_of
from withdrawal_home import IDS, TEXTS, record, train

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.corpus import Shard, document_id
from tamis.corpus.refusing import WITHHELD, refusal
from tamis.history.explain import explain_document, explanation_lines
from tamis.history.finding import UnknownDocumentError, UnknownPlaceError, document_of_place
from tamis.history.versions import VersionLostError, decisions_of, find_version, note_version
from tamis.records.listed_rows import lost_decisions
from tamis.records.receipts import read_receipts, receipt_problems, stored_again
from tamis.store.home import writing
from tamis.store.withdrawn import read_places, read_withdrawals, withdrawn_versions
from tamis.withdrawal import purging, withdrawing
from tamis.withdrawal.asking import (
    FEWEST_DIGITS,
    AmbiguousSourceError,
    Asked,
    Asking,
    BadIdsError,
    ShortIdError,
    WithdrawalReason,
)
from tamis.withdrawal.places import UnreadableRowsError
from tamis.withdrawal.telling import history, history_lines, withdrawn_json, withdrawn_lines
from tamis.withdrawal.verifying import verify
from tamis.withdrawal.withdrawing import finish, preview, withdraw

REASON = WithdrawalReason.COPYRIGHT


def asked(home, *doc_ids: str) -> Asked:
    asking = Asking(store=home.store)
    asking.ids(doc_ids)
    return asking.done()


def stored(home) -> set[str]:
    return set(home.store.read("documents", ["doc_id"])["doc_id"])


def test_documents_are_named_by_ids_texts_shards_sources_and_corpora(home):
    def named(verb: str, *values) -> dict[str, str]:
        asking = Asking(store=home.store)
        getattr(asking, verb)(*values)
        return dict(asking.done().scopes)

    assert named("ids", [IDS[0][:8], IDS[1].upper()]) == {IDS[0]: "document", IDS[1]: "document"}
    assert named("text", f"\r\n{TEXTS[2]}  ", "it.txt") == {IDS[2]: "text"}
    assert named("shard", "web__b") == dict.fromkeys(IDS[3:], "shard web__b")
    assert named("source", "web__b.jsonl") == dict.fromkeys(IDS[3:], "source web__b.jsonl")
    every = {"web__a": "web", "web__b": "web", "more__c": "more"}
    assert named("corpus", "web", every) == dict.fromkeys(IDS, "corpus web")
    assert named("ids", ["f" * 32]) == {"f" * 32: "document"}, "a whole id need not be there"


@pytest.mark.parametrize(
    ("verb", "values", "error"),
    [
        ("ids", [["abc"]], UnknownDocumentError),
        ("shard", ["web__c"], UnknownNameError),
        ("source", ["elsewhere"], UnknownNameError),
        ("corpus", ["more", {"web__a": "web"}], UnknownNameError),
        ("text", [" \n", "it.txt"], PermanentError),
        ("done", [], PermanentError),
    ],
)
def test_what_names_nothing_is_refused(home, verb, values, error):
    with pytest.raises(error):
        getattr(Asking(store=home.store), verb)(*values)


def test_a_file_name_that_two_corpora_have_is_refused_with_both_files(home):
    places = [("web__c.jsonl", 0), ("news__c.jsonl", 1), ("web__deep-c.jsonl-00000000", 2)]
    rows = [{"shard": shard, "row": 0, "doc_id": IDS[which], "source": "c.jsonl"} for shard, which in places]
    home.store.append("occurrences", rows_of("occurrences", rows))
    with pytest.raises(AmbiguousSourceError) as refused:
        Asking(store=home.store).source("c.jsonl")
    assert refused.value.files == {"web__c.jsonl": 1, "news__c.jsonl": 1}
    home.store.delete("occurrences", "shard = 'news__c.jsonl'")
    asking = Asking(store=home.store)
    asking.source("c.jsonl")
    assert asking.done().doc_ids == sorted([IDS[0], IDS[2]])


def test_a_preview_writes_nothing(home):
    record(home, "documents", "web__a", "documents", IDS[:3])
    before = {name: home.store.version(name) for name in home.store.names()}
    found = preview(home, asked(home, IDS[5], "f" * 32))
    assert found.rows == {"documents": 1, "occurrences": 2}
    assert found.unknown == ["f" * 32]
    assert found.places["shard"].to_list() == ["web__a", "web__b"]
    assert {name: home.store.version(name) for name in home.store.names()} == before


def test_rows_go_and_a_receipt_proves_it_without_the_text(home):
    record(home, "documents", "web__a", "documents", IDS[:3])
    train(home, "model", IDS[:2])
    record(home, "base_models", "model", "trained_on", IDS[:2])
    done = withdraw(home, asked(home, IDS[0], IDS[5]), REASON)
    assert stored(home) == set(IDS[1:5])
    assert set(home.store.read("occurrences", ["doc_id"])["doc_id"]) == set(IDS[1:5])
    assert home.store.count("trained_on", f"doc_id = '{IDS[0]}'") == 1, "evidence of ids stays"
    (receipt,) = read_receipts(home).values()
    assert receipt.id == done.receipts[0]
    assert receipt.config["rows_removed"] == {"documents": 2, "occurrences": 3}
    assert [one["taint"] for one in receipt.config["checkpoints"]] == ["pre-trained on it"]
    assert not any(text in json.dumps(receipt.config) for text in TEXTS)
    rows = read_withdrawals(home.store)
    assert set(rows["doc_id"]) == {IDS[0], IDS[5]}
    assert rows.select("reason", "scope", "receipt").unique().row(0) == ("copyright", "document", receipt.id)
    assert verify(home, TEXTS[0]).holds
    lines = history_lines(history(home))
    assert "2 documents, copyright (document)" in lines[0]
    assert lines[1:3] == [f"  receipt {receipt.id}", "  tainted then: base_models[model]: pre-trained on it"]


def test_a_shard_depends_on_what_was_withdrawn_of_it_alone(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    first = withdrawn_versions(home.store)
    assert set(first) == {("documents", "web__a")}
    withdraw(home, asked(home, IDS[5]), REASON)
    second = withdrawn_versions(home.store)
    assert set(second) == {("documents", "web__a"), ("documents", "web__b")}
    assert second["documents", "web__a"] != first["documents", "web__a"]


def test_what_listed_a_row_is_begun_and_what_did_not_stays_current(home):
    record(home, "documents", "web__a", "documents", IDS[:3])
    record(home, "documents", "web__b", "documents", IDS[3:])
    withdraw(home, asked(home, IDS[0]), REASON)
    finished = {partition: value.finished for (_asset, partition), value in heads_of(home).items()}
    assert finished == {"web__a": False, "web__b": True}


def test_what_has_a_page_that_is_removed_is_begun_too(home):
    """A view lists no rows, but its page shows the first of them."""
    home.reports.mkdir()
    for name, doc_id in (("view", IDS[0]), ("other", IDS[1])):
        (home.reports / f"sql_{name}.html").write_text(f"<td>{doc_id}")
        record(home, name, "", "", [], files=[home.reports / f"sql_{name}.html"])
    withdraw(home, asked(home, IDS[0]), REASON)
    assert not (home.reports / "sql_view.html").exists()
    finished = {asset: value.finished for (asset, _partition), value in heads_of(home).items()}
    assert finished == {"view": False, "other": True}


def test_twice_is_once_and_a_restored_row_goes_again(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    again = withdraw(home, asked(home, IDS[0]), REASON)
    assert (again.new, again.receipts, again.purged.anything) == ([], [], False)
    home.store.append("documents", rows_of("documents", [{"doc_id": IDS[0], "text": TEXTS[0]}]))
    assert not verify(home).holds
    assert stored_again(home.store) == "1 in documents"
    back = withdraw(home, asked(home, IDS[0]), REASON)
    assert back.purged.rows == {"documents": 1}
    assert stored_again(home.store) == ""
    assert verify(home).holds


def test_a_row_in_an_old_version_alone_is_found(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    assert verify(home).holds
    home.store.append("documents", rows_of("documents", [{"doc_id": IDS[0], "text": TEXTS[0]}]))
    home.store.delete("documents", f"doc_id = '{IDS[0]}'")
    (problem,) = verify(home).problems
    assert "1 row of withdrawn documents" in problem


def test_what_interrupted_work_goes_on_from_is_gone(home):
    """It may hold a text as tokens, in which no search finds it."""
    for name in ("training", "remote"):
        (home.cache / name / "one").mkdir(parents=True)
        (home.cache / name / "one" / "state.npz").write_bytes(b"tokens")
    (home.cache / "encoders").mkdir()
    withdraw(home, asked(home, IDS[0]), REASON)
    assert sorted(path.name for path in home.cache.iterdir()) == ["encoders"]


STEPS = [
    (withdrawing, "withhold_excerpts", 1),
    (withdrawing, "purge", 1),
    (purging, "add_places", 2),
    (purging, "purge_exports", 1),
    (purging, "purge_pages", 1),
    (purging, "purge_kept", 1),
    (purging, "erase_rows", 2),
    (purging, "forget_versions", 2),
    (withdrawing, "write_receipt", 1),
    (withdrawing, "write_withdrawals", 2),
]


BETWEEN_OTHERS = ("add_places", "purge_pages", "purge_kept", "forget_versions")
"""Steps of purging that fail as the one before or after them does."""


@pytest.mark.parametrize(
    ("module", "step", "call"),
    [
        pytest.param(*step, id=step[1], marks=[pytest.mark.slow] * (step[1] in BETWEEN_OTHERS))
        for step in STEPS
    ],
)
def test_cut_short_anywhere_the_next_one_completes_it(home, monkeypatch, module, step, call):
    home.store.append("quarantine", quarantined(TEXTS[0]))
    record(home, "documents", "web__a", "documents", IDS[:3])
    real, calls = getattr(module, step), []

    class KilledError(Exception):
        pass

    def die(*arguments, **named):
        calls.append(step)
        if len(calls) == call:
            raise KilledError
        return real(*arguments, **named)

    monkeypatch.setattr(module, step, die)
    with pytest.raises(KilledError):
        withdraw(home, asked(home, IDS[0]), REASON)
    monkeypatch.setattr(module, step, real)
    assert not verify(home).holds
    with writing(home, "test"):
        assert len(finish(home)) == 1
        assert finish(home) == []
    assert verify(home, TEXTS[0]).holds
    assert stored(home) == set(IDS[1:])
    assert home.store.read("quarantine")["excerpt"].to_list() == [""]


def quarantined(text: str) -> pa.Table:
    row = {"shard": "web__b", "row": 9, "reason": "malformed_row", "detail": "no JSON"}
    return rows_of("quarantine", [row | {"excerpt": f'{{"text": "{text[:50]}'}])


def test_a_quarantined_row_that_shows_the_text_shows_nothing_any_more(home):
    home.store.append("quarantine", quarantined(TEXTS[0]))
    withdraw(home, asked(home, IDS[1]), REASON)
    assert TEXTS[0][:20] in home.store.read("quarantine")["excerpt"][0], "it shows another document"
    done = withdraw(home, asked(home, IDS[0]), REASON)
    assert done.excerpts == 1
    row = home.store.read("quarantine").row(0, named=True)
    assert (row["excerpt"], row["detail"], row["reason"]) == ("", WITHHELD, "malformed_row")
    shown = read_withdrawals(home.store, "scope = 'excerpt'")["doc_id"].to_list()
    assert shown == [document_id(f'no JSON\n{{"text": "{TEXTS[0][:50]}')]
    assert ("documents", "web__b") in withdrawn_versions(home.store)


def test_a_quarantined_row_of_a_target_shows_nothing_any_more_and_its_target_is_made_again(home):
    place = pa.array(["target/goal/b.jsonl"])
    home.store.append("quarantine", quarantined(TEXTS[0]).set_column(0, "shard", place))
    record(home, "target_examples", "goal", "", [])
    assert withdraw(home, asked(home, IDS[0]), REASON).excerpts == 1
    row = home.store.read("quarantine").row(0, named=True)
    assert (row["shard"], row["excerpt"], row["detail"]) == ("target/goal/b.jsonl", "", WITHHELD)
    assert ("target_examples", "goal") in withdrawn_versions(home.store)
    assert not heads_of(home)[("target_examples", "goal")].finished
    assert verify(home, TEXTS[0]).problems == []


def test_a_verification_says_how_many_rows_it_did_not_compare(home):
    home.store.append("quarantine", quarantined(TEXTS[0]))
    home.store.append("quarantine", quarantined(TEXTS[1]).set_column(1, "row", pa.array([10])))
    assert "not compared" not in verify(home).lines()[0], "nothing is withdrawn"
    withdraw(home, asked(home, IDS[0]), REASON)
    found = verify(home)
    assert found.holds
    assert found.lines()[0].endswith(
        "; not compared: 1 row in quarantine, for which --verify needs --text FILE)"
    )
    assert "not compared" not in verify(home, TEXTS[0]).lines()[0]


def test_a_shard_goes_with_all_that_it_showed(home):
    home.store.append("quarantine", quarantined("of nobody"))
    asking = Asking(store=home.store)
    asking.shard("web__b")
    done = withdraw(home, asking.done(), REASON)
    assert done.new == sorted(IDS[3:])
    assert stored(home) == set(IDS[:3])
    assert home.store.read("quarantine")["excerpt"].to_list() == [""]
    assert set(read_withdrawals(home.store)["scope"]) == {"shard web__b", "excerpt"}
    assert set(read_places(home.store)["shard"]) == {"web__a", "web__b"}, "one of them is in both"


def test_an_export_of_which_every_row_goes_stays_readable_for_the_next_withdrawal(home):
    home.exports.mkdir()
    pl.DataFrame({"doc_id": IDS[:1], "text": TEXTS[:1]}).write_ndjson(home.exports / "best.jsonl")
    pl.DataFrame({"doc_id": [5, None]}).write_ndjson(home.exports / "numbers.jsonl")
    withdraw(home, asked(home, IDS[0]), REASON)
    assert (home.exports / "best.jsonl").read_bytes() == b""
    withdraw(home, asked(home, IDS[1]), REASON)
    assert verify(home).holds


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no rows"])
def test_an_export_that_nobody_can_read_is_named_and_the_withdrawal_goes_on_without_it(home, content):
    home.exports.mkdir()
    broken = home.exports / "mine.parquet"
    broken.write_bytes(content)
    pl.DataFrame({"doc_id": IDS, "text": TEXTS}).write_ndjson(home.exports / "other.jsonl")
    with pytest.raises(UnreadableRowsError, match=r"mine\.parquet cannot be read as parquet .* remove it"):
        withdraw(home, asked(home, IDS[0]), REASON)
    assert IDS[0] not in stored(home), "all else is removed"
    assert pl.read_ndjson(home.exports / "other.jsonl")["doc_id"].to_list() == IDS[1:]
    assert any("mine.parquet" in problem for problem in verify(home).problems)
    broken.unlink()
    assert withdraw(home, asked(home, IDS[0]), REASON).receipts
    assert verify(home, TEXTS[0]).holds


def test_a_withdrawn_document_that_is_back_is_no_near_repeat_of_itself(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    back = pl.DataFrame({"doc_id": [IDS[0], "other"], "text": [TEXTS[0], TEXTS[0].upper()]})
    assert refusal(home.store).near_repeats(back) == {"other": IDS[0]}


def test_exports_and_pages_lose_it_and_keep_their_other_rows(home):
    for folder in (home.exports, home.reports):
        folder.mkdir(parents=True)
    rows = pl.DataFrame({"doc_id": IDS, "text": TEXTS})
    rows.write_parquet(home.exports / "best.parquet")
    rows.write_ndjson(home.exports / "best.jsonl")
    (home.reports / "selection_best.html").write_text(f"<td>{IDS[0]}<td>{TEXTS[0]}")
    (home.reports / "selection_other.html").write_text(f"<td>{IDS[1]}<td>{TEXTS[1]}")
    (home.exports / "best.card.md").write_text("two rows")
    lines = withdrawn_lines(withdraw(home, asked(home, IDS[0]), REASON), [], True)
    assert not (home.exports / "best.card.md").exists()
    assert ["`tamis export` writes them again" in line for line in lines].count(True) == 1
    assert pl.read_parquet(home.exports / "best.parquet")["doc_id"].to_list() == IDS[1:]
    assert pl.read_ndjson(home.exports / "best.jsonl")["text"].to_list() == TEXTS[1:]
    assert [path.name for path in home.reports.iterdir()] == ["selection_other.html"]


def test_what_a_killed_write_has_left_goes_too(home):
    left = [home.exports / "best.part", home.reports / ".abc.tmp", home.manifests / "rows" / "00" / ".x.tmp"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEXTS[0])
    withdraw(home, asked(home, IDS[0]), REASON)
    assert not any(path.exists() for path in left)


def test_a_file_that_comes_back_is_found_and_goes_again(home):
    home.exports.mkdir()
    rows = pl.DataFrame({"doc_id": IDS, "text": TEXTS})
    withdraw(home, asked(home, IDS[0]), REASON)
    rows.write_parquet(home.exports / "best.parquet")
    assert verify(home).problems == ["exports/best.parquet contains rows of withdrawn documents"]
    withdraw(home, asked(home, IDS[0]), REASON)
    assert pl.read_parquet(home.exports / "best.parquet")["doc_id"].to_list() == IDS[1:]
    assert verify(home).holds


def test_databases_and_logs_of_others_are_never_touched_whatever_a_text_says(home):
    """A one-word document may be a word of Dagster's own, a name of an asset or of a file."""
    import sqlite3
    from contextlib import closing

    words = ["AssetMaterialization", "selected_subset", "marked.jsonl"]
    ids = [document_id(word) for word in words]
    documents = [{"doc_id": one, "text": word} for one, word in zip(ids, words, strict=True)]
    home.store.append("documents", rows_of("documents", documents))
    for folder in (home.dagster, home.mlflow, home.cache):
        folder.mkdir(parents=True)
        (folder / "run.err").write_text(json.dumps(words))
        with closing(sqlite3.connect(folder / "events.db")) as database:
            database.execute("CREATE TABLE events (id INTEGER, body TEXT)")
            database.execute("INSERT INTO events VALUES (1, ?)", [json.dumps(words)])
            database.commit()
    files = [path for folder in (home.dagster, home.mlflow, home.cache) for path in sorted(folder.iterdir())]
    before = [path.read_bytes() for path in files]
    withdraw(home, asked(home, *ids), REASON)
    assert [path.read_bytes() for path in files] == before
    assert all(verify(home, word).holds for word in words)


def test_a_table_of_a_sql_model_loses_its_rows_and_is_made_again(home):
    home.store.append("mart_mine", pa.table({"doc_id": IDS, "n": list(range(6))}))
    record(home, "mart_mine", "", "", [])
    withdraw(home, asked(home, IDS[0]), REASON)
    assert home.store.read("mart_mine")["doc_id"].to_list() == IDS[1:]
    assert not heads_of(home)[("mart_mine", "")].finished


def test_kept_versions_lose_the_row_and_are_still_verified(home):
    decided = [
        {"selection": "best", "doc_id": one, "verdict": "selected", "reason": "within_budget", "rank": rank}
        for rank, one in enumerate(IDS, 1)
    ]
    home.store.append("decisions", rows_of("decisions", decided))
    home.store.append("selected_subset", rows_of("selected_subset", []))
    record(home, "selected_subset", "best", "", [])
    manifest = record(home, "decisions", "best", "decisions", IDS)
    note_version(home, heads_of(home), "best")
    withdraw(home, asked(home, IDS[0]), REASON)
    version = find_version(home.store, "best")
    assert sorted(decisions_of(home, version)["doc_id"]) == sorted(IDS[1:])
    path = manifests_of(home).kept_path(manifest.rows["decisions"])
    kept = pq.read_table(path)
    pq.write_table(kept.slice(1), path)
    with pytest.raises(VersionLostError):
        decisions_of(home, version)


def test_what_a_version_had_decided_about_a_withdrawn_document_is_still_known(home):
    for table, some in (("decisions", IDS), ("selected_subset", IDS[:2])):
        rows = [{"selection": "best", "doc_id": one, "rank": rank} for rank, one in enumerate(some, 1)]
        home.store.append(table, rows_of(table, rows))
    subset = record(home, "selected_subset", "best", "selected_subset", IDS[:2])
    decided = record(home, "decisions", "best", "decisions", IDS)
    withdraw(home, asked(home, IDS[0], IDS[3]), REASON)
    lost = lost_decisions(home, "best", decided.rows["decisions"], subset.id)
    assert dict(lost.iter_rows()) == {IDS[0]: "selected", IDS[3]: "rejected"}


def test_a_withdrawn_document_explains_itself(home):
    train(home, "model", IDS[:1])
    record(home, "base_models", "model", "trained_on", IDS[:1])
    withdraw(home, asked(home, IDS[0]), REASON)
    found = explain_document(home, IDS[0])
    assert found["withdrawn"]["reason"] == "copyright"
    assert [one["checkpoint"] for one in found["checkpoints"]] == ["model"]
    assert "withdrawn" not in explain_document(home, IDS[1])


def test_a_withdrawn_row_is_found_by_its_place_and_a_row_beyond_every_file_is_no_damage(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    shards = {"web__a": Shard(corpus="web", name="a", key="web__a", kind="file", path=home.root / "a.jsonl")}
    assert document_of_place(home.store, shards, "web__a", 0) == IDS[0]
    assert document_of_place(home.store, shards, str(home.root / "a.jsonl"), 1) == IDS[1]
    with pytest.raises(UnknownPlaceError, match="row 99999999999999999999 contains no document"):
        document_of_place(home.store, shards, "web__a", 99999999999999999999)


def test_an_example_of_a_target_says_so(home):
    example = {"target": "law", "doc_id": IDS[0], "split": "held_out", "text": TEXTS[0], "source": "law.csv"}
    home.store.append("target_examples", rows_of("target_examples", [example]))
    found = explain_document(home, IDS[0])
    assert found["examples"] == [{"target": "law", "split": "held_out", "source": "law.csv"}]
    assert "  example of the target law, held out (law.csv)" in explanation_lines(found)
    assert "examples" not in explain_document(home, IDS[1])


def test_a_withdrawn_example_is_in_the_files_of_its_target_whatever_its_source(home):
    example = {"target": "law", "doc_id": IDS[0], "split": "train", "text": TEXTS[0], "source": "exam 7"}
    home.store.append("target_examples", rows_of("target_examples", [example]))
    found = preview(home, asked(home, IDS[0])).places
    assert set(found.select("asset", "shard", "row").iter_rows()) == {
        ("documents", "web__a", 0),
        ("target_examples", "target/law", -1),
    }
    done = withdraw(home, asked(home, IDS[0]), REASON)
    said = withdrawn_lines(
        done, [row | {"file": row["shard"]} for row in read_places(home.store).to_dicts()], True
    )
    assert any("still in your files: 1 row of target/law;" in line for line in said)


def test_what_stays_or_was_never_there_is_said(home):
    pairs = [{"doc_id": IDS[1], "kept": IDS[0], "jaccard": 0.9}]
    home.store.append("near_duplicates", rows_of("near_duplicates", pairs))
    done = withdraw(home, asked(home, IDS[0], "e" * 32), REASON)
    said = withdrawn_lines(done, [], True)
    assert f"not in the store, so these documents will be refused if they ever arrive: {'e' * 32}" in said
    assert any(line.startswith(f"{IDS[1]} is a near-duplicate of {IDS[0]} and is kept") for line in said)
    said = withdrawn_json(done, [])
    assert said["not_in_the_store"] == ["e" * 32]
    assert said["near_repeats"] == [{"doc_id": IDS[1], "repeats": IDS[0]}]


def test_a_receipt_that_no_longer_fits_is_found(home):
    withdraw(home, asked(home, IDS[0]), REASON)
    withdraw(home, asked(home, IDS[1]), REASON)
    first, second = read_receipts(home).values()
    assert [one.manifest for one in second.inputs] == [first.id]
    assert receipt_problems(home, first.id) == receipt_problems(home, second.id) == []
    row = read_withdrawals(home.store).row(0, named=True) | {"reason": "mistake"}
    home.store.merge("withdrawals", rows_of("withdrawals", [row]))
    assert [bool(receipt_problems(home, one.id)) for one in (first, second)] == [True, False]
    assert not verify(home).holds
    manifests_of(home).path(second.id).write_text("{}")
    assert receipt_problems(home, second.id, missing_only=True)
    assert len(read_places(home.store)) == 2


def test_two_digits_of_an_id_are_not_enough_for_what_cannot_be_undone(home):
    asking = Asking(store=home.store)
    short = next(one[:length] for length in (1, 2, 3, 4) for one in [IDS[0]] if alone(one[:length]))
    with pytest.raises(ShortIdError, match=IDS[0]):
        asking.ids([short])
    asking.ids([IDS[0][:FEWEST_DIGITS]])
    assert asking.done().doc_ids == [IDS[0]]


def alone(beginning: str) -> bool:
    return sum(one.startswith(beginning) for one in IDS) == 1


def test_a_file_of_ids_is_refused_whole_and_names_the_line(home):
    asking = Asking(store=home.store)
    with pytest.raises(BadIdsError, match=r"list\.txt:3: .*; nothing was withdrawn"):
        asking.ids_of_file(f"{IDS[0]}\n\nffffffffffff\n", "list.txt")


def test_a_receipt_says_when_its_counts_are_of_a_second_attempt(home, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(withdrawing, "write_receipt", stop)
        with pytest.raises(KeyboardInterrupt):
            withdraw(home, asked(home, IDS[0]), REASON)
    with writing(home, "test"):
        finish(home)
    withdraw(home, asked(home, IDS[1]), REASON)
    said = [receipt.config.get("counts", "") for receipt in read_receipts(home).values()]
    assert ["cut short" in one for one in said] == [True, False]


def stop(*_arguments):
    raise KeyboardInterrupt


def test_what_stands_again_counts_together_with_what_is_new(home):
    before = home.store.read_arrow("documents")
    withdraw(home, asked(home, IDS[0]), REASON)
    home.store.merge("documents", before)
    done = withdraw(home, asked(home, *IDS[:2]), REASON)
    assert (done.already, done.new) == ([IDS[0]], [IDS[1]])
    assert done.purged.rows["documents"] == 2
