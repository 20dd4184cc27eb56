"""How well and how fast the embedded judge reads, and how far a grader carries its answers: JSON lines.

    python -m benchmarks.quality --part judge ceiling speed grader noise --cache .tamis/cache

- judge: AUC of clean texts against noise made of them (`tamis.quality.noise`: fragments, keyboard mash,
  menus, numbers, repeated n-grams, shuffled words). Wanted of the default: .90, and the lower end of its
  interval above length alone. The paper's prompt is next to it.
- ceiling: the judge asked twice, its question in two orders: how steady it is, and how far a grader could
  follow it at most. No claim.
- speed: tokens a second of the judge against plain `model(**batch)` in order of arrival: same questions,
  batch size, type and threads, best of three by turns. Wanted in float32: twice as many, and the same scores
  (1e-4) in any order and batch size. bfloat16 is next to it.
- grader: crowd-judged arguments (ukpconvarg1), each topic predicted from the others. Wanted: mean rank
  correlation .70 (length alone .636; ridge regressions on MiniLM vectors .654, with length .683). Next to it:
  both sides of a question left out, and whether a chosen sample beats a uniform one of the same size.
- noise: a grader learns from half clean, half noisy texts and tells others; a seventh of the noise is in
  other languages than it has seen. Wanted: AUC .95.

Each line with a claim says what was wanted and whether it was reached; exit code 1 when a claim was missed.
Data is found through TAMIS_BENCH_DATA (default ../shared/data next to the checkout); without its texts,
docstrings of installed packages stand for them. All parts take under ten minutes of two cores.
"""

import argparse
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._flags import begin
from benchmarks._quality_data import Report, clean_texts
from benchmarks._quality_grader import bench_grader, bench_noise
from tamis.base.progress import ignore
from tamis.quality import AskLLM, check_judge
from tamis.quality.local_judge import (
    CPU_BATCH,
    LocalJudge,
    bounded_documents,
    padded,
    question_ids,
    token_positions,
)
from tamis.quality.noise_ceiling import noise_ceiling
from tamis.quality.prompts import reordered

LEAST_AREA, LEAST_GAIN, LARGEST_DIFFERENCE = 0.90, 2.0, 1e-4
REPEATS, ORDERS = 3, 3
CUT = 0.2  # as the grader reports


def bench_judge(given: Namespace, report: Report) -> None:
    """AUC on planted noise against that of length alone, by prompt."""
    name, texts = clean_texts(given.documents, given.seed)
    for prompt in ("examples", "ask-llm"):
        judge = AskLLM("smollm2-135m", prompt=prompt, max_tokens=given.max_tokens)
        found = check_judge(judge, texts, seed=given.seed)
        figures = {"auc": found.judge.value, "low": found.judge.low, "high": found.judge.high}
        wanted = {"auc": LEAST_AREA, "low": found.length_only} if prompt == "examples" else None
        facts = {"clean": name, "n": len(texts), "seed": given.seed, "max_tokens": given.max_tokens}
        others = {key: value for key, value in asdict(found).items() if key != "judge"}
        report.line("judge", wanted, prompt=prompt, **figures, **others, **facts)


def bench_ceiling(given: Namespace, report: Report) -> None:
    """How steady the judge is, asked twice with its question in two orders, and what follows for a grader."""
    name, texts = clean_texts(given.documents, given.seed)
    for prompt in ("examples", "ask-llm"):
        judge = AskLLM("smollm2-135m", prompt=prompt, max_tokens=given.max_tokens)
        other = judge.asking(reordered(judge.prompt))
        found = noise_ceiling(_margins(judge, texts), _margins(other, texts), cut_share=CUT, seed=given.seed)
        assert found is not None, "a judge without answers"
        facts = {"clean": name, "n": len(texts), "seed": given.seed, "max_tokens": given.max_tokens}
        report.line("noise_ceiling", None, prompt=prompt, cut_share=CUT, **asdict(found), **facts)


