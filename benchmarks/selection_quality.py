"""Selections without any training, for quick regression checks: JSON lines on stdout.

    python -m benchmarks.selection_quality
    python -m benchmarks.selection_quality --tasks imdb --samplers got-d knn --documents 5000 --filters

On the pool of `benchmarks.warm_up`: of what each sampler picks for each task, the share from the right
domain, the shares of planted noise, boilerplate and repeats, the transport distance of the picks to held-out
examples that no sampler saw (over that of a random draw), and how much of the picks stays when the target's
examples are halved (overlap of the choices of both halves). 8 minutes on two cores at the default sizes, most
of them the graph's; without ask-llm, perplexity and got-d-quality it is faster.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks._flags import at_least, begin
from benchmarks._picked import picked_shares
from benchmarks._project import in_its_folder
from benchmarks._real_graph import FILTERS, Study, report
from benchmarks._real_pool import PoolShares
from benchmarks._real_tasks import TASKS, Task, tasks_named
from benchmarks._stored_vectors import Vectors
from tamis.selection import SAMPLERS as KNOWN
from tamis.transport import solve_potential

NAME = "selection_quality"
SAMPLERS = ("random", "knn", "dsir", "tsds", "density", "perplexity", "ask-llm", "got-d", "got-d-quality")
PICKS = 2_000  # of a selection, drawn, that the distance is computed on


def distance(picked_nd: np.ndarray, held_out_md: np.ndarray, centre_d: np.ndarray, epsilon: float) -> float:
    """Regularised transport distance of picks to held-out examples: the dual value at one epsilon for all."""
    solved = solve_potential(held_out_md, picked_nd, epsilon=epsilon, center=centre_d)
    return solved.dual_value


def print_distances(study: Study, vectors: Vectors) -> None:
    """Of every sampler and task, over that of a random draw."""
    for task in study.tasks:
        held_out_md = vectors.of_target(task.name, "held_out")
        random_nd = vectors.of_documents(_some(study, task, "random"))
        first = solve_potential(held_out_md, random_nd)
        centre_d, base = random_nd.mean(0), None
        for sampler in study.samplers:
            picked_nd = vectors.of_documents(_some(study, task, sampler))
            found = distance(picked_nd, held_out_md, centre_d, first.epsilon)
            base = found if base is None else base
            report(
                NAME, "distance", task=task.name, sampler=sampler, distance=found, over_random=found / base
            )


def _some(study: Study, task: Task, sampler: str) -> list[str]:
    """A uniform draw of at most PICKS of a selection: its best would be closer than the whole."""
    chosen = study.chosen(task, sampler, 0)
    order = np.random.default_rng(study.seed).permutation(len(chosen))
    return [chosen[place] for place in order[:PICKS]]


def print_stability(study: Study, vectors: Vectors) -> None:
    """Share of the picks that two halves of the target's examples have in common, for GOT-D and kNN."""
    for task in study.tasks:
        picks = len(study.chosen(task, "random", 0))
        ids = study.store.read("decisions", ["doc_id"], "selection = 'random' AND rank IS NOT NULL")
        pool_nd = vectors.of_documents(ids["doc_id"].to_list())
        train_md = vectors.of_target(task.name, "train")
        order = np.random.default_rng(study.seed).permutation(len(train_md))
        halves = [train_md[np.sort(order[part::2])] for part in range(2)]
        for name, scores in (("got-d", _gradient), ("knn", _nearest)):
            first, second = (set(np.argsort(scores(half, pool_nd), kind="stable")[:picks]) for half in halves)
            report(NAME, "stability", task=task.name, sampler=name, overlap=len(first & second) / picks)


def _gradient(target_md: np.ndarray, pool_nd: np.ndarray) -> np.ndarray:
    return solve_potential(target_md, pool_nd).gradient(pool_nd)


def _nearest(target_md: np.ndarray, pool_nd: np.ndarray) -> np.ndarray:
    from tamis.samplers import RIVALS

    return np.asarray(RIVALS["knn"](target_md, pool_nd, len(pool_nd)).score)


def run(flags: argparse.Namespace, folder: Path) -> None:
    """Select and print."""
    study = Study(
        folder=folder,
        tasks=tasks_named(flags.tasks),
        samplers=tuple(dict.fromkeys(("random", *flags.samplers))),
        budget=flags.budget,
        documents=flags.documents,
        shares=PoolShares(),
        base='preset = "llama-0.8m"',
        encoder=flags.encoder,
        filters=flags.filters,
        pretraining_tokens=500_000,
        seed=flags.seed,
    )
    study.materialize()
    for row in picked_shares(study):
        report(NAME, "picked", **row)
    vectors = Vectors(study.store, study.encoder)
    print_distances(study, vectors)
    print_stability(study, vectors)


def main() -> None:
    """Run the checks and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", default=[*TASKS])
    parser.add_argument(
        "--samplers", nargs="+", default=[*SAMPLERS], choices=sorted(KNOWN), metavar="SAMPLER"
    )
    parser.add_argument("--documents", type=at_least(100), default=20_000)
    parser.add_argument("--budget", default="300ktok")
    parser.add_argument("--encoder", default="static")
    parser.add_argument(
        "--filters", nargs="*", default=[*FILTERS], help="rules of form that every sampler keeps to"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="project folder to use and keep")
    flags = begin(parser)
    in_its_folder(flags, run)


if __name__ == "__main__":
    main()
