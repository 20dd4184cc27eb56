"""Files that a trainer is given, and which of its answers are refused, with which reason."""

import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from fake_trainer import FAKE

from tamis.readers.text import document_id
from tamis.trainer.exchange import (
    RefusedResultError,
    Spec,
    ids_of,
    learnt_bytes,
    read_result,
    read_spec,
    relative_model,
    row_of,
    write_run,
)
from tamis.training.examples import Chat, Pair

HELD_OUT = ("one text", "naïve text", Pair(prompt="ask", response="ünswer"), "four")
SPEC = Spec(run="a-run", model="m", seed=3, tokens=100, steps=5, learning_rate=0.1, time_limit=60.0)
BYTES = {row_of(example)["id"]: learnt_bytes(example) for example in HELD_OUT}


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    write_run(folder, SPEC, ["first", "second"], HELD_OUT)
    (tmp_path / "train.py").write_text(FAKE)
    return folder


def answered(run: Path, mode: str = "") -> None:
    (run.parent / "mode.txt").write_text(mode)
    subprocess.run([sys.executable, "train.py", str(run / "spec.json")], cwd=run.parent, check=False)


def read(run: Path):
    return read_result(run, SPEC, BYTES, "run/result.json")


def test_rows_have_the_ids_of_their_documents():
    chat = Chat(turns=(("system", "be brief"), ("user", "hi"), ("assistant", "hello")))
    rows = [row_of(one) for one in ("a text", Pair(prompt="ask", response="say"), chat)]
    assert rows == [
        {"id": document_id("a text"), "text": "a text"},
        {"id": document_id("ask\n\nsay"), "prompt": "ask", "response": "say"},
        {
            "id": document_id("be brief\n\nhi\n\nhello"),
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "hello"},
            ],
        },
    ]
    assert [learnt_bytes(one) for one in ("ä", Pair(prompt="ask", response="äh"), chat)] == [2, 3, 5]


def test_a_spec_and_its_rows_are_read_back(run):
    assert read_spec(run / "spec.json") == SPEC
    assert ids_of(run / "evaluate.jsonl") == list(BYTES)
    assert ids_of(run / "none.jsonl") == []
    assert sorted(path.name for path in run.iterdir()) == ["evaluate.jsonl", "spec.json", "train.jsonl"]


def test_every_row_is_a_line_whatever_ends_a_line_in_python(tmp_path):
    ends = [chr(number) for number in range(0x10FFFF) if len(f"a{chr(number)}b".splitlines()) == 2]
    assert len(ends) > 9
    texts = [f"a{end}b {number}" for number, end in enumerate(ends)]
    write_run(tmp_path / "run", SPEC, texts, [Pair(prompt=text, response=text) for text in texts])
    for name in ("train.jsonl", "evaluate.jsonl"):
        whole = (tmp_path / "run" / name).read_bytes().decode()
        rows = [json.loads(line) for line in whole.splitlines()]
        assert [row.get("response", row.get("text")) for row in rows] == texts
        assert ids_of(tmp_path / "run" / name) == [row["id"] for row in rows]


def test_a_model_is_named_from_the_folder_of_the_spec(tmp_path):
    model = tmp_path / "checkpoints" / "small"
    model.mkdir(parents=True)
    assert relative_model(model, tmp_path / "run") == "../checkpoints/small"
    assert relative_model("org/model", tmp_path / "run") == "org/model"


def test_an_answer_is_read_with_its_loss(run):
    answered(run)
    result = read(run)
    assert (result.run, result.seed, result.seconds, result.flop) == ("a-run", 3, 1.5, None)
    assert [row.id for row in result.evaluations] == list(BYTES)
    assert result.bits_per_byte == pytest.approx(2.03 / (1 + math.log1p(10)) / math.log(2))