def bench_speed(given: Namespace, report: Report) -> None:
    """Tokens a second, and what the order and the batch size do to scores."""
    name, texts = clean_texts(given.timed, given.seed)
    facts = {"n": len(texts), "max_tokens": given.longest, "threads": given.threads, "clean": name}
    for dtype in ("float32", "bfloat16"):
        judge = AskLLM("smollm2-135m", max_tokens=given.longest, dtype=dtype, batch_size=CPU_BATCH)
        wanted = dict.fromkeys(("agreement", "plain_agreement"), -LARGEST_DIFFERENCE) | {"gain": LEAST_GAIN}
        figures = _speed(judge, texts)
        report.line("judge_speed", wanted if dtype == "float32" else None, dtype=dtype, **figures, **facts)


def _speed(judge: AskLLM, texts: list[str]) -> dict[str, Any]:
    """Agreements are the largest difference of a score with its sign turned: 0 is best."""
    local = judge.local_judge()
    asked = question_ids(local, bounded_documents(local, texts)[0])
    tokens = sum(len(ids) for ids in asked)
    ours, plain = _by_turns(lambda: judge.score(texts), lambda: _plainly(local, asked))
    return {
        "gain": plain / ours,
        "tokens_per_second": tokens / ours,
        "plain_tokens_per_second": tokens / plain,
        "documents_per_second": len(texts) / ours,
        "agreement": -_largest_difference(judge, texts),
        "plain_agreement": -float(np.abs(_margins(judge, texts) - _plainly(local, asked)).max()),
    }


def _by_turns(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float]:
    """Least seconds of each, measured by turns so that a busy machine slows both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for spent, run in zip(seconds, (ours, plain), strict=True):
            started = time.perf_counter()
            run()
            spent.append(time.perf_counter() - started)
    return min(seconds[0]), min(seconds[1])


def _plainly(judge: LocalJudge, asked: list[list[int]]) -> np.ndarray:
    """Margins [n] by whole questions in order, padded, with the logits of every position."""
    import torch

    margins = []
    with torch.inference_mode():
        for start in range(0, len(asked), CPU_BATCH):
            ids, mask = padded(judge, asked[start : start + CPU_BATCH])
            positions = token_positions(mask)
            logits = judge.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
            log_p = logits[:, -1].float().log_softmax(dim=-1)
            yes, no = (
                log_p[:, list(tokens)].logsumexp(dim=-1) for tokens in (judge.answers.yes, judge.answers.no)
            )
            margins.append((yes - no).cpu().numpy())
    return np.concatenate(margins)


def _margins(judge: AskLLM, texts: list[str]) -> np.ndarray:
    return judge.score(texts)["margin"].to_numpy()


def _largest_difference(judge: AskLLM, texts: list[str]) -> float:
    """Between margins in other orders and batch sizes and those in the given one."""
    rng, given, largest = np.random.default_rng(0), _margins(judge, texts), 0.0
    local = judge.local_judge()
    for size in range(1, ORDERS + 1):
        order = rng.permutation(len(texts))
        scores_n3, _ = local.score([texts[row] for row in order], size, ignore)
        margins_n = scores_n3[:, 1] - scores_n3[:, 2]
        largest = max(largest, float(np.abs(margins_n - given[order]).max()))
    return largest


PARTS = {
    "judge": bench_judge,
    "ceiling": bench_ceiling,
    "speed": bench_speed,
    "grader": bench_grader,
    "noise": bench_noise,
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--cache", type=Path, default=Path(".tamis/cache"), help="of the encoder")
    parser.add_argument("--documents", type=int, default=60, help="clean texts of `judge`")
    parser.add_argument("--timed", type=int, default=16, help="texts of `speed`")
    parser.add_argument("--judged", type=int, default=240, help="texts that `noise` learns from")
    parser.add_argument("--tested", type=int, default=500, help="clean texts that `noise` is tested on")
    parser.add_argument("--max-tokens", type=int, default=128, help="that the judge reads of a document")
    parser.add_argument("--longest", type=int, default=192, help="the same in `speed`")
    parser.add_argument("--encoder", default="minilm", help="of `grader`")
    parser.add_argument("--filter-encoder", default="static", help="of `noise`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = begin(parser)
    import torch

    torch.set_num_threads(given.threads)
    report = Report()
    report.line("machine", threads=given.threads, python=sys.version.split()[0], torch=torch.__version__)
    for part in given.part:
        PARTS[part](given, report)
    if report.missed:
        sys.exit("missed: " + "; ".join(report.missed))


if __name__ == "__main__":
    main()
