"""Finding a document by file and row: a row without a document gives the reason."""

import json
import re

import pytest
from projects import plain_project, rows_of, settings

from tamis.base.errors import NotMadeError
from tamis.cli.removal import withdraw
from tamis.cli.tracing import explain
from tamis.corpus import Shard
from tamis.history.finding import (
    UnknownDocumentError,
    UnknownPlaceError,
    UnknownTextError,
    document_of_place,
    document_of_text,
    resolve_document,
)
from tamis.readers.rows import WHOLE_SHARD
from tamis.readers.text import ORIGINAL, document_id


def quarantined(store, shard: str, row: int, reason: str) -> None:
    bad = {"shard": shard, "row": row, "reason": reason, "detail": "mend it"}
    store.append("quarantine", rows_of("quarantine", [bad]))


def test_a_row_in_quarantine_and_a_row_of_a_file_in_quarantine_give_the_reason(tmp_path):
    store = plain_project(tmp_path, settings()).store
    shards = {
        f"web__{name}": Shard(
            corpus="web", name=name, key=f"web__{name}", kind="file", path=tmp_path / "documents" / name
        )
        for name in ("a.jsonl", "b.txt", "c.txt")
    }
    quarantined(store, "web__a.jsonl", 7, "malformed_row")
    quarantined(store, "web__b.txt", WHOLE_SHARD, "wrong_encoding")
    for shard, row, said in (
        ("web__a.jsonl", 7, "'web__a.jsonl' row 7 is in quarantine: malformed_row: mend it"),
        ("web__a.jsonl", 8, "'web__a.jsonl' row 8 contains no document"),
        ("web__b.txt", 0, "'web__b.txt' is in quarantine as a whole: wrong_encoding: mend it"),
        ("web__c.txt", 0, "'web__c.txt' row 0 contains no document"),
    ):
        with pytest.raises(UnknownPlaceError, match=said):
            document_of_place(store, shards, shard, row)


def test_a_file_is_found_by_its_name_where_no_other_is_called_so(tmp_path):
    store = plain_project(tmp_path, settings()).store
    names = [("web", "a.jsonl"), ("web", "b.jsonl"), ("more", "b.jsonl")]
    shards = {
        f"{of}__{name}": Shard(
            corpus=of, name=name, key=f"{of}__{name}", kind="file", path=tmp_path / of / name
        )
        for of, name in names
    }
    row = {"doc_id": "0" * 32, "shard": "web__a.jsonl", "row": 3}
    store.append("occurrences", rows_of("occurrences", [row]))
    assert document_of_place(store, shards, "a.jsonl", 3) == "0" * 32
    with pytest.raises(UnknownPlaceError, match="neither a file nor the key of a shard"):
        document_of_place(store, shards, "b.jsonl", 3)


def test_before_anything_is_made_the_command_to_run_is_said(tmp_path):
    store = plain_project(tmp_path, settings()).store
    for find, given in ((resolve_document, "0f79"), (document_of_text, "a text")):
        with pytest.raises(NotMadeError, match="'documents' has not been materialized yet"):
            find(store, given)
    with pytest.raises(UnknownDocumentError, match="'nonsense'"):
        resolve_document(store, "nonsense")


def test_a_name_of_several_lines_is_shown_in_one(tmp_path):
    store = plain_project(tmp_path, settings()).store
    with pytest.raises(UnknownPlaceError) as raised:
        document_of_place(store, {}, "two\nlines", 0)
    assert str(raised.value).startswith(r"'two\nlines' is neither a file nor the key of a shard")


def test_the_advice_on_an_unknown_id_names_only_options_of_the_commands_that_give_it():
    advice = re.sub("`[^`]*`", "", str(UnknownDocumentError("ab", 0)))
    for command in (explain, withdraw):
        assert set(re.findall("--[a-z]+", advice)) <= {name for one in command.params for name in one.opts}


def test_a_text_that_was_changed_on_reading_is_found_by_itself_in_the_file(tmp_path):
    store = plain_project(tmp_path, settings()).store
    raw, doc_id = "<p>a page</p>", "a" * 32
    store.append("documents", rows_of("documents", [{"doc_id": doc_id, "text": "a page"}]))
    metadata = json.dumps({ORIGINAL: f"{'b' * 32} {document_id(raw)}"})
    row = {"doc_id": doc_id, "shard": "web__a.jsonl", "row": 0, "metadata": metadata}
    store.append("occurrences", rows_of("occurrences", [row]))
    assert document_of_text(store, raw) == doc_id
    with pytest.raises(UnknownTextError):
        document_of_text(store, raw + "x")
