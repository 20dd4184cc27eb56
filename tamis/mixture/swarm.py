"""The runs of a mixture law: which mixtures a small model is trained on, and which a change asks for.

A first swarm has 3 (m + 1) runs, 12 at least. When sources are added or revised, those that are unchanged
keep their ratio and count as one virtual source, and 3 (k + 2) runs over it and the k changed ones are all
that is trained (Olmix, arXiv 2602.12237). A source that grows by the same kind of content, or leaves, asks
for none.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from tamis.base.errors import PermanentError
from tamis.mixture.proposing import propose_runs, runs_needed
from tamis.mixture.reuse import plan_reuse
from tamis.store.digests import canonical_digest

SWARM_CODE_VERSION = "1"
REPEATS_CHANGE = 1.5
"""Factor by which the repetition of sources may change before the runs no longer match it."""
VIRTUAL = "unchanged sources"
Change = Literal["first", "unchanged", "grown", "revised", "added", "removed"]


class SwarmError(PermanentError, ValueError):
    """The runs of [mixture] cannot be planned over these sources."""


class TooFewSourcesError(SwarmError):
    """Fewer than two sources have documents that may be selected."""

    def __init__(self, named: Sequence[str], empty: Sequence[str]) -> None:
        self.named, self.empty = tuple(named), tuple(empty)
        without = f" (sources without such documents: {', '.join(empty)})" if empty else ""
        found = f"found {len(named)}: {', '.join(named)}" if named else "found none"
        super().__init__(
            f"[mixture] needs at least two sources with documents that may be selected, but {found}{without}"
            "; add a corpus, or set sources in [mixture] to another value"
        )


class TooFewPlannedRunsError(SwarmError):
    """Fewer runs than a law over so many sources can be fitted to."""

    def __init__(self, runs: int, sources: int) -> None:
        self.runs, self.sources = runs, sources
        super().__init__(
            f"[mixture] runs = {runs} is too few for {sources} sources: a law needs at least {sources + 2} "
            f"runs; raise runs, or remove the setting to use the default of {runs_needed(sources)}"
        )


class ImpossibleRepetitionError(SwarmError):
    """More tokens are asked for than the sources hold within the largest repetition."""

    def __init__(self, train_tokens: int, available: int, maximum: float) -> None:
        self.train_tokens, self.available, self.maximum = train_tokens, available, maximum
        super().__init__(
            f"[mixture] train_tokens = {train_tokens:,} needs {train_tokens / max(available, 1):.3g} passes "
            f"over the {available:,} tokens that may be selected, above max_repetition = {maximum:g}; lower "
            f"train_tokens to {math.floor(maximum * available):,} or less, or raise max_repetition"
        )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source as the sampler leaves it: documents and tokens that may be selected.

    `documents_digest`: of the documents that runs draw from, with their order; `change`: against the swarm
    before; `changed_share`: the part of its tokens that left or is of another kind.
    """

    name: str
    documents: int
    tokens: int
    documents_digest: str = ""
    change: Change = "first"
    changed_share: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run: the weights by source, and by part of the swarm; `documents`: digest by source."""

    name: str
    generation: int
    preset: str
    tokens: int
    weights: Mapping[str, float]
    parts: Mapping[str, float]
    documents: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Swarm:
    """The runs that are planned, those of earlier plans included, which are kept and asked for no more.

    `parts`: the columns of the law, each a source or the virtual one, with the ratio of the sources in it.
    `recipe`: digest of how runs are trained; `repetition`: run_tokens / train_tokens. `proxies`: runs by
    name; `larger`: mixtures at the larger preset, of which `larger_wanted` validate the present law.
    """

    generation: int
    parts: Mapping[str, Mapping[str, float]]
    recipe: str
    repetition: float
    proxies: Mapping[str, PlannedRun]
    larger: Mapping[str, PlannedRun] = field(default_factory=dict)
    larger_wanted: frozenset[str] = frozenset()

    def run(self, name: str) -> PlannedRun:
        """Return a run by its name, whatever its preset."""
        return self.proxies.get(name) or self.larger[name]

    def wants(self, name: str) -> bool:
        """Return whether a run belongs to the present plan."""
        found = self.proxies.get(name)
        return found.generation == self.generation if found else name in self.larger_wanted

    @property
    def current(self) -> list[PlannedRun]:
        """The runs of the present plan, in their order."""
        return [run for run in self.proxies.values() if run.generation == self.generation]

    @property
    def part_weights(self) -> np.ndarray:
        """Weights [run, part] of the present runs."""
        return np.array([[run.parts[name] for name in self.parts] for run in self.current])

    def part_shares(self, tokens: Mapping[str, int]) -> np.ndarray:
        """Natural shares [part] of the parts, by the tokens of their sources."""
        sums = np.array([sum(tokens.get(name, 0) for name in ratio) for ratio in self.parts.values()], float)
        return sums / sums.sum()

    def available(self, tokens: Mapping[str, int]) -> np.ndarray:
        """Tokens [part] of each part at its ratio: its scarcest source bounds the virtual one."""
        return np.array(
            [
                min(
                    (tokens.get(name, 0) / share for name, share in self.present(part, tokens).items()),
                    default=0.0,
                )
                for part in self.parts
            ]
        )

    def present(self, part: str, tokens: Mapping[str, int]) -> dict[str, float]:
        """Return the ratio inside a part of the sources that have documents, in sum 1; empty for none."""
        there = {name: share for name, share in self.parts[part].items() if tokens.get(name, 0) and share > 0}
        total = sum(there.values())
        return {name: share / total for name, share in there.items()}

    def expanded(self, weights: Sequence[float] | np.ndarray, tokens: Mapping[str, int]) -> dict[str, float]:
        """Return weights [source] of weights [part], in sum 1; a part without documents has none."""
        found: dict[str, float] = {}
        for part, weight in zip(self.parts, weights, strict=True):
            for name, share in self.present(part, tokens).items():
                found[name] = found.get(name, 0.0) + float(weight) * share
        total = sum(found.values())
        return {name: weight / total for name, weight in found.items()} if total > 0 else found

    def collapsed(self, weights: Mapping[str, float]) -> np.ndarray:
        """Return weights [part], in sum 1, of weights by source; the ratio inside the virtual one is lost."""
        sums = np.array([sum(weights.get(name, 0.0) for name in ratio) for ratio in self.parts.values()])
        return sums / sums.sum()


@dataclass(frozen=True, kw_only=True)
class SwarmOptions:
    """Settings of a plan, besides the sources; `recipe` as in `Swarm`."""

    preset: str
    run_tokens: int
    train_tokens: int
    recipe: str
    runs: int | None = None
    maximum_repetition: float = 4.0
    seed: int = 0

    @property
    def repetition(self) -> float:
        """Part of each source that runs draw from, so that they repeat it as the training will; at most 1."""
        return min(1.0, self.run_tokens / self.train_tokens)


def plan_swarm(
    sources: Sequence[Source],
    options: SwarmOptions,
    before: Swarm | None = None,
    chosen: Mapping[str, float] | None = None,
) -> Swarm:
    """Plan the runs over these sources, which keep those of `before` that the changes do not touch.

    `chosen`: the mixture by source that `before` led to; without one, or with another recipe or repetition,
    all runs are planned from nothing. Raises `SwarmError`.
    """
    there = [source for source in sources if source.tokens > 0]
    if len(there) < 2:
        raise TooFewSourcesError([one.name for one in there], [one.name for one in sources if not one.tokens])
    total = sum(source.tokens for source in there)
    if options.train_tokens > options.maximum_repetition * total:
        raise ImpossibleRepetitionError(options.train_tokens, total, options.maximum_repetition)
    touched = [source.name for source in there if source.change in ("added", "revised", "first")]
    if before is None or not _is_reusable(before, options) or (touched and not chosen):
        return _first(there, options, before)
    if not touched or chosen is None:
        return _extended(there, before, options)
    names = [source.name for source in there]
    held = {name: chosen.get(name, 0.0) for name in names if name not in touched}
    reuse = plan_reuse(held, names) if held else None
    if (
        reuse is None
        or len(held) < 2
        or len(reuse.free) == len(names)
        or reuse.runs >= runs_needed(len(names))
    ):
        return _first(there, options, before)
    shares = zip(names, reuse.ratios, strict=True)
    ratio = {name: float(share) for name, share in shares if name not in reuse.free}
    parts = {VIRTUAL: ratio} | {name: {name: 1.0} for name in reuse.free}
    return _swarm(there, options, before, parts, reuse.runs)


def _is_reusable(before: Swarm, options: SwarmOptions) -> bool:
    """Return whether runs are still trained in the same way, at about the same repetition."""
    ratio = options.repetition / before.repetition
    return before.recipe == options.recipe and 1 / REPEATS_CHANGE <= ratio <= REPEATS_CHANGE


def _first(there: Sequence[Source], options: SwarmOptions, before: Swarm | None) -> Swarm:
    runs = options.runs or runs_needed(len(there))
    if runs < len(there) + 2:
        raise TooFewPlannedRunsError(runs, len(there))
    return _swarm(there, options, before, {source.name: {source.name: 1.0} for source in there}, runs)


def _extended(there: Sequence[Source], before: Swarm, options: SwarmOptions) -> Swarm:
    """Return the same swarm, with the runs that `[mixture] runs` asks for beyond those of a first swarm."""
    lacking = (options.runs or 0) - len(before.current)
    if lacking <= 0 or VIRTUAL in before.parts:
        return before
    more = _proposed(there, options, before.parts, options.runs or 0, before.generation, len(before.current))
    return replace(before, proxies={**before.proxies, **more})


def _swarm(
    there: Sequence[Source],
    options: SwarmOptions,
    before: Swarm | None,
    parts: Mapping[str, Mapping[str, float]],
    runs: int,
) -> Swarm:
    generation = before.generation + 1 if before else 0
    return Swarm(
        generation=generation,
        parts=parts,
        recipe=options.recipe,
        repetition=options.repetition,
        proxies={
            **(before.proxies if before else {}),
            **_proposed(there, options, parts, runs, generation),
        },
        larger=before.larger if before else {},
        larger_wanted=before.larger_wanted if before else frozenset(),
    )


def _proposed(
    there: Sequence[Source],
    options: SwarmOptions,
    parts: Mapping[str, Mapping[str, float]],
    runs: int,
    generation: int,
    skipped: int = 0,
) -> dict[str, PlannedRun]:
    """Return the planned runs by name; of an extension the first `skipped` are there already."""
    tokens = {source.name: source.tokens for source in there}
    prior_k = np.array([sum(tokens.get(name, 0) for name in ratio) for ratio in parts.values()], dtype=float)
    weights_rk = propose_runs(
        prior_k / prior_k.sum(), runs - skipped, seed=options.seed + generation + 1_000 * bool(skipped)
    )
    digests = {source.name: source.documents_digest for source in there}
    found: dict[str, PlannedRun] = {}
    for row_k in np.round(np.asarray(weights_rk, dtype=float), 6):
        by_part = dict(zip(parts, (float(weight) for weight in row_k / row_k.sum()), strict=True))
        weights: dict[str, float] = {}
        for part, ratio in parts.items():
            for name, share in ratio.items():
                weights[name] = weights.get(name, 0.0) + by_part[part] * share
        run = named_run(options.preset, options.run_tokens, weights, by_part, digests, generation)
        found[run.name] = run
    return found


def named_run(
    preset: str,
    tokens: int,
    weights: Mapping[str, float],
    parts: Mapping[str, float],
    digests: Mapping[str, str],
    generation: int,
) -> PlannedRun:
    """Return a run, named by what it trains on: the same mixture of the same documents is one run."""
    used = {name: round(weight, 6) for name, weight in sorted(weights.items()) if weight > 0}
    documents = {name: digests.get(name, "") for name in used}
    digest = canonical_digest(json.dumps([preset, tokens, used, documents], sort_keys=True))
    return PlannedRun(
        name=f"mixture-{preset.removeprefix('llama-')}-{digest[:10]}",
        generation=generation,
        preset=preset,
        tokens=tokens,
        weights=used,
        parts=parts,
        documents=documents,
    )


def spread_over_ranks(names: Sequence[str], predicted: np.ndarray, count: int) -> list[str]:
    """Return `count` runs whose predicted losses [run] are spread evenly over all ranks, best first."""
    order = np.lexsort((np.array(names), predicted))
    places = np.unique(np.round(np.linspace(0, len(names) - 1, min(count, len(names)))).astype(int))
    return [names[order[place]] for place in places]
