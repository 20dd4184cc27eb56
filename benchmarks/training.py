"""Tokens a second of training: Tamis against a bare PyTorch loop, same model, batch, optimizer and threads.

    python -m benchmarks.training --threads 2 --seconds 10

Random rows of token ids, so no data loading is timed. Rivals: `bare` is transformers' model under bfloat16
autocast with its fused attention, `cross_entropy` on its logits, fused AdamW and gradient clipping;
`bare-float32` the same without autocast. Steps of all loops alternate in blocks of --block until each
has had --seconds of processor time or of the clock (--clock); what is reported is the median step. One JSON
line a preset and loop. `tamis-compiled` has `compile` set, as `classifier-compiled` has. The classifiers
learn labelled rows of lognormal length: `classifier` as the platform does it, `classifier-any-width` with
rows as wide as the longest of each batch instead of in steps, `classifier-masked` that with PyTorch's fused
attention and a mask, as transformers loads it; --batch-size 16 --length 128 are the sizes of a fine-tuning.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import LlamaForCausalLM, LlamaForSequenceClassification

from benchmarks._flags import begin
from tamis.training import PRESETS, ModelShape, NoCompilerError
from tamis.training.attention import choose_attention
from tamis.training.compiling import fused
from tamis.training.device import choose_device, named_precision, retained_heap
from tamis.training.models import Kind, LoadedModel, prepared
from tamis.training.objective import backward
from tamis.training.packing import Batch, filled
from tamis.training.shapes import new_model
from tamis.training.weights import MasterWeights

Step = Callable[[np.ndarray], float]
CLASSIFIERS = ("classifier", "classifier-compiled", "classifier-any-width", "classifier-masked")
SPREAD = 0.6  # of the logarithm of a text's length, about that of news and of citations
OURS = ("tamis", "tamis-compiled", *CLASSIFIERS)  # loops that run under our allocator setting
BETAS, DECAY, NORM, RATE = (0.9, 0.95), 0.1, 1.0, 1e-3
WARM_UP_STEPS = 2
CLASSES = ("one", "two", "three", "four")


class _NoTokenizer:
    """Only the three ids that a new model's configuration holds."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2


def tamis_loop(shape: ModelShape, length: int, compiled: bool) -> Step:
    """A step of the platform's own loop."""
    device = choose_device("auto")
    loaded = prepared(new_model(shape, 0, _NoTokenizer()), _NoTokenizer(), device, length)
    loaded.model.train()
    weights = MasterWeights(loaded.model, named_precision("auto", device), betas=BETAS, weight_decay=DECAY)

    def step(rows: np.ndarray) -> float:
        with fused(loaded.model, compiled):
            loss = backward(loaded, Batch(rows=rows))
        weights.step(RATE, NORM)
        return loss.item()

    return step


def classifier_loop(shape: ModelShape, length: int, name: str) -> Step:
    """A step on labelled rows whose median length is a quarter of the longest, as wide as `name` says."""
    device = choose_device("auto")
    config = new_model(shape, 0, _NoTokenizer()).config
    config.num_labels = len(CLASSES)
    model = LlamaForSequenceClassification(config).to(device).train()
    if name != "classifier-masked":
        choose_attention(model, length)
    loaded = LoadedModel(
        model=model, tokenizer=_NoTokenizer(), plain_head=False, kind=Kind.CLASSIFIER, classes=CLASSES
    )
    weights = MasterWeights(model, named_precision("auto", device), betas=BETAS, weight_decay=DECAY)
    generator = np.random.default_rng(0)

    def step(rows: np.ndarray) -> float:
        lengths = np.clip(generator.lognormal(np.log(length / 4), SPREAD, len(rows)), 1, length).astype(int)
        texts = [row[:end] for row, end in zip(rows, lengths, strict=True)]
        cut = filled(texts, length if name in ("classifier", "classifier-compiled") else lengths.max())
        with fused(model, name == "classifier-compiled"):
            loss = backward(loaded, Batch(rows=cut, classes=rows[:, length] % len(CLASSES)))
        weights.step(RATE, NORM)
        return loss.item()

    return step


def bare_loop(shape: ModelShape, autocast: bool) -> Step:
    """A step as one writes it first."""
    device = choose_device("auto")
    model: LlamaForCausalLM = new_model(shape, 0, _NoTokenizer()).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, fused=True)

    def step(rows: np.ndarray) -> float:
        batch = torch.tensor(rows, device=device)
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            logits = model(input_ids=batch[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), NORM)
        optimizer.step()
        return loss.item()

    return step


def measure(loops: dict[str, Callable[[], Step]], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every timed step of each loop."""
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    rows = np.random.default_rng(0).integers(3, 4_096, size=(options.batch_size, options.length + 1))
    steps = {name: make() for name, make in loops.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for name, step in list(steps.items()):
        try:
            with retained_heap() if name in OURS else torch.enable_grad():
                for _ in range(WARM_UP_STEPS):
                    step(rows)
        except NoCompilerError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            del steps[name], seconds[name]
    while steps and min(map(sum, seconds.values())) < options.seconds:
        for name, step in steps.items():
            # The allocator setting is part of ours and no part of theirs.
            with retained_heap() if name in OURS else torch.enable_grad():
                step(rows)
                for _ in range(options.block):
                    started = clock()
                    step(rows)
                    seconds[name].append(clock() - started)
    return seconds


def main() -> None:
    """Measure every preset."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--loops", nargs="+", choices=(*OURS, "bare", "bare-float32"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--block", type=int, default=8, help="timed steps before the next loop has its turn")
    parser.add_argument("--clock", choices=["wall", "process"], default="wall")
    options = begin(parser)
    torch.set_num_threads(options.threads)
    for preset in options.presets:
        shape = PRESETS[preset]
        loops: dict[str, Callable[[], Step]] = {
            "tamis": lambda shape=shape: tamis_loop(shape, options.length, compiled=False),
            "tamis-compiled": lambda shape=shape: tamis_loop(shape, options.length, compiled=True),
            "bare": lambda shape=shape: bare_loop(shape, autocast=True),
            "bare-float32": lambda shape=shape: bare_loop(shape, autocast=False),
            **{
                name: lambda shape=shape, name=name: classifier_loop(shape, options.length, name)
                for name in CLASSIFIERS
            },
        }
        chosen = {name: loops[name] for name in options.loops or loops}
        for name, seconds in measure(chosen, options).items():
            median = float(np.median(seconds))
            tokens = None if name in CLASSIFIERS else round(options.batch_size * options.length / median)
            figures = {
                "benchmark": "training",
                "preset": preset,
                "parameters": shape.parameters,
                "loop": name,
                "milliseconds_per_step": round(1_000 * median, 1),
                "tokens_per_second": tokens,
                "steps": len(seconds),
                "clock": options.clock,
                "threads": options.threads,
                "rows": [options.batch_size, options.length],
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
