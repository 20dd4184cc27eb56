"""Text columns by list, path and sample: which is taken of a row, which would do, what exports give back."""

import gzip
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import WRITERS, as_csv, corpus, faults, read, texts, written

from tamis.base.errors import ConfigurationError
from tamis.corpus import Shard, document_id, read_shard, read_target
from tamis.corpus.looking import look_at
from tamis.corpus.refusing import Refusal
from tamis.readers.arrow_values import FAR, SAME_NAMES, UNDECODED, UNKNOWN_ZONE, native, shown_values
from tamis.readers.json_rows import TOO_LARGE
from tamis.readers.kept_columns import HALF, read_heading
from tamis.readers.text_columns import (
    TextPlace,
    advice,
    chosen_by,
    conversations_in,
    find,
    fitting,
    lifted,
    place_in,
    sample_of,
)
from tamis.settings.config import TargetSection, parse_settings

LONG = "A text of several words, long enough to be taken for one, number {}."
TURNS = [
    {"role": "user", "content": "What is a mean?"},
    {"role": "assistant", "content": "A sum over a count."},
]


def long(count: int) -> list[str]:
    return [LONG.format(number) for number in range(count)]


# The setting.


@pytest.mark.parametrize("value", ["body", "doc.body", "auto", ["text", "content"]])
def test_a_text_column_is_a_name_a_path_a_list_or_auto(value):
    section = {"name": "web", "kind": "files", "path": ".", "text_column": value}
    found = parse_settings({"corpus": [section], "target": [section | {"name": "goal"}]})
    expected = tuple(value) if isinstance(value, list) else value
    assert (found.corpus[0].text_column, found.target[0].text_column) == (expected, expected)
    assert json.loads(found.corpus[0].model_dump_json())["text_column"] == value


@pytest.mark.parametrize("value", [[], ["a", "a"], ["a", 1], 5, True])
def test_another_text_column_is_refused_with_what_is_valid(value):
    with pytest.raises(ConfigurationError, match=r'a path to a nested field, such as "doc\.body"'):
        parse_settings({"corpus": [{"name": "web", "kind": "files", "path": ".", "text_column": value}]})


# Where a row has its text.


@pytest.mark.parametrize(
    ("values", "path", "expected"),
    [
        ({"text": "a"}, "text", (("text",), "a")),
        ({"doc": {"body": "a"}}, "doc.body", (("doc", "body"), "a")),
        ({"doc.body": "b", "doc": {"body": "a"}}, "doc.body", (("doc.body",), "b")),
        ({"a.b": {"c": "x"}}, "a.b.c", (("a.b", "c"), "x")),
        ({"a": {"b.c": "x"}}, "a.b.c", (("a", "b.c"), "x")),
        ({"doc": None}, "doc.body", (("doc", "body"), None)),
        ({"doc": {"body": None}}, "doc.body", (("doc", "body"), None)),
        ({"doc": {}}, "doc.body", None),
        ({"doc": "a text"}, "doc.body", None),
        ({"doc": [{"body": "a"}]}, "doc.body", None),
        ({}, "doc.body", None),
    ],
)
def test_a_path_leads_through_objects_and_a_literal_name_wins(values, path, expected):
    assert find(values, path) == expected


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"text": "a", "content": "b"}, "text"),
        ({"text": None, "content": "b"}, "content"),
        ({"text": " \n", "content": "b"}, "content"),
        ({"text": 5, "content": "b"}, "content"),
        ({"content": "b"}, "content"),
        ({"text": "", "other": "b"}, "text"),
        ({"other": "b"}, None),
    ],
)
def test_a_row_takes_the_first_column_of_a_list_that_holds_a_text(values, name):
    found = place_in(values, ("text", "content"), "text")
    assert (found and found.name) == name