REFUSED = {
    "no result": "the command ended without writing it",
    "half": "it is not JSON",
    "other run": "its run is 'another', expected 'a-run'",
    "other seed": "its seed is 4, expected 3",
    "nan": "evaluations.0.nats: Input should be a finite number",
    "text": "evaluations.0.nats: Input should be a valid number",
    "no key": "tokens: Field required",
    "missing": "2 of 4 ids are missing in its evaluations",
    "twice": "1 ids occur more than once",
    "unknown": "1 ids in its evaluations are not in evaluate.jsonl",
    "many bytes": "more than the example has",
    "no checkpoint": "its checkpoint 'output' is not a folder with files",
    "empty checkpoint": "its checkpoint 'output' is not a folder with files",
    "cut checkpoint": "is not complete: model.safetensors is cut off",
    "shard missing": "is not complete: model-2.safetensors missing",
    "outside": "is not below the folder of the spec",
}


@pytest.mark.parametrize("mode", REFUSED)
def test_an_answer_that_is_not_that_of_the_run_is_refused_with_the_reason(run, mode):
    answered(run, mode)
    with pytest.raises(RefusedResultError) as refused:
        read(run)
    said = str(refused.value)
    assert said.startswith("the result of the trainer, run/result.json, is refused: ")
    assert REFUSED[mode] in said
    assert "secret" not in said
    assert not any(str(text) in said for text in HELD_OUT)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b"null", b"3", b"[" * 100_000, b"{}"])
def test_what_is_no_answer_at_all_is_refused(run, content):
    (run / "result.json").write_bytes(content)
    with pytest.raises(RefusedResultError):
        read(run)


@pytest.mark.parametrize("key", ["seconds", "tokens", "flop"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan, "1", True, [1]])
def test_figures_are_finite_numbers_that_are_not_negative(run, key, value):
    answered(run)
    answer = json.loads((run / "result.json").read_text()) | {key: value}
    (run / "result.json").write_text(json.dumps(answer))
    with pytest.raises(RefusedResultError, match=key):
        read(run)


def test_a_checkpoint_that_links_elsewhere_is_refused(run):
    answered(run)
    elsewhere = run / "elsewhere.bin"
    elsewhere.write_bytes(b"weights")
    os.symlink(elsewhere, run / "output" / "weights.bin")
    with pytest.raises(RefusedResultError, match=r"links to files elsewhere \(weights.bin\)"):
        read(run)


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_safetensors_file_is_whole_or_refused(run, cut):
    answered(run)
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    whole = struct.pack("<Q", len(header)) + header + bytes(16)
    path = run / "output" / "model.safetensors"
    path.write_bytes(whole)
    read(run)
    path.write_bytes(whole[: len(whole) - 1 - cut])
    with pytest.raises(RefusedResultError, match="cut off"):
        read(run)


def test_links_in_a_checkpoint_are_followed_within_it_alone(run):
    answered(run)
    output = run / "output"
    (output / "sub").mkdir()
    (output / "sub" / "x").symlink_to("../config.json")
    assert read(run).checkpoint == "output"
    (output / "sub" / "y").symlink_to(run / "spec.json")
    with pytest.raises(RefusedResultError, match=r"links to files elsewhere \(sub/y\)"):
        read(run)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_checkpoint_that_cannot_be_read_is_refused(run):
    answered(run)
    (run / "output" / "config.json").chmod(0)
    with pytest.raises(RefusedResultError, match=r"cannot be read as a file \(config.json\)"):
        read(run)


@pytest.mark.parametrize("name", ["a" * 81, "two words", "line\nend", "é" * 20 + " "])
def test_a_run_that_may_be_a_text_is_not_repeated(run, name):
    answered(run)
    answer = json.loads((run / "result.json").read_text()) | {"run": name}
    (run / "result.json").write_text(json.dumps(answer))
    with pytest.raises(RefusedResultError, match="its run is another, expected 'a-run'") as raised:
        read(run)
    assert name not in str(raised.value)
