"""Croissant: validated by mlcroissant, which reads the documents through it and checks the file's SHA-256."""

import json
import logging
import sys

import mlcroissant
import pytest
from absl.logging import get_absl_handler
from mlcroissant._src.core.context import Context, CroissantVersion
from mlcroissant._src.core.rdf import make_context
from projects import rows_of

from tamis.interchange.croissant import CONFORMS_TO, CONTEXT
from tamis.interchange.subset import SubsetFiles
from tamis.verbs.elsewhere.export import export_selection

# absl, which mlcroissant imports, keeps the standard error of the moment, here pytest's file. It closes that
# file when logging is configured, as mlflow does, while a test has another standard error.
get_absl_handler().python_handler.setStream(sys.__stderr__)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_mlcroissant_reads_the_documents_without_a_warning(project, form, caplog):
    path = export_selection(project, "near", form).path
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=SubsetFiles.of(path).croissant)
        records = list(dataset.records("documents"))
    assert [record.getMessage() for record in caplog.records] == []
    assert [record["documents/rank"] for record in records] == [1, 2, 3]
    assert records[0]["documents/text"].decode() == "Text 0."
    assert records[2]["documents/doc_id"].decode() == f"d{4:031x}"


def test_a_file_that_was_altered_is_refused(exported):
    with exported.open("ab") as stream:
        stream.write(b"more")
    dataset = mlcroissant.Dataset(jsonld=SubsetFiles.of(exported).croissant)
    with pytest.raises(mlcroissant.GenerationError, match="Download") as caught:
        list(dataset.records("documents"))
    assert "hash" in str(caught.value.__cause__).lower()


def test_a_broken_description_is_refused(exported):
    path = SubsetFiles.of(exported).croissant
    described = json.loads(path.read_text())
    described["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "elsewhere"
    path.write_text(json.dumps(described))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld=path)


def test_it_names_licences_version_and_columns(exported):
    described = json.loads(SubsetFiles.of(exported).croissant.read_text())
    assert described["license"] == ["CC0-1.0"]
    assert described["version"] == "1.0.0"
    assert described["datePublished"] == "2026-01-02T03:05:00+00:00"
    names = [field["name"] for field in described["recordSet"][0]["field"]]
    assert names == ["doc_id", "rank", "margin", "shard", "row", "source", "licence", "text"]


def test_the_context_is_that_of_the_library():
    version = CroissantVersion.V_1_1
    ours = {name: CONTEXT[name] for name in ("prov", "sdVersion")}
    assert make_context(Context(conforms_to=version)) | ours == CONTEXT
    assert version.value in CONFORMS_TO


def test_it_says_how_the_data_was_made(exported):
    """In the library's terms, so that a name which it does not know fails."""
    made = mlcroissant.Dataset(jsonld=SubsetFiles.of(exported).croissant).metadata
    assert made.ctx.conforms_to == CroissantVersion.V_1_1
    assert "filter licences_denied = ['nc*']" in made.data_preprocessing_protocol
    assert "heuristic (gopher_word_count): 1 documents" in made.data_preprocessing_protocol
    assert len(made.data_limitations) == 1
    assert "withdrawal" in made.data_release_maintenance_plan
    described = json.loads(SubsetFiles.of(exported).croissant.read_text())
    assert "sampler = got-d" in described["rai:dataManipulationProtocol"]
    assert [one["prov:label"] for one in described["prov:wasDerivedFrom"]] == ["posts", "a|b"]
    assert described["prov:wasGeneratedBy"]["prov:endedAtTime"] == described["datePublished"]
    columns = {field["name"]: field for field in described["recordSet"][0]["field"]}
    assert columns["row"]["equivalentProperty"] == "prov:wasDerivedFrom"
    assert "equivalentProperty" not in columns["rank"]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_lists_are_described_and_read(project, form):
    own = {"tags": ["a", "b"], "numbers": [1.5], "nested": {"a": 1}, "objects": [{"a": 1}]}
    content = {"doc_id": f"d{0:031x}", "shard": "web__a.jsonl", "row": 0, "content": json.dumps(own)}
    project.home.store.append("kept_rows", rows_of("kept_rows", [content]))
    path = export_selection(project, "near", form).path
    dataset = mlcroissant.Dataset(jsonld=SubsetFiles.of(path).croissant)
    record = next(iter(dataset.records("documents")))
    assert [value.decode() for value in record["documents/tags"]] == ["a", "b"]
    assert list(record["documents/numbers"]) == [1.5]
    assert not {"documents/nested", "documents/objects"} & record.keys()


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_columns_of_any_name_are_described_or_left_out(project, form, caplog):
    """An identifier holds no space, and a column without a name cannot be described."""
    own = {"page title": "a", "": "b", "a/b#c%20?": "c", "training_count": "often", "größe": "d"}
    content = {"doc_id": f"d{0:031x}", "shard": "web__a.jsonl", "row": 0, "content": json.dumps(own)}
    project.home.store.append("kept_rows", rows_of("kept_rows", [content]))
    path = export_selection(project, "near", form).path
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=SubsetFiles.of(path).croissant)
        records = list(dataset.records("documents"))
    assert [record.getMessage() for record in caplog.records] == []
    named = {field.name: field.id for field in dataset.metadata.record_sets[0].fields}
    assert {*own} - {*named} == {"", "training_count"}
    assert {
        column: records[0][named[column]].decode() for column in ("page title", "a/b#c%20?", "größe")
    } == {
        "page title": "a",
        "a/b#c%20?": "c",
        "größe": "d",
    }
    assert records[0][named["original_training_count"]].decode() == "often"
