"""The same study with models of three sizes: do the samplers rank alike? JSON lines on stdout.

    python -m benchmarks.ladder --home F
    python -m benchmarks.ladder --home F --rungs llama-0.8m minilm --seeds 2

Of one pool the graph makes one choice for each task and sampler, as for `benchmarks.warm_up`. On the same
choices three models are warmed up, then fine-tuned on labels: one of .8 million parameters that the graph
pre-trained on the pool, MiniLM (22 million, by hidden tokens: the setting in which the paper measured
language understanding) and SmolLM2-135M, which wants a GPU. Printed: each sampler's score at each size with
its paired difference to random, and of causal models bits per byte of held-out text after the warm-up;
between sizes the rank correlation of the samplers' scores over all tasks, with a 95 % interval over seeds and
held-out examples; what choosing costs next to the training that it serves.

Settings of the sizes were fixed before the first run and are those of RUNGS: none was tuned. With --home an
interrupted ladder goes on where it stopped, and with --chosen it trains on choices that another machine made
in a folder of the same path; a size that cannot be trained here is left out, with the reason.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import torch

from benchmarks._flags import at_least, begin
from benchmarks._project import in_its_folder
from benchmarks._real_graph import Study, report
from benchmarks._real_pool import PoolShares
from benchmarks._real_tasks import TASKS, Task, tasks_named
from benchmarks._warm_up_runs import NONE, Recipe, are_made, make_runs
from benchmarks.warm_up import Scores, print_scores
from tamis.base.errors import MissingPackageError
from tamis.base.ranks import spearman
from tamis.embedding.identity import locate
from tamis.training import FineTuningOptions
from tamis.training.models import SMOLLM2

NAME = "ladder"
SAMPLERS = ("random", "knn", "tsds", "got-d")
TRAINING_STEPS = ("tokenizer", "base_models")
"""Steps of the graph that choose nothing."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A model and how both of its stages are trained; rates are those of a model 256 wide."""

    parameters: int
    base: Callable[[Study], str]
    warm_up_rate: float
    rate: float
    is_encoder: bool = False
    needs_gpu: bool = False

    @property
    def missing(self) -> str:
        """Why the model cannot be trained here, "" where it can."""
        return "it needs a GPU" if self.needs_gpu and not torch.cuda.is_available() else ""

    def recipe(self, study: Study, fine_tunings: int) -> Recipe:
        """Both stages; what is not stated here is the same at every size."""
        return Recipe(
            base=self.base(study),
            warm_up=FineTuningOptions(
                epochs=1, sequence_length=256, batch_size=4, learning_rate=self.warm_up_rate
            ),
            fine_tuning=FineTuningOptions(
                epochs=4, sequence_length=128, batch_size=8, pooling="mean", learning_rate=self.rate
            ),
            fine_tunings=fine_tunings,
            is_encoder=self.is_encoder,
        )


RUNGS = {
    "llama-0.8m": Rung(parameters=800_000, base=lambda study: study.base_model, warm_up_rate=2e-3, rate=1e-3),
    "minilm": Rung(
        parameters=22_700_000,
        base=lambda study: str(locate("minilm").folder),
        warm_up_rate=1e-4,
        rate=3e-4,
        is_encoder=True,
    ),
    "smollm2-135m": Rung(
        parameters=134_500_000, base=lambda study: SMOLLM2, warm_up_rate=2e-4, rate=2e-4, needs_gpu=True
    ),
}


def agreement(
    small: Scores, large: Scores, tasks: Sequence[Task], arms: Sequence[str]
) -> tuple[float, float, float]:
    """Mean over tasks of the rank correlation of the arms at two sizes, and its 95 % interval.

    The interval is over draws of the seeds, of each size its own, and of the held-out examples, which the
    sizes share.
    """
    rng = np.random.default_rng(0)
    found, drawn = [], []
    for task in tasks:
        left_arn, right_arn = (_drawn(one, task, arms, rng) for one in (small, large))
        pairs = zip(left_arn.T, right_arn.T, strict=True)
        first, *others = [spearman(left_a, right_a) for left_a, right_a in pairs]
        found.append(first)
        drawn.append(others)
    low, high = np.quantile(np.mean(drawn, axis=0), [0.025, 0.975])
    return float(np.mean(found)), float(low), float(high)


