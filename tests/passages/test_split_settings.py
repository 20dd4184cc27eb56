"""`split` in tamis.toml and on the command line: lengths, tokenizers, commands."""

import json
import tomllib

import polars as pl
import pytest
from projects import base_model, corpus, plain_project, settings, write
from split_projects import (
    ALL,
    FEW,
    LONG,
    MADE,
    ROWS,
    SPLIT,
    WORDS,
    oracle,
    places,
    project_at,
)

from tamis.base.errors import ConfigurationError
from tamis.readers.text import document_id, normalise_text
from tamis.settings.config import parse_settings


def test_select_writes_the_chosen_passages_of_a_document_as_one_row(tmp_path, nowhere):
    project = project_at(tmp_path / "project", ALL)
    out, decisions = project.root / "chosen.jsonl", project.root / "decisions.jsonl"
    call = ("select", "documents", "--sampler", "random", "--rules", "none", "--split", SPLIT)
    project.tamis(*call, "--budget", "1000", "-o", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["edu"]: row["text"] for row in rows} == {
        row["edu"]: normalise_text(row["text"]) for row in ROWS
    }
    project.tamis(*call, "--budget", "9", "-o", str(out), "--decisions", str(decisions))
    decided = [json.loads(line) for line in decisions.read_text().splitlines()]
    chosen = [row for row in decided if row["verdict"] == "selected"]
    assert len(chosen) == 9
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["edu"] for row in rows} == {row["row"] for row in chosen}
    assert len(rows) == len({row["row"] for row in chosen})
    for row in rows:
        parts = [one["doc_id"] for one in chosen if one["row"] == row["edu"]]
        whole = normalise_text(ROWS[row["edu"]]["text"])
        assert len(parts) == 1 or row["text"] in whole or "\n\n" in row["text"]


@pytest.mark.parametrize(
    "split", ["0 tokens", "lots", "-5 words", "20 pages", "15 words", "2000", "", "1e3 words"]
)
def test_a_length_that_is_none_is_refused_with_what_would_be_right(split):
    with pytest.raises(ConfigurationError, match=r"\[\[corpus\]\]|corpus") as refused:
        parse_settings(tomllib.loads(settings(corpus(split=split), ALL)))
    assert "a length of at least 16 with its unit (tokens, words or characters)" in str(refused.value)


def test_another_spelling_is_no_other_setting():
    spelled = [
        parse_settings(tomllib.loads(settings(corpus(split=split), ALL))).corpus[0].split
        for split in ("2000 tokens", "2_000 tokens", "2,000 Tokens", " 2000tokens", "2000 token")
    ]
    assert set(spelled) == {"2000 tokens"}


def test_conversations_are_not_split():
    with pytest.raises(ConfigurationError, match="a conversation stays whole"):
        parse_settings(tomllib.loads(settings(corpus(split=SPLIT, format="messages"), ALL)))


def test_a_tokenizer_that_is_trained_on_the_documents_cannot_cut_them():
    text = settings(corpus(split="2000 tokens"), ALL, base_model())
    named = text.replace("[project]\n", '[project]\ntokenizer = "small"\n', 1)
    with pytest.raises(ConfigurationError, match="is trained on the documents"):
        parse_settings(tomllib.loads(named))
    parse_settings(tomllib.loads(text))


def test_tokens_are_those_of_the_tokenizer_that_counts(tmp_path, nowhere, word_tokenizer):
    text = settings(corpus(split="30 tokens"), ALL)
    tokenizer = word_tokenizer(WORDS)
    tokenizer.save_pretrained(tmp_path / "project" / "tokenizer")
    project = plain_project(
        tmp_path / "project", text.replace("[project]\n", '[project]\ntokenizer = "tokenizer"\n', 1), {}
    )
    write(project.root / "documents" / "a.jsonl", map(json.dumps, ROWS))
    project.make(MADE | {"token_counts"})
    counts = project.rows("token_counts")["n_tokens"]
    assert counts.max() <= 30
    texts = dict(project.rows("documents").select("doc_id", "text").iter_rows())
    for number, text in enumerate(LONG):
        own = places(project).filter(row=number)
        assert len(own) > 3
        assert "".join(gap + texts[key] for gap, key in own.select("passage_gap", "doc_id").rows()) == text
    before = project.versions()
    # Another tokenizer cuts elsewhere.
    word_tokenizer([*WORDS, "more"]).save_pretrained(tmp_path / "project" / "tokenizer")
    project.make(MADE | {"token_counts"})
    assert project.versions() != before
    project.close()


@pytest.mark.slow
def test_materialize_and_export_of_a_project_in_passages(tmp_path, nowhere):
    """By commands."""
    project = project_at(tmp_path / "project", FEW)
    project.tamis("materialize")
    assert "passages" in project.tamis("export", "few", "--format", "jsonl").stderr
    first = (project.home.exports / "few.jsonl").read_text()
    rows = [json.loads(line) for line in first.splitlines()]
    assert {row["doc_id"]: row["text"] for row in rows} == oracle(
        project, set(project.rows("decisions").filter(verdict="selected")["doc_id"])
    )
    assert "nothing to do" in (said := project.tamis("plan").stdout).lower() or "current" in said.lower(), (
        said
    )
    audit = project.json("audit")
    assert audit
    refused = project.tamis("export", "few", "--for", "trl", "--passages", code=None)
    assert refused.returncode == 2


def test_explain_shows_passages_of_a_document_and_the_place_of_a_passage(built):
    document_key = document_id(LONG[2])
    found = built.json("explain", document_key[:12])
    own = places(built).filter(row=2)
    assert found["doc_id"] == document_key
    assert [one["doc_id"] for one in found["passages"]] == own["doc_id"].to_list()
    assert {row["selection"] for one in found["passages"] for row in one["decisions"]} == {"all", "few"}
    assert [(place["row"], place["shard"]) for place in found["occurrences"]] == [(2, own["shard"][0])]
    said = built.tamis("explain", "--file", "documents/a.jsonl", "--row", "2").stdout
    assert f"split into {len(own)} passages" in said
    assert f"all: {len(own)} of {len(own)} passages selected" in said
    part = own.row(1, named=True)
    found = built.json("explain", part["doc_id"])
    end = part["passage_begin"] + len(LONG[2][part["passage_begin"] :].split(own_gap(own, 2))[0])
    assert found["passage_of"] == [
        {"document": document_key, "number": 1, "of": len(own), "begin": part["passage_begin"], "end": end}
    ]
    assert (
        f"passage 2 of {len(own)} of document {document_key}" in built.tamis("explain", part["doc_id"]).stdout
    )


def own_gap(own: pl.DataFrame, number: int) -> str:
    """Return how the text goes on after a passage: its space, and the passage after it."""
    row = own.row(number, named=True)
    return row["passage_gap"] + LONG[2][row["passage_begin"] :][:20]


def test_rows_with_vectors_of_their_own_are_not_split():
    text = settings(corpus(split="200 words"), ALL) + '\n[encoder]\ncolumn = "embedding"\n'
    with pytest.raises(ConfigurationError, match="has a vector for each row and none for its passages"):
        parse_settings(tomllib.loads(text))
