"""`tamis tune` on four real tasks with a model of 22 million parameters, trained for real. JSON lines out.

    python -m benchmarks.tune_tasks --home F --minutes 30    as much as fits; the rest goes on later
    python -m benchmarks.tune_tasks --home F --tasks imdb    one task
    python -m benchmarks.tune_tasks --rehearse               one task, .3M parameters, two minutes
    python -m benchmarks.tune_tasks --home F --rival       autocurate too (pip install autocurate optuna)
    python -m benchmarks.tune_tasks --preset llama-2.5m    another size, without a claim

The pool is as in `benchmarks.ladder`, real text of many sources with planted noise. Targets are the texts of
AG News, IMDB, banking77 and SciCite (220 for training, 160 held out, of which the guard reads 80). The graph
pre-trains `llama-22m` on a million tokens of the pool, and `tamis tune` searches GOT-D, kNN and a classifier
at two shares, random documents and the examples alone; a run has 100,000 tokens, the guard three pairs.

Printed: *answer*, the row of `tune_answers` of each task; *standing*, its recipes; *runs*, and their time.
Registered before the first run:
1. Something ships at the first look on at least three of the four tasks.
2. Wherever something ships, the control, a part of the pool, is proven worse: the answer is "harms".
3. GOT-D and kNN at the same share are within twice the standard error of the search on every task.
4. No task's spending passes its budget, and no run is made twice; `tune_projects` counts the calls of a
   trainer, while a second training under one name would not be seen here.
*rival* is a question without a claim: autocurate's search over our scores as columns, with as many runs as
Tamis spent on search and guard together, and its own guard. Its pick is trained again with as many seeds as
the guard's winner, measured on the guard's examples, and compared with random and with the winner of Tamis;
negative is better. Settings were fixed before the first run. Exits 1 where claim 4 does not hold or a task
has no answer yet.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._project import environment_of, in_its_folder, made_once
from benchmarks._real_graph import report
from benchmarks._real_pool import PoolShares, write_pool
from benchmarks._real_tasks import TASKS, Task, task_rows, tasks_named
from benchmarks._stopping import run_within
from benchmarks.tune_projects import before_search
from tamis.base.files import write_atomically
from tamis.store.home import Home
from tamis.store.tables import Store
from tamis.training.shapes import PRESETS

NAME = "tune_tasks"
TRAIN, HELD_OUT, SEED = 220, 160, 0
SAMPLERS, SHARES = ("got-d", "knn", "classifier"), ("10%", "30%")
SETTINGS = """
[project]
name = "tune-tasks"
seed = {seed}

[[corpus]]
name = "pool"
kind = "files"
path = "pool"
text_column = "text"

[encoder]
name = "static"

[filters]
heuristics = ["gopher", "word_order"]
heuristics_off = ["gopher_word_count"]

[[base_model]]
name = "base"
preset = "{preset}"

[pretraining]
tokens = {pretraining}

[tune]
target = "{target}"
models = ["base"]
samplers = {samplers}
shares = {shares}
tokens = {tokens}
"""
TARGET = """
[[target]]
name = "{name}"
kind = "files"
path = "target/{name}.parquet"
text_column = "text"
train = {train}
held_out = {held_out}
"""
ANSWERED = (
    "target", "recipe", "reference", "sentence", "look", "shipped", "pairs", "examples",
    "difference", "low", "high", "given_shipped", "given_low", "given_high", "seen", "control_difference",
    "control_low", "control_high", "harms", "parameters", "tokens", "budget_flop", "choosing_flop",
    "search_flop", "guard_flop", "own_flop", "bound", "net", "net_seconds", "break_even",
    "agreement", "agreement_low", "agreement_high", "compared",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the study; what the rehearsal makes small."""

    preset: str = "llama-22m"
    documents: int = 8_000
    pretraining: int = 1_000_000
    tokens: int = 100_000


