"""Who judges: which model, which prompt, and a fingerprint of both that needs no model in memory.

A judge is identified by the bytes of its files, so an edited model folder is another judge. Reading 90 MB
takes 0.1 s and is remembered by size and time of change. A hub id is trusted by name: pin a revision
("org/name@revision") for an identity that cannot move, and an endpoint is what its URL and model name say.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tamis.base.errors import PermanentError, UnknownNameError
from tamis.base.files import content_digest
from tamis.quality.endpoint import Endpoint
from tamis.quality.prompts import PROMPT_NAMES, PROMPTS, Prompt, PromptName
from tamis.training.gguf_model import embedded_model_file

CODE_VERSION = "1"  # raised by hand when the scores of an unchanged judge change
PADDED_AT_THE_END = "padded at the end"  # these alone scored otherwise in batches when padded at the front
EMBEDDED_JUDGE = "smollm2-135m"
DTYPES = ("bfloat16", "float32")
CAPABLE_PARAMETERS = (
    1.5e9  # below it a causal judge is shown examples: only far smaller and larger ones were measured
)
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")

JudgeKind = Literal["embedded", "folder", "hub", "endpoint"]


class JudgeModelError(PermanentError):
    """A model cannot serve as a judge; says which and why."""

    def __init__(self, model: str, problem: str) -> None:
        self.model, self.problem = model, problem
        super().__init__(f"judge {model!r}: {problem}")


@dataclass(frozen=True, kw_only=True)
class JudgeSource:
    """The origin of a judge: `location` is a file, a folder, a hub id (with `revision`) or a URL."""

    kind: JudgeKind
    location: str
    revision: str | None = None


def model_name(model: object) -> str:
    """Return the name of a judge or its folder as text; raise `JudgeModelError` for what is neither."""
    if not isinstance(model, str | Path):
        raise JudgeModelError(str(model), f"a {type(model).__name__} names no model; pass a str or a folder")
    return str(model)


def judge_source(model: str | Endpoint) -> JudgeSource:
    """Return what a judge's name means.

    Raises `JudgeModelError` for what is neither a folder nor the shape of a hub id, `MissingPackageError`
    when the embedded judge is not installed.
    """
    if isinstance(model, Endpoint):
        return JudgeSource(kind="endpoint", location=model.url)
    model = model_name(model)
    if model == EMBEDDED_JUDGE:
        return JudgeSource(kind="embedded", location=str(embedded_model_file()))
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise JudgeModelError(
                model,
                "the folder has no config.json, so it does not contain a transformers model; name a folder "
                "written by save_pretrained",
            )
        return JudgeSource(kind="folder", location=model)
    if not HUB_ID.fullmatch(model):
        raise JudgeModelError(
            model,
            f"this name is neither {EMBEDDED_JUDGE!r}, nor an existing folder, nor a hub id (org/name); "
            "correct model in [judge], or MODEL in the sampler ask-llm:MODEL",
        )
    name, _, revision = model.partition("@")
    return JudgeSource(kind="hub", location=name, revision=revision or None)


def judge_prompt(model: str | Endpoint, prompt: str | Prompt = "auto") -> Prompt:
    """The prompt a judge is asked with: the one given or named, or "auto": examples for small causal models.

    Raises `UnknownNameError` for an unknown prompt.
    """
    if isinstance(prompt, Prompt):
        return prompt
    if prompt == "auto":
        return PROMPTS[_fitting_prompt(judge_source(model))]
    if prompt not in PROMPTS:
        raise UnknownNameError("prompt", prompt, ("auto", *PROMPT_NAMES))
    return PROMPTS[prompt]


def judge_identity(
    model: str | Endpoint, prompt: str | Prompt = "auto", *, max_tokens: int = 512, dtype: str = "float32"
) -> str:
    """Fingerprint (32 hex digits) of everything that decides a score, without loading torch or the model.

    Batch size and device do not enter: they move float32 scores by less than 1e-4.
    """
    if dtype not in DTYPES:
        raise UnknownNameError("dtype", dtype, DTYPES)
    asked = judge_prompt(model, prompt)
    content = (asked.name, asked.prefix, asked.suffix, asked.answer, asked.delimiters)
    return hashlib.sha256(
        json.dumps([CODE_VERSION, _model_key(model), content, max_tokens, dtype]).encode()
    ).hexdigest()[:32]


def _model_key(model: str | Endpoint) -> list[str]:
    source = judge_source(model)
    if isinstance(model, Endpoint):
        return [source.kind, source.location, model.model]
    if source.kind == "hub":
        return [source.kind, source.location, source.revision or "main"]
    path = Path(source.location)
    files = [path] if path.is_file() else sorted({file for glob in MODEL_FILES for file in path.glob(glob)})
    key = [file.name + ":" + content_digest(file) for file in files]
    if source.kind == "folder":
        config = _config(path)
        # An encoder-decoder with absolute positions; T5 and its kin have relative ones.
        if config.get("is_encoder_decoder") and "relative_attention_num_buckets" not in config:
            key.append(PADDED_AT_THE_END)
    return key


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def _fitting_prompt(source: JudgeSource) -> PromptName:
    if source.kind == "endpoint":
        return "ask-llm"
    if source.kind == "embedded":
        return "examples"
    if source.kind == "hub":
        # "Qwen/Qwen2.5-0.5B-Instruct" says 0.5B; encoder-decoder families have no sizes in their names.
        found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([MmBb])(?![A-Za-z0-9])", source.location)
        stated = float(found[1]) * (1e6 if found[2] in "Mm" else 1e9) if found else math.inf
        return "examples" if stated < CAPABLE_PARAMETERS else "ask-llm"
    folder = Path(source.location)
    if _config(folder).get("is_encoder_decoder"):
        return "ask-llm"
    stored = sum(_parameters_in(file) for file in folder.glob("*.safetensors"))
    return "examples" if stored < CAPABLE_PARAMETERS else "ask-llm"


def _parameters_in(file: Path) -> int:
    # A safetensors file starts with the length of its JSON header, which lists every shape.
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
