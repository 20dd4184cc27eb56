"""PROV-JSON: read by the library of PROV, and walked from the file down to the raw shards."""

import json

from prov.model import ProvActivity, ProvDocument, ProvEntity, ProvUsage

from tamis.interchange import lineage_behind, prov_json
from tamis.interchange.subset import SubsetFiles


def read(text: str) -> ProvDocument:
    return ProvDocument.deserialize(content=text, format="json")


def test_the_library_reads_it_and_writes_the_same_document(project):
    document = read(prov_json(lineage_behind(project)))
    assert len(list(document.get_records(ProvEntity))) == 7
    assert len(list(document.get_records(ProvActivity))) == 7
    assert len(list(document.get_records(ProvUsage))) == 2 + 2 + 2 + 1
    assert read(document.serialize(format="json")) == document
    ended = {str(activity.get_endTime()) for activity in document.get_records(ProvActivity)}
    assert "2026-01-02 03:01:00+00:00" in ended


def test_every_relation_names_records_that_are_there(project):
    document = json.loads(prov_json(lineage_behind(project)))
    known = {*document["entity"], *document["activity"], *document["agent"]}
    kinds = ("used", "wasGeneratedBy", "wasAssociatedWith")
    named = {value for kind in kinds for record in document[kind].values() for value in record.values()}
    assert named <= known
    assert named == known


def test_the_exported_file_leads_to_the_raw_shards(exported):
    document = json.loads(SubsetFiles.of(exported).prov.read_text())
    read(json.dumps(document))
    used = [(one["prov:activity"], one["prov:entity"]) for one in document["used"].values()]
    made = {one["prov:entity"]: one["prov:activity"] for one in document["wasGeneratedBy"].values()}
    ((_key, derived),) = document["wasDerivedFrom"].items()
    waiting, seen = [derived["prov:usedEntity"]], set()
    while waiting:
        entity = waiting.pop()
        seen.add(document["entity"][entity]["prov:label"])
        waiting += [source for activity, source in used if activity == made[entity]]
    assert document["entity"][derived["prov:generatedEntity"]]["prov:label"] == "near.parquet"
    assert seen == {
        "selected_subset[near]",
        *(f"{asset}[web__{name}.jsonl]" for asset in ("documents", "raw_shards") for name in "ab"),
    }


def test_the_same_lineage_gives_the_same_bytes(project):
    assert prov_json(lineage_behind(project)) == prov_json(lineage_behind(project))
