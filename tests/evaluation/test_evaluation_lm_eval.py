"""lm-eval on a local task: what it writes today is read as its own figures say."""

import json
import os
import shutil
import subprocess

import pytest
from projects import sentences

from tamis.evaluation.answers import read_answer
from tamis.training import train_tokenizer
from tamis.training.shapes import ModelShape, new_model
from tamis.training.tokenizer import load_tokenizer

pytestmark = pytest.mark.slow

TASK = """
task: kitchen
dataset_path: json
dataset_kwargs:
  data_files: {rows}
test_split: train
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""


@pytest.mark.skipif(shutil.which("lm_eval") is None, reason="lm-eval is not installed")
def test_samples_of_lm_eval_give_the_means_that_it_states(tmp_path):
    train_tokenizer(sentences("cooking", 60, 1), tmp_path / "tokenizer", vocabulary=320)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    shape = ModelShape(hidden_size=32, intermediate_size=48, layers=1, heads=2, vocabulary=320)
    new_model(shape, 0, tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [
        {
            "question": f"Butter and garlic, number {place}, are",
            "choices": ["cooked", "sailed"],
            "answer": place % 2,
        }
        for place in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "task.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl"))
    command = [
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={tmp_path / 'model'}",
        "--device",
        "cpu",
    ]
    command += ["--tasks", "kitchen", "--include_path", str(tmp_path), "--log_samples"]
    out = tmp_path / "out"
    caches = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run([*command, "--output_path", str(out)], check=True, env=os.environ | caches)
    [stated] = out.rglob("results_*.json")
    results = json.loads(stated.read_text())["results"]["kitchen"]
    scores = read_answer(out)
    for metric in ("acc", "acc_norm"):
        own = scores.filter(task=f"kitchen:{metric}")
        assert sorted(own["example"]) == sorted(str(place) for place in range(12))
        assert own["score"].to_numpy().mean() == pytest.approx(results[f"{metric},none"])
