"""Documents in passages that are withdrawn, and passages without their documents."""

import json

import polars as pl
import pyarrow.parquet as pq
from projects import corpus, plain_project, settings
from split_projects import (
    ALL,
    FEW,
    LONG,
    MADE,
    ROWS,
    SHORT,
    SPLIT,
    exported,
    places,
)

from tamis.readers.text import document_id
from tamis.verbs.elsewhere.export import export_selection


def test_withdrawing_a_document_withdraws_its_passages_whatever_the_split(project):
    own = places(project).filter(row=3)
    exported(project, "all")
    project.withdraw([document_id(LONG[3])])
    gone = {document_id(LONG[3]), *own["doc_id"]}
    assert set(project.rows("withdrawals")["doc_id"]) == gone
    for table in ("documents", "occurrences", "kept_rows", "decisions"):
        assert gone.isdisjoint(project.rows(table)["doc_id"])
    rows = pq.read_table(project.home.exports / "all.parquet").to_pylist()
    assert len(rows) == len(ROWS) - 1
    project.make(MADE)
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before
    for split in ("200 characters", None):
        project.configure(settings(corpus(**({"split": split} if split else {})), ALL, FEW))
        project.make(MADE)
        assert set(places(project)["row"]) == {*range(len(ROWS))} - {3}
    project.assert_sound(MADE, amber=True)


def test_withdrawing_a_passage_leaves_the_others_but_not_where_the_text_is_cut_elsewhere(project):
    own = places(project).filter(row=1)
    part = own["doc_id"][2]
    exported(project, "all")
    project.withdraw([part])
    assert project.rows("withdrawals")["doc_id"].to_list() == [part]
    exports = pq.read_table(project.home.exports / "all.parquet").to_pylist()
    assert document_id(LONG[1]) not in {row["doc_id"] for row in exports}
    project.make(MADE)
    assert places(project).filter(row=1)["doc_id"].to_list() == [key for key in own["doc_id"] if key != part]
    assert document_id(LONG[1]) in set(project.rows("kept_rows")["doc_id"])
    joined = {row["doc_id"]: row for row in exported(project, "all")}[document_id(LONG[1])]
    assert part not in joined["passages"]
    assert joined["edu"] == 1
    found = project.json("explain", document_id(LONG[1]))
    assert len(found["passages"]) == len(own) - 1
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before
    for split in ("17 words", None):
        project.configure(settings(corpus(**({"split": split} if split else {})), ALL, FEW))
        project.make(MADE)
        assert set(places(project)["row"]) == {*range(len(ROWS))} - {1}
    project.configure(settings(corpus(split=SPLIT), ALL, FEW))
    project.make(MADE)
    assert places(project).filter(row=1)["doc_id"].to_list() == [key for key in own["doc_id"] if key != part]


def test_withdrawing_a_file_withdraws_documents_and_passages(project):
    shard = places(project)["shard"][0]
    project.withdraw([], [shard])
    assert {document_id(row["text"]) for row in ROWS} <= set(project.rows("withdrawals")["doc_id"])
    assert len(project.rows("kept_rows").filter(pl.col("row") >= 0)) == 0


def test_an_export_of_some_columns_loses_the_row_of_a_withdrawn_passage(project):
    done = export_selection(project.project, "all", "jsonl", ["text"])
    rows = [json.loads(line) for line in done.path.read_text().splitlines()]
    assert all(row.keys() == {"doc_id", "passages", "text"} for row in rows)
    part = places(project).filter(row=0)["doc_id"][1]
    project.withdraw([part])
    left = [json.loads(line) for line in done.path.read_text().splitlines()]
    assert left == [row for row in rows if row["doc_id"] != document_id(LONG[0])]


def test_a_document_in_a_group_of_small_files_loses_a_withdrawn_passage(tmp_path, nowhere):
    project = plain_project(tmp_path / "project", settings(corpus(split=SPLIT), ALL), {})
    for number, text in enumerate([*LONG, *SHORT]):
        (project.root / "documents").mkdir(exist_ok=True)
        (project.root / "documents" / f"{number}.txt").write_text(text)
    project.make(MADE)
    own = places(project).filter(passage_of=document_id(LONG[2]))
    assert len(own) > 3
    project.withdraw([own["doc_id"][1]])
    project.make(MADE)
    left = places(project).filter(passage_of=document_id(LONG[2]))
    assert set(left["doc_id"]) == set(own["doc_id"]) - {own["doc_id"][1]}
    project.withdraw([document_id(LONG[3])])
    project.make(MADE)
    before = project.versions()
    project.make(MADE)
    assert project.versions() == before
    assert places(project).filter(passage_of=document_id(LONG[3])).is_empty()
    project.assert_sound(MADE, amber=True)
    project.close()
