"""Manifests as OpenLineage events: one finished run for each, about 2 kB.

A data set is a value (`asset[partition]`), its version the data version; the table that holds it is its
symlink. The id of a run is derived from the manifest's, and its time is when the value was made.
"""

import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from tamis.graph.plan import label
from tamis.interchange.graph import Lineage
from tamis.records.manifest import Manifest, canonical_json

Columns = Mapping[str, Mapping[str, list[tuple[str, str]]]]
"""Of the tables whose columns are traced: each column with the (table, column) pairs it comes from."""

SPECIFICATION = "https://openlineage.io/spec"
EVENT = f"{SPECIFICATION}/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = {
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
    "symlinks": "1-0-1/SymlinksDatasetFacet.json#/$defs/SymlinksDatasetFacet",
    "jobType": "2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
    "outputStatistics": "1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/"
    "OutputStatisticsOutputDatasetFacet",
    "executionParameters": "1-0-0/ExecutionParametersRunFacet.json#/$defs/ExecutionParametersRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet.json#/$defs/ProcessingEngineRunFacet",
}
RUNS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:tamis:run")
PRODUCER = f"urn:tamis:{version('tamis')}"


def lines(lineage: Lineage, columns: Columns) -> str:
    """Return an event for each manifest, inputs first, as JSON lines, the form of OpenLineage's own files."""
    events = (_event(lineage, key, made, columns) for key, made in lineage.manifests.items())
    return "".join(canonical_json(event) + "\n" for event in events)


def _event(lineage: Lineage, key: str, made: Manifest, columns: Columns) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": made.beside["made_at"],
        "producer": PRODUCER,
        "schemaURL": EVENT,
        "run": {
            "runId": str(uuid.uuid5(RUNS, key)),
            "facets": {
                "executionParameters": _facet(
                    "executionParameters",
                    parameters=[
                        {"key": key, "value": value}
                        for key, value in [*_leaves("", made.config), ("seed", str(made.seed))]
                    ],
                ),
                "processing_engine": _facet("processing_engine", name="tamis", version=_release(made.beside)),
                # Our own facet: what the manifest states beyond the standard ones.
                "tamis_manifest": {
                    "_producer": PRODUCER,
                    "_schemaURL": "urn:tamis:facet:manifest:1",
                    "manifest": key,
                    "partition": made.partition,
                    "codeVersion": made.code_version,
                    "inputKey": made.input_key,
                    "digest": made.digest,
                    "settled": made.settled,
                    "config": made.config,
                },
            },
        },
        "job": {
            "namespace": lineage.namespace,
            "name": made.asset,
            "facets": {
                "jobType": _facet("jobType", processingType="BATCH", integration="TAMIS", jobType="TASK")
            },
        },
        "inputs": [
            {
                "namespace": lineage.namespace,
                "name": label(entry.asset, entry.partition),
                "facets": {"version": _facet("version", datasetVersion=entry.data_version)},
            }
            for entry in made.inputs
        ],
        "outputs": [_output(lineage, made, columns)],
    }


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield settings by their dotted path: as text, lists as JSON; those that are not set are left out."""
    if isinstance(value, Mapping):
        for name in sorted(value):
            yield from _leaves(f"{path}.{name}" if path else str(name), value[name])
    elif value is not None:
        yield path, value if isinstance(value, str) else canonical_json(value)


def _release(beside: Mapping[str, Any]) -> str:
    """Return the release of Tamis that made a value; of a manifest that does not say, the present one."""
    return str(beside.get("libraries", {}).get("tamis") or version("tamis"))


def _output(lineage: Lineage, made: Manifest, columns: Columns) -> dict[str, Any]:
    table = {"namespace": lineage.namespace, "name": made.asset, "type": "TABLE"}
    facets = {
        "version": _facet("version", datasetVersion=made.data_version),
        "symlinks": _facet("symlinks", identifiers=[table]),
    }
    if made.asset in columns:
        fields = {
            name: {
                "inputFields": [
                    {"namespace": lineage.namespace, "name": table, "field": column}
                    for table, column in leaves
                ]
            }
            for name, leaves in columns[made.asset].items()
        }
        facets["columnLineage"] = _facet("columnLineage", fields=fields)
    return {
        "namespace": lineage.namespace,
        "name": label(made.asset, made.partition),
        "facets": facets,
        "outputFacets": {"outputStatistics": _facet("outputStatistics", rowCount=made.row_count)},
    }


def _facet(name: str, /, **values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{SPECIFICATION}/facets/{FACETS[name]}", **values}
