"""Configurations of axolotl and LLaMA-Factory, read by their own classes.

Their pins exclude ours, so pip installs each into a folder of its own, without what it depends on: the
schemas need little of that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tamis.interchange.trainers import Recipe, Shape, TrainingFile, configuration_files
from tamis.training.adapters import Adapter
from tamis.training.options import FineTuningOptions

pytestmark = pytest.mark.slow
PACKAGES = {
    "axolotl": ("axolotl==0.19.0",),
    "llamafactory": ("llamafactory==0.9.5", "omegaconf==2.3.0", "antlr4-python3-runtime==4.9.3"),
}
READ = [shape for shape in Shape if shape != Shape.PREFERENCE]
"""Shapes of rows that these trainers are given; pairs go to another one."""
RECIPES = {
    "whole": Recipe(
        name="small",
        model="owner/model",
        options=FineTuningOptions(learning_rate=1e-5, seed=7),
        peak_rate=1e-5,
        bfloat16=True,
    ),
    "adapted": Recipe(
        name="small",
        model="owner/model",
        options=FineTuningOptions(
            adapter=Adapter(rank=4, dropout=0.25, targets=("q_proj", "v_proj")), compile=True
        ),
        peak_rate=2e-3,
        bfloat16=False,
        facts=("Colons: and 'quotes' are text.",),
    ),
    "everywhere": Recipe(
        name="small",
        model="owner/model",
        options=FineTuningOptions(adapter=Adapter(rank=4, alpha=3), accumulation=3),
        peak_rate=2e-3,
        bfloat16=False,
    ),
}
AXOLOTL = """
import json, sys, yaml
from axolotl.utils.schemas.config import AxolotlInputConfig
for file in sys.argv[1:]:
    stated = yaml.safe_load(open(file))
    unknown = sorted(set(stated) - set(AxolotlInputConfig.model_fields))
    read = AxolotlInputConfig(**stated).model_dump(mode="json")
    print("READ", json.dumps([unknown, read]))
"""
LLAMA_FACTORY = """
import json, os, sys, types, yaml
import llamafactory
from transformers import HfArgumentParser
from llamafactory.hparams.data_args import DataArguments
from llamafactory.hparams.finetuning_args import FinetuningArguments
from llamafactory.hparams.generating_args import GeneratingArguments
from llamafactory.hparams.model_args import ModelArguments
from llamafactory.hparams.training_args import TrainingArguments
data = types.ModuleType("llamafactory.data")  # whose own __init__ needs audio
data.__path__ = [os.path.join(os.path.dirname(llamafactory.__file__), "data")]
sys.modules["llamafactory.data"] = data
from llamafactory.data.parser import get_dataset_list
groups = [ModelArguments, DataArguments, TrainingArguments, FinetuningArguments, GeneratingArguments]
for file in sys.argv[1:]:
    os.chdir(os.path.dirname(file))
    stated = yaml.safe_load(open(file)) | {"use_cpu": True}  # else bf16 is refused without a GPU
    model, rows, training, tuning, _generating = HfArgumentParser(groups).parse_dict(stated)
    (stated,) = get_dataset_list(rows.dataset, rows.dataset_dir)
    read = {name: getattr(training, name) for name in ("learning_rate", "seed", "bf16", "warmup_steps")}
    read |= {"scheduler": training.lr_scheduler_type, "batch": training.per_device_train_batch_size}
    read |= {"accumulation": training.gradient_accumulation_steps, "stage": tuning.stage}
    read |= {"targets": tuning.lora_target, "rank": tuning.lora_rank, "type": tuning.finetuning_type}
    read |= {"alpha": tuning.lora_alpha, "dropout": tuning.lora_dropout}
    print("READ", json.dumps([vars(stated), read]))
