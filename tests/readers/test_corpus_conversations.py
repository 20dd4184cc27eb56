"""Conversations in corpora and targets: turns come back out of the text, and what cannot be used says why."""

import json
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import corpus, settings, target

from tamis.base.errors import ConfigurationError
from tamis.corpus import Reason, Shard, document_id, normalise_text, read_shard, read_target
from tamis.corpus.documents import all_documents
from tamis.duplicates.shared_text import system_turn
from tamis.readers.conversations import ROLES, Conversation, read_conversation, system_turn_end, turns_of
from tamis.settings.config import CorpusSection, TargetSection, parse_settings

ASKED, ANSWERED = "What is a mean?", "A sum over a count."
SAID = st.text(min_size=1).map(normalise_text).filter(bool)
TURNS = st.lists(st.tuples(st.sampled_from(sorted(ROLES)), SAID), max_size=6)


def messages(*turns: tuple[str, str]) -> list[dict]:
    return [{"role": role, "content": text} for role, text in turns]


def found_in(value, form="messages") -> Conversation | str:
    """Return the conversation of a value, or why it is none."""
    found = read_conversation(0, {"turns": value}, form, "turns")
    return found if isinstance(found, Conversation) else found.detail


@given(turns=TURNS, last=SAID)
def test_the_turns_come_back_out_of_the_text(turns, last):
    said = [*turns, ("gpt", last)]
    found = found_in(messages(*said))
    assert turns_of(found.text, found.starts) == tuple((ROLES[name], text) for name, text in said)
    assert normalise_text(found.text) == found.text, "the text that is stored is in normal form"
    shared = [{"from": name, "value": text} for name, text in said]
    assert found_in(shared, "sharegpt") == found
    assert found_in(json.dumps(shared), "sharegpt") == found


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.sampled_from(["role", "user", "assistant"]),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
    )
)
def test_whatever_a_row_holds_it_is_a_conversation_or_says_why_not(value):
    for form in ("messages", "sharegpt", "alpaca"):
        found = read_conversation(3, {"turns": value, "instruction": value}, form, "turns")
        if isinstance(found, Conversation):
            assert found.text
            assert found.starts[-1][0] == "assistant"
        else:
            assert (found.row, found.reason) == (3, Reason.NON_TEXT)


def test_a_question_and_its_answer_are_one_document_in_every_form():
    text = f"{ASKED}\n\n{ANSWERED}"
    assert found_in(messages(("user", f" {ASKED}\r\n"), ("assistant", ANSWERED))).text == text
    row = {"instruction": ASKED, "input": "", "output": ANSWERED}
    assert read_conversation(0, row, "alpaca", "output").text == text
    parts = [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]
    assert found_in([*parts, *messages(("assistant", ANSWERED), ("user", "Thanks!"))]).text == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "a list of turns is expected, found null"),
        ("hello", "a list of turns is expected, found a text"),
        ([], "no turn of the assistant"),
        (messages(("user", ASKED)), "no turn of the assistant"),
        (messages(("user", ASKED), ("assistant", " ")), "no turn of the assistant"),
        (
            messages(("user", ASKED), ("wizard", ANSWERED)),
            "turn 2 has the unknown role 'wizard'; valid: system",
        ),
        ([{"role": "user"}], "turn 1 is not an object with 'role' and 'content'"),
        ([{"role": "user", "content": 7}], "turn 1 is of type int, not a text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "turn 1 has a part that is not text"),
    ],
)
def test_a_row_that_is_no_conversation_says_why(value, why):
    assert why in found_in(value)


def test_an_instruction_needs_one():
    assert "instruction is missing" in read_conversation(0, {"output": "x"}, "alpaca", "output").detail


ROWS = [
    {"messages": messages(("system", "Be short."), ("user", ASKED), ("assistant", ANSWERED)), "id": 1},
    {"messages": messages(("user", "Nobody answers.")), "id": 2},
    {"messages": messages(("user", "And a median?"), ("assistant", "The middle one.")), "id": 3},
]


