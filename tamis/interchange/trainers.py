"""The configuration of other trainers: the base model and the recipe that a project measured, in their keys.

trl reads YAML with `trl sft --config`, axolotl with `axolotl train`, LLaMA-Factory with `llamafactory-cli
train` and a dataset_info.json. For transformers' Trainer there are its arguments in JSON and a script. All
paths are relative to the folder, except that of a base model on this machine.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from tamis.readers.conversations import SEPARATOR
from tamis.store.exports import CONFIGURATIONS, ROWS_TO_TRAIN
from tamis.training.adapters import ALL_LINEAR
from tamis.training.loop import FLOOR_SHARE
from tamis.training.options import FineTuningOptions

COMMENT_WIDTH = 100
OUTPUT = "output"
REPETITIONS = "repetitions"
SCRIPT = "hf_train.txt"
TAKES_PREFERENCES = "trl"
"""The trainer that is configured for preference pairs: by `trl dpo`."""
JOINED = ("trl", "hf")
"""Trainers that join a prompt and its completion as they are: the empty line between them ends the prompt."""


class Shape(StrEnum):
    """Columns of a row that is trained on."""

    TEXT = "text"
    PAIR = "prompt and completion"
    MESSAGES = "messages"
    PREFERENCE = "prompt, chosen and rejected"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A base model with the settings of its trainings.

    name: of the [[base_model]]. model: a folder or an id of the hub. peak_rate: of this model, whose width
    enters. bfloat16: whether products are made in it. facts: sentences at the head of a configuration, what
    was measured and what no trainer here can do.
    """

    name: str
    model: str
    options: FineTuningOptions
    peak_rate: float
    bfloat16: bool
    facts: tuple[str, ...] = ()

    @property
    def adapter(self) -> dict[str, Any] | None:
        """Low-rank adaptation in the keys of peft; None where all weights are trained."""
        if (adapter := self.options.adapter) is None:
            return None
        return {
            "r": adapter.rank,
            "lora_alpha": adapter.alpha or 2 * adapter.rank,
            "lora_dropout": adapter.dropout,
            "target_modules": list(adapter.targets) or ALL_LINEAR,
        }

    def shared(self) -> dict[str, Any]:
        """Return the arguments that all trainers take from transformers, by its names."""
        options = self.options
        named = {
            "learning_rate": self.peak_rate,
            "gradient_accumulation_steps": options.accumulation,
            "weight_decay": options.weight_decay,
            "adam_beta1": options.betas[0],
            "adam_beta2": options.betas[1],
            "max_grad_norm": options.maximum_norm,
            "seed": options.seed,
            "bf16": self.bfloat16,
        }
        return named | ({"torch_compile": True} if options.compile else {})


@dataclass(frozen=True, kw_only=True)
class TrainingFile:
    """A file of rows to train on: its selection, the shape of its rows, and how it says repetitions.

    counted: repetitions are a column of counts, not rows.
    """

    selection: str
    shape: Shape
    counted: bool = False


def configuration_files(trainer: str, recipe: Recipe, file: TrainingFile) -> dict[str, str]:
    """Return the text of each file that a trainer is configured by, by its name."""
    made = _MAKERS[trainer](recipe, file)
    assert tuple(made) == CONFIGURATIONS[trainer]
    return made


def _for_trl(recipe: Recipe, file: TrainingFile) -> dict[str, str]:
    options, adapter = recipe.options, recipe.adapter
    values: dict[str, Any] = {
        "model_name_or_path": recipe.model,
        "dtype": "float32",
        "datasets": [{"path": "json", "data_files": ROWS_TO_TRAIN}],
        "max_length": options.sequence_length,
        **({"packing": True, "packing_strategy": "wrapped"} if file.shape == Shape.TEXT else {}),
        **_of_transformers(recipe),
    }
    if adapter:
        layers = adapter["target_modules"]
        values |= {"use_peft": True, "lora_r": adapter["r"], "lora_alpha": adapter["lora_alpha"]}
        values |= {"lora_dropout": adapter["lora_dropout"]}
        values |= {"lora_target_modules": layers if isinstance(layers, list) else [layers]}
    facts = []
    if file.shape == Shape.MESSAGES:
        facts.append(
            "All turns are learnt. With assistant_only_loss: true only the assistant's are, which needs a "
            "chat template that marks them ({% generation %})."
        )
    command = "dpo" if file.shape == Shape.PREFERENCE else "sft"
    return {"trl.yaml": _yaml(f"trl {command} --config trl.yaml", recipe, file, facts, values)}


