"""A Croissant 1.1 description (JSON-LD, schema.org) of an exported subset, with its SHA-256 and columns.

It says what the data was made from (W3C PROV) and how (the vocabulary of Croissant RAI 1.0).
"""

from typing import Any
from urllib.parse import quote

import pyarrow as pa

from tamis.interchange.card import FILTERS, SHOWN_SOURCES, one_line
from tamis.interchange.facts import Facts, Written
from tamis.passages.places import PASSAGES
from tamis.selection.decide import SCORES, Reason

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "sdVersion": "cr:sdVersion",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
FORMATS = {"parquet": "application/x-parquet", "jsonl": "application/jsonlines"}
COLUMNS = {
    "doc_id": (
        "sc:Text",
        "Id of the document: the first 128 bits of the SHA-256 of its normalised text, in hexadecimal.",
    ),
    "rank": ("sc:Integer", "Position of the document in the order of selection, from 1."),
    "margin": (
        "sc:Float",
        "Signed distance of the ranking score from the selection cutoff; "
        "positive if the document was selected.",
    ),
    "training_count": ("sc:Integer", "How many times the document is in the training set."),
    "shard": ("sc:Text", "Shard (a file, or a group of small files) in which the text first occurs."),
    "row": ("sc:Integer", "Row of the text within the shard, from 0."),
    "source": (
        "sc:Text",
        "Origin of the text: the source named by the row, or a file name or Python object.",
    ),
    "licence": (
        "sc:Text",
        "Licence of the first place of the text, by shard and row, that states one; null if none does.",
    ),
    "text": ("sc:Text", "The text, normalised: NFC, LF line ends, no leading or trailing white space."),
    "prompt": ("sc:Text", "What the model is asked; it is read, and not learnt."),
    "completion": ("sc:Text", "The answer to the prompt, which is learnt."),
    "repetitions": ("sc:Integer", "How often the document is trained on in an epoch."),
}

OF_PASSAGES = {
    PASSAGES: (
        "sc:Text",
        "Ids of the chosen passages that the text is joined from, in order, of the document whose whole text "
        "has the doc_id; null if the document was not split.",
    ),
    "passage_of": (
        "sc:Text",
        "Id of the document that the text is a passage of; null if the document was not split.",
    ),
    "passage_number": ("sc:Integer", "Place of the passage in its document, from 0; null if not split."),
    "passage_count": ("sc:Integer", "Number of passages of the document; null if it was not split."),
    "passage_gap": ("sc:Text", "White space between the passage and the one before it; null if not split."),
}
"""Columns of a file with documents that were split."""
DECIDED = {
    "verdict": ("sc:Text", "Whether the document was selected or rejected."),
    "reason": ("sc:Text", "Code of the reason for the verdict, exactly one per document."),
    "detail": ("sc:Text", "What the reason is about, such as the rule or the target."),
    "duplicate_of": ("sc:Text", "Id of the near-duplicate that is kept instead, if any."),
    "budget_group": (
        "sc:Text",
        "Source, topic or language whose share of the budget the document counts for.",
    ),
    **{name: ("sc:Float", meaning) for name, meaning in SCORES.items()},
}
"""Columns of a file with all documents and their scores."""
ORIGINS = dict.fromkeys(("shard", "row", "source"), "prov:wasDerivedFrom") | {"licence": "sc:license"}
"""Columns that say of each record what is said of the data set by these properties."""
_DATA_TYPES = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
    (pa.types.is_date, "sc:Date"),
    (pa.types.is_timestamp, "sc:DateTime"),
    (pa.types.is_string, "sc:Text"),
    (pa.types.is_large_string, "sc:Text"),
)


def croissant(facts: Facts, written: Written) -> dict[str, Any]:
    """The description of the written file."""
    order = "training" if written.in_training_order else "selection"
    licences = [licence for licence, _documents, _bytes in facts.licences if licence]
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": facts.selection,
        "description": facts.sentence,
        "conformsTo": CONFORMS_TO,
        "url": f"urn:tamis:manifest:{facts.manifest}",
        "version": f"{facts.version}.0.0",
        "sdVersion": "1.0.0",
        "datePublished": facts.made_at,
        "creator": {"@type": "sc:Organization", "name": facts.project},
        "citeAs": f"{facts.project}: {facts.selection}, version {facts.version}, manifest {facts.manifest}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "file",
                "name": written.name,
                "description": f"The chosen {facts.unit} in the order of {order}"
                + (", then all others of the pool." if written.all_documents else "."),
                "contentUrl": written.name,
                "contentSize": f"{written.size} B",
                "encodingFormat": FORMATS[written.form],
                "sha256": written.sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "documents",
                "name": "documents",
                **_records(facts, written),
                "field": [
                    one for column in written.columns if (one := _field(column, written.known)) is not None
                ],
            }
        ],
        **_provenance(facts),
        **_responsible(facts),
    }
    if licences:
        described["license"] = licences
    return described