def test_system_turns_end_where_another_begins():
    starts = [("system", 0), ("system", 11), ("user", 30), ("system", 40), ("assistant", 50)]
    assert system_turn_end(starts) == 30
    assert system_turn_end([("user", 0), ("system", 9), ("assistant", 20)]) == 0


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_corpus_of_conversations_keeps_them_as_they_are(tmp_path, ending):
    path = tmp_path / f"chat.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    section = CorpusSection(name="web", kind="files", path=".", format="messages")
    shard = Shard(corpus="web", name=path.name, key=f"web__{path.name}", kind="file", path=path)
    found = all_documents(read_shard(shard, section))
    text = f"Be short.\n\n{ASKED}\n\n{ANSWERED}"
    assert found.documents["text"].to_list() == [text, "And a median?\n\nThe middle one."]
    assert found.documents["doc_id"][0] == document_id(text)
    assert json.loads(found.documents["content"][0])["messages"] == ROWS[0]["messages"]
    assert json.loads(found.documents["metadata"][0]) == {"id": 1}, "no text is kept twice"
    ends, turns = found.documents["system_turn_end"], found.documents["system_turn"]
    assert ends.to_list() == [len("Be short.\n\n"), None]
    assert turns.to_list() == [system_turn("Be short.\n\n"), None]
    assert found.quarantine.select("row", "detail").rows() == [(1, "no turn of the assistant has any text")]


def quarantined(tmp_path, rows, **more) -> list[tuple]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    shard = Shard(corpus="web", name=path.name, key="web__rows.jsonl", kind="file", path=path)
    section = CorpusSection(name="web", kind="files", path=".", **more)
    found = all_documents(read_shard(shard, section)).quarantine
    return found.select("row", "reason", "detail").rows()


def test_a_file_that_fails_for_one_reason_is_one_line(tmp_path):
    (line,) = quarantined(tmp_path, ROWS * 20, text_column="messages")
    assert line[:2] == (-1, "non_text")
    assert line[2].startswith("in each of its 60 rows: the text is of type list")
    assert 'need a `format` in their section, such as "messages"' in line[2]
    some = quarantined(tmp_path, [*ROWS, {"messages": "a text"}], text_column="messages")
    assert [row for row, _reason, _detail in some] == [0, 1, 2]
    other = quarantined(tmp_path, [*ROWS, {"messages": 7}], text_column="messages")
    assert [row for row, _reason, _detail in other] == [0, 1, 2, 3], "two reasons"
    assert len(quarantined(tmp_path, ROWS[:1], text_column="messages")) == 1


@pytest.mark.parametrize(
    ("row", "form"),
    [
        (ROWS[0], "messages"),
        ({"conversations": []}, "sharegpt"),
        ({"instruction": "a", "output": "b"}, "alpaca"),
    ],
)
def test_a_file_of_conversations_without_a_format_names_the_one_that_reads_it(tmp_path, row, form):
    (line,) = quarantined(tmp_path, [row] * 20)
    assert f'holds conversations: set format = "{form}" in its section of tamis.toml' in line[2]


def test_a_target_of_conversations_says_who_speaks_where(tmp_path):
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal" / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    section = TargetSection(name="goal", kind="files", path="goal", format="messages")
    examples, bad = read_target(section, tmp_path)
    found = {row["text"]: row for row in examples.to_dicts()}
    row = found[f"Be short.\n\n{ASKED}\n\n{ANSWERED}"]
    starts = [tuple(start) for start in json.loads(row["turns"])]
    assert turns_of(row["text"], starts) == (
        ("system", "Be short."),
        ("user", ASKED),
        ("assistant", ANSWERED),
    )
    assert (row["response_at"], row["label"]) == (None, None)
    assert bad["detail"].to_list() == ["no turn of the assistant has any text"]


@pytest.mark.parametrize(
    "more",
    [
        target(format="messages", label_column="label"),
        target(format="chat"),
        corpus().replace('"files"', '"python-docs"') + 'packages = ["numpy"]\nformat = "alpaca"\n',
    ],
)
def test_a_format_that_cannot_be_is_refused(more):
    with pytest.raises(ConfigurationError, match="format"):
        parse_settings(tomllib.loads(settings(more)))


CALL = {"type": "function", "id": "1", "function": {"name": "tide", "arguments": '{"at": "Cuxhaven"}'}}
CALLED = '{"name": "tide", "arguments": {"at": "Cuxhaven"}}'
TOOL = {"role": "tool", "tool_call_id": "1", "content": "High at noon."}


