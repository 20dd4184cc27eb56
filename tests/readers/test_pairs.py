"""Preference pairs and problems as documents: what their rows may look like, and what is none."""

import json

import polars as pl
import pytest

from tamis.corpus.documents import all_documents, read_shard
from tamis.corpus.shards import Shard
from tamis.readers.conversations import Conversation, read_conversation, read_preference
from tamis.readers.rows import Defect
from tamis.readers.text_columns import conversations_in, sample_of
from tamis.settings.sections import CorpusSection

USER, YES, NO = (
    {"role": "user", "content": "Is it?"},
    {"role": "assistant", "content": "It is."},
    {"role": "assistant", "content": "No."},
)
DOCUMENT = "Is it?\n\nIt is."
PAIRS = {
    "texts": {"prompt": "Is it?", "chosen": "It is.", "rejected": "No."},
    "turns": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "whole": {"chosen": [USER, YES], "rejected": [USER, NO]},
    "twice": {"prompt": "Is it?", "chosen": [USER, YES], "rejected": [USER, NO]},
    "sharegpt": {
        "prompt": [{"from": "human", "value": "Is it?"}],
        "chosen": [{"from": "gpt", "value": "It is."}],
        "rejected": [{"from": "gpt", "value": "No."}],
    },
}
PROBLEMS = [
    {"problem": "Is it?", "solution": "It is.", "level": 3},
    {"question": "Is it?", "answer": "It is."},
    {"problem": "Is it?", "solution": "It is.", "answer": "yes"},
]


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS)
def test_a_pair_is_its_prompt_and_its_chosen_answer_however_it_is_written(row):
    found = read_conversation(0, row, "preference", "chosen")
    assert isinstance(found, Conversation)
    assert found.text == DOCUMENT
    pair = read_preference(row, "chosen")
    assert pair is not None
    assert (pair.prompt, pair.chosen, pair.rejected) == (
        (("user", "Is it?"),),
        (("assistant", "It is."),),
        (("assistant", "No."),),
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "p", "chosen": "a"}, "the rejected answer is missing or empty"),
        ({"prompt": "p", "chosen": "a", "rejected": " "}, "the rejected answer is missing or empty"),
        ({"prompt": "p", "chosen": None, "rejected": "a"}, "the chosen answer is missing or empty"),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "the chosen and the rejected answer are the same"),
        ({"prompt": 7, "chosen": "a", "rejected": "b"}, "prompt is of type int, not a text"),
        ({"prompt": "p", "chosen": [USER], "rejected": [NO]}, "the chosen answer is missing or empty"),
        ({"prompt": "p", "chosen": [{"role": "x", "content": "a"}], "rejected": "b"}, "unknown role 'x'"),
    ],
)
def test_what_is_no_pair_says_why(row, said):
    found = read_conversation(0, row, "preference", "chosen")
    assert isinstance(found, Defect)
    assert said in found.detail


def test_a_problem_without_its_question_or_answer_says_so():
    found = read_conversation(0, {"solution": "a"}, "problem", "solution")
    assert isinstance(found, Defect)
    assert "a text in problem or question is expected" in found.detail
    found = read_conversation(0, {"problem": "a", "solution": ""}, "problem", "solution")
    assert isinstance(found, Defect)


def read(tmp_path, name: str, rows: list[dict], form: str, **more) -> pl.DataFrame:
    path = tmp_path / name
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    section = CorpusSection(name="c", kind="files", path=str(tmp_path), format=form, **more)
    shard = Shard(corpus="c", name=name, key=f"c__{name}", kind="file", path=path)
    found = all_documents(read_shard(shard, section))
    assert found.quarantine.is_empty(), found.quarantine
    return found.documents


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_files_of_pairs_are_read_whether_their_columns_are_kept_or_not(tmp_path, name, keep, kind):
    documents = read(tmp_path, name, [PAIRS[kind]], "preference", keep_columns=keep)
    assert documents["text"].to_list() == [DOCUMENT]
    content = documents["content"][0]
    assert (content is None) == (not keep)
    if keep:
        assert json.loads(content) == PAIRS[kind]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_files_of_problems_are_read_by_the_common_names(tmp_path, name):
    for number, row in enumerate(PROBLEMS):
        (tmp_path / str(number)).mkdir()
        assert read(tmp_path / str(number), name, [row], "problem")["text"].to_list() == [DOCUMENT]
    stated = read(
        tmp_path, name, [{"question": "Is it?", "response": "It is."}], "problem", text_column="response"
    )
    assert stated["text"].to_list() == [DOCUMENT]


def test_files_say_which_they_are():
    for row in PAIRS.values():
        assert conversations_in(sample_of([row], 1)) == ("preference", "chosen")
    assert [conversations_in(sample_of([row], 1)) for row in PROBLEMS] == [
        ("problem", "solution"),
        ("problem", "answer"),
        ("problem", "solution"),
    ]
    assert conversations_in(sample_of([{"text": "a", "question": "b"}], 1)) is None
