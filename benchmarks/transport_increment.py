"""What a new shard does to a potential, on real vectors, as JSON lines.

    python -m benchmarks.transport_increment                  # all parts
    python -m benchmarks.transport_increment --part shards

shards: random 1 % shards join a pool; time of join (scores, column sums, certificate) against a full solve,
what the certificate advises, and the overlap of the top 10 % with a full solve on the union. The last line of
the part is also for shards of a single source. table: larger and unlike shards, section 5 of the method's
notes: overlap of the kept potential, and passes of a warm and a cold solve. epsilon: passes, and the
bootstrap stability of the choice, by epsilon / mean cost.
"""

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._flags import begin
from benchmarks._transport_data import cache_folder, texts, vectors
from tamis.transport import ShardSums, TargetPotential, bootstrap_stability, join, solve_potential

TOP = 0.1
TARGETS = {"shards": 1_000, "table": 500, "epsilon": 500}


def report(part: str, **values: object) -> None:
    """One line of results."""
    print(json.dumps({"benchmark": "transport_increment", "part": part, **values}), flush=True)


def overlap(first: np.ndarray, second: np.ndarray, k: int) -> float:
    """Share of the k smallest scores that two score vectors have in common."""
    return len(np.intersect1d(np.argpartition(first, k - 1)[:k], np.argpartition(second, k - 1)[:k])) / k


def timed(call: Any) -> tuple[Any, float]:
    """Result and seconds of a call."""
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def resolved(potential: TargetPotential, target: np.ndarray, union: np.ndarray) -> TargetPotential:
    """A cold solve on the union with the potential's centre and epsilon, so that scores compare."""
    return solve_potential(target, union, center=potential.center, epsilon=potential.epsilon)


def shards(pool: np.ndarray, sources: np.ndarray, target: np.ndarray, flags: argparse.Namespace) -> None:
    """1 % shards, drawn at random and of one source each."""
    rng = np.random.default_rng(flags.seed)
    size = len(pool) // 100
    names, counts = np.unique(sources, return_counts=True)
    large = names[counts >= size]
    for kind in ("random", "one source"):
        lines = []
        for turn in range(flags.shards):
            if kind == "random":
                chosen = rng.choice(len(pool), size, replace=False)
            else:
                chosen = rng.choice(np.flatnonzero(sources == large[turn % len(large)]), size, replace=False)
            lines.append(_one_shard(pool, chosen, target))
        accepted = [line for line in lines if line["advice"] == "accept"]
        report(
            "shards",
            kind=kind,
            N=len(pool) - size,
            shard_rows=size,
            M=len(target),
            d=pool.shape[1],
            shards=len(lines),
            accepted=len(accepted),
            lowest_overlap_of_accepted=round(min((line["overlap"] for line in accepted), default=1.0), 4),
            lowest_overlap=round(min(line["overlap"] for line in lines), 4),
            largest_union_error=round(max(line["union_error"] for line in lines), 4),
            solve_seconds=round(float(np.median([line["solve_seconds"] for line in lines])), 3),
            join_seconds=round(float(np.median([line["join_seconds"] for line in lines])), 4),
            time_share=round(float(np.median([line["share"] for line in lines])), 4),
        )


