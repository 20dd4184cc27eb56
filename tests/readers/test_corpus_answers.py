"""Targets that say what is to be learnt: where the response begins, labels, and what is quarantined."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import settings, target

from tamis.base.errors import ConfigurationError
from tamis.corpus import document_id, normalise_text, read_target, set_aside
from tamis.duplicates.near_duplicates import near_duplicate_groups
from tamis.readers.conversations import pair_text, split_pair
from tamis.settings.config import TargetSection, parse_settings

PAIRS = {"prompt_column": "question", "response_column": "answer"}


def target_of(folder, rows, **columns) -> TargetSection:
    (folder / "goal").mkdir()
    (folder / "goal" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TargetSection(name="goal", kind="files", path="goal", **columns)


@given(prompt=st.text(), response=st.text())
def test_a_pair_comes_back_out_of_its_text(prompt, response):
    prompt, response = normalise_text(prompt), normalise_text(response)
    text = pair_text(prompt, response)
    if response:
        assert split_pair(text, len(text) - len(response)) == (prompt, response)
        assert normalise_text(text) == text, "the text that is stored is in normal form"


def test_the_document_of_a_pair_is_both(tmp_path):
    rows = [
        {"question": " What is\r\na mean? ", "answer": "A sum over a count.", "source": "book"},
        {"question": "", "answer": "An answer to nothing."},
        {"question": "What is\na mean?", "answer": "A sum over a count."},
    ]
    examples, quarantine = read_target(target_of(tmp_path, rows, **PAIRS), tmp_path)
    assert len(quarantine) == 0
    found = {row["text"]: row for row in examples.to_dicts()}
    both = "What is\na mean?\n\nA sum over a count."
    assert set(found) == {both, "An answer to nothing."}
    assert found[both]["doc_id"] == document_id(both)
    assert split_pair(both, found[both]["response_at"]) == ("What is\na mean?", "A sum over a count.")
    assert found["An answer to nothing."]["response_at"] == 0
    assert "question" not in json.loads(found[both]["metadata"]), "no text is kept twice"
    assert found[both]["source"] == "book"


def test_pairs_that_cannot_be_used_are_quarantined(tmp_path):
    rows = [
        {"question": "q", "answer": "a"},
        {"answer": "no prompt"},
        {"question": None, "answer": "null prompt"},
        {"question": "empty response", "answer": "  "},
        {"question": "no text", "answer": 5},
    ]
    examples, quarantine = read_target(target_of(tmp_path, rows, **PAIRS), tmp_path)
    assert examples["text"].to_list() == ["q\n\na"]
    assert quarantine.sort("row").select("row", "reason").rows() == [
        (1, "missing_text_column"),
        (2, "non_text"),
        (3, "empty_text"),
        (4, "non_text"),
    ]
    details = dict(quarantine.select("row", "detail").iter_rows())
    assert details[1] == (
        "no column 'question'; columns found: answer "
        "(name the right one in tamis.toml, in a section of its own if other files differ)"
    )
    assert details[2] == "the prompt is null"


@pytest.mark.parametrize("extension", ["csv", "tsv", "parquet", "jsonl"])
@pytest.mark.parametrize("lacking", ["question", "answer", "topic"])
def test_a_file_without_a_column_is_one_row_of_the_quarantine_that_lists_its_columns(
    tmp_path, extension, lacking
):
    given = {"label_column": "topic"} if lacking == "topic" else PAIRS
    columns = [name for name in ("text", *given.values()) if name != lacking]
    (tmp_path / "goal").mkdir()
    path, frame = tmp_path / "goal" / f"bad.{extension}", pl.DataFrame({name: ["x", "y"] for name in columns})
    match extension:
        case "parquet":
            frame.write_parquet(path)
        case "jsonl":
            frame.write_ndjson(path)
        case _:
            frame.write_csv(path, separator="," if extension == "csv" else "\t")
    whole = dict.fromkeys((*columns, lacking), "good")
    (tmp_path / "goal" / "whole.jsonl").write_text(json.dumps(whole) + "\n")
    target = TargetSection(name="goal", kind="files", path="goal", **given)
    examples, quarantine = read_target(target, tmp_path)
    assert len(examples) == 1
    assert quarantine.select("shard", "row", "reason").rows() == [
        (f"target/goal/bad.{extension}", -1, "missing_text_column")
    ]
    details = quarantine["detail"].item()
    assert details.startswith(f"no column '{lacking}'")
    assert "; columns found: " in details
    assert all(name in details for name in columns)


def test_a_row_without_a_label_lists_what_it_has(tmp_path):
    rows = [{"text": "one"}, {"text": "two", "topic": "a"}, {"text": "three"}]
    examples, quarantine = read_target(target_of(tmp_path, rows, label_column="topic"), tmp_path)
    assert examples["text"].to_list() == ["two"]
    assert quarantine.sort("row").select("row", "reason").rows() == [
        (0, "missing_text_column"),
        (2, "missing_text_column"),
    ]
    assert "no column 'topic'; columns found: text" in quarantine["detail"][0]


def test_labels_are_text_numbers_or_truths(tmp_path):
    rows = [
        {"text": f"text {place}", "topic": label} for place, label in enumerate(["a", 3, True, None, 1.5, []])
    ]
    examples, quarantine = read_target(target_of(tmp_path, rows, label_column="topic"), tmp_path)
    assert sorted(examples.select("text", "label").rows()) == [
        ("text 0", "a"),
        ("text 1", "3"),
        ("text 2", "True"),
    ]
    assert sorted(quarantine["row"]) == [3, 4, 5]
    assert "no label in column 'topic'" in quarantine["detail"][0]


def test_a_text_with_two_labels_keeps_the_first_and_says_so(tmp_path):
    rows = [{"text": "same", "topic": "a"}, {"text": "same", "topic": "b"}, {"text": "same", "topic": "a"}]
    examples, quarantine = read_target(target_of(tmp_path, rows, label_column="topic"), tmp_path)
    assert examples.select("text", "label").rows() == [("same", "a")]
    assert quarantine["row"].to_list() == [1]
    assert "labelled 'b' here and 'a' where the same text was found first" in quarantine["detail"].item()


def test_plain_targets_have_no_answers(tmp_path):
    examples, _ = read_target(target_of(tmp_path, [{"text": "one"}]), tmp_path)
    assert "label" not in examples.columns


def test_csv_pairs(tmp_path):
    (tmp_path / "goal").mkdir()
    (tmp_path / "goal" / "a.csv").write_text("question,answer\nq,a\nr,\n")
    target = TargetSection(name="goal", kind="files", path="goal", **PAIRS)
    examples, quarantine = read_target(target, tmp_path)
    assert examples["text"].to_list() == ["q\n\na"]
    assert quarantine["reason"].to_list() == ["empty_text"]


def test_what_is_set_aside_shares_no_near_duplicate(tmp_path):
    texts = [
        f"{' '.join(f'word{(place // 2) * 7 + step}' for step in range(20))} {place % 2}"
        for place in range(40)
    ]
    examples, _ = read_target(target_of(tmp_path, [{"text": text} for text in texts]), tmp_path)
    groups = near_duplicate_groups(examples["doc_id"].to_list(), examples["text"].to_list(), threshold=0.7)
    assert groups["group"].n_unique() == 20
    aside, others = set_aside(examples, groups, 5, seed=0)
    assert len(aside) == 5
    assert len(others) == 34, "the twin of the odd one is in neither part"
    parts = [set(groups.join(part.select("doc_id"), on="doc_id")["group"]) for part in (aside, others)]
    assert not parts[0] & parts[1]
    again, _ = set_aside(examples.reverse(), groups, 5, seed=0)
    assert again["doc_id"].to_list() == aside["doc_id"].to_list()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('prompt_column = "q"', ["target[0].response_column is missing", "must be set together"]),
        ('response_column = "a"', ["target[0].prompt_column is missing", "must be set together"]),
        (
            'prompt_column = "q"\nresponse_column = "a"\nlabel_column = "l"',
            ["label_column = 'l'", "no value"],
        ),
    ],
)
def test_columns_that_do_not_fit(keys, expected):
    import tomllib

    with pytest.raises(ConfigurationError) as caught:
        parse_settings(tomllib.loads(settings(target()) + keys))
    assert all(part in str(caught.value) for part in expected), str(caught.value)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("[fine_tuning]\nvalidation = 300\n", ["validation = 300", "less than train = 300"]),
        ("[comparison]\ntwo_stage = true\n", ["[comparison] model is missing", "two_stage = true"]),
        (
            '[[base_model]]\nname = "m"\npath = "m"\nlora_alpha = 2\n',
            ["base_model[0].lora_alpha = 2", "no value without lora_rank"],
        ),
        (
            '[[base_model]]\nname = "m"\npath = "m"\n[fine_tuning]\nvalidation = 200\n'
            '[scaling]\ntarget = "goal"\nmodels = ["m"]\nsizes = [50, 150]\n',
            ["[scaling] sizes = 150", "sizes up to 100", "validation = 200"],
        ),
        ('[fine_tuning]\nprecision = "float16"\n', ["fine_tuning.precision = 'float16'", "'autocast'"]),
    ],
)
def test_settings_of_training_that_do_not_fit(more, expected):
    import tomllib

    with pytest.raises(ConfigurationError) as caught:
        parse_settings(tomllib.loads(settings(target(), more)))
    assert all(part in str(caught.value) for part in expected), str(caught.value)
