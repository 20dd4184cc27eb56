"""What samplers are worth: one small model trained on what each chooses, as JSON lines on stdout.

    python -m benchmarks.samplers
    python -m benchmarks.samplers --samplers got-d knn density semdedup --tokens 200000 --data-seeds 3

The pool is that of the demonstration, the target the docstrings of scipy.stats. Every run predicts the same
number of tokens with fresh weights; the graph itself makes the runs (`tamis materialize`), and what is
printed is its analysis: the loss of each sampler on the target and on the pool with its interval, its paired
contrast with random (Holm-corrected), whether it recovers what all data give, and the tokens it saves on the
way. 36 runs of 150,000 tokens: about 10 minutes on two cores. With --home an interrupted benchmark goes on.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks._flags import begin
from benchmarks._project import in_its_folder, materialize
from tamis.comparison.analysis import ComparisonReport, Measured, analyse
from tamis.comparison.storing import TABLE
from tamis.store.home import Home

SETTINGS = """
[project]
name = "samplers"

[[corpus]]
name = "python-docs"
kind = "python-docs"
packages = {packages}
minimum_characters = 200

[[target]]
name = "scipy-stats"
kind = "python-docs"
packages = ["scipy"]
module = "scipy.stats"
minimum_characters = 200
train = 300
held_out = 100

[[base_model]]
name = "small"
preset = "llama-0.8m"

[pretraining]
tokens = 1_000

[[selection]]
name = "got-d"
sampler = "got-d"
target = "scipy-stats"
budget = "10%"

[sampler_trials]
model = "small"
target = "scipy-stats"
samplers = {samplers}
budgets = {budgets}
data_seeds = {data_seeds}
training_seeds = {training_seeds}
tokens = {tokens}
"""


def report(kind: str, **figures: Any) -> None:
    """One JSON line; a number that does not exist is null."""
    plain = {name: None if value != value else value for name, value in figures.items()}
    print(json.dumps({"benchmark": "samplers", "kind": kind, **plain}), flush=True)


def print_measured(name: str, measured: Measured) -> None:
    """Losses, contrasts with random and recoveries on one held-out set."""
    for arm in measured.arms:
        report("loss", measured=name, **asdict(arm))
    for contrast, corrected in zip(measured.contrasts, measured.p_holm, strict=True):
        report("contrast", measured=name, **asdict(contrast), p_holm=corrected)
    for recovery, corrected in zip(measured.recoveries, measured.recovery_p, strict=True):
        report("recovery", measured=name, **asdict(recovery), p_holm=corrected)


def print_all(found: ComparisonReport) -> None:
    """Every figure of a comparison."""
    report("runs", data_seeds=found.data_seeds, training_seeds=found.training_seeds, tokens=found.tokens)
    print_measured("target", found.target)
    print_measured("pool", found.pool)
    for convergence in found.convergences:
        report("convergence", **asdict(convergence))


def run(flags: argparse.Namespace, folder: Path) -> None:
    """Make the runs in a project folder and print what they say."""
    lists = {name: json.dumps(getattr(flags, name)) for name in ("packages", "samplers", "budgets")}
    numbers = {name: getattr(flags, name) for name in ("data_seeds", "training_seeds", "tokens")}
    (folder / "tamis.toml").write_text(SETTINGS.format(**lists, **numbers))
    materialize(folder)
    print_all(analyse(Home(folder / ".tamis").store.read(TABLE), 0))


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samplers", nargs="+", default=["got-d", "knn", "density", "semdedup"])
    parser.add_argument("--budgets", nargs="+", default=["10%"])
    parser.add_argument("--packages", nargs="+", default=["networkx", "numpy", "scipy"])
    parser.add_argument("--data-seeds", type=int, default=3)
    parser.add_argument("--training-seeds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=150_000)
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    in_its_folder(flags, run)


if __name__ == "__main__":
    main()