def _one_shard(pool: np.ndarray, chosen: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    base, shard = np.delete(pool, chosen, axis=0), pool[chosen]
    potential, solve_seconds = timed(lambda: solve_potential(target, base))
    sums, base_scores = join(potential, ShardSums.none(potential), "base", base)

    def arrive() -> Any:
        joined, scores = join(potential, sums, "new", shard)
        return joined.certificate(potential), scores

    (certificate, shard_scores), join_seconds = timed(arrive)
    union = np.concatenate([base, shard])
    truth = resolved(potential, target, union).gradient(union)
    kept = np.concatenate([base_scores, shard_scores])
    return {
        "advice": certificate.advice,
        "union_error": certificate.marginal_error,
        "overlap": overlap(kept, truth, round(TOP * len(union))),
        "solve_seconds": solve_seconds,
        "join_seconds": join_seconds,
        "share": join_seconds / solve_seconds,
    }


def table(pool: np.ndarray, sources: np.ndarray, target: np.ndarray, flags: argparse.Namespace) -> None:
    """Shards of 10 % and 50 % that are like the pool, or unlike it."""
    rng = np.random.default_rng(flags.seed)
    for epsilon in (0.02, 0.03, 0.05):
        for share in (0.1, 0.5):
            for kind, base, shard in _unlike(pool, sources, target, share, rng):
                _line(kind, share, epsilon, base, shard, target)


def _unlike(
    pool: np.ndarray, sources: np.ndarray, target: np.ndarray, share: float, rng: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(kind, base [n, d], shard [share n, d]); the base has 20,000 rows."""
    size = 20_000
    count = round(share * size)
    arxiv = np.flatnonzero(sources == "arxiv")
    others = np.flatnonzero(sources != "arxiv")
    drawn = rng.permutation(len(pool))
    yield "same distribution", pool[drawn[:size]], pool[drawn[size : size + count]]
    base = pool[drawn[:size]]
    law = rng.permutation(np.flatnonzero(np.isin(sources, ["dc_code", "dc_acts"])))[:count]
    without = rng.permutation(np.flatnonzero(~np.isin(sources, ["dc_code", "dc_acts"])))[:size]
    yield "unseen source far from the target", pool[without], pool[law]
    shift = 0.35 * pool.std() * rng.standard_normal(pool.shape[1]).astype(np.float32)
    yield "mean shift .35 sd", base, pool[drawn[size : size + count]] + shift
    rich = rng.permutation(arxiv)[:count]
    yield "unseen source near the target", pool[rng.permutation(others)[:size]], pool[rich]


def _line(
    kind: str, share: float, epsilon: float, base: np.ndarray, shard: np.ndarray, target: np.ndarray
) -> None:
    potential = solve_potential(target, base, relative_epsilon=epsilon)
    sums, _ = join(potential, ShardSums.none(potential), "base", base)
    sums, _ = join(potential, sums, "new", shard)
    certificate = sums.certificate(potential)
    union = np.concatenate([base, shard])
    cold = resolved(potential, target, union)
    warm = solve_potential(target, union, warm_start=potential)
    k = round(TOP * len(base))
    kept, truth = potential.gradient(union), cold.gradient(union)
    report(
        "table",
        kind=kind,
        shard=f"+{share:.0%}",
        relative_epsilon=epsilon,
        union_error=round(certificate.marginal_error, 3),
        advice=certificate.advice,
        overlap_kept=round(overlap(kept, truth, k), 3),
        overlap_warm=round(overlap(warm.gradient(union), truth, k), 3),
        passes_warm=round(warm.passes, 1),
        passes_cold=round(cold.passes, 1),
    )


def epsilons(pool: np.ndarray, sources: np.ndarray, target: np.ndarray, flags: argparse.Namespace) -> None:
    """Passes to 1e-3 and the bootstrap over the target, by epsilon."""
    del sources
    reference = solve_potential(target, pool).gradient(pool)
    k = round(TOP * len(pool))
    for relative in (0.1, 0.05, 0.03, 0.02, 0.01, 0.005):
        potential, seconds = timed(
            lambda relative=relative: solve_potential(target, pool, relative_epsilon=relative)
        )
        stability = bootstrap_stability(
            target, pool, potential, k, resamples=flags.resamples, sample=10_000, seed=flags.seed
        )
        report(
            "epsilon",
            relative_epsilon=relative,
            N=len(pool),
            M=len(target),
            passes=round(potential.passes, 1),
            seconds=round(seconds, 2),
            marginal_error=float(f"{potential.marginal_error:.2g}"),
            contraction=None if potential.contraction is None else round(potential.contraction, 3),
            overlap_with_default=round(overlap(potential.gradient(pool), reference, k), 3),
            stability_mean=round(stability.mean_overlap, 3),
            stability_lowest=round(stability.lowest_overlap, 3),
        )


PARTS = {"shards": shards, "table": table, "epsilon": epsilons}


def main() -> None:
    """Print the parts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--encoder", choices=["minilm", "static"], default="minilm")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder for embeddings")
    flags = begin(parser)
    warnings.simplefilter("ignore")
    cache = cache_folder(flags.cache)
    pool = vectors(flags.encoder, "pool", flags.rows, cache)
    sources = texts("pool")["source"].head(flags.rows).to_numpy()
    target = vectors(flags.encoder, "target", 2_000, cache)
    for part in flags.part:
        PARTS[part](pool, sources, target[: TARGETS[part]], flags)


if __name__ == "__main__":
    main()
