"""Exports give back the columns of rows whose text is nested, or in another column than that of the file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from projects import corpus, plain_project, record, settings, texts, write

from tamis.corpus import read_shard
from tamis.corpus.intake import store_shards
from tamis.interchange.json_lines import json_lines
from tamis.interchange.own_columns import OwnRows, own_table
from tamis.interchange.subset_rows import subset_rows
from tamis.readers.arrow_values import kept_type
from tamis.readers.kept_columns import Heading

TEXTS = texts("cooking", 8)
LONG = "x" * 70_000
LINES = [
    {"doc": {"body": TEXTS[0], "title": "Zero", "refs": [{"n": 1}]}, "id": 0},
    {"doc": {"title": "One"}, "content": TEXTS[1], "id": 1},
    {"doc": None, "content": TEXTS[2], "id": 2},
    {"doc": {"body": TEXTS[3]}, "long": LONG, "id": 3},
]
STRUCTS = [{"body": TEXTS[4], "n": 4}, {"body": TEXTS[5], "n": None}]


@pytest.fixture
def exported(tmp_path) -> dict[str, dict]:
    """The rows of an export by their text."""
    write(tmp_path / "documents" / "a.jsonl", map(json.dumps, LINES))
    pq.write_table(pa.table({"id": [4, 5], "doc": STRUCTS}), tmp_path / "documents" / "b.parquet")
    write(
        tmp_path / "documents" / "c.csv", ["nr;content;score", f'6;"{TEXTS[6]}";0,5', f'7;"{TEXTS[7]}";1,5']
    )
    several = corpus(text_column=["doc.body", "content"])
    project = plain_project(tmp_path, settings(several), {})
    (section,), shards = project.project.settings.corpus, project.snapshot.shards
    for _group in store_shards(
        project.store, [(key, read_shard(one, section)) for key, one in shards.items()]
    ):
        pass
    for key in shards:  # of rows that are too long to keep, the file is read again while it is as it was
        record(project.home, "raw_shards", key, data_version=project.snapshot.fingerprints[key])
    places = project.store.read("occurrences").sort("shard", "row")
    documents = project.store.read("documents", ["doc_id", "text"])
    columns = ["doc_id", "rank", "margin", "shard", "row", "source", "licence", "text"]
    chosen = places.join(documents, on="doc_id").with_row_index("rank").with_columns(margin=0.5)
    found = subset_rows(project.project, chosen.select(columns), places)
    assert found.table.num_rows == 8
    assert found.notes("parquet") == []
    return {row["text"]: row for row in map(json.loads, json_lines(found.objects()))}


def test_a_nested_column_comes_out_whole(exported):
    for row in (*LINES, *({"id": n, "doc": one} for n, one in enumerate(STRUCTS, start=4))):
        text = (row["doc"] or {}).get("body") or row["content"]
        found = exported[text]
        doc = found["doc"] and {name: value for name, value in found["doc"].items() if value is not None}
        expected = row["doc"] and {name: value for name, value in row["doc"].items() if value is not None}
        assert doc == expected
        assert (found["id"], found["content"], found["long"]) == (
            row["id"],
            row.get("content"),
            row.get("long"),
        )


def test_a_csv_file_has_its_numbers_as_it_wrote_them(exported):
    assert [exported[TEXTS[n]]["score"] for n in (6, 7)] == ["0,5", "1,5"]
    assert [exported[TEXTS[n]]["content"] for n in (6, 7)] == TEXTS[6:8]
    assert exported[TEXTS[6]]["doc"] is None


def test_odd_values_beside_a_nested_text_come_out_with_it():
    kind = pa.struct([("body", pa.string()), ("on", pa.date32()), ("body", pa.int8()), ("at", ZONE)])
    own = OwnRows(
        values={
            ("a", 0): {"doc": {"on": 4_000_000, "body_2": 1, "at": 0}},
            ("a", 1): {"doc": {"on": 0, "body_2": None, "at": None}},
        },
        headings={"a": Heading(text_column="doc.body", keys=("doc", "body"), types={"doc": kept_type(kind)})},
    )
    made = own_table([(("a", 0), "one"), (("a", 1), "two")], own)
    assert made.printed["doc"] == [
        {"body": "one", "on": "+12921-08-18", "body_2": 1, "at": "1970-01-01T00:00:00+00:00"},
        {"body": "two", "on": "1970-01-01", "body_2": None, "at": None},
    ]
    assert made.nulled == {"doc": 1}
    assert made.as_text == {}
    stored = made.columns["doc"].to_pylist()
    assert [(row["body"], row["on"] and row["on"].isoformat()) for row in stored] == [
        ("one", None),
        ("two", "1970-01-01"),
    ]


ZONE = pa.timestamp("s", "No/Where")
