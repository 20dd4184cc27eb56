"""Make a home with the Tamis of a checkout, in which every kind of thing that a home holds has a past.

    python tests/homes/make_home.py FOLDER      (a new folder)

Twenty versions of a selection, a pinned selection, withdrawals by id, text and file, exports, quarantine,
near-duplicates, small files, files that left and one that is held back, trials of a tiny model. The texts
are drawn from word lists, so they belong to nobody and are the same each time. Then pack it:

    cd FOLDER; tar --sort=name --owner=0 --group=0 --exclude=.tamis/cache -c . | xz -9e > home-VERSION.tar.xz
"""

import json
import random
import subprocess
import sys
from pathlib import Path

TOPICS = {
    "sea": "sailor harbour tide anchor mast gull reef storm lantern compass deck cargo island wave rope",
    "kitchen": "cook oven flour butter onion kettle spoon basil loaf pepper broth apron garlic plate",
    "court": "judge witness clerk verdict statute lawyer appeal jury oath contract tenant evidence",
}
VERBS = "watched carried repaired measured followed lost described sold painted counted forgot"
VERSIONS = 20
SETTINGS = """\
[project]
name = "home-of-0.2"
precision = "float32"
tokenizer = "small"

[automation]
settle_seconds = 0.0

[[corpus]]
name = "web"
kind = "files"
path = "documents"

[[target]]
name = "goal"
kind = "files"
path = "target"
train = 24
held_out = 12

[filters]
heuristics = ["noise", "boilerplate"]

[transport]
relative_epsilon = 0.05

[density]
rows = 20
hashes = 2
calibration = 20

[[selection]]
name = "best"
sampler = "got-d"
target = "goal"
budget = 10

[[selection]]
name = "pinned"
sampler = "density"
budget = 10

[[selection]]
name = "random"
sampler = "random"
budget = "300tok"

[[base_model]]
name = "small"
path = "model"

[fine_tuning]
epochs = 1
sequence_length = 32
"""
TRAINED = """
[scaling]
target = "goal"
models = ["small"]
sizes = [6, 12]

[comparison]
model = "small"
selections = ["best"]
"""


def texts(topic: str, count: int, seed: int) -> list[str]:
    """Return generated documents of one topic."""
    draw = random.Random(f"{topic} {seed}")
    verbs = VERBS.split()

    def sentence() -> str:
        one, two, three = draw.sample(TOPICS[topic].split(), 3)
        return (
            f"The {one} {draw.choice(verbs)} the {two} at noon, and nobody {draw.choice(verbs)} the {three}."
        )

    return [" ".join(sentence() for _ in range(3)) for _ in range(count)]


def write(path: Path, documents: list[str], *more: str) -> None:
    """Write a jsonl file of documents with columns beside the text, then other lines."""
    rows = [
        json.dumps({"text": text, "n": n, "source": f"{path.stem}.example", "when": "2024-01-02"})
        for n, text in enumerate(documents)
    ]
    path.write_text("".join(f"{row}\n" for row in [*rows, *more]), encoding="utf-8")


def write_model(folder: Path) -> None:
    """Write a Llama of 20,000 parameters with random weights, and a tokenizer of the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=["<end>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([text for topic in TOPICS for text in texts(topic, 40, 11)], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=512, max_position_embeddings=64, tie_word_embeddings=True, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)


def make(root: Path) -> None:
    """Make the project and its home."""

    def tamis(*arguments: str, code: int = 0) -> str:
        print("tamis", *arguments, flush=True)
        command = [sys.executable, "-m", "tamis.cli", "-C", str(root), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != code:
            sys.exit(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def stored(selection: str) -> list[dict]:
        """Return the chosen rows of a selection."""
        tamis("export", selection, "--format", "jsonl")
        rows = (root / f".tamis/exports/{selection}.jsonl").read_text(encoding="utf-8")
        return [json.loads(row) for row in rows.splitlines()]

    documents = root / "documents"
    (documents / "notes").mkdir(parents=True)
    (root / "target").mkdir()
    for topic in TOPICS:
        write(documents / f"{topic}.jsonl", texts(topic, 16, 1))
    near = texts("kitchen", 16, 1)[0] + " Indeed."
    write_model(root / "model")
    bad = ["{no json", '{"body": "no text"}', json.dumps({"text": "   "}), json.dumps({"text": near})]
    write(documents / "bad.jsonl", texts("kitchen", 3, 3), *bad)
    for number, text in enumerate(texts("court", 6, 5)):
        (documents / f"notes/note{number}.txt").write_text(text, encoding="utf-8")
    write(documents / "leaves.jsonl", texts("sea", 4, 7))
    write(documents / "withdrawn.jsonl", texts("sea", 5, 8))
    write(documents / "shrinks.jsonl", texts("court", 40, 9))
    write(root / "target/goal.jsonl", texts("sea", 42, 2))
    (root / "tamis.toml").write_text(SETTINGS, encoding="utf-8")
    tamis("materialize")
    tamis("restore", "pinned", "1")
    for version in range(2, VERSIONS + 1):
        if version % 10:
            (root / "tamis.toml").write_text(
                SETTINGS.replace("budget = 10", f"budget = {version}"), encoding="utf-8"
            )
            tamis("materialize", "--only", "selected_subset")
        else:
            (documents / "leaves.jsonl").unlink(missing_ok=True)
            write(documents / f"more{version}.jsonl", texts("sea", 2, 100 + version))
            tamis("materialize")
    chosen = stored("best")
    by_text = root / "text.txt"
    by_text.write_text(chosen[1]["text"], encoding="utf-8")
    tamis("withdraw", chosen[0]["doc_id"], "--reason", "owner_request")
    tamis("withdraw", "--text", str(by_text), "--reason", "personal_data")
    tamis("withdraw", "--shard", "web__withdrawn.jsonl")
    by_text.unlink()
    (root / "tamis.toml").write_text(SETTINGS + TRAINED, encoding="utf-8")
    tamis("materialize")
    stored("random")
    write(documents / "shrinks.jsonl", texts("court", 40, 9)[:3])
    tamis("materialize", code=1)
    tamis("audit")


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve())
