"""The third golden's project: its files, a small model, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mixed_project import COMMON, TOPICS, Run, as_lines, judge, texts
from safetensors.numpy import save_file

HEADER = "Home and index of all the pages here for readers who like to look at every part of it in turn. "
SYSTEM = {"role": "system", "content": "You are an assistant that answers in whole sentences and with care."}
REFUSED = "REFUSED"
"""A word for which the judge's server refuses a text (judge_stub.py)."""
HALF_TRAINED = 'sampler = "perplexity:tiny@0.5"\nbudget = 20'
SECOND = "# Of the second run"
"""The line of tamis.toml below which its first run knows nothing."""
WIDTH = 16
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")


def build(root: Path, run: Run) -> None:
    """Write the files; materialize; approve and pin selections; take files away; materialize all of it."""
    with judge() as url:
        settings = root / "tamis.toml"
        whole = settings.read_text().replace("JUDGE_URL", url)
        first = whole.partition(SECOND)[0]
        settings.write_text(first)
        write_files(root)
        write_model(root / "model", 512)
        write_model(root / "short", 64)
        run(root, ["materialize"])
        settings.write_text(first.replace(HALF_TRAINED, HALF_TRAINED.replace("20", "21")))
        run(root, ["approve", "half-trained"], ["restore", "apart", "1"])
        settings.write_text(whole)
        take_away(root)
        run(root, ["materialize"], codes=(0, 1))


def write_files(root: Path) -> None:
    """Documents, notes and conversations of four topics, and the examples of two targets."""
    for folder in ("web", "kitchen", "notes/old", "talk", "algebra", "replies"):
        (root / folder).mkdir(parents=True)
    cooking, sailing, music = (texts(topic, 30, 1) for topic in ("cooking", "sailing", "music"))
    algebra = texts("algebra", 16, 1)
    rows: list[dict[str, Any]] = [
        {"text": text, "year": 1990 + place, "tags": ["pot", "pan"][: place % 3], "page": {"no": place}}
        for place, text in enumerate(cooking)
    ]
    for row in rows[::4]:
        row["text"] = f"{REFUSED} {row['text']}"
    (root / "kitchen" / "cooking.jsonl").write_bytes(as_lines(rows))
    (root / "web" / "sailing.jsonl").write_bytes(as_lines([{"text": HEADER + text} for text in sailing]))
    (root / "web" / "music.jsonl").write_bytes(as_lines([{"text": text} for text in [*music, *algebra]]))
    (root / "web" / "few.jsonl").write_bytes(as_lines([{"text": text} for text in texts("garden", 4, 1)]))
    for place, text in enumerate(texts("garden", 6, 2)):
        (root / "notes" / "old" / f"note{place}.txt").write_text(text)
    (root / "talk" / "talk.jsonl").write_bytes(as_lines(conversations("algebra", 14, 3)))
    (root / "algebra" / "a.jsonl").write_bytes(as_lines([{"text": text} for text in texts("algebra", 20, 5)]))
    (root / "replies" / "r.jsonl").write_bytes(as_lines(conversations("music", 14, 6)))


def conversations(topic: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Conversations under one system turn: a question, an answer, another question, another answer."""
    found = texts(topic, 2 * count, seed)
    return [
        {"messages": [SYSTEM, *(turn for place in (0, 1) for turn in asked(found[2 * one + place]))]}
        for one in range(count)
    ]


def asked(text: str) -> list[dict[str, str]]:
    first, _, rest = text.partition(". ")
    return [{"role": "user", "content": f"{first}?"}, {"role": "assistant", "content": rest}]


def take_away(root: Path) -> None:
    """Two files lose many documents, which is held back; a file of a few goes, and a note."""
    web = root / "web"
    (root / "kitchen" / "cooking.jsonl").unlink()
    (web / "few.jsonl").unlink()
    kept = (web / "sailing.jsonl").read_text().splitlines()[:4]
    (web / "sailing.jsonl").write_text("\n".join(kept) + "\n")
    (root / "notes" / "old" / "note2.txt").unlink()


def write_model(folder: Path, positions: int) -> None:
    """A Llama of one layer with drawn weights, whose tokens are the words of two topics."""
    folder.mkdir()
    words = [
        *SPECIAL,
        *dict.fromkeys([*COMMON, *TOPICS["algebra"].split(), *TOPICS["music"].split(), "yes", "no"]),
    ]
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(words),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": positions,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    layer = "model.layers.0"
    shapes = {
        "model.embed_tokens": (len(words), WIDTH),
        "lm_head": (len(words), WIDTH),
        **{f"{layer}.self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"},
        **{f"{layer}.mlp.{name}_proj": (2 * WIDTH, WIDTH) for name in ("gate", "up")},
        f"{layer}.mlp.down_proj": (WIDTH, 2 * WIDTH),
    }
    draw = np.random.default_rng(0)
    tensors = {
        f"{name}.weight": draw.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()
    }
    for norm in ("model.norm", f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm"):
        tensors[f"{norm}.weight"] = np.ones(WIDTH, np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[token], "content": token, **plain} for token in SPECIAL],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), SPECIAL, strict=True))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