def _for_hf(recipe: Recipe, file: TrainingFile) -> dict[str, str]:
    settings = {
        "model": recipe.model,
        "sequence_length": recipe.options.sequence_length,
        "lora": recipe.adapter,
    }
    counted = [f"Each row is read as often as its column {REPETITIONS} says."] if file.counted else []
    facts = textwrap.fill(" ".join(_facts(recipe, file, counted)), COMMENT_WIDTH)
    script = files("tamis.interchange").joinpath(SCRIPT).read_text("utf-8")
    return {
        "training_arguments.json": json.dumps(_of_transformers(recipe), indent=2) + "\n",
        "recipe.json": json.dumps(settings, indent=2, ensure_ascii=False) + "\n",
        "train.py": script.replace("{facts}", facts.replace("\\", "\\\\").replace('"', "'")),
    }


def _for_axolotl(recipe: Recipe, file: TrainingFile) -> dict[str, str]:
    options, adapter = recipe.options, recipe.adapter
    rows: dict[Shape, dict[str, Any]] = {
        Shape.TEXT: {"type": "completion", "field": "text"},
        Shape.PAIR: {
            "type": {
                "field_instruction": "prompt",
                "field_output": "completion",
                "format": f"{{instruction}}{SEPARATOR}",
                "no_input_format": f"{{instruction}}{SEPARATOR}",
            }
        },
        Shape.MESSAGES: {
            "type": "chat_template",
            "field_messages": "messages",
            "message_property_mappings": {"role": "role", "content": "content"},
            "roles_to_train": ["assistant"],
        },
    }
    values: dict[str, Any] = {
        "base_model": recipe.model,
        "datasets": [{"path": ROWS_TO_TRAIN, "ds_type": "json", **rows[file.shape]}],
        "dataset_prepared_path": "prepared",
        "train_on_inputs": False,
        "sequence_len": options.sequence_length,
        "sample_packing": file.shape == Shape.TEXT,
        "num_epochs": options.epochs,
        "micro_batch_size": options.batch_size,
        "optimizer": "adamw_torch_fused",
        "lr_scheduler": "cosine",
        "cosine_min_lr_ratio": FLOOR_SHARE,
        "warmup_ratio": options.warm_up_share,
        **recipe.shared(),
        "output_dir": OUTPUT,
    }
    if file.shape == Shape.MESSAGES:
        values["chat_template"] = "tokenizer_default"
    if adapter:
        layers = adapter["target_modules"]
        values |= {"adapter": "lora", "lora_r": adapter["r"], "lora_alpha": adapter["lora_alpha"]}
        values |= {"lora_dropout": adapter["lora_dropout"]}
        values |= (
            {"lora_target_modules": layers} if isinstance(layers, list) else {"lora_target_linear": True}
        )
    facts = []
    if file.shape == Shape.TEXT:
        facts.append(
            "Trials cut one stream of all documents into rows; axolotl cuts each document, then puts "
            "whole pieces together."
        )
    return {"axolotl.yaml": _yaml("axolotl train axolotl.yaml", recipe, file, facts, values)}