def _provenance(facts: Facts) -> dict[str, Any]:
    """Return sources and time of the subset in the terms of W3C PROV; `.prov.json` has the whole lineage."""
    sources = [source for source, _documents, _bytes in facts.sources[:SHOWN_SOURCES] if source]
    return {
        "prov:wasDerivedFrom": [
            {"@type": "prov:Entity", "prov:label": one_line(source)} for source in sources
        ],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"The selection {facts.selection}",
            "prov:endedAtTime": facts.made_at,
        },
    }


def _responsible(facts: Facts) -> dict[str, Any]:
    """Return how the data was cleaned and chosen, in the terms of Croissant RAI; only what is known."""
    left_out = [
        f"{reason.replace('_', ' ')}{f' ({one_line(detail)})' if detail else ''}: {count:,} {facts.unit}"
        for reason, detail, count in facts.reasons
        if reason != Reason.WITHIN_BUDGET
    ]
    settings = {
        name: value
        for name, value in facts.settings.items()
        if name not in ("name", FILTERS) and value is not None
    }
    chosen = ", ".join(f"{name} = {one_line(value)}" for name, value in sorted(settings.items()))
    return {
        "rai:dataPreprocessingProtocol": [
            *(
                f"filter {name} = {one_line(value)}"
                for name, value in sorted(facts.settings.get(FILTERS, {}).items())
            ),
            *left_out,
        ],
        "rai:dataManipulationProtocol": f"{facts.sentence} Settings: {chosen}.",
        "rai:dataLimitations": "Licences are those that the sources state, and are not checked. "
        "Personal data and quality were checked by the filters above alone.",
        "rai:dataReleaseMaintenancePlan": "A withdrawn document leaves the next version of the selection; "
        "the withdrawal names the exports that have it.",
    }


def _records(facts: Facts, written: Written) -> dict[str, Any]:
    """Return what a record is, and its key, if each has one of its own."""
    if written.in_training_order and facts.copies > facts.documents:
        return {"description": "One record each time that a document is trained on."}
    key = {"key": {"@id": "documents/doc_id"}}
    if PASSAGES in written.columns.names and PASSAGES in written.known:
        joined = "One record per document, with its chosen passages joined"
        if facts.copies > facts.documents:
            return {"description": f"{joined}, those that are trained on equally often."}
        return {"description": f"{joined}.", **key}
    if facts.in_passages:
        return {"description": "One record per document, and of a long document one per passage.", **key}
    return {"description": "One record per document.", **key}


def _field(column: pa.Field, known: frozenset[str]) -> dict[str, Any] | None:
    """Return name, type and meaning of a column, which may hold lists.

    None of columns of objects or without a name, which the format cannot say. `known`: the columns that
    are not of the user's rows.
    """
    name, values = column.name, column.type
    is_list = pa.types.is_list(values) or pa.types.is_large_list(values)
    if is_list:
        values = values.value_type
    data_type = next((stated for test, stated in _DATA_TYPES if test(values)), None) if name.strip() else None
    meaning = "A column of the original rows, unchanged."
    if name in known and name in (stated := COLUMNS | DECIDED | OF_PASSAGES):
        data_type, meaning = stated[name]
    if data_type is None:
        return None
    return {
        "@type": "cr:Field",
        "@id": f"documents/{quote(name, safe='')}",  # a URI, which holds no space
        "name": name,
        "description": meaning,
        "dataType": data_type,
        **({"isArray": True, "arrayShape": "-1"} if is_list else {}),
        **({"equivalentProperty": ORIGINS[name]} if name in known and name in ORIGINS else {}),
        "source": {"fileObject": {"@id": "file"}, "extract": {"column": name}},
    }
