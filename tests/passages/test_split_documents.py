"""A corpus that splits its long documents, from the files to the choice and its exports."""

import json

import polars as pl
import pytest
from projects import corpus, plain_project, selection, settings, target, write
from split_projects import (
    ALL,
    LONG,
    MADE,
    ROWS,
    SHORT,
    SPLIT,
    exported,
    oracle,
    places,
    project_at,
)

from tamis.base.unfit import Refusal, Unfit
from tamis.corpus.quarantine import note_refused, show_refused
from tamis.passages.places import OF_PASSAGES
from tamis.readers.text import document_id, normalise_text, normalised_id


def test_passages_and_their_spaces_are_each_document_and_short_ones_stay_as_they_are(built):
    texts = dict(built.rows("documents").select("doc_id", "text").iter_rows())
    found = places(built)
    for number, row in enumerate(ROWS):
        own = found.filter(row=number)
        text = normalise_text(row["text"])
        if text in SHORT:
            assert own["doc_id"].to_list() == [document_id(text)]
            assert own.select(OF_PASSAGES).row(0) == (None,) * len(OF_PASSAGES)
            continue
        assert len(own) > 3
        assert set(own["passage_of"]) == {document_id(text)}
        assert own["passage_number"].to_list() == [*range(len(own))]
        assert set(own["passage_count"]) == {len(own)}
        assert "".join(gap + texts[key] for gap, key in own.select("passage_gap", "doc_id").rows()) == text
        for key, begin in own.select("doc_id", "passage_begin").rows():
            assert text[begin:].startswith(texts[key])
            assert len(texts[key].split()) <= 40
            assert key == normalised_id(texts[key])
    assert document_id(LONG[0]) not in texts
    kept = built.rows("kept_rows").filter(pl.col("row") >= 0).sort("row")
    assert kept["doc_id"].to_list() == [document_id(row["text"]) for row in ROWS]
    assert all(json.loads(content)["meta"] for content in kept["content"])
    built.assert_sound(MADE)


def test_turning_split_on_makes_new_documents_of_the_long_ones_alone(tmp_path, nowhere):
    project = project_at(tmp_path / "project", ALL, split=None)
    project.make(MADE)
    before = set(project.rows("documents")["doc_id"])
    assert project.rows("occurrences")["passage_of"].null_count() == len(ROWS)
    project.configure(settings(corpus(split=SPLIT), ALL))
    project.make(MADE)
    after = set(project.rows("documents")["doc_id"])
    assert before - after == {document_id(text) for text in LONG}
    assert {document_id(text) for text in SHORT} <= after
    # And off again: nothing is lost, so nothing is held back.
    project.configure(settings(corpus(), ALL))
    project.make(MADE)
    assert set(project.rows("documents")["doc_id"]) == before
    project.assert_sound(MADE)
    project.close()


def test_the_layout_of_files_does_not_matter(built, tmp_path, nowhere):
    other = plain_project(tmp_path / "project", settings(corpus(split=SPLIT), ALL), {})
    for number, row in enumerate(reversed(ROWS)):
        write(other.root / "documents" / f"{number}.jsonl", [json.dumps(row)])
    (other.root / "documents" / "notes").mkdir()
    (other.root / "documents" / "notes" / "one.txt").write_text(LONG[0])
    other.make(MADE)
    assert set(other.rows("documents")["doc_id"]) == set(built.rows("documents")["doc_id"])
    decided = [sorted(one.rows("decisions").filter(selection="all")["doc_id"]) for one in (built, other)]
    assert decided[0] == decided[1]
    other.assert_sound(MADE)
    other.close()


def test_a_changed_document_makes_its_own_passages_again_and_one_that_left_takes_them_along(project):
    before = places(project)
    changed = [dict(row) for row in ROWS]
    changed[1]["text"] = f"{LONG[1]}\n\nA sentence more."
    del changed[0]
    write(project.root / "documents" / "a.jsonl", map(json.dumps, changed))
    project.make(MADE)
    after = places(project)
    gone = set(before.filter(row=0)["doc_id"])
    assert gone.isdisjoint(after["doc_id"])
    assert gone.isdisjoint(project.rows("documents")["doc_id"])
    old, new = before.filter(row=1)["doc_id"].to_list(), after.filter(row=0)["doc_id"].to_list()
    assert new[: len(old) - 3] == old[:-3]
    assert document_id(LONG[1]) not in set(after["passage_of"])
    known, first_seen = set(before["doc_id"]), project.rows("documents")
    fresh = first_seen.filter(~pl.col("doc_id").is_in([*known]))
    assert 1 <= len(fresh) <= 3
    project.assert_sound(MADE)


def test_nothing_changed_makes_nothing(project):
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before


def test_an_export_of_everything_is_the_documents_as_they_were(built):
    rows = exported(built, "all")
    assert {row["doc_id"]: row["text"] for row in rows} == {
        document_id(row["text"]): normalise_text(row["text"]) for row in ROWS
    }
    by_id = {row["doc_id"]: row for row in rows}
    for number, row in enumerate(ROWS):
        own = by_id[document_id(row["text"])]
        assert (own["row"], own["edu"], own["meta"], own["licence"]) == (number, number, row["meta"], "mit")
        assert (own["passages"] is None) == (row["text"] in SHORT)
    ranks = [row["rank"] for row in rows]
    assert ranks == sorted(ranks)


