"""Manifests as W3C PROV-JSON: an entity and an activity for each, and the software as their agent."""

from importlib.metadata import version
from typing import Any

from tamis.graph.plan import label
from tamis.interchange.graph import Lineage
from tamis.records.manifest import canonical_json

AGENT = "tamis:software"
PREFIXES = {
    "tamis": "urn:tamis:",
    "manifest": "urn:tamis:manifest:",
    "made": "urn:tamis:materialization:",
    "asset": "urn:tamis:asset:",
    "file": "urn:sha256:",
}
Record = dict[str, Any]


def prov_json(lineage: Lineage, files: dict[str, tuple[str, str]] | None = None) -> str:
    """The lineage as W3C PROV-JSON; `files`: by SHA-256 their names and the manifests they are made of."""
    manifests = lineage.manifests
    document: dict[str, Any] = {
        "prefix": PREFIXES,
        "agent": {AGENT: _typed("prov:SoftwareAgent") | {"tamis:version": version("tamis")}},
        "entity": {
            f"manifest:{key}": {
                "prov:label": label(made.asset, made.partition),
                **_typed(f"asset:{made.asset}"),
                "tamis:project": lineage.project,
                "tamis:partition": made.partition,
                "tamis:dataVersion": made.data_version,
                "tamis:digest": made.digest,
                "tamis:rows": made.row_count,
            }
            for key, made in manifests.items()
        },
        # With their end alone: how long a value took, of a run over many, is a mean.
        "activity": {
            f"made:{key}": {
                "prov:endTime": made.beside["made_at"],
                "prov:label": f"making {label(made.asset, made.partition)}",
                "tamis:codeVersion": made.code_version,
                "tamis:inputKey": made.input_key,
                "tamis:settings": canonical_json(made.config),
            }
            for key, made in manifests.items()
        },
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
    return canonical_json(document) + "\n"


def _typed(name: str) -> Record:
    return {"prov:type": {"$": name, "type": "prov:QUALIFIED_NAME"}}


def _numbered(kind: str, records: list[Record]) -> dict[str, Record]:
    return {f"_:{kind}{place}": record for place, record in enumerate(records)}
