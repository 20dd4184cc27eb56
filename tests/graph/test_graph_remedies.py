"""Advice on tamis.toml: one list for each section, with what it has; no line undoes another."""

import json

import pytest
from projects import corpus, plain_project, settings, write

from tamis.graph.plan import full_plan
from tamis.readers.rows import WHOLE_SHARD, missing_text_column
from tamis.scan.precheck import precheck
from tamis.scan.quarantine import quarantine_lines
from tamis.scan.remedies import Unread, as_glob, without_advice
from tamis.settings.values import glob_pattern

TALKS = {"messages": [[{"role": "user", "content": "What?"}]]}
SHARED = {"conversations": [[{"from": "human", "value": "What?"}]]}
ROWS = [json.dumps({"messages": TALKS["messages"][0]})] * 4
CHATS = corpus("chats", include=["a.jsonl"], format="messages")


def unread(folder, *sections, samples, **more):
    project = plain_project(folder, settings(*sections), {"documents/text.jsonl": '{"text": "x"}\n'})
    beside = more.pop("beside", list(project.snapshot.files.values()))
    own = project.project.settings.corpus[0]
    return Unread(project=project.project, corpus=own, samples=samples, beside=beside, **more)


def test_an_existing_exclude_stays_and_the_section_of_the_format_is_widened(tmp_path):
    found = unread(tmp_path, corpus(exclude=["a.jsonl"]), CHATS, samples={"b.jsonl": TALKS})
    assert list(found.remedies()) == [
        'b.jsonl: \'messages\' holds conversations: set exclude = ["a.jsonl", "b.jsonl"] in [[corpus]] web, '
        'and include = ["a.jsonl", "b.jsonl"] in [[corpus]] chats'
    ]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (corpus("chats", "./documents/", include=["a.jsonl"], format="messages"), "in [[corpus]] chats"),
        (corpus("chats", "other", include=["a.jsonl"], format="messages"), "in a [[corpus]] of its own"),
        (corpus("chats", include=["a.jsonl"], format="sharegpt"), "in a [[corpus]] of its own"),
        (
            corpus("chats", include=["a.jsonl"], format="messages", text_column="talk"),
            "in a [[corpus]] of its own",
        ),
        (corpus("chats", format="messages"), "(read by [[corpus]] chats already)"),
        (corpus("chats", format="messages", exclude=["b*"]), "in a [[corpus]] of its own"),
    ],
)
def test_a_section_is_widened_only_where_it_would_read_the_files(tmp_path, other, said):
    (tmp_path / "other").mkdir()
    (line,) = unread(tmp_path, corpus(), other, samples={"b.jsonl": TALKS}).remedies()
    assert line.endswith(said)


def test_all_that_a_section_leaves_out_is_in_one_list(tmp_path):
    samples = {"b.jsonl": TALKS, "c.jsonl": SHARED, "d.csv": {"Body": ["Some words of a text"]}}
    found = unread(tmp_path, corpus(exclude=["old/**"]), samples=samples, unsupported=["x.png", "deep/y.png"])
    exclude = 'exclude = ["old/**", "**/*.png", "b.jsonl", "c.jsonl"] in [[corpus]] web'
    texts, talks = found.remedies()
    assert texts == 'set text_column = ["text", "Body"] in [[corpus]] web'
    assert talks == (
        "b.jsonl: 'messages' holds conversations, c.jsonl: 'conversations' holds conversations: "
        f'set {exclude}, include = ["b.jsonl"], format = "messages" in a [[corpus]] of its own, '
        'and include = ["c.jsonl"], format = "sharegpt" in another [[corpus]] of its own'
    )
    (line,) = found.unsupported_lines()
    assert line.endswith(f"to skip them, set {exclude}")


def test_no_name_is_left_out_of_the_list_and_many_are_one_glob(tmp_path):
    names = [f"talks/{number}.jsonl" for number in range(9)]
    found = unread(tmp_path, corpus(), samples=dict.fromkeys(names, TALKS))
    assert 'set exclude = ["talks/*.jsonl"] in' in next(found.remedies())
    names = [f"{number}.jsonl" for number in range(9)]
    found = unread(tmp_path, corpus(), samples=dict.fromkeys(names, TALKS))
    assert f"set exclude = {json.dumps(names)} in" in next(found.remedies()), "text.jsonl matches *.jsonl"


