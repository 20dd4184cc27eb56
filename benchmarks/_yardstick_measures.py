"""What the machine does in a second: measured in a process of its own, printed as one JSON object.

The parts take turns three times and the best turn of each counts, so that other work on the machine that
lasts under a second leaves the figures as they are. About four seconds, loading torch included.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

ROUNDS = 3
SIDE, SECONDS_OF_PRODUCTS = 512, 0.2
WORDS, SECONDS_OF_TEXT = 400, 0.12
SYNCS, STARTS = 12, 2
SYLLABLES = ("ten", "sor", "al", "ge", "bra", "ma", "trix", "ker", "nel", "lo", "ca", "tion", "re", "spon")


def product_speed(precision: str) -> Callable[[], float]:
    """GFLOP/s of square products of that type, on as many threads as torch takes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    one, other = (
        torch.randn(SIDE, SIDE, generator=generator).to(getattr(torch, precision)) for _ in range(2)
    )
    operations = 2 * SIDE**3

    def measured() -> float:
        return operations / _least_seconds(lambda: one @ other, SECONDS_OF_PRODUCTS) / 1e9

    return measured


def tokenizer_speed() -> Callable[[], float]:
    """Tokens a second of the tokenizer of MiniLM on generated words, on one thread."""
    from tokenizers import Tokenizer

    from tamis.embedding.identity import locate

    tokenizer = Tokenizer.from_file(str(locate("minilm").folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    draw = random.Random(0)
    words = ("".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(WORDS))
    text = " ".join(words)
    tokens = len(tokenizer.encode(text).ids)

    def measured() -> float:
        return tokens / _least_seconds(lambda: tokenizer.encode(text), SECONDS_OF_TEXT)

    return measured


def fsync_milliseconds() -> float:
    """Median milliseconds until 4 kB more of a file are on the disk of temporary files."""
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(SYNCS):
            file.write(os.urandom(4_096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return 1e3 * statistics.median(taken)


def start_milliseconds(program: str) -> float:
    """Least milliseconds from the start to the end of a Python process that runs this program."""
    taken = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", program], check=True)
        taken.append(time.perf_counter() - began)
    return 1e3 * min(taken)


def _least_seconds(run: Callable[[], object], budget: float) -> float:
    """Least seconds of a call, repeated for so many seconds and at least twice."""
    taken: list[float] = []
    ends = time.perf_counter() + budget
    while len(taken) < 2 or time.perf_counter() < ends:
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def measure() -> dict[str, float]:
    """Every figure of the yardstick: the best of three turns."""
    parts: dict[str, tuple[Callable[[], float], Callable[..., float]]] = {
        "float32_gflops": (product_speed("float32"), max),
        "bfloat16_gflops": (product_speed("bfloat16"), max),
        "tokens_per_second": (tokenizer_speed(), max),
        "fsync_ms": (fsync_milliseconds, min),
        "python_ms": (lambda: start_milliseconds("pass"), min),
        "numpy_ms": (lambda: start_milliseconds("import numpy"), min),
    }
    turns = [{name: run() for name, (run, _) in parts.items()} for _ in range(ROUNDS)]
    return {name: best(turn[name] for turn in turns) for name, (_, best) in parts.items()}


def main() -> None:
    """Print the figures, with the threads and the version of torch that made them."""
    import torch

    figures = {name: float(f"{value:.4g}") for name, value in measure().items()}
    print(json.dumps({**figures, "threads": torch.get_num_threads(), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
