"""Files of an evaluation: both forms are read, and what is no list of scores is refused with its place."""

import json
from pathlib import Path

import pytest

from tamis.evaluation.answers import BadAnswerError, read_answer

SAMPLES = Path(__file__).parent / "samples_kitchen_2026-11-30T09-48-10.834480.jsonl"
"""Written by lm-eval 0.4.13 with --log_samples, on a local task."""


def written(folder: Path, *lines: object, name: str = "scores.jsonl") -> Path:
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder


def row(example: object = "1", score: object = 0.5, task: object = "sums") -> dict[str, object]:
    return {"task": task, "example": example, "score": score}


def test_lines_of_ones_own_are_read_from_all_files_below(tmp_path):
    written(tmp_path, row("b", 1), row("a", True), "", row(7, 0.25, "more"), name="deep/er/one.jsonl")
    written(tmp_path, row("c", -2.5), name="two.jsonl")
    written(tmp_path, {"results": "of no concern"}, name="results.json")
    assert read_answer(tmp_path).rows() == [
        ("more", "7", 0.25),
        ("sums", "a", 1.0),
        ("sums", "b", 1.0),
        ("sums", "c", -2.5),
    ]


def test_json_files_are_read_where_there_are_no_others(tmp_path):
    assert read_answer(written(tmp_path, row(), name="scores.json")).rows() == [("sums", "1", 0.5)]


def test_samples_of_lm_eval_give_a_task_for_each_metric(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / SAMPLES.name).write_bytes(SAMPLES.read_bytes())
    samples = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    found = read_answer(tmp_path)
    assert found.filter(task="kitchen:acc")["score"].to_list() == [one["acc"] for one in samples]
    assert found.filter(task="kitchen:acc_norm")["score"].to_list() == [one["acc_norm"] for one in samples]
    assert len(found) == 2 * len(samples)
    assert read_answer(tmp_path, "acc")["task"].unique().to_list() == ["kitchen:acc"]
    with pytest.raises(BadAnswerError, match=r"'acc_nrom'; metrics of the samples: acc, acc_norm; did"):
        read_answer(tmp_path, "acc_nrom")


def test_filters_are_tasks_of_their_own_and_metrics_of_a_whole_task_are_left_out(tmp_path):
    sample = {"doc_id": 3, "filter": "strict-match", "metrics": ["exact_match", "word_perplexity"]}
    sample |= {"exact_match": True, "word_perplexity": [-12.5, 4]}
    name = "samples_gsm8k_2026-01-01T00-00-00.jsonl"
    written(tmp_path, sample, sample | {"filter": "flexible", "exact_match": 0}, name=name)
    assert read_answer(tmp_path).rows() == [
        ("gsm8k:exact_match:flexible", "3", 0.0),
        ("gsm8k:exact_match:strict-match", "3", 1.0),
    ]
    with pytest.raises(BadAnswerError, match="no example has a number as metric 'word_perplexity'"):
        read_answer(tmp_path, "word_perplexity")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "it contains no example"),
        (("",), "it contains no example"),
        (
            (row(), '{"task": "sums", "exam'),
            "scores.jsonl, line 2: the line is no JSON; perhaps the",
        ),
        (("[1, 2]",), "line 1: the line is no JSON object"),
        ((row(), row("2"), row("1")), "line 3: example '1' of task 'sums' occurs twice"),
        ((row(score="high"),), "line 1: 'score' is a text, where a number belongs"),
        ((row(score="0.5"),), "line 1: 'score' is a text"),
        ((row(score=None),), "line 1: 'score' is nothing"),
        ((row(score=[1]),), "line 1: 'score' is no number"),
        ((row(score=float("nan")),), "line 1: 'score' is not finite"),
        ((row(score=float("inf")),), "line 1: 'score' is not finite"),
        (('{"task": "t", "example": 1, "score": 1' + "0" * 400 + "}",), "line 1: 'score' is not finite"),
        (({"task": "sums", "score": 1},), "line 1: 'example' is missing; a line is an object with task"),
        ((row(example=1.5),), "'example' is neither a text nor a whole number"),
        ((row(example="x" * 201),), "'example' has over 200 characters"),
        (("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),), "the line is no JSON"),
    ],
)
def test_what_is_no_list_of_scores_is_refused_by_its_line(tmp_path, lines, said):
    with pytest.raises(BadAnswerError) as caught:
        read_answer(written(tmp_path, *lines))
    assert said in str(caught.value)


def test_a_command_that_writes_nothing_is_told_where_to_write(tmp_path):
    with pytest.raises(BadAnswerError, match=r"wrote no file that ends with \.jsonl or \.json"):
        read_answer(tmp_path)
    (tmp_path / "notes.txt").write_text("done")
    with pytest.raises(BadAnswerError, match="wrote no file"):
        read_answer(tmp_path)


def test_no_message_quotes_what_was_written(tmp_path):
    secret = "A text of a person"
    for line in (secret, row(score=secret), row(example=[secret]), {"task": secret}):
        with pytest.raises(BadAnswerError) as caught:
            read_answer(written(tmp_path, line))
        assert secret not in str(caught.value)
