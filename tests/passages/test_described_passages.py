"""Cards and Croissant descriptions of exports with passages: counts, rows and columns."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest
from projects import selection
from split_projects import exported, places, project_at

from tamis.interchange.croissant import croissant
from tamis.interchange.facts import Facts, Written
from tamis.interchange.subset import SubsetFiles
from tamis.passages.places import PASSAGES
from tamis.selection.pool import Tokens

FACTS = Facts(
    project="p",
    selection="few",
    version=1,
    manifest="0" * 64,
    made_at="2026-01-01",
    settings={"sampler": "random"},
    pool=9,
    eligible=9,
    documents=3,
    copies=3,
    n_bytes=9,
    tokens=Tokens(tokens=9, documents=3, estimated=0),
    reasons=(),
    licences=(),
    sources=(),
    shards=1,
    histograms=(),
    in_passages=True,
    passages=2,
    split=1,
)


def described(project, name, **extras):
    exported(project, name, **extras)
    files = SubsetFiles.of(project.home.exports / f"{name}.parquet")
    return files.card.read_text(), json.loads(files.croissant.read_text())


@pytest.mark.parametrize("apart", [False, True])
def test_passages_are_not_counted_as_documents(project, apart):
    card, croissant = described(project, "few", passages=apart)
    chosen = project.rows("decisions").filter(selection="few", verdict="selected")["doc_id"]
    first = places(project).unique("doc_id", keep="first", maintain_order=True)
    parents = first.filter(first["doc_id"].is_in(chosen.implode()))["passage_of"].drop_nulls()
    words = f"{len(parents)} of the chosen are passages, of {parents.n_unique()} long document"
    assert len(parents) > parents.n_unique() > 1
    assert words in card
    assert words in croissant["description"]
    assert "| documents and passages | 12 |" in card
    assert "| documents |" not in card
    records = croissant["recordSet"][0]
    fields = {field["name"]: field for field in records["field"]}
    assert records["key"] == {"@id": "documents/doc_id"}
    assert (PASSAGES in fields) is not apart
    assert ("passage_of" in fields) is apart
    assert fields["passage_count"]["description"].startswith("Number of passages")
    if not apart:
        assert fields[PASSAGES]["description"].startswith("Ids of the chosen passages")
        assert fields[PASSAGES]["isArray"] is True
        assert "joined" in records["description"]


def test_a_corpus_that_is_not_split_has_documents_alone(tmp_path, nowhere):
    project = project_at(tmp_path / "project", selection("few", "random", 2), split=None)
    project.make(frozenset({"raw_shards", "documents", "near_duplicates", "selected_subset"}))
    card, croissant = described(project, "few")
    assert "passage" not in card
    assert "passage" not in json.dumps(croissant["recordSet"])
    assert croissant["description"].startswith("2 of 10 documents, chosen")
    project.close()


def test_rows_of_a_document_that_is_trained_on_in_different_numbers_have_no_key():
    columns = pa.schema([("doc_id", pa.string()), (PASSAGES, pa.list_(pa.string()))])
    written = Written(
        name="few.parquet",
        columns=columns,
        form="parquet",
        size=1,
        sha256="0" * 64,
        known=frozenset(columns.names),
    )
    assert "key" in croissant(FACTS, written)["recordSet"][0]
    assert "key" not in croissant(replace(FACTS, copies=4), written)["recordSet"][0]