def test_an_export_joins_the_chosen_passages_of_each_document_in_order(built):
    decided = built.rows("decisions").filter(selection="few", verdict="selected")
    rows = exported(built, "few")
    assert {row["doc_id"]: row["text"] for row in rows} == oracle(built, set(decided["doc_id"]))
    parts = [key for row in rows for key in row["passages"] or [row["doc_id"]]]
    assert sorted(parts) == sorted(decided["doc_id"])
    ranks = dict(decided.select("doc_id", "rank").iter_rows())
    assert [row["rank"] for row in rows] == [
        min(ranks[key] for key in row["passages"] or [row["doc_id"]]) for row in rows
    ]


@pytest.mark.parametrize("extras", [{"passages": True}, {"scores": True}])
def test_an_export_can_have_a_row_for_each_passage(built, extras):
    decided = built.rows("decisions").filter(selection="few")
    if "passages" in extras:
        decided = decided.filter(verdict="selected")
    texts = dict(built.rows("documents").select("doc_id", "text").iter_rows())
    rows = exported(built, "few", **extras)
    assert sorted(row["doc_id"] for row in rows) == sorted(decided["doc_id"])
    for row in rows:
        assert row["text"] == texts[row["doc_id"]]
        assert row["edu"] == row["row"]
        assert (row["passage_of"] is None) == (row["text"] in SHORT)


def test_scores_and_conditions_on_columns_apply_to_each_passage(tmp_path, nowhere):
    score = '[[score]]\nname = "edu"\ncolumn = "edu"\n'
    picked = '[[selection]]\nname = "picked"\nsampler = "random"\nbudget = 1000\nwhere = "edu = 2"\n'
    project = project_at(tmp_path / "project", score, picked)
    project.make(MADE | {"column_scores"})
    values = project.rows("column_scores").select("doc_id", "value")
    expected = places(project).select("doc_id", value=pl.col("row").cast(pl.Float64))
    assert sorted(values.rows()) == sorted(expected.rows())
    chosen = project.rows("decisions").filter(verdict="selected")["doc_id"]
    assert set(chosen) == set(places(project).filter(row=2)["doc_id"])
    project.close()


def test_passages_of_a_row_that_a_stage_set_aside_are_one_line_of_the_quarantine(project):
    own = places(project).filter(row=0)
    why = Refusal(reason=Unfit.NO_VECTOR, detail="no vector")
    note_refused(project.store, "embeddings", "f", dict.fromkeys(own["doc_id"][:3], why))
    groups = {own["shard"][0]: own["doc_id"].to_list()}
    for _again in range(2):
        assert show_refused(project.store, "embeddings", groups, ["f"]) == {own["shard"][0]: 1}
    assert len(project.rows("quarantine").filter(pl.col("shard").str.starts_with("stage/"))) == 1


def test_the_text_of_a_split_row_is_in_no_other_column(tmp_path, nowhere):
    """Rows whose text is in another column than the file's keep that column, unless they are split."""
    rows = [{"text": SHORT[0]}, {"body": LONG[0], "n": 1}, {"body": SHORT[1], "n": 2}]
    project = plain_project(
        tmp_path / "project", settings(corpus(split=SPLIT, text_column=["text", "body"]), ALL), {}
    )
    write(project.root / "documents" / "a.jsonl", map(json.dumps, rows))
    project.make(MADE)
    kept = {
        row: json.loads(content) for row, content in project.rows("kept_rows").select("row", "content").rows()
    }
    assert kept[1] == {"n": 1}
    assert kept[2]["body"] == SHORT[1]
    part = places(project).filter(row=1)["doc_id"][0]
    joined = {row["doc_id"]: row for row in exported(project, "all")}
    assert joined[document_id(LONG[0])]["n"] == 1
    text = LONG[0][: len(dict(project.rows("documents").select("doc_id", "text").rows())[part])]
    project.withdraw([part])
    content = b"".join(path.read_bytes() for path in project.home.root.rglob("*") if path.is_file())
    assert text.encode() not in content
    project.close()


def test_examples_of_a_target_are_left_out_in_all_their_passages(tmp_path, nowhere):
    project = project_at(
        tmp_path / "project", selection("all", "random", 10_000, target="goal"), target(train=2, held_out=1)
    )
    write(
        project.root / "target" / "a.jsonl",
        [json.dumps({"text": text}) for text in (LONG[0], LONG[1], LONG[2])],
    )
    project.make(MADE | {"target_examples", "contamination"})
    decided = project.rows("decisions").join(places(project), on="doc_id")
    for number in range(3):
        own = decided.filter(row=number)
        assert set(own["reason"]) <= {"target_example", "held_out_example"}
        assert own["reason"].n_unique() == 1
    assert "selected" in set(decided.filter(row=3)["verdict"])
    project.close()


def test_a_passage_that_two_documents_share_is_exported_once(tmp_path, nowhere):
    shared = "Terms and conditions apply to everything that is written here and below, always. " * 3
    shared = " ".join(shared.split()[:38]) + "."
    rows = [{"text": f"{shared}\n\n{text}"} for text in LONG[:2]]
    project = project_at(tmp_path / "project", ALL, rows=rows)
    project.make(MADE)
    found = places(project)
    assert found.filter(passage_number=0)["doc_id"].n_unique() == 1
    texts = {row["doc_id"]: row["text"] for row in exported(project, "all")}
    first, second = (document_id(row["text"]) for row in rows)
    assert texts == {first: rows[0]["text"], second: LONG[1]}
    assert project.json("explain", found["doc_id"][0])["passage_of"] == [
        {
            "document": key,
            "number": 0,
            "of": len(found.filter(passage_of=key)),
            "begin": 0,
            "end": len(shared),
        }
        for key in sorted((first, second))
    ]
    project.close()