def _drawn(scores: Scores, task: Task, arms: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Scores [arms, 1 + draws]: the mean over seeds, then the means over seeds drawn again."""
    score_asr = np.stack([scores.of(task, arm, "score") for arm in arms])
    seeds, draws = score_asr.shape[1], score_asr.shape[2] - 1
    weight_rs = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    again_ar = np.einsum("asr,rs->ar", score_asr[:, :, 1:], weight_rs)
    return np.concatenate([score_asr[:, :, 0].mean(1, keepdims=True), again_ar], axis=1)


def choosing_seconds(study: Study) -> float:
    """Seconds of all steps of the graph but those that train: files, vectors, scores, choices."""
    folder = study.folder / ".tamis" / "dagster"
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        steps = [one for run in instance.get_runs() for one in instance.get_run_step_stats(run.run_id)]
    return sum(
        one.end_time - one.start_time
        for one in steps
        if one.end_time and one.start_time and one.step_key not in TRAINING_STEPS
    )


def print_rung(name: str, rung: Rung, scores: Scores, study: Study) -> None:
    """Score and bits per byte of every sampler at one size, by task and over all; what choosing cost."""
    print_scores(scores, study.samplers, ["score"] if rung.is_encoder else ["score", "text"], NAME, rung=name)
    training = sum(run.seconds for run in scores.runs.values())
    chosen = choosing_seconds(study)
    report(
        NAME,
        "cost",
        rung=name,
        parameters=rung.parameters,
        seeds=len(scores.seeds),
        choosing_seconds=chosen,
        training_core_seconds=training,
        share=chosen / (chosen + training),
    )


def run(flags: argparse.Namespace, folder: Path) -> bool:
    """Choose, train each size, print; whether every size that was asked for was trained."""
    study = Study(
        folder=folder,
        tasks=tasks_named(flags.tasks),
        samplers=SAMPLERS,
        budget=flags.budget,
        documents=flags.documents,
        shares=PoolShares(),
        base='preset = "llama-0.8m"',
        held_out=flags.held_out,
        pretraining_tokens=flags.pretraining_tokens,
    )
    if not flags.chosen:
        study.materialize()
    elif not study.is_written():
        sys.exit(f"{folder} does not hold the choices of this study: leave out --chosen to make them")
    made: dict[str, Scores] = {}
    for name in flags.rungs:
        recipe, seeds = RUNGS[name].recipe(study, flags.fine_tunings), range(flags.seeds)
        try:
            missing = "" if are_made(study, recipe, seeds) else RUNGS[name].missing
        except MissingPackageError as error:
            missing = str(error)
        if missing:
            report(NAME, "left out", rung=name, reason=missing)
            continue
        runs = make_runs(study, recipe, seeds, flags.workers)
        made[name] = Scores(study.tasks, runs)
        print_rung(name, RUNGS[name], made[name], study)
    for small, large in itertools.combinations(made, 2):
        mean, low, high = agreement(made[small], made[large], study.tasks, (NONE, *SAMPLERS))
        report(NAME, "rank agreement", small=small, large=large, spearman=mean, low=low, high=high)
    return len(made) == len(flags.rungs)


def main() -> None:
    """Run the ladder and print it; exits 1 when a size was left out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rungs", nargs="+", choices=[*RUNGS], default=[*RUNGS], help="smallest first")
    parser.add_argument(
        "--tasks", nargs="+", default=[*TASKS], help="names, or FILE:SOURCE of a file in text/"
    )
    parser.add_argument("--budget", default="100ktok", help="of a warm-up")
    parser.add_argument("--documents", type=at_least(100), default=60_000, help="in the pool")
    parser.add_argument("--held-out", type=at_least(2), default=500, help="examples a task is measured on")
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--pretraining-tokens", type=at_least(1), default=4_000_000)
    parser.add_argument("--fine-tunings", type=at_least(1), default=1, help="of each warmed-up model")
    parser.add_argument("--workers", type=at_least(1), default=2, help="runs at a time, one thread each")
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    parser.add_argument("--chosen", action="store_true", help="--home holds all choices: only train")
    flags = begin(parser)
    if flags.chosen and flags.home is None:
        parser.error("--chosen needs --home, the folder that holds the choices")
    sys.exit(not in_its_folder(flags, run))


if __name__ == "__main__":
    main()