def _for_llama_factory(recipe: Recipe, file: TrainingFile) -> dict[str, str]:
    options, adapter = recipe.options, recipe.adapter
    described: dict[Shape, dict[str, Any]] = {
        Shape.TEXT: {"columns": {"prompt": "text"}},
        Shape.PAIR: {"columns": {"prompt": "prompt", "response": "completion"}},
        Shape.MESSAGES: {
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "observation_tag": "tool",
                "system_tag": "system",
            },
        },
    }
    values: dict[str, Any] = {
        "model_name_or_path": recipe.model,
        "stage": "pt" if file.shape == Shape.TEXT else "sft",
        "do_train": True,
        "finetuning_type": "lora" if adapter else "full",
        "dataset_dir": ".",
        "dataset": file.selection,
        "cutoff_len": options.sequence_length,
        "packing": file.shape == Shape.TEXT,
        **_of_transformers(recipe, warm_up="warmup_ratio"),
    }
    if adapter:
        layers = adapter["target_modules"]
        values |= {"lora_rank": adapter["r"], "lora_alpha": adapter["lora_alpha"]}
        values |= {"lora_dropout": adapter["lora_dropout"]}
        values |= {"lora_target": ",".join(layers) if isinstance(layers, list) else "all"}
    facts = []
    if file.shape != Shape.TEXT:
        facts.append(
            "Without the key template, the chat template of the tokenizer is used; name one of "
            "LLaMA-Factory's where the model has its own there."
        )
    entry = {file.selection: {"file_name": ROWS_TO_TRAIN, **described[file.shape]}}
    return {
        "llama_factory.yaml": _yaml("llamafactory-cli train llama_factory.yaml", recipe, file, facts, values),
        "dataset_info.json": json.dumps(entry, indent=2, ensure_ascii=False) + "\n",
    }


_MAKERS = {
    "trl": _for_trl,
    "hf": _for_hf,
    "axolotl": _for_axolotl,
    "llama-factory": _for_llama_factory,
}
TRAINERS = tuple(_MAKERS)


def _of_transformers(recipe: Recipe, warm_up: str = "warmup_steps") -> dict[str, Any]:
    """Return the arguments of transformers' Trainer; `warm_up`: the key of the share that warms up."""
    options = recipe.options
    return {
        "output_dir": OUTPUT,
        "num_train_epochs": options.epochs,
        "per_device_train_batch_size": options.batch_size,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": FLOOR_SHARE},
        warm_up: options.warm_up_share,
        **recipe.shared(),
        "logging_steps": 10,
        "save_strategy": "epoch",
        "report_to": "none",
    }


def _facts(recipe: Recipe, file: TrainingFile, more: Sequence[str]) -> Iterator[str]:
    """Yield what the head of a configuration says, a sentence or two each."""
    options = recipe.options
    yield f"Selection {file.selection}, base model {recipe.name}, the recipe of tamis.toml."
    yield from recipe.facts
    rows = options.batch_size * options.accumulation
    yield f"A step is {rows} rows on one device; on several, divide the batch or the accumulation by them."
    if file.shape != Shape.TEXT:
        yield "Trials of a selection read its documents as plain text (--text); here only answers are learnt."
    yield from more


def _yaml(
    command: str, recipe: Recipe, file: TrainingFile, facts: Sequence[str], values: Mapping[str, Any]
) -> str:
    said = [f"Run in this folder: {command}", *_facts(recipe, file, facts)]
    if file.counted:
        said.append(f"This trainer does not read the column {REPETITIONS}: each row is read once an epoch.")
    head = [line for fact in said for line in textwrap.wrap(fact, COMMENT_WIDTH)]
    lines = [f"{key}: {_flow(value)}" for key, value in values.items()]
    return "".join(f"{line}\n" for line in [*(f"# {line}" for line in head), *lines])


def _flow(value: Any) -> str:
    """Return a value as YAML 1.1 in one line: JSON, but for numbers such as 1e-05, which are text there."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        digits, exponent, power = repr(value).partition("e")
        return (digits if "." in digits else f"{digits}.0") + exponent + power
    return json.dumps(value, ensure_ascii=False)
