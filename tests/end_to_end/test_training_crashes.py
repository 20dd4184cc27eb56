"""kill -9 while trials are trained, of every kind: the versions, runs and checkpoints of an undisturbed run.

Checked on the way: targets as csv, parquet and jsonl, and checkpoints that transformers alone loads and
measures as the trial recorded.
"""

import math
import random
import shutil

import polars as pl
import pytest
import torch
from crashes import kill, usual
from projects import ALGEBRA, SmallProject, make_project, sentences, small_settings
from soundness import assert_sound, versions
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

from tamis.training.tokenizer import load_tokenizer, train_tokenizer
from tamis.training.tracking import open_tracker
from tamis.verbs.plan import read_plan

SHARED = """
[[base_model]]
name = "small"
{own}

[pretraining]
tokens = 8_000
vocabulary = 512
sequence_length = 32

[fine_tuning]
epochs = 2
validation = 6
patience = 2

[scaling]
target = "algebra"
models = ["small"]
sizes = [8, 16]
"""
TWO_STAGES = """
[comparison]
model = "small"
selections = ["near-algebra"]
two_stage = true
"""
PAIRS = 'prompt_column = "question"\nresponse_column = "answer"\n'
LABELS = 'label_column = "topic"\n'
KINDS = {
    "lora": (PAIRS, 'preset = "llama-0.8m"\nlora_rank = 4\nlearning_rate = 1e-2', TWO_STAGES, "csv"),
    "labels": (LABELS, 'preset = "llama-0.8m"\nlearning_rate = 2e-3', TWO_STAGES, "parquet"),
    "encoder-decoder": (PAIRS, 'path = "models/t5"\nlearning_rate = 5e-3', "", "jsonl"),
}
KILLS = 3


def rows(columns: str) -> list[dict]:
    if columns == PAIRS:
        texts = sentences("algebra", 60, 2)
        return [{"question": text[:60], "answer": text[60:140]} for text in texts]
    made = {topic: sentences(topic, 30, 2) for topic in ("algebra", "sailing")}
    return [{"text": text, "topic": topic} for topic, texts in made.items() for text in texts]


def write_target(project: SmallProject, columns: str, form: str) -> None:
    folder = project.root / "target"
    shutil.rmtree(folder)
    folder.mkdir()
    frame = pl.DataFrame(rows(columns))
    writers = {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}
    writers[form](folder / f"algebra.{form}")


def write_t5(folder) -> None:
    """A tiny encoder-decoder with random weights."""
    train_tokenizer(sentences("algebra", 60, 9), folder, vocabulary=400)
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    ends = {"decoder_start_token_id": 2, "pad_token_id": 2, "eos_token_id": 1}
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(vocab_size=400, **shape, **ends))
    tokenizer = load_tokenizer(folder)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def made(root, encoder_cache, kind: str) -> SmallProject:
    """A project with a target of this kind of examples and a model that learns them."""
    columns, own, comparison, form = KINDS[kind]
    text = small_settings(SHARED.format(own=own), comparison, target=ALGEBRA + columns)
    project = make_project(root, encoder_cache, text)
    write_target(project, columns, form)
    if kind == "encoder-decoder":
        (root / "models").mkdir()
        write_t5(root / "models" / "t5")
    return project


@pytest.mark.parametrize("kind", list(KINDS))
def test_trials_killed_again_and_again_end_as_undisturbed_ones(tmp_path, encoder_cache, kind):
    calm = made(tmp_path / "calm", encoder_cache, kind)
    torn = made(tmp_path / "torn", encoder_cache, kind)
    calm.tamis("materialize")
    seconds, chance = usual(calm).seconds["trials"], random.Random(kind)
    for number in range(KILLS):
        if number and not any(due["asset"] == "trials" for due in read_plan(torn.project)):
            break
        moments = [("seconds", chance.uniform(0.2, seconds)), ("writes", chance.randint(1, 12))]
        kill(torn, "trials", *moments[number % 2])
    assert torn.json("audit")["status"] in ("green", "amber"), "interrupted is not altered"
    torn.tamis("materialize")
    assert made_of(torn) == made_of(calm)
    for project in (calm, torn):
        assert_tracked_once(project)
        assert_sound(project)
    assert_measured_by_transformers(torn, kind)
    page = (torn.home.reports / "scaling_law_algebra.html").read_text()
    assert ("nats per example" in page) == (kind == "labels")
    assert ("bits per byte" in page) == (kind != "labels"), "a labelled target has no bytes"


def made_of(project: SmallProject) -> tuple[dict, dict]:
    """Data versions, and manifests of trials."""
    current = project.current.values()
    manifests = {value.partition: value.manifest for value in current if value.asset == "trials"}
    return versions(project), manifests


def assert_tracked_once(project: SmallProject) -> None:
    """One finished run and one model version a trial, however often it was killed."""
    trials = project.store.read("trials")
    client = open_tracker(f"sqlite:///{project.home.root}/mlflow/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'tamis'")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["tamis.trial"] for run in runs) == sorted(trials["trial"])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.info.run_id for run in runs} == set(trials["mlflow_run"])
    for trial in trials["trial"]:
        (version,) = client.search_model_versions(f"name = 'tamis.{trial}'")
        assert (project.home.root / version.source.removeprefix("tamis:///") / "config.json").is_file()


def assert_measured_by_transformers(project: SmallProject, kind: str) -> None:
    """Every checkpoint, loaded without Tamis, has the held-out figure that its trial recorded."""
    store = project.store
    examples = store.read("target_examples", where="split = 'held_out'")
    held_out = examples.join(store.read("target_answers"), on="doc_id").to_dicts()
    figure = "accuracy" if kind == "labels" else "held_out_bits_per_byte"
    measured = [trial for trial in store.read("trials").to_dicts() if trial[figure] is not None]
    assert len(measured) >= 2
    for trial in measured:
        folder = project.home.root / trial["checkpoint"]
        if kind == "labels":
            assert accuracy(folder, held_out) == pytest.approx(
                trial["accuracy"], abs=1 / len(held_out) + 1e-6
            )
        else:
            found = bits_per_byte(folder, held_out, kind)
            assert found == pytest.approx(trial["held_out_bits_per_byte"], rel=1e-2), trial["trial"]
        assert (folder / "adapter" / "adapter_config.json").exists() == (kind == "lora")


def accuracy(folder, held_out: list[dict]) -> float:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    right = 0
    for row in held_out:
        with torch.no_grad():
            logits = model(**tokenizer(row["text"], return_tensors="pt", return_token_type_ids=False)).logits
        right += model.config.id2label[int(logits.argmax())] == row["label"]
    return right / len(held_out)


def bits_per_byte(folder, held_out: list[dict], kind: str) -> float:
    """Code length of the responses, one at a time, by the model's own loss."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    family = AutoModelForSeq2SeqLM if kind == "encoder-decoder" else AutoModelForCausalLM
    model = family.from_pretrained(folder).eval()

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    nats, size = 0.0, 0
    for row in held_out:
        prompt, answer = row["text"][: row["response_at"]], row["text"][row["response_at"] :]
        response = ids(answer)
        with torch.no_grad():
            if kind == "encoder-decoder":
                given = torch.tensor([[*ids(prompt), tokenizer.eos_token_id]])
                loss = model(input_ids=given, labels=torch.tensor([response])).loss
            else:
                before = [tokenizer.bos_token_id, *ids(prompt)]
                labels = torch.tensor([[-100] * len(before) + response])
                loss = model(input_ids=torch.tensor([before + response]), labels=labels).loss
        nats += loss.item() * len(response)
        size += len(answer.encode())
    return nats / math.log(2) / size
