"""The trainers of the documentation, on a model of a few thousand parameters."""

import importlib.util
import random
from pathlib import Path

import pytest

from tamis.base.own_command import run_to_end
from tamis.trainer.exchange import (
    Result,
    Spec,
    learnt_bytes,
    read_result,
    row_of,
    write_run,
)
from tamis.training import ModelShape, PretrainingOptions, Runtime, evaluate, pretrain, train_tokenizer
from tamis.training.evaluation import evaluate_pairs
from tamis.training.examples import Pair

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
WORDS = ["scale", "mean", "of", "the", "sample", "returns", "an", "array", "shape", "value"]
SHAPE = ModelShape(
    hidden_size=16, intermediate_size=32, layers=1, heads=2, vocabulary=300, maximum_positions=128
)


def sentences(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, 20))) for _ in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    train_tokenizer(sentences(100, 1), folder / "tokenizer", vocabulary=SHAPE.vocabulary)
    options = PretrainingOptions(tokens=2_000, sequence_length=32, batch_size=4, seed=3)
    runtime = Runtime(device="cpu")
    pretrain(SHAPE, sentences(100, 1), folder / "tokenizer", options, folder / "model", folder / "resume",
             runtime=runtime)  # fmt: skip
    return folder / "model"


def run(
    folder: Path, model: Path, program: list[str], train: list, held_out: list, steps: int = 20
) -> Result:
    tokens = 1_000 if steps else 0
    spec = Spec(
        run="r", model=str(model), seed=1, tokens=tokens, steps=steps, learning_rate=5e-3, time_limit=900.0
    )
    write_run(folder, spec, train if steps else [], held_out)
    ended = run_to_end([*program, str(folder / "spec.json")], cwd=EXAMPLES, folder=folder, time_limit=900.0)
    assert ended.succeeded, (folder / "log.txt").read_text()[-3_000:]
    return read_result(
        folder, spec, {row_of(one)["id"]: learnt_bytes(one) for one in held_out}, "result.json"
    )


HELD_OUT = sentences(12, 2)
ONE = ["python", "train_with_transformers.py"]
LAUNCH = "--num_processes 2 --num_machines 1 --cpu --mixed_precision no --dynamo_backend no"
TWO = ["python", "-m", "accelerate.commands.launch", *LAUNCH.split(), "--main_process_port", "0", ONE[1]]


def nats_a_token(result: Result) -> float:
    return sum(row.nats for row in result.evaluations) / sum(row.tokens for row in result.evaluations)


@pytest.mark.parametrize("name", ["train_with_transformers.py", "train_with_trl.py"])
def test_an_example_has_forty_lines_besides_its_imports(name):
    words = ("import ", "from ", '"""')
    lines = [one for one in (EXAMPLES / name).read_text().splitlines() if one and not one.startswith(words)]
    assert len(lines) <= 40


@pytest.mark.slow
def test_a_text_that_is_cut_is_measured_over_what_is_left(model, tmp_path):
    long = " ".join(sentences(200, 5))
    (row,) = run(tmp_path / "long", model, ONE, [], [long], steps=0).evaluations
    assert row.tokens < 512
    assert 0 < row.bytes < len(long.encode()) / 2
    cut = long.encode()[: row.bytes].decode()
    (again,) = run(tmp_path / "cut", model, ONE, [], [cut], steps=0).evaluations
    assert (again.tokens, again.bytes) == (row.tokens, row.bytes)
    assert again.nats == pytest.approx(row.nats, rel=1e-4)


@pytest.mark.slow
def test_two_processes_give_the_loss_of_one(model, tmp_path):
    train = sentences(64, 3)
    before = run(tmp_path / "before", model, ONE, train, HELD_OUT, steps=0)
    one = run(tmp_path / "one", model, ONE, train, HELD_OUT)
    two = run(tmp_path / "two", model, TWO, train, HELD_OUT)
    assert before.tokens == 0
    assert nats_a_token(one) < nats_a_token(before) - 0.1
    assert nats_a_token(two) == pytest.approx(nats_a_token(one), abs=0.02)
    assert two.tokens == one.tokens


@pytest.mark.slow
def test_the_losses_are_those_that_tamis_measures(model, tmp_path):
    texts = run(tmp_path / "texts", model, ONE, [], HELD_OUT, steps=0)
    own = evaluate(str(model), HELD_OUT, sequence_length=128, device="cpu")
    assert texts.bits_per_byte == pytest.approx(own.bits_per_byte, rel=0.02)
    pairs = [
        Pair(prompt=prompt, response=text) for prompt, text in zip(sentences(12, 4), HELD_OUT, strict=True)
    ]
    answered = run(tmp_path / "pairs", model, ONE, [], pairs, steps=0)
    own_pairs = evaluate_pairs(str(model), pairs, sequence_length=128, device="cpu")
    assert answered.bits_per_byte == pytest.approx(own_pairs.bits_per_byte, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")
@pytest.mark.parametrize("form", ["texts", "pairs"])
def test_trl_trains_what_tamis_gives_it(model, tmp_path, form):
    held_out = HELD_OUT
    train = sentences(64, 3)
    if form == "pairs":
        train, held_out = ([Pair(prompt="say", response=one) for one in some] for some in (train, held_out))
    program = ["python", "train_with_trl.py"]
    before = run(tmp_path / "before", model, program, train, held_out, steps=0)
    after = run(tmp_path / "after", model, program, train, held_out)
    assert nats_a_token(after) < nats_a_token(before) - 0.1
