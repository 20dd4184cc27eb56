"""Arms of `benchmarks.tune_tasks` with SmolLM2-135M on a GPU: is the recipe of 22M parameters good there?

    python -m benchmarks.tune_large --home F                 what has no result in F yet
    python -m benchmarks.tune_large --home F --tasks imdb    one task
    python -m benchmarks.tune_large --rehearse               .3M parameters, with or without a GPU

A pool of 60,000 documents has some 30 million tokens; each arm trains on 3 million, a tenth. Arms are random
documents, GOT-D and kNN at 10 %, and the recipe that `tamis tune` found for the task with 22 million
parameters (PICKS, or --picks FOLDER with the answers of `tune_tasks`). There are five seeds, each with other
random documents and another order. Printed for each arm: bits per byte of the task's held-out texts, and the
difference to random with its 90 % interval over seeds and examples; negative is better. Registered before the
first run: GOT-D and kNN are better than random on every task, and the pick has the same sign as at 22M. Every
run is a file in F, so what was stopped goes on.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks._flags import at_least, begin
from benchmarks._project import in_its_folder
from benchmarks._real_graph import report
from benchmarks._real_tasks import TASKS, Task, tasks_named
from benchmarks._tune_runs import Trained, difference, eligible, target_table
from benchmarks.tune_projects import before_search
from benchmarks.tune_tasks import REHEARSED, Sizes, Tuned
from tamis.base.files import write_atomically
from tamis.embedding.storing import current_table
from tamis.project import Project, open_project
from tamis.selection import find_sampler, select
from tamis.selection.computing import ScoringOptions, method_scores
from tamis.settings.config import SelectionSection
from tamis.training.models import SMOLLM2
from tamis.training.storing import split_examples
from tamis.tuning.recipes import EXAMPLES

NAME = "tune_large"
PICK = "pick at 22M"
PICKS: dict[str, tuple[str, str | None]] = {
    "ag-news": ("got-d", "10%"),
    "imdb": (EXAMPLES, None),
    "banking77": ("classifier", "10%"),
    "scicite": (EXAMPLES, None),
}
"""Sampler and share that `tune_tasks` found, by task; `EXAMPLES` without a share for the examples alone."""
SIZES = Sizes(preset="llama-0.3m", documents=60_000, pretraining=1_000, tokens=3_000_000)
OPTIONS = {"sequence_length": 256, "batch_size": 32, "learning_rate": 3e-4}


def arms(task: Task, picks: Path | None) -> dict[str, tuple[str, str | None]]:
    """Return sampler and share of each arm; a pick that is unknown, or another arm already, has none."""
    known: dict[str, tuple[str, str | None]] = {name: (name, "10%") for name in ("random", "got-d", "knn")}
    pick = PICKS.get(task.name)
    if picks is not None and (picks / f"{task.name}.json").is_file():
        values: dict[str, Any] = json.loads((picks / f"{task.name}.json").read_text())
        pick = (values["sampler"] or EXAMPLES, values["share"])
    return known if pick is None or pick in known.values() else {**known, PICK: pick}


def chosen(project: Project, task: Task, sampler: str, share: str | None, seed: int) -> list[str]:
    """Return the ids that an arm trains on: documents of the pool, or the examples for training."""
    store = project.home.store
    if sampler == EXAMPLES:
        return sorted(split_examples(store, task.name, "train"))
    section = SelectionSection(name="large", sampler=sampler, target=task.name, budget=share or "10%")
    pool = eligible(project, section)
    if find_sampler(sampler).method:
        options = ScoringOptions(
            transport=project.settings.transport,
            seed=seed,
            pool_table=current_table(project),
            target_table=target_table(project),
        )
        pool = pool.join(method_scores(store, section, pool, options), on="doc_id", how="left")
    decided = select(pool, sampler, section.budget, seed)
    return decided.filter(pl.col("verdict") == "selected").sort("doc_id")["doc_id"].to_list()


def run_task(tuned: Tuned, task: Task, flags: argparse.Namespace, model: str | Path | None) -> None:
    """Train what has no result for a task, and print its arms."""
    project = open_project(tuned.folder)
    examples = list(split_examples(project.home.store, task.name, "held_out").values())
    trained = Trained(project, tuned.sizes.tokens, OPTIONS, model)
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in range(flags.seeds):
        for arm, (sampler, share) in arms(task, flags.picks).items():
            kept = tuned.folder / "large" / f"{task.name}-{arm}-{seed}.json"
            if not kept.is_file():
                ids, began = chosen(project, task, sampler, share, seed), time.monotonic()
                known = split_examples(project.home.store, task.name, "train") if sampler == EXAMPLES else {}
                texts = [str(known[doc_id]) for doc_id in ids] if known else trained.texts(ids)
                order = np.random.default_rng(seed).permutation(len(texts))
                shuffled = [texts[place] for place in order]
                loss, bits = trained.losses(shuffled, seed, {"goal": examples})["goal"]
                seconds = time.monotonic() - began
                row = {"loss": loss, "bits": bits, "documents": len(ids), "seconds": seconds}
                kept.parent.mkdir(exist_ok=True)
                write_atomically(kept, json.dumps(row).encode())
            results.setdefault(arm, []).append(json.loads(kept.read_text()))
    print_arms(task, results, [len(str(example).encode()) for example in examples])


def print_arms(task: Task, results: dict[str, list[dict[str, Any]]], sizes: Sequence[int]) -> None:
    """Print the loss of each arm, and its difference to random."""
    bits = {arm: np.array([row["bits"] for row in rows]) for arm, rows in results.items()}
    for arm, rows in results.items():
        shown: dict[str, Any] = {}
        if arm != "random" and len(rows) > 2:
            gain = difference(bits[arm], bits["random"], sizes)
            shown = {"difference": gain.mean, "low": gain.low, "high": gain.high, "pairs": gain.pairs}
        report(
            NAME,
            "arm",
            target=task.name,
            arm=arm,
            loss=math.fsum(row["loss"] for row in rows) / len(rows),
            documents=rows[0]["documents"],
            seconds=math.fsum(row["seconds"] for row in rows),
            **shown,
        )


def run(flags: argparse.Namespace, folder: Path) -> bool:
    """Prepare the pool, then train and print task after task; return whether all were trained."""
    if not (flags.rehearse or torch.cuda.is_available()):
        report(NAME, "missing", reason="135 million parameters need a GPU, and torch sees none")
        return False
    sizes = REHEARSED if flags.rehearse else SIZES
    tasks = tasks_named(flags.tasks[:1] if flags.rehearse else flags.tasks)
    tuned = Tuned(folder=folder, tasks=tuple(tasks), sizes=sizes, deadline=math.inf)
    tuned.write(tasks[0])
    code, _ = tuned.tamis("materialize", "--only", *before_search())
    if code:
        sys.exit(f"tamis materialize ended with exit code {code}")
    for task in tasks:
        run_task(tuned, task, flags, None if flags.rehearse else SMOLLM2)
    return True


def main() -> None:
    """Train the arms and print them; exits 1 without a GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=[*TASKS], default=["imdb", "scicite", "ag-news", "banking77"]
    )
    parser.add_argument("--seeds", type=at_least(3), default=5)
    parser.add_argument("--picks", type=Path, help="folder of the answers of tune_tasks: HOME/answers")
    parser.add_argument("--rehearse", action="store_true", help="one task at tiny sizes")
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    sys.exit(not in_its_folder(flags, run))


if __name__ == "__main__":
    main()
