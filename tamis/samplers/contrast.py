"""Away from a bad target: documents that add mass where the pool should not be (Kang et al., GOT-D contrast).

The gradient of the distance to a bad target is largest for documents that move the pool away from it, so
contrast takes the largest first. Alone it says nothing of where to go: everything far from the bad examples
ranks alike, so the combined form also goes towards good examples, at the price of a second pass.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tamis.base.arguments import as_number, is_whole
from tamis.base.progress import Advance, ignore
from tamis.samplers.rounds import BLOCK_ROWS, as_numpy
from tamis.transport.cost import (
    BadShapeError,
    Floats,
    Geometry,
    Matrix,
    OneShotIterableError,
    Rows,
    RowSource,
    as_floats,
    check_named,
    check_whole,
    is_array,
)
from tamis.transport.potential import Float32s, TargetPotential
from tamis.transport.prepare import FewTargetPoints, LargeEpsilon
from tamis.transport.solve import solve_potential

By = Literal["divergence", "distance", "gradient"]
MOST_PARTS = 20
"""More parts of a sample than these move the mean of their distances by less than parts differ."""


def contrast(
    bad: TargetPotential,
    candidates: Rows,
    *,
    good: TargetPotential | None = None,
    weight: float = 1.0,
    row_cost: Any = None,
    device: str = "auto",
    advance: Advance = ignore,
) -> Float32s:
    """Scores [n] of candidates [n, d], smallest selected first: away from `bad`, and towards `good` if given.

    -f_bad, or f_good - weight * f_bad, plus row_cost [n]: the exact gradient of OT(pool, good) - weight *
    OT(pool, bad), both in units of the cost and up to a constant (Kang et al. 2405.02774, section 4.1 and
    appendix C). So the largest gradient to a bad target comes first, the reverse of `gradient`. Candidates
    are read once a potential. Raises ValueError on a weight below 0 and as `gradient`, and on generators.
    """
    if not 0 <= as_number(weight) < np.inf:
        raise BadShapeError("weight", repr(weight), "a finite, non-negative number")
    if good is None:
        opposite = None if row_cost is None else -as_floats(row_cost, "row_cost", "one number a candidate")
        return -bad.gradient(candidates, opposite, device=device, advance=advance)
    if not is_array(candidates) and iter(candidates) is candidates:
        raise OneShotIterableError("candidates")
    toward_n = good.gradient(candidates, row_cost, device=device, advance=advance)
    return toward_n - np.float32(weight) * bad.gradient(candidates, device=device, advance=advance)


@dataclass(frozen=True, kw_only=True)
class DomainDistance:
    """The distance of a domain from a target, in units of the cost.

    distance: entropic transport distance of as many rows as the smallest sample has, in the mean over parts
    of the sample. divergence: the same less half the distance of each side to itself (Feydy et al.
    1810.08278), 0 for the target itself if no domain is smaller. mean_gradient: mean GOT-D score in a pool
    of equal parts of all domains, less the mean over the pool: negative where the pool has too little.
    rows: of the domain; sampled: how many of them were used.
    """

    domain: str
    distance: float
    divergence: float
    mean_gradient: float
    rows: int
    sampled: int


def rank_domains(
    target: Matrix,
    domains: Mapping[str, Rows],
    *,
    by: By = "divergence",
    sample_rows: int = 2_000,
    relative_epsilon: float = 0.05,
    tolerance: float = 1e-2,
    normalize: bool = True,
    device: str = "auto",
    seed: int = 0,
    advance: Advance = ignore,
) -> list[DomainDistance]:
    """Rank domains by their distance to a target [M, d], nearest first; equal ones by name.

    domains: vectors [n, d] a name, an array or an iterable of blocks (a generator will do: read once). Centre
    and epsilon are shared: those of a pool of equal parts. The sample of a domain depends on seed, name and
    its rows in order, not on blocks or other domains; a target of more than sample_rows is sampled too.
    Few rows are farther from a target than many of the same distribution, so distances of all domains are of
    as many rows as the smallest has.
    Raises ValueError on no domains and as `solve_potential`; a row that is no point, sampled or not, is named
    with its domain.
    """
    check_named("domains", domains)
    check_whole("sample_rows", sample_rows)
    if by not in get_args(By):
        raise BadShapeError("by", repr(by), f"one of {', '.join(get_args(By))}")
    options = (sample_rows, seed, advance, normalize)
    target_md, _ = _sample(RowSource(target, "target", once=True), "target", *options)
    samples = {
        name: _sample(RowSource(rows, f"domain {name}", once=True), name, *options)
        for name, rows in domains.items()
    }
    solver: dict[str, Any] = {
        "tolerance": tolerance,
        "normalize": normalize,
        "device": device,
        "advance": advance,
    }
    parts = [vectors_nd for vectors_nd, _ in samples.values()]
    weights = np.concatenate([np.full(len(part), 1 / len(part) / len(parts)) for part in parts])
    pooled = solve_potential(
        target_md, parts, reference_weights=weights, relative_epsilon=relative_epsilon, **solver
    )
    field = "mean_gradient" if by == "gradient" else by
    return sorted(
        _distances(target_md, samples, pooled, solver, seed),
        key=lambda domain: (getattr(domain, field), domain.domain),
    )


def _distances(
    target_md: npt.NDArray[Any],
    samples: dict[str, tuple[npt.NDArray[Any], int]],
    pooled: TargetPotential,
    solver: dict[str, Any],
    seed: int,
) -> list[DomainDistance]:
    """Return distances of samples, each given with the rows of its domain, in the geometry of `pooled`."""
    fewest = min(len(vectors_nd) for vectors_nd, _ in samples.values())
    own = _value(target_md, target_md, pooled, solver)
    means = {name: float(pooled.gradient(vectors_nd).mean()) for name, (vectors_nd, _) in samples.items()}
    level = float(np.mean(list(means.values())))
    found = []
    for name, (vectors_nd, rows) in samples.items():
        parts = _parts(vectors_nd, fewest, name, seed)
        distance = float(np.mean([_value(target_md, part, pooled, solver) for part in parts]))
        itself = float(np.mean([_value(part, part, pooled, solver) for part in parts]))
        found.append(
            DomainDistance(
                domain=name,
                distance=distance,
                divergence=distance - (own + itself) / 2,
                mean_gradient=means[name] - level,
                rows=rows,
                sampled=len(vectors_nd),
            )
        )
    return found


def nearest_domains(
    target: Matrix, domains: Mapping[str, Rows], keep: int, **options: Any
) -> dict[str, Rows]:
    """Return the `keep` domains nearest to the target, nearest first; options as `rank_domains`.

    Kang et al. keep 2 to 4 of 7. Raises ValueError unless 1 <= keep <= number of domains, and on generators,
    which the ranking would use up.
    """
    check_named("domains", domains)
    if not (is_whole(keep, 1) and keep <= len(domains)):
        raise BadShapeError("keep", f"{keep!r} of {len(domains)} domains", f"1 to {len(domains)}")
    for name, rows in domains.items():
        RowSource(rows, f"domain {name}")
    return {
        ranked.domain: domains[ranked.domain]
        for ranked in rank_domains(target, domains, **options)[: int(keep)]
    }


def _parts(vectors_nd: npt.NDArray[Any], size: int, name: str, seed: int) -> list[npt.NDArray[Any]]:
    """Return disjoint random parts [size, d] of a sample [n, d], as many as fit and `MOST_PARTS` at most."""
    order = _generator(f"{name} parts", seed).permutation(len(vectors_nd))
    starts = range(0, len(vectors_nd) - size + 1, size)[:MOST_PARTS]
    return [vectors_nd[np.sort(order[start : start + size])] for start in starts]


def _value(
    target_md: npt.NDArray[Any], vectors_nd: npt.NDArray[Any], shared: TargetPotential, solver: dict[str, Any]
) -> float:
    """Return the entropic distance of a sample [n, d] to target points, as `shared` measures it."""
    if not np.ptp(np.concatenate([target_md[:1], vectors_nd, target_md]), axis=0).any():
        return 0.0
    with warnings.catch_warnings():
        # The mean cost within a tight domain is small against the shared epsilon, as it should be.
        for category in (FewTargetPoints, LargeEpsilon):
            warnings.simplefilter("ignore", category)
        return solve_potential(
            target_md,
            vectors_nd,
            center=False if shared.center is None else shared.center,
            epsilon=shared.epsilon,
            **solver,
        ).dual_value


def _sample(
    source: RowSource, name: str, size: int, seed: int, advance: Advance, normalize: bool = False
) -> tuple[npt.NDArray[Any], int]:
    """Draw a uniform sample [s, d] of rows in their order, read once; return it and the number of rows.

    The draw depends on name and seed. Raises `BadVectorError` and `BadShapeError`.
    """
    draw = _generator(name, seed)
    raw = Geometry(center_d=None, normalize=normalize)
    keys: Floats = np.zeros(0)
    kept: npt.NDArray[Any] | None = None
    for start, block in source.chunks(BLOCK_ROWS):
        raw.points(block, first_row=start, name=source.name, like=block[:0].float())
        vectors_nd = as_numpy(block)
        kept = vectors_nd if kept is None else np.concatenate([kept, vectors_nd])
        keys = np.concatenate([keys, draw.random(len(vectors_nd))])
        if len(keys) > size:
            smallest = np.sort(np.argpartition(keys, size)[:size])
            kept, keys = kept[smallest], keys[smallest]
        advance(len(vectors_nd))
    if kept is None or not len(kept):
        raise BadShapeError(source.name, "no rows", "at least one")
    assert source.count is not None
    return kept, source.count


def _generator(name: str, seed: int) -> np.random.Generator:
    """Return a generator that depends on name and seed."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
