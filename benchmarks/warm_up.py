"""GOT-D's claim on real labelled tasks, by the graph's own selections: JSON lines on stdout.

    python -m benchmarks.warm_up
    python -m benchmarks.warm_up --tasks ag-news t_sentence:trec --samplers got-d knn --seeds 2 --home F

A pool of real text of 21 domains with planted noise, boilerplate and near-duplicates. Of it the graph
selects a budget for each task with each sampler; a pre-trained model is warmed up on the choice, then
fine-tuned on a few hundred labelled examples, and measured on held-out ones. Printed: what was picked, each
sampler's score and held-out bits per byte with its paired difference to random, and what of the claim holds;
exit 1 when a part of it does not. `python -m benchmarks._real_plot LINES PICTURE` draws what was printed.
With --home an interrupted benchmark goes on.
--zero-shot adds the classes that a model tells by likelihood alone, before and after the warm-up.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._flags import begin
from benchmarks._paired import Difference, difference, values
from benchmarks._picked import picked_shares
from benchmarks._project import in_its_folder
from benchmarks._real_graph import report
from benchmarks._real_tasks import ALL_TASKS, Task, tasks_named
from benchmarks._warm_up_runs import NONE, Finished, make_runs
from benchmarks._warm_up_study import parser_of_flags, recipe_of, study_of
from tamis.comparison.statistics import holm
from tamis.training import PRESETS

OURS = ("got-d", "got-d-quality")
MOST_NOISE = 0.01
WORST_OF_A_TIE = 0.005
"""As good as a rival: the lower end of the difference is above half a point below. That the upper end is
above zero, noise alone grants."""
NAME = "warm_up"


class Scores:
    """Figures of all runs by task and sampler, with their draws of held-out examples."""

    def __init__(self, tasks: Sequence[Task], runs: Sequence[Finished]) -> None:
        self.tasks = tasks
        self.runs = {(run.task, run.sampler, run.seed): run for run in runs}
        self.seeds = sorted({run.seed for run in runs})
        self._known: dict[tuple[str, str, str], np.ndarray] = {}

    def of(self, task: Task, sampler: str, figure: str) -> np.ndarray:
        """[seeds, 1 + draws] of score (mean of fine-tunings), text (bits per byte before) or zero_shot."""
        key = (task.name, sampler, figure)
        if key not in self._known:
            runs = [self.runs[task.name, sampler, seed] for seed in self.seeds]
            if figure == "score":
                self._known[key] = np.stack([values(task.metric, run.outcomes).mean(0) for run in runs])
            else:
                metric = "bits_per_byte" if figure == "text" else task.metric
                self._known[key] = values(metric, [getattr(run, figure) for run in runs])
        return self._known[key]

    def gap(self, tasks: Sequence[Task], sampler: str, against: str, figure: str) -> Difference:
        """Paired difference of the means over tasks."""
        found, other = (
            np.stack([self.of(task, name, figure) for task in tasks]) for name in (sampler, against)
        )
        first = self.runs[tasks[0].name, sampler, self.seeds[0]]
        asked = {"text": first.text, "zero_shot": first.zero_shot}.get(figure) or first.outcomes[0]
        return difference(found, other, len(tasks) * len(asked.bits or asked.expected))

    def mean(self, tasks: Sequence[Task], sampler: str, figure: str) -> float:
        """Mean over tasks and seeds."""
        return float(np.mean([self.of(task, sampler, figure)[:, 0].mean() for task in tasks]))


def print_scores(
    scores: Scores, samplers: Sequence[str], figures: Sequence[str], benchmark: str = NAME, **stated: str
) -> None:
    """A line a task, sampler and figure, and the same over all tasks.

    stated: what else every line says. p_holm: of a sampler being no different from random, corrected for the
    number of samplers.
    """
    groups = [(task.name, [task]) for task in scores.tasks] + [(ALL_TASKS, list(scores.tasks))]
    arms = (NONE, *samplers)
    compared = [name for name in samplers if name != "random"]
    for name, tasks in groups:
        for figure in figures:
            over_random = {arm: scores.gap(tasks, arm, "random", figure) for arm in arms}
            p_holm = dict(zip(compared, holm([over_random[arm].p for arm in compared]), strict=True))
            for arm in arms:
                gap, over_none = over_random[arm], scores.gap(tasks, arm, NONE, figure)
                report(
                    benchmark,
                    figure,
                    **stated,
                    task=name,
                    sampler=arm,
                    mean=scores.mean(tasks, arm, figure),
                    over_random=gap.mean,
                    low=gap.low,
                    high=gap.high,
                    p_holm=float(p_holm[arm]) if arm in p_holm else None,
                    over_no_warm_up=[round(value, 5) for value in _shown(over_none).values()],
                    seeds=[round(value, 4) for value in gap.seeds],
                )


def print_claims(scores: Scores, samplers: Sequence[str], noise: dict[str, float]) -> bool:
    """What was claimed of GOT-D, and whether it holds here."""
    tasks = scores.tasks
    ours = max(
        (name for name in OURS if name in samplers), key=lambda name: scores.mean(tasks, name, "score")
    )
    rivals = [name for name in samplers if name not in (*OURS, "random")]
    better = scores.gap(tasks, ours, "random", "score")
    claims = {"beats random": better.low > 0 and len(scores.seeds) > 1}  # one seed says nothing of others
    report(NAME, "claim", claim="beats random", sampler=ours, holds=claims["beats random"], **_shown(better))
    if rivals:
        best = max(rivals, key=lambda name: scores.mean(tasks, name, "score"))
        close = scores.gap(tasks, ours, best, "score")
        claims["as good as the best rival"] = close.low > -WORST_OF_A_TIE
        report(
            NAME,
            "claim",
            claim="as good as the best rival",
            sampler=ours,
            rival=best,
            holds=claims["as good as the best rival"],
            **_shown(close),
        )
    claims["little noise"] = max(noise[name] for name in OURS if name in samplers) < MOST_NOISE
    report(NAME, "claim", claim="picks under 1 % planted noise", holds=claims["little noise"], shares=noise)
    return all(claims.values())


def _shown(gap: Difference) -> dict[str, float]:
    return {"mean": gap.mean, "low": gap.low, "high": gap.high}


def run(flags: argparse.Namespace, folder: Path) -> bool:
    """Select, train, print; whether every claim holds."""
    tasks = tasks_named(flags.tasks)
    if flags.model not in PRESETS and Path(flags.model).is_dir():
        flags.model = str(Path(flags.model).resolve())
    study = study_of(flags, folder, tasks)
    study.materialize()
    shares = picked_shares(study)
    for row in shares:
        report(NAME, "picked", **row)
    recipe = recipe_of(flags, study.base_model if flags.model in PRESETS else flags.model)
    seeds = range(flags.first_seed, flags.first_seed + flags.seeds)
    scores = Scores(tasks, make_runs(study, recipe, seeds, flags.workers))
    print_scores(scores, study.samplers, ["score", "text", *(["zero_shot"] if flags.zero_shot else [])])
    noise = {
        name: float(np.mean([row["noise"] for row in shares if row["sampler"] == name]))
        for name in study.samplers
    }
    return print_claims(scores, study.samplers, noise) if set(OURS) & set(study.samplers) else True


def main() -> None:
    """Run the benchmark and print it."""
    parser = parser_of_flags(__doc__)
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    sys.exit(not in_its_folder(flags, run))


if __name__ == "__main__":
    main()