def test_a_section_of_conversations_alone_takes_their_format_but_not_beside_a_text(tmp_path):
    samples = {"b.jsonl": TALKS, "c.jsonl": TALKS}
    alone = unread(tmp_path, corpus(), samples=samples, beside=[])
    assert list(alone.remedies()) == [
        "'messages' holds conversations: set format = \"messages\" in [[corpus]] web"
    ]
    (tmp_path / "documents" / "text.jsonl").rename(tmp_path / "documents" / "note.txt")
    files = plain_project(tmp_path, settings(corpus()), {}).snapshot.files.values()
    beside = [file for file in files if file.name == "note.txt"]
    assert "exclude = " in next(unread(tmp_path, corpus(), samples=samples, beside=beside).remedies())


def test_a_section_of_conversations_takes_another_column_of_its_format(tmp_path):
    chats = corpus(format="messages")
    talk = {"talk": TALKS["messages"]}
    assert list(unread(tmp_path, chats, samples={"b.jsonl": talk}).remedies()) == [
        'set text_column = ["messages", "talk"] in [[corpus]] web'
    ]


@pytest.mark.parametrize("name", ["a [v2].jsonl", "what*.csv", "why?.csv", "[a", "plain.txt"])
def test_a_name_becomes_a_glob_that_matches_it(name):
    assert glob_pattern(as_glob(name)).fullmatch(name)


@pytest.mark.parametrize(
    ("sample", "columns"),
    [
        ({"content": ["A text of several words"]}, ["text", "content"]),
        ({"it's": ["A text of many words that are long enough to be a text"]}, ["text", "it's"]),
        (TALKS, []),
        ({"n": [1]}, []),
    ],
)
def test_a_detail_without_its_advice_ends_with_the_columns(sample, columns):
    detail = missing_text_column(WHOLE_SHARD, ["text"], sample, sample, "text", 3).detail
    cause, advised = without_advice(detail)
    assert detail.startswith(cause)
    assert cause.endswith(f"columns found: {', '.join(sample)}")
    assert advised == columns


def test_plan_and_status_give_the_same_advice_once(tmp_path):
    """By a file: a row without the text column names a column, too, and there is one list."""
    write(tmp_path / "documents" / "b.jsonl", ROWS)
    write(tmp_path / "documents" / "c.jsonl", ['{"Body": "Some words of a text"}'] * 3)
    project = plain_project(tmp_path, settings(corpus(exclude=["a.jsonl"]), CHATS), {})
    write(tmp_path / "documents" / "text.jsonl", ['{"text": "x"}'])
    snapshot = project.snapshot
    (planned,) = (
        line for line in precheck(snapshot, {}, full_plan(snapshot, {})).warnings if "corpus web" in line
    )
    rows = [
        {
            "shard": f"web__{name}",
            "row": row,
            "reason": "missing_text_column",
            "detail": missing_text_column(row, ["text"], sample, sample, "text").detail,
            "rows_lost": 3,
        }
        for name, row, sample in (
            ("b.jsonl", WHOLE_SHARD, TALKS),
            ("c.jsonl", WHOLE_SHARD, {"Body": ["Some words of a text"]}),
            ("text.jsonl", 4, {"content": ["A text of several words"]}),
        )
    ]
    *causes, last = quarantine_lines(rows[:2], snapshot)
    advice = last.removeprefix("corpus web: to read them, ")
    assert planned.endswith(f"; {advice}")
    assert " set " not in "\n".join(causes)
    *causes, last = quarantine_lines(rows, snapshot)
    assert " set " not in "\n".join(causes)
    assert 'set text_column = ["text", "Body", "content"] in [[corpus]] web' in last
    chats = quarantine_lines(rows[:1], snapshot)
    assert chats[0].endswith("columns found: messages")
    assert 'include = ["a.jsonl", "b.jsonl"] in [[corpus]] chats' in chats[1]