REHEARSED = Sizes(preset="llama-0.3m", documents=1_500, pretraining=60_000, tokens=8_000)


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A project that is tuned for one task after another, and the time until which it may run."""

    folder: Path
    tasks: tuple[Task, ...]
    sizes: Sizes
    deadline: float

    @property
    def store(self) -> Store:
        """Tables of the project."""
        return Home(self.folder / ".tamis").store

    def write(self, task: Task) -> None:
        """Write the project, tuned for a task; text and examples are written once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_pool(
            self.folder / "pool", self.folder / "truth.parquet", self.sizes.documents, PoolShares(), SEED
        )
        text = SETTINGS.format(
            seed=SEED,
            preset=self.sizes.preset,
            pretraining=self.sizes.pretraining,
            target=task.name,
            samplers=json.dumps(SAMPLERS),
            shares=json.dumps(SHARES),
            tokens=self.sizes.tokens,
        )
        # A third more than is asked for: near-duplicates go to one side of the split.
        wanted = (TRAIN + HELD_OUT) * 4 // 3
        for other in self.tasks:
            rows = task_rows(other).select("text").head(wanted)
            made_once(
                self.folder / "target" / f"{other.name}.parquet",
                {"file": other.file, "source": other.source, "rows": wanted},
                rows.write_parquet,
            )
            text += TARGET.format(name=other.name, train=TRAIN, held_out=HELD_OUT)
        (self.folder / "tamis.toml").write_text(text)

    def tamis(self, *arguments: str) -> tuple[int | None, str]:
        """Run the command line within the time that is left; its exit code is None where it was stopped."""
        output = self.folder / "output.txt"
        left = self.deadline - time.monotonic()
        if left <= 0:
            return None, ""
        variables = [f"{name}={value}" for name, value in environment_of(self.folder).items()]
        command = ["env", *variables, sys.executable, "-m", "tamis.cli", "--quiet", *arguments]
        with output.open("wb") as stream:
            code = run_within(left, command, stream)
        return code, output.read_text()

    def answer(self, task: Task) -> dict[str, Any] | None:
        """Return the answer for a task, tuned now unless a file has it; None where the time was too short."""
        kept = self.folder / "answers" / f"{task.name}.json"
        if kept.is_file():
            known: dict[str, Any] = json.loads(kept.read_text())
            return known
        self.write(task)
        for arguments in (("materialize", "--only", *before_search()), ("tune", "--json")):
            code, printed = self.tamis(*arguments)
            if code is None:
                return None
            if code:
                sys.exit(f"tamis {arguments[0]} of {task.name} ended with exit code {code}")
        values: dict[str, Any] = json.loads(printed)
        rows = self.store.read("tune_runs")
        named = ["part", "recipe", "seed", "portion", "bits_per_byte", "seconds", "flop", "failure"]
        values["runs"] = rows.select(named).to_dicts()
        guard = rows.filter(pl.col("part") == "guard").sort("recipe", "seed")
        values["guard"] = guard.select("recipe", "seed", "example_bits", "example_bytes").to_dicts()
        kept.parent.mkdir(exist_ok=True)
        write_atomically(kept, json.dumps(values, default=str).encode())
        return values


def print_answer(task: Task, values: dict[str, Any]) -> bool:
    """Print the answer of a task, claim 3, recipes and runs; return whether it kept to its budget."""
    spent = values["choosing_flop"] + values["search_flop"] + values["guard_flop"]
    runs = pl.DataFrame(values["runs"])
    holds = spent <= values["budget_flop"] * 1.000001
    figures = {name: values[name] for name in ANSWERED}
    report(NAME, "answer", answer=values["kind"], **figures, spent_within_budget=holds)
    rows = {row["recipe"]: row for row in values["recipes"]}
    for share in SHARES:
        own, other = rows[f"got-d, {share}"], rows[f"knn, {share}"]
        apart, twice = own["loss"] - other["loss"], 2 * max(own["error"], other["error"])
        held = abs(apart) <= twice
        report(NAME, "claim 3", target=task.name, share=share, apart=apart, twice_the_error=twice, holds=held)
    for row in rows.values():
        shown = ("recipe", "place", "loss", "shrunken", "error", "best", "runs", "chosen")
        report(NAME, "standing", target=task.name, **{name: row[name] for name in shown})
    by_part = runs.group_by("part", maintain_order=True).agg(
        pl.len().alias("runs"), pl.col("seconds").sum(), pl.col("failure").is_not_null().sum().alias("failed")
    )
    for row in by_part.iter_rows(named=True):
        report(NAME, "runs", target=task.name, **row)
    return holds


def run(flags: argparse.Namespace, folder: Path) -> bool:
    """Tune for each task, print it, and compare autocurate; return whether all have answers that hold."""
    sizes = REHEARSED if flags.rehearse else Sizes(preset=flags.preset)
    tasks = tasks_named(flags.tasks[:1] if flags.rehearse else flags.tasks)
    every = tuple(tasks) if flags.rehearse else tuple(TASKS.values())
    deadline = time.monotonic() + 60.0 * flags.minutes
    tuned = Tuned(folder=folder, tasks=every, sizes=sizes, deadline=deadline)
    holds = []
    for task in tasks:
        values = tuned.answer(task)
        if values is None:
            report(NAME, "missing", target=task.name, reason="the time was too short")
        holds.append(values is not None and print_answer(task, values))
        if values is not None and flags.rival:
            from benchmarks._tune_runs import print_rival

            print_rival(tuned, task, values)
    return all(holds)


def main() -> None:
    """Tune on the tasks and print what came of it; exits 1 when one is missing or passed its budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=[*TASKS], default=[*TASKS])
    parser.add_argument("--preset", choices=PRESETS, default=Sizes.preset)
    parser.add_argument("--minutes", type=at_least(1), default=600)
    parser.add_argument("--rival", action="store_true", help="compare autocurate")
    parser.add_argument("--rehearse", action="store_true", help="one task at tiny sizes")
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    sys.exit(not in_its_folder(flags, run))


if __name__ == "__main__":
    main()