"""


@pytest.fixture(scope="module", params=[*PACKAGES])
def trainer(request, tmp_path_factory) -> tuple[str, Path]:
    """A trainer and the folder that it is installed in."""
    folder = tmp_path_factory.mktemp(request.param)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--target", str(folder), *PACKAGES[request.param]], capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        pytest.skip(f"{request.param} cannot be installed: {last}")
    return request.param, folder


def files_of(folder: Path, trainer: str) -> dict[tuple[str, Shape], Path]:
    """Write all configurations of a trainer; return the YAML files."""
    written = {}
    for name, recipe in RECIPES.items():
        for shape in READ:
            place = folder / f"{name}-{shape.name}"
            place.mkdir()
            file = TrainingFile(selection="best", shape=shape, counted=name == "whole")
            for called, text in configuration_files(trainer, recipe, file).items():
                (place / called).write_text(text)
            (written[name, shape],) = place.glob("*.yaml")
    return written


def test_a_trainer_reads_its_configuration_as_it_is_meant(trainer, tmp_path):
    name, folder = trainer
    files = files_of(tmp_path, "axolotl" if name == "axolotl" else "llama-factory")
    program = AXOLOTL if name == "axolotl" else LLAMA_FACTORY
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "DISABLE_VERSION_CHECK": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, files.values())],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    read = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("READ ")]
    check = read_by_axolotl if name == "axolotl" else read_by_llama_factory
    for (recipe, shape), (data, settings) in zip(files, read, strict=True):
        check(RECIPES[recipe], shape, data, settings)


def read_by_axolotl(recipe: Recipe, shape: Shape, unknown: list, settings: dict) -> None:
    options, adapter = recipe.options, recipe.options.adapter
    assert unknown == []
    assert settings["learning_rate"] == recipe.peak_rate
    assert (settings["micro_batch_size"], settings["num_epochs"]) == (options.batch_size, options.epochs)
    assert settings["gradient_accumulation_steps"] == options.accumulation
    assert (settings["sequence_len"], settings["seed"]) == (options.sequence_length, options.seed)
    assert (settings["warmup_ratio"], settings["cosine_min_lr_ratio"]) == (0.1, 0.1)
    assert settings["bf16"] == recipe.bfloat16
    assert settings["adapter"] == (None if adapter is None else "lora")
    if adapter:
        alpha = adapter.alpha or 2 * adapter.rank
        assert (settings["lora_r"], settings["lora_alpha"]) == (adapter.rank, alpha)
        assert settings["lora_dropout"] == adapter.dropout
        assert settings["lora_target_modules"] == (list(adapter.targets) or None)
        assert settings["lora_target_linear"] == (None if adapter.targets else True)
    (rows,) = settings["datasets"]
    assert (rows["path"], rows["ds_type"]) == ("train.jsonl", "json")
    expected = {Shape.TEXT: "completion", Shape.MESSAGES: "chat_template"}
    kind = rows["type"]
    assert kind["field_output"] == "completion" if shape == Shape.PAIR else kind == expected[shape]


def read_by_llama_factory(recipe: Recipe, shape: Shape, data: dict, settings: dict) -> None:
    options, adapter = recipe.options, recipe.options.adapter
    assert data["dataset_name"] == "train.jsonl"
    columns = {Shape.TEXT: ("text", None, None), Shape.PAIR: ("prompt", "completion", None)}
    columns[Shape.MESSAGES] = (None, None, "messages")
    assert (data["prompt"], data["response"], data["messages"]) == columns[shape]
    if shape == Shape.MESSAGES:
        tags = ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "system_tag")
        assert [data[tag] for tag in tags] == ["role", "content", "user", "assistant", "tool", "system"]
    assert settings["stage"] == ("pt" if shape == Shape.TEXT else "sft")
    assert (settings["learning_rate"], settings["seed"]) == (recipe.peak_rate, options.seed)
    assert (settings["bf16"], settings["warmup_steps"]) == (recipe.bfloat16, 0.1)
    assert (settings["batch"], settings["accumulation"]) == (options.batch_size, options.accumulation)
    assert settings["scheduler"] == "cosine_with_min_lr"
    assert settings["type"] == ("full" if adapter is None else "lora")
    if adapter:
        assert (settings["rank"], settings["alpha"]) == (adapter.rank, adapter.alpha or 2 * adapter.rank)
        assert (settings["dropout"], settings["targets"]) == (
            adapter.dropout,
            list(adapter.targets) or ["all"],
        )