def test_a_nested_text_is_lifted_out_of_a_copy():
    row = {"doc": {"body": "a", "n": {"k": 1}}, "id": 7}
    found = lifted(row, TextPlace(name="doc.body", keys=("doc", "body")))
    assert found == {"doc": {"n": {"k": 1}}, "id": 7, "doc.body": "a"}
    assert row["doc"]["body"] == "a"


# Which columns would do.


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"Text": "Some words", "summary": LONG}, ["Text", "summary"]),
        ({"content": LONG, "text": LONG}, ["text", "content"]),
        ({"url": "https://x.org/" + "a" * 80, "story": LONG}, ["story"]),
        ({"id": 7, "meta": {"body": LONG, "raw": {"note": LONG + LONG}}}, ["meta.body", "meta.raw.note"]),
        ({"id": 7, "data": {"body": {"text": "one two three"}, "name": "a b"}}, ["data.body.text"]),
        ({"document": "doc-17", "sentence": LONG}, ["sentence", "document"]),
        ({"b": LONG, "a": LONG + LONG}, ["a", "b"]),
        ({"inhalt": "\u4e2d\u6587" * 40}, ["inhalt"]),
        ({"label": "news", "n": 3, "tags": ["a", "b"]}, []),
        ({"score": "0,12", "nr": "17"}, []),
    ],
    ids=lambda value: ",".join(value) or "none",
)
def test_columns_that_hold_texts_the_best_first(row, expected):
    assert fitting(sample_of([row] * 5)) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TURNS}, ("messages", "messages")),
        ({"messages": json.dumps(TURNS)}, ("messages", "messages")),
        ({"messages": json.dumps([TURNS[0] | {"content": LONG * 99}])}, ("messages", "messages")),
        ({"data": {"chat": TURNS}}, ("messages", "data.chat")),
        ({"chat": [{"role": "assistant", "tool_calls": [{"name": "tide"}]}, *TURNS]}, ("messages", "chat")),
        ({"conversations": [{"from": "human", "value": "a"}]}, ("sharegpt", "conversations")),
        ({"instruction": "a", "input": "", "output": "b"}, ("alpaca", "output")),
        ({"messages": "hello"}, None),
        ({"content": LONG}, None),
    ],
)
def test_conversations_are_known_by_their_turns(row, expected):
    assert conversations_in(sample_of([row])) == expected


def test_the_advice_is_the_line_to_write():
    chats, rows = sample_of([{"messages": TURNS}]), sample_of([{"id": 1, "content": LONG, "abstract": LONG}])
    assert advice(("text",), rows) == (
        '\'content\' holds texts: set text_column = ["text", "content"] in its section of tamis.toml '
        "(others that would do: 'abstract')"
    )
    assert advice(("text",), chats).startswith(
        "'messages' holds conversations: set format = \"messages\" in its section of tamis.toml"
    )
    other = sample_of([{"chat": TURNS}])
    assert 'set format = "messages" and text_column = "chat" in' in advice(("text",), other)
    assert 'set text_column = ["messages", "chat"] in' in advice(("messages",), other, "messages")
    assert advice(("text",), sample_of([{"id": 1}])) == ""
    assert chosen_by(chats, "messages") == ("messages",)
    assert chosen_by(chats, "text") == ()


# Reading.

NESTED = [
    {"id": number, "doc": {"body": text, "title": f"Title {number}"}} for number, text in enumerate(long(4))
]
NULL_PARENT = {"id": 9, "doc": None}


def as_arrow(rows) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


