"""OpenLineage events: what its own library makes of the same values, byte for byte."""

import json

import attr
import pytest
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde

from tamis.interchange import lineage_behind, openlineage_lines

FACETS = {
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
}


def rebuilt(event: dict) -> dict:
    """The event as the library's own classes write it; a key that they do not know is an error."""
    standard = {name: one for name, one in event["run"]["facets"].items() if name != "tamis_manifest"}
    run = event_v2.Run(runId=event["run"]["runId"], facets=facets(standard))
    made = event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]],
        eventTime=event["eventTime"],
        producer=event["producer"],
        run=run,
        job=event_v2.Job(**event["job"] | {"facets": facets(event["job"]["facets"])}),
        inputs=[event_v2.InputDataset(**one | {"facets": facets(one["facets"])}) for one in event["inputs"]],
        outputs=[
            event_v2.OutputDataset(
                **one | {"facets": facets(one["facets"]), "outputFacets": facets(one["outputFacets"])}
            )
            for one in event["outputs"]
        ],
    )
    return Serde.to_dict(made)


def facets(found: dict) -> dict:
    return {name: facet(name, dict(values)) for name, values in found.items()}


def facet(name: str, values: dict):
    producer, schema = values.pop("_producer"), values.pop("_schemaURL")
    if name == "symlinks":
        links = facet_v2.symlinks_dataset
        values = {"identifiers": [links.Identifier(**one) for one in values["identifiers"]]}
        made = links.SymlinksDatasetFacet(producer=producer, **values)
    elif name == "columnLineage":
        columns = facet_v2.column_lineage_dataset
        fields = {
            column: columns.Fields(inputFields=[columns.InputField(**one) for one in leaves["inputFields"]])
            for column, leaves in values.pop("fields").items()
        }
        made = columns.ColumnLineageDatasetFacet(producer=producer, fields=fields, **values)
    elif name == "executionParameters":
        stated = facet_v2.execution_parameters_run
        parameters = [stated.ExecutionParameter(**one) for one in values["parameters"]]
        made = stated.ExecutionParametersRunFacet(producer=producer, parameters=parameters)
    else:
        made = FACETS[name](producer=producer, **values)
    assert attr.asdict(made)["_schemaURL"] == schema, name
    return made


def without_empty(value):
    """Lists and mappings that the library writes though nothing is in them."""
    if isinstance(value, dict):
        kept = {name: without_empty(one) for name, one in value.items()}
        return {name: one for name, one in kept.items() if one not in ({}, [], None)}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


def events(project, name=None) -> list[dict]:
    return [json.loads(line) for line in openlineage_lines(lineage_behind(project, name)).splitlines()]


def test_events_are_those_of_the_library(project):
    for event in events(project):
        own = event["run"]["facets"].pop("tamis_manifest")
        assert {"_producer", "_schemaURL", "manifest", "inputKey", "config"} <= own.keys()
        assert without_empty(rebuilt(event)) == without_empty(event)


def test_an_unknown_key_is_noticed(project):
    event = events(project)[0]
    event["outputs"][0]["facets"]["version"]["colour"] = "red"
    with pytest.raises(TypeError, match="colour"):
        rebuilt(event)


def test_inputs_come_before_what_was_made_of_them_and_lead_to_raw_shards(project):
    found = events(project)
    names = [event["outputs"][0]["name"] for event in found]
    assert len(names) == len(set(names)) == 7
    for place, event in enumerate(found):
        assert {one["name"] for one in event["inputs"]} <= set(names[:place])
    assert {event["job"]["namespace"] for event in found} == {"tamis:small"}
    assert len({event["run"]["runId"] for event in found}) == 7


def test_a_selection_alone_has_its_own_ancestors(project):
    names = {event["outputs"][0]["name"] for event in events(project, "near")}
    assert "selected_subset[near]" in names
    assert "mart_reasons" not in names
    assert sum(name.startswith("raw_shards") for name in names) == 2


def test_columns_of_sql_models_are_traced_to_tables(project):
    (mart,) = [event for event in events(project) if event["job"]["name"] == "mart_reasons"]
    fields = mart["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert fields["reason"]["inputFields"] == [
        {"namespace": "tamis:small", "name": "decisions", "field": "reason"}
    ]
    assert fields["documents"] == {"inputFields": []}
    (decisions,) = [event for event in events(project) if event["job"]["name"] == "decisions"]
    links = decisions["outputs"][0]["facets"]["symlinks"]["identifiers"]
    assert links == [{"namespace": "tamis:small", "name": "decisions", "type": "TABLE"}]


def test_settings_are_parameters_of_the_run(project):
    (subset,) = [event for event in events(project, "near") if event["job"]["name"] == "selected_subset"]
    stated = subset["run"]["facets"]["executionParameters"]["parameters"]
    values = {parameter["key"]: parameter["value"] for parameter in stated}
    assert values["sampler"] == "got-d"
    assert values["budget"] == "3"
    assert values["filters.licences_denied"] == '["nc*"]'
    assert "seed" in values
    assert subset["run"]["facets"]["processing_engine"]["name"] == "tamis"


def test_the_same_lineage_gives_the_same_bytes(project):
    assert openlineage_lines(lineage_behind(project)) == openlineage_lines(lineage_behind(project))
    times = [event["eventTime"] for event in events(project)]
    assert set(times) <= {f"2026-01-02T03:{minute:02d}:00+00:00" for minute in range(1, 8)}
