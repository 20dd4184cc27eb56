"""The study of `benchmarks.warm_up`: its flags and their defaults, its graph, how its models are trained."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks._flags import at_least
from benchmarks._real_graph import FILTERS, Study
from benchmarks._real_pool import PoolShares
from benchmarks._real_tasks import TASKS, Task
from benchmarks._warm_up_runs import Recipe
from tamis.selection import SAMPLERS as KNOWN
from tamis.training import PRESETS, FineTuningOptions

SAMPLERS = ("random", "knn", "dsir", "tsds", "perplexity", "ask-llm", "density", "got-d", "got-d-quality")


def parser_of_flags(description: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the flags, whose defaults are the published study."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tasks", nargs="+", default=[*TASKS], help="names, or FILE:SOURCE of a file in text/"
    )
    parser.add_argument(
        "--samplers", nargs="+", default=[*SAMPLERS], choices=sorted(KNOWN), metavar="SAMPLER"
    )
    parser.add_argument("--budget", default="400ktok")
    parser.add_argument("--documents", type=at_least(100), default=60_000, help="in the pool")
    parser.add_argument("--held-out", type=at_least(2), default=1_000, help="examples a task is measured on")
    parser.add_argument("--seeds", type=at_least(1), default=5)
    parser.add_argument(
        "--first-seed", type=at_least(0), default=0, help="another one repeats the study with new luck"
    )
    parser.add_argument(
        "--model", default="llama-0.8m", help="a preset, pre-trained on the pool; else a folder or id"
    )
    parser.add_argument("--encoder", default="static")
    parser.add_argument(
        "--filters", nargs="*", default=[*FILTERS], help="rules of form that every sampler keeps to"
    )
    parser.add_argument("--pretraining-tokens", type=at_least(1), default=4_000_000)
    parser.add_argument("--epochs", type=at_least(1), default=1, help="of the warm-up")
    parser.add_argument("--warm-up-rate", type=float, default=2e-3)
    parser.add_argument("--label-epochs", type=at_least(1), default=4)
    parser.add_argument("--label-batch", type=at_least(1), default=8, help="labelled examples a step")
    parser.add_argument(
        "--pooling",
        default="mean",
        choices=["last", "mean"],
        help="how a model reads a labelled text: its last token, or the mean over all",
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate on labels")
    parser.add_argument(
        "--fine-tunings", type=at_least(1), default=2, help="of each warmed-up model; their mean counts"
    )
    parser.add_argument("--workers", type=at_least(1), default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train compiled models, a fifth to a third quicker; needs a C++ compiler",
    )
    parser.add_argument("--zero-shot", action="store_true")
    return parser


def study_of(flags: argparse.Namespace, folder: Path, tasks: Sequence[Task]) -> Study:
    """The study that the flags ask for."""
    return Study(
        folder=folder,
        tasks=tasks,
        samplers=tuple(dict.fromkeys(("random", *flags.samplers))),
        budget=flags.budget,
        documents=flags.documents,
        shares=PoolShares(),
        base=f'{"preset" if flags.model in PRESETS else "path"} = "{flags.model}"',
        encoder=flags.encoder,
        filters=flags.filters,
        held_out=flags.held_out,
        pretraining_tokens=flags.pretraining_tokens,
        compiled=flags.compile,
    )


def recipe_of(flags: argparse.Namespace, base: str) -> Recipe:
    """How a model of this folder or id is warmed up and fine-tuned."""
    return Recipe(
        base=base,
        warm_up=FineTuningOptions(
            epochs=flags.epochs,
            sequence_length=256,
            batch_size=4,
            learning_rate=flags.warm_up_rate,
            compile=flags.compile,
        ),
        fine_tuning=FineTuningOptions(
            epochs=flags.label_epochs,
            sequence_length=128,
            batch_size=flags.label_batch,
            pooling=flags.pooling,
            learning_rate=flags.rate,
            compile=flags.compile,
        ),
        fine_tunings=flags.fine_tunings,
        zero_shot=flags.zero_shot,
    )


def published(encoder: str, samplers: Sequence[str]) -> argparse.Namespace:
    """Return the flags of the published study, with another encoder and other samplers."""
    return parser_of_flags().parse_args(["--encoder", encoder, "--samplers", *samplers])