FORMATS = {**{one: WRITERS[one] for one in (".jsonl", ".json", ".parquet")}, ".arrow": as_arrow}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("column", ["doc.body", ["text", "doc.body"], "auto"], ids=str)
def test_a_nested_text_is_read_and_kept_once(tmp_path, ending, column):
    path = written(tmp_path, f"a{ending}", FORMATS[ending]([*NESTED, NULL_PARENT]))
    batch = read(path, text_column=column)
    assert texts(batch) == long(4)
    assert list(batch.quarantine.select("row", "detail").iter_rows()) == [(4, "the text is null")]
    assert not any("A text of" in shown for shown in batch.documents["metadata"])
    kept = [json.loads(content) for content in batch.documents["content"]]
    assert kept == [{"id": row["id"], "doc": {"title": row["doc"]["title"]}} for row in NESTED]
    (batch,) = read_shard(shard(path), corpus(text_column=column))
    heading = read_heading(batch.heading)
    assert (heading.text_column, heading.keys) == ("doc.body", ("doc", "body"))
    assert heading.taken == {"doc.body": 5}
    whole = [heading.whole(row, text) for row, text in zip(kept, long(4), strict=True)]
    assert whole == NESTED, "the whole column comes out again"
    for row in whole if heading.types else ():
        assert native(row["doc"], heading.types["doc"]) == row["doc"]


def shard(path) -> Shard:
    return Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(("keep", "kept"), [(["doc"], True), (["id"], False), (False, False)], ids=str)
def test_a_nested_text_comes_out_where_its_column_is_kept(tmp_path, ending, keep, kept):
    path = written(tmp_path, f"a{ending}", FORMATS[ending](NESTED))
    (batch,) = read_shard(shard(path), corpus(text_column="doc.body", keep_columns=keep))
    content = [json.loads(one or "{}") for one in batch.documents["content"]]
    whole = [read_heading(batch.heading).whole(row, text) for row, text in zip(content, long(4), strict=True)]
    assert [row.get("doc") for row in whole] == [row["doc"] if kept else None for row in NESTED]
    assert texts(batch) == long(4)


