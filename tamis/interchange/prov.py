"""Manifests as W3C PROV-JSON: an entity and an activity for each, and the software as their agent."""

from importlib.metadata import version
from typing import Any

from tamis.graph.plan import label
from tamis.interchange.graph import Lineage
from tamis.records.manifest import Manifest, canonical_json

AGENT = "tamis:software"
PREFIXES = {
    "tamis": "urn:tamis:",
    "manifest": "urn:tamis:manifest:",
    "made": "urn:tamis:materialization:",
    "asset": "urn:tamis:asset:",
    "file": "urn:sha256:",
}
Record = dict[str, Any]


def prov_document(lineage: Lineage, files: dict[str, tuple[str, str]] | None = None) -> dict[str, Any]:
    """The document; `files` maps SHA-256 of files made of a value to their names and its manifest."""
    manifests = lineage.manifests
    document: dict[str, Any] = {
        "prefix": PREFIXES,
        "agent": {AGENT: _typed("prov:SoftwareAgent") | {"tamis:version": version("tamis")}},
        "entity": {f"manifest:{key}": _entity(lineage, made) for key, made in manifests.items()},
        "activity": {f"made:{key}": _activity(made) for key, made in manifests.items()},
        "wasGeneratedBy": _numbered(
            "generated",
            [{"prov:entity": f"manifest:{key}", "prov:activity": f"made:{key}"} for key in manifests],
        ),
        "wasAssociatedWith": _numbered(
            "associated", [{"prov:activity": f"made:{key}", "prov:agent": AGENT} for key in manifests]
        ),
        "used": _numbered(
            "used",
            [
                {"prov:activity": f"made:{key}", "prov:entity": f"manifest:{entry.manifest}"}
                for key, made in manifests.items()
                for entry in made.inputs
            ],
        ),
    }
    for digest, (name, key) in (files or {}).items():
        document["entity"][f"file:{digest}"] = {"prov:label": name} | _typed("tamis:export")
        derived = [{"prov:generatedEntity": f"file:{digest}", "prov:usedEntity": f"manifest:{key}"}]
        document.setdefault("wasDerivedFrom", {}).update(_numbered(f"derived_{digest[:16]}_", derived))
    return document


def prov_text(lineage: Lineage, files: dict[str, tuple[str, str]] | None = None) -> str:
    """The document as text, keys sorted."""
    return canonical_json(prov_document(lineage, files)) + "\n"


def _entity(lineage: Lineage, made: Manifest) -> Record:
    return {
        "prov:label": label(made.asset, made.partition),
        **_typed(f"asset:{made.asset}"),
        "tamis:project": lineage.project,
        "tamis:partition": made.partition,
        "tamis:dataVersion": made.data_version,
        "tamis:digest": made.digest,
        "tamis:rows": made.row_count,
    }


def _activity(made: Manifest) -> Record:
    """Its end alone: how long a value took, of a run over many, is a mean."""
    return {
        "prov:endTime": made.beside["made_at"],
        "prov:label": f"making {label(made.asset, made.partition)}",
        "tamis:codeVersion": made.code_version,
        "tamis:inputKey": made.input_key,
        "tamis:settings": canonical_json(made.config),
    }


def _typed(name: str) -> Record:
    return {"prov:type": {"$": name, "type": "prov:QUALIFIED_NAME"}}


def _numbered(kind: str, records: list[Record]) -> dict[str, Record]:
    return {f"_:{kind}{place}": record for place, record in enumerate(records)}