def with_turn(turn: dict) -> list[dict]:
    return [*messages(("user", ASKED)), turn, TOOL, *messages(("assistant", ANSWERED))]


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"content": None, "tool_calls": [CALL]}, CALLED),
        ({"tool_calls": [CALL]}, CALLED),
        ({"content": "Let me look.", "tool_calls": [CALL, CALL]}, f"Let me look.\n{CALLED}\n{CALLED}"),
        ({"content": "", "tool_calls": json.dumps([CALL])}, CALLED),
        ({"content": None, "toolCalls": [CALL]}, CALLED),
        ({"content": None, "functionCall": {"name": "tide", "arguments": {"at": "Cuxhaven"}}}, CALLED),
        ({"content": None, "tool_call": CALL}, CALLED),
        ({"content": "Yes.", "tool_use": True}, "Yes."),
        ({"content": None, "function_call": CALL["function"]}, CALLED),
        ({"content": None, "tool_calls": [{"name": "tide", "arguments": {"at": "Cuxhaven"}}]}, CALLED),
        ({"tool_calls": [{"custom": {"name": "sh", "input": "ls"}}]}, '{"name": "sh", "arguments": "ls"}'),
        (
            {
                "content": [
                    {"type": "text", "text": "One moment."},
                    {"type": "tool_use", "id": "1", "name": "tide", "input": {"at": "Cuxhaven"}},
                ]
            },
            f"One moment.\n{CALLED}",
        ),
        ({"content": "Yes.", "tool_calls": None, "function_call": {"name": None, "arguments": None}}, "Yes."),
        ({"content": None, "refusal": "I cannot say."}, "I cannot say."),
    ],
)  # fmt: skip
def test_a_call_of_a_tool_is_in_the_text(turn, said):
    found = found_in(with_turn({"role": "assistant"} | turn))
    assert turns_of(found.text, found.starts) == (
        ("user", ASKED),
        ("assistant", said),
        ("tool", "High at noon."),
        ("assistant", ANSWERED),
    )


def test_what_a_tool_answers_in_parts_is_in_the_text():
    parts = [
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "High at noon."}]}
    ]
    found = found_in(
        [
            *messages(("assistant", "A call.")),
            {"role": "user", "content": parts},
            *messages(("assistant", "So.")),
        ]
    )
    assert found.text == "A call.\n\nHigh at noon.\n\nSo."


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ({"tool_calls": [{"function": {"arguments": "{}"}}]}, "turn 2 has a call of a tool without a name"),
        ({"tool_calls": ["look"]}, "turn 2 has a call of a tool without a name"),
        ({"content": None, "audio": {"id": "1"}}, "turn 2 has no text, only 'audio'"),
        ({"content": None, "reasoning_content": "Hm."}, "turn 2 has no text, only 'reasoning_content'"),
        ({"content": [{"type": "thinking", "thinking": "Hm."}]}, "turn 2 has a part that is not text"),
    ],
)  # fmt: skip
def test_a_turn_that_is_no_text_says_why(turn, why):
    assert found_in(with_turn({"role": "assistant"} | turn)) == why


def test_calls_of_sharegpt_are_turns():
    said = [("human", ASKED), ("function_call", CALLED), ("observation", "High at noon."), ("gpt", ANSWERED)]
    found = found_in([{"from": name, "value": text} for name, text in said], "sharegpt")
    assert [role for role, _at in found.starts] == ["user", "assistant", "tool", "assistant"]
    assert CALLED in found.text


def test_calls_in_parquet_are_those_of_json(tmp_path):
    call = CALL | {"function": CALL["function"] | {"arguments": "{}"}}
    rows = [{"messages": with_turn({"role": "assistant", "content": None, "tool_calls": [call]})}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
    found = []
    for name in ("a.parquet", "a.jsonl"):
        section = CorpusSection(name="web", kind="files", path=".", format="messages")
        shard = Shard(corpus="web", name=name, key=f"web__{name}", kind="file", path=tmp_path / name)
        found.append(all_documents(read_shard(shard, section)).documents["text"].to_list())
    assert (
        found[0]
        == found[1]
        == [f'{ASKED}\n\n{{"name": "tide", "arguments": {{}}}}\n\nHigh at noon.\n\n{ANSWERED}']
    )