def test_only_the_nested_column_of_a_parquet_file_is_read(tmp_path, monkeypatch):
    """What is neither plain, nor the text, nor kept is left alone."""
    rows = [row | {"vector": [0.5] * 8, "image": {"bytes": b"x"}} for row in NESTED]
    path = written(tmp_path, "a.parquet", WRITERS[".parquet"](rows))
    asked = []
    batches = pq.ParquetFile.iter_batches

    def noted(self, *args, **options):
        asked.append(options["columns"])
        return batches(self, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    assert texts(read(path, text_column="doc.body", keep_columns=False)) == long(4)
    assert asked == [["id", "doc"]]


MIXED = [
    {"id": 0, "text": "first text", "n": 1},
    {"id": 1, "content": "second text"},
    {"id": 2, "text": None, "content": "third text"},
    {"id": 3, "title": "none of both"},
    {"id": 4, "text": "fifth text", "content": "and another"},
]


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_rows_of_one_file_may_have_different_columns_of_a_list(tmp_path, ending):
    path = written(tmp_path, f"a{ending}", WRITERS[ending](MIXED))
    (batch,) = read_shard(shard(path), corpus(text_column=["text", "content"]))
    assert texts(batch) == ["first text", "second text", "third text", "fifth text"]
    assert faults(batch) == [(3, "missing_text_column")]
    assert batch.quarantine["detail"][0].startswith(
        "none of the columns 'text', 'content'; columns found: id"
    )
    heading = read_heading(batch.heading)
    assert heading.taken == {"text": 2, "content": 2}
    whole = [
        heading.whole(json.loads(content), text)
        for content, text in batch.documents.select("content", "text").iter_rows()
    ]
    for row, given in zip(whole, [one for one in MIXED if one["id"] != 3], strict=True):
        own = {name: value for name, value in row.items() if value is not None}
        assert own == {name: one for name, one in given.items() if one is not None and name != "text"}


def test_a_row_with_its_text_elsewhere_gives_back_what_it_had(tmp_path):
    rows = [{"a": {"b": "nested text"}}, {"c": "plain text"}, {"a": {"b": " ", "k": 1}, "c": "third text"}]
    path = written(tmp_path, "a.jsonl", WRITERS[".jsonl"](rows))
    (batch,) = read_shard(shard(path), corpus(text_column=["a.b", "c"]))
    heading = read_heading(batch.heading)
    pairs = batch.documents.select("content", "text").iter_rows()
    assert [heading.whole(json.loads(content), text) for content, text in pairs] == rows


def test_a_column_file_with_several_of_a_list_takes_the_filled_one_by_row(tmp_path):
    table = pa.table(
        {
            "text": ["a", None, "", None],
            "content": ["x", "b", "c", None],
            "doc": [{"t": "y"}, None, None, {"t": "d"}],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    batch = read(tmp_path / "a.parquet", text_column=["text", "content", "doc.t"])
    assert texts(batch) == ["a", "b", "c", "d"]
    kept = [json.loads(content) for content in batch.documents["content"]]
    assert kept[3] == {"text": None, "content": None, "doc": {"t": "d"}}, "its text is not that of the file"


@pytest.mark.parametrize("ending", [*FORMATS, ".csv"])
def test_each_file_decides_with_auto(tmp_path, ending):
    writer = {**FORMATS, **WRITERS}[ending]
    rows = [{"nr": str(number), "Content": text, "kind": "news"} for number, text in enumerate(long(150))]
    path = written(tmp_path, f"a{ending}", writer(rows))
    (batch,) = read_shard(shard(path), corpus(text_column="auto"))
    assert texts(batch) == long(150)
    heading = read_heading(batch.heading)
    assert (heading.text_column, heading.taken) == ("Content", {"Content": 150})
    assert json.loads(batch.documents["content"][0]) == {"nr": "0", "kind": "news"}


@pytest.mark.parametrize("ending", [*FORMATS, ".csv"])
def test_a_file_in_which_nothing_is_a_text_is_one_defect(tmp_path, ending):
    path = written(tmp_path, f"a{ending}", {**FORMATS, **WRITERS}[ending]([{"nr": "1", "kind": "news"}] * 3))
    batch = read(path, text_column="auto")
    assert faults(batch) == [(-1, "missing_text_column")]
    assert batch.quarantine["rows_lost"].to_list() == [3]
    assert batch.quarantine["detail"][0].startswith(
        "no column has a text in any of its 3 rows; columns found: nr, kind"
    )


@pytest.mark.parametrize("column", ["auto", ["content", "text"], "doc.body"], ids=str)
def test_texts_alone_have_no_column(tmp_path, column):
    """A txt file, and the elements of a JSON array of strings."""
    assert texts(read(written(tmp_path, "a.txt", "one text"), text_column=column)) == ["one text"]
    batch = read(written(tmp_path, "a.json", '["one text", "another"]'), text_column=column)
    assert texts(batch) == ["one text", "another"]


def test_a_withdrawn_text_leaves_the_nested_columns_of_other_rows(tmp_path):
    gone = LONG.format("that goes")
    rows = [{"doc": {"body": gone}}, {"doc": {"body": LONG, "quotes": [{"said": gone}]}}]
    batch = read(written(tmp_path, "a.jsonl", WRITERS[".jsonl"](rows)), text_column="doc.body")
    barred = Refusal(doc_ids=pl.Series([document_id(gone)]))
    kept, _places = barred.columns(barred.documents(batch.documents)[0])
    assert "that goes" not in "".join([*kept["content"], *kept["metadata"], *kept["text"]])
    assert json.loads(kept["content"][0]) == {"doc": {"quotes": [{"said": None}]}}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("column", ["data.chat", ["messages", "data.chat"], "auto"], ids=str)
def test_conversations_have_their_column_by_path_list_or_sample(tmp_path, ending, column):
    rows = [{"id": number, "data": {"chat": TURNS}} for number in range(3)]
    path = written(tmp_path, f"a{ending}", FORMATS[ending](rows))
    (batch,) = read_shard(shard(path), corpus(format="messages", text_column=column))
    assert texts(batch) == ["What is a mean?\n\nA sum over a count."] * 3
    assert [json.loads(content) for content in batch.documents["content"]] == rows
    assert read_heading(batch.heading).text_column is None


CALLED = [
    {"role": "assistant", "tool_calls": [{"function": {"name": "tide", "arguments": '{"at": "Cuxhaven"}'}}]},
    {"role": "tool", "content": "High at noon."},
    *TURNS,
]
SAID = '{"name": "tide", "arguments": {"at": "Cuxhaven"}}\n\nHigh at noon.\n\n' + "\n\n".join(
    turn["content"] for turn in TURNS
)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("column", ["data.chat", ["messages", "data.chat"], "auto"], ids=str)
def test_calls_of_tools_are_read_in_a_column_by_path_list_or_sample(tmp_path, ending, column):
    path = written(
        tmp_path, f"a{ending}", FORMATS[ending]([{"data": {"chat": CALLED}, "id": n} for n in "ab"])
    )
    batch = read(path, format="messages", text_column=column)
    assert (texts(batch), faults(batch)) == ([SAID] * 2, [])


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
@pytest.mark.parametrize("column", ["chat", "auto"])
def test_conversations_of_csv_are_json(tmp_path, ending, delimiter, column):
    rows = [{"id": str(number), "chat": json.dumps(CALLED)} for number in range(3)]
    batch = read(
        written(tmp_path, f"a{ending}", as_csv(rows, delimiter)), format="messages", text_column=column
    )
    assert (texts(batch), faults(batch)) == ([SAID] * 3, [])


# Odd values beside a nested text.

FAR_DAY = 4_000_000
DOC = pa.StructArray.from_arrays(
    [
        pa.array([*long(2), None]),
        pa.array([FAR_DAY, 0, None], pa.date32()),
        pa.array([1, 2, 3], pa.int8()),
        pa.array([0, None, 1], pa.timestamp("s", "No/Where")),
    ],
    names=["body", "on", "body", "at"],
)


def as_file(folder, ending, table):
    path = folder / f"a{ending}"
    if ending == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    return path


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize("column", ["doc.body", ["text", "doc.body"], "auto"], ids=str)
def test_odd_values_beside_a_nested_text_cost_it_nothing(tmp_path, ending, column):
    path = as_file(tmp_path, ending, pa.table({"id": [1, 2, 3], "doc": DOC}))
    (batch,) = read_shard(shard(path), corpus(text_column=column))
    assert texts(batch) == long(2)
    assert batch.quarantine.select("row", "detail", "rows_lost").rows() == [(2, "the text is null", 1)]
    assert batch.odd == {("doc", FAR): 1, ("doc", UNKNOWN_ZONE): 2, ("doc", SAME_NAMES): 3}
    heading = read_heading(batch.heading)
    assert (heading.keys, heading.odd) == (("doc", "body"), batch.odd)
    kept = [json.loads(content) for content in batch.documents["content"]]
    assert kept[0] == {"id": 1, "doc": {"on": FAR_DAY, "body_2": 1, "at": 0}}
    whole = [heading.whole(row, text)["doc"] for row, text in zip(kept, long(2), strict=True)]
    made = pa.array([native(doc, heading.types["doc"]) for doc in whole], heading.types["doc"])
    assert shown_values(made)[0] == {
        "body": long(1)[0], "on": "+12921-08-18", "body_2": 1, "at": "1970-01-01T00:00:00+00:00"
    }  # fmt: skip


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_a_field_whose_name_is_there_twice_has_a_number(tmp_path, ending):
    texts_of = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array(long(2))], names=["body", "body"])
    path = as_file(tmp_path, ending, pa.table({"doc": texts_of}))
    for column in ("doc.body_2", "auto"):
        (batch,) = read_shard(shard(path), corpus(text_column=column))
        assert texts(batch) == long(2)
        assert [json.loads(content) for content in batch.documents["content"]] == [
            {"doc": {"body": 1}},
            {"doc": {"body": 2}},
        ]
    assert faults(read(path, text_column="doc.body")) == [(-1, "non_text")]


BROKEN = pa.array([b"one", b"\xff", None, b"four"], pa.binary()).view(pa.string())
BROKEN_TABLE = {
    "a": BROKEN,
    "b": pa.array(["x", None, "z", None]),
    "doc": pa.StructArray.from_arrays([BROKEN, BROKEN], names=["t", "u"]),
}


@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
@pytest.mark.parametrize(
    ("column", "good", "bad", "odd"),
    [
        ("a", ["one", "four"], [(1, "wrong_encoding"), (2, "empty_text")], {"doc": 2}),
        ("doc.t", ["one", "four"], [(1, "wrong_encoding"), (2, "empty_text")], {"a": 1, "doc": 1}),
        (["b", "a"], ["x", "z", "four"], [(1, "wrong_encoding")], {"doc": 2}),
        (["b", "doc.t"], ["x", "z", "four"], [(1, "wrong_encoding")], {"a": 1, "doc": 1}),
        ("b", ["x", "z"], [(1, "empty_text"), (3, "empty_text")], {"a": 1, "doc": 2}),
    ],
    ids=str,
)
def test_bytes_that_are_no_text_are_a_defect_or_counted_and_never_both(
    tmp_path, ending, column, good, bad, odd
):
    batch = read(as_file(tmp_path, ending, pa.table(BROKEN_TABLE)), text_column=column)
    assert (texts(batch), faults(batch)) == (good, bad)
    assert batch.odd == {(name, UNDECODED): count for name, count in odd.items()}


def test_another_column_of_a_list_that_is_no_text_is_counted(tmp_path):
    table = pa.table({"b": ["x", "y"], "a": pa.array([b"one", b"\xff"], pa.binary()).view(pa.string())})
    batch = read(as_file(tmp_path, ".parquet", table), text_column=["b", "a"])
    assert (texts(batch), batch.odd) == (["x", "y"], {("a", UNDECODED): 1})
    assert json.loads(batch.documents["content"][1]) == {"a": "\ufffd"}


def test_odd_values_of_json_are_counted_by_the_column_that_has_them(tmp_path):
    lines = [
        '{"doc": {"body": "one", "n": [{"k": 1e400}], "half": "\\ud800"}, "m": -1e999}',
        '{"doc": {"body": "two", "body": "2"}}',
        '{"doc": {"body": "three"}, "text": "\\ud800"}',
    ]
    path = written(tmp_path, "a.jsonl", "\n".join(lines))
    batch = read(path, text_column=["doc.body", "text"])
    assert (texts(batch), faults(batch)) == (["one", "three"], [(1, "malformed_row")])
    assert batch.odd == {("doc", TOO_LARGE): 1, ("m", TOO_LARGE): 1, ("doc", HALF): 1, ("text", HALF): 1}
    assert json.loads(batch.documents["content"][0])["doc"] == {"n": [{"k": None}], "half": "\ufffd"}
    (batch,) = read_shard(shard(path), corpus(text_column="doc.body", keep_columns=["doc"]))
    assert read_heading(batch.heading).odd == {("doc", TOO_LARGE): 1, ("doc", HALF): 1}


# Targets.


def target_of(folder, rows, **more) -> TargetSection:
    (folder / "goal").mkdir()
    (folder / "goal" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TargetSection(name="goal", kind="files", path="goal", **more)


@pytest.mark.parametrize("column", ["doc.body", ["abstract", "doc.body"], "auto"], ids=str)
def test_examples_have_their_column_by_path_list_or_sample(tmp_path, column):
    examples, quarantine = read_target(target_of(tmp_path, NESTED, text_column=column), tmp_path)
    assert sorted(examples["text"]) == sorted(long(4))
    assert len(quarantine) == 0


@pytest.mark.parametrize("ending", FORMATS)
def test_prompts_responses_and_labels_may_be_nested(tmp_path, ending):
    section = {"name": "goal", "kind": "files", "path": f"a{ending}"}
    rows = [{"q": {"text": "What?"}, "a": {"text": "That."}}, {"q": None, "a": {"text": "So."}}]
    written(tmp_path, f"a{ending}", FORMATS[ending](rows))
    pairs = TargetSection(**section, prompt_column="q.text", response_column="a.text")
    examples, quarantine = read_target(pairs, tmp_path)
    assert examples.select("text", "response_at").rows() == [("What?\n\nThat.", 7)]
    assert quarantine["detail"].to_list() == ["the prompt is null"]
    rows = [{"doc": {"meta": {"topic": "b"}, "body": "one", "prompt": "Which?"}}]
    written(tmp_path, f"a{ending}", FORMATS[ending](rows))
    labelled = TargetSection(**section, text_column="doc.body", label_column="doc.meta.topic")
    assert read_target(labelled, tmp_path)[0].select("text", "label").rows() == [("one", "b")]
    pairs = TargetSection(**section, prompt_column="doc.prompt", response_column="doc.body")
    assert read_target(pairs, tmp_path)[0]["text"].to_list() == ["Which?\n\none"]


def test_a_prompt_that_is_no_text_is_a_defect_of_its_row(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"q": BROKEN, "a": ["That."] * 4}), path)
    pairs = TargetSection(name="goal", kind="files", path=path.name, prompt_column="q", response_column="a")
    examples, quarantine = read_target(pairs, tmp_path)
    assert sorted(examples["text"]) == ["four\n\nThat.", "one\n\nThat."]
    assert quarantine.select("row", "reason").rows() == [(1, "wrong_encoding"), (2, "non_text")]


