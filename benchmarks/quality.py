"""The judge's AUC on planted noise, its speed, and how far a grader carries it: JSON lines on stdout.

    python -m benchmarks.quality --documents 60 --seed 0 --threads 2

Clean texts are docstrings of installed packages, the noise is made of them, so the model's training data is
no help. Baselines: length alone for the judge, length alone for the grader. The prompt's examples were
chosen on pandas docstrings and arXiv abstracts, which are not used here. 60 documents: about 2 minutes.
"""

import argparse
import ast
import hashlib
import importlib.util
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tamis.quality import (
    AskLLM,
    check_judge,
    choose_sample,
    fit_grader,
    grader_features,
    split_sample,
    surface_features,
)

PACKAGES = ("scipy", "sklearn", "numpy", "torch", "matplotlib", "networkx")
SHORTEST = 200


def docstrings(package: str) -> Iterator[str]:
    """Docstrings of at least 200 characters in the source of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(folder).rglob("*.py")):
            try:
                tree = ast.parse(file.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = ast.get_docstring(node) or ""
                    if len(text) >= SHORTEST:
                        yield text


def sample(size: int, seed: int) -> tuple[list[str], list[str]]:
    """Ids and texts of a uniform sample of distinct docstrings."""
    texts = {text for package in PACKAGES for text in docstrings(package)}
    by_id = {hashlib.sha256(text.encode()).hexdigest()[:32]: text for text in texts}
    chosen = choose_sample(list(by_id), size, seed)
    return chosen, [by_id[doc_id] for doc_id in chosen]


def report(name: str, **figures: Any) -> None:
    """One JSON line."""
    print(json.dumps({"benchmark": name, **figures}), flush=True)


def bench_judge(texts: Sequence[str], arguments: argparse.Namespace) -> None:
    """AUC on planted noise against that of length alone."""
    for prompt in ("examples", "ask-llm"):
        judge = AskLLM("smollm2-135m", prompt=prompt, max_tokens=arguments.max_tokens)
        check = check_judge(judge, texts, seed=arguments.seed)
        report("judge_auc", prompt=prompt, n=len(texts), seed=arguments.seed, **asdict(check))


def bench_speed(texts: Sequence[str], arguments: argparse.Namespace) -> None:
    """Documents a second on docstrings of about 1,000 characters; the model is loaded and warm."""
    middle = [text for text in texts if 700 < len(text) < 1_500][:32]
    for dtype in ("float32", "bfloat16"):
        for max_tokens in (128, 192):
            judge = AskLLM("smollm2-135m", max_tokens=max_tokens, dtype=dtype)
            judge.score(middle[:2])
            started, used = time.perf_counter(), time.process_time()
            judge.score(middle)
            seconds = time.perf_counter() - started
            report(
                "judge_speed",
                dtype=dtype,
                max_tokens=max_tokens,
                n=len(middle),
                documents_per_second=len(middle) / seconds,
                processor_seconds_per_document=(time.process_time() - used) / len(middle),
            )


def bench_grader(doc_ids: Sequence[str], texts: Sequence[str], arguments: argparse.Namespace) -> None:
    """Surface features alone: the floor for a grader that also sees embeddings and perplexity."""
    judge = AskLLM("smollm2-135m", max_tokens=arguments.max_tokens)
    margins = judge.score(texts)["margin"].to_numpy()
    started = time.perf_counter()
    surface = surface_features(texts)[1]
    seconds = time.perf_counter() - started
    features = grader_features(np.empty((len(texts), 0)), surface, np.full(len(texts), np.nan))
    grader = fit_grader(
        features,
        margins,
        (split_sample(doc_ids, arguments.seed)["part"] == "hold_out").to_numpy(),
        doc_ids=doc_ids,
        lengths_n=[len(text) for text in texts],
        seed=arguments.seed,
    )
    report("grader", seed=arguments.seed, **asdict(grader.report))
    report("surface_speed", n=len(texts), documents_per_second=len(texts) / seconds)


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--judged", type=int, default=200, help="documents of the grader's sample")
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    report("machine", threads=arguments.threads, python=sys.version.split()[0], torch=torch.__version__)
    doc_ids, texts = sample(max(arguments.documents, arguments.judged), arguments.seed)
    bench_judge(texts[: arguments.documents], arguments)
    bench_speed(texts, arguments)
    bench_grader(doc_ids[: arguments.judged], texts[: arguments.judged], arguments)


if __name__ == "__main__":
    main()