def test_conversations_of_a_target_have_their_column_by_list(tmp_path):
    rows = [{"messages": TURNS}, {"chat": [TURNS[0], {"role": "assistant", "content": "Another."}]}]
    target = target_of(tmp_path, rows, format="messages", text_column=["messages", "chat"])
    examples, quarantine = read_target(target, tmp_path)
    assert sorted(examples["text"]) == [
        "What is a mean?\n\nA sum over a count.",
        "What is a mean?\n\nAnother.",
    ]
    assert examples["turns"].null_count() == len(quarantine) == 0


def test_a_response_column_that_is_called_auto_is_that_column(tmp_path):
    rows = [{"q": "What?", "auto": "That."}]
    target = target_of(tmp_path, rows, prompt_column="q", response_column="auto")
    assert read_target(target, tmp_path)[0]["text"].to_list() == ["What?\n\nThat."]


def test_a_packed_file_is_looked_through_too(tmp_path):
    data = gzip.compress(WRITERS[".jsonl"](NESTED), mtime=0)
    assert texts(read(written(tmp_path, "a.jsonl.gz", data), text_column="auto")) == long(4)


@pytest.mark.parametrize("encoded", ["run", "dictionary", "json"])
@pytest.mark.parametrize("column", ["text", "auto", ["x", "text"]])
def test_texts_that_are_encoded_are_seen_and_read(tmp_path, encoded, column):
    texts_there = pa.array(long(3))
    kinds = {
        "run": lambda: pa.RunEndEncodedArray.from_arrays(pa.array([1, 2, 3], pa.int32()), texts_there),
        "dictionary": texts_there.dictionary_encode,
        "json": lambda: pa.ExtensionArray.from_storage(pa.json_(), texts_there),
    }
    table = pa.table({"text": kinds[encoded]()})
    path = tmp_path / "a.arrow"
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    assert texts(read(path, text_column=column)) == long(3)
    shard = Shard(corpus="web", name="a.arrow", key="web__a.arrow", kind="file", path=path)
    assert look_at(shard, corpus(text_column=column)) is None
