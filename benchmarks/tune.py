"""Truth of tuning: search and guard on surfaces whose truth is known; JSON lines on stdout.

    python -m benchmarks.tune                      about 3 minutes on one core
    python -m benchmarks.tune --surfaces 100 --only null effects

The methods of `tamis.tuning` themselves run, in process, with losses of a surface in place of trainings.
Registered before the first run of this module:
- *null*: 2,000 surfaces without effect for each noise of seeds (normal; Student's with three degrees of
  freedom; one lucky seed), examples with noise of their own. At most 3.3 % ship at a first look, which is at
  2.5 %, and at most 5.6 % within ten looks, whose levels add up to 4.5 %. The plain 90 % interval covers 88.5
  to 91.5 % under normal noise, at least 84 % under the others. Bound by this are three pairs; five are shown.
- *effects*: of what shipped, the conditional interval covers 86 to 94 %, under each noise, with three pairs
  and with five. Expected of the plain interval: too few, about 80 % with three pairs.
- *retunes*: ten tunings of an unchanged truth, new runs, the same examples of the guard. Expected: the same
  winner in over half of the pairs of tunings; without effect at most 5.6 % ever ship.
- *reversals*: surfaces on which ranks at a share of the tokens agree less with those at full tokens.
  Expected: regret grows as agreement falls, and what ships without a gain does not.
- *failing*: half of all runs fail. Expected: searches end, regret grows by under a half; where half of the
  runs of some equal recipes fail, these win no more often than the others.
- *regret*, *grids*: at equal FLOP next to random search, halving without a law, fixed GOT-D, and no choice,
  on such surfaces and on published grids. No threshold. Rivals have no guard and spend its share, too.
A line with a limit says whether it `holds`; exits 1 when one does not.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from benchmarks._coverage_data import Report
from benchmarks._flags import at_least, begin
from benchmarks._texts import folder
from benchmarks._tune_searches import RIVALS, searched
from benchmarks._tune_surfaces import (
    FIXED,
    NOISES,
    RECIPES,
    Surface,
    example_effects,
    guard_pairs,
    published,
    with_effects,
    without_effect,
)
from tamis.tuning.guard import MOST_LOOKS, Verdict, judge
from tamis.tuning.search import Noise

FIRST_LOOK, TEN_LOOKS = 0.033, 0.056
COVERED, COVERED_OTHERWISE = (0.885, 0.915), 0.84
COVERED_GIVEN = (0.86, 0.94)
BUDGET = 18.0
"""In runs at full tokens: 6 of the guard, 12 of the search."""
BUDGETS = (9.0, 18.0, 36.0, 72.0)
PAIRS = (3, 5)
Rows = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Options:
    """Flags of the command line."""

    surfaces: int
    seed: int


def null(report: Report, options: Options) -> None:
    """Surfaces without effect: what ships, at a first look and within ten, and what intervals cover."""
    for noise in NOISES:
        noises = _noises(without_effect(noise), min(options.surfaces, 200), options.seed)
        for pairs in PAIRS:
            draw = np.random.default_rng([options.seed, pairs, NOISES.index(noise)])
            first, ever, covered = [], [], []
            for surface in range(options.surfaces):
                examples_d = example_effects(draw)
                shipped = False
                for look in range(1, MOST_LOOKS + 1):
                    runs = guard_pairs(draw, 0.0, pairs=pairs, noise=noise, examples_d=examples_d)
                    verdict = judge(runs, look=look, noise=noises[surface % len(noises)])
                    shipped |= verdict.shipped
                    if look == 1:
                        first.append(verdict.shipped)
                        covered.append(_covers(verdict, 0.0))
                ever.append(shipped)
            low, high = COVERED if noise == "normal" else (COVERED_OTHERWISE, 1.0)
            figures = {"first_look": np.mean(first), "ten_looks": np.mean(ever), "covered": np.mean(covered)}
            report.line(
                f"null_{noise}_{pairs}_pairs",
                holds=bool(
                    figures["first_look"] <= FIRST_LOOK
                    and figures["ten_looks"] <= TEN_LOOKS
                    and low <= figures["covered"] <= high
                )
                if pairs == PAIRS[0]
                else None,
                **{name: float(value) for name, value in figures.items()},
                limits=[FIRST_LOOK, TEN_LOOKS, low, high],
                surfaces=options.surfaces,
            )


def effects(report: Report, options: Options) -> None:
    """Whole tunings of surfaces with effects: of what shipped, what the intervals cover."""
    for noise in NOISES:
        for pairs in PAIRS:
            draw = np.random.default_rng([options.seed, pairs, NOISES.index(noise), 1])
            rows = []
            for _ in range(options.surfaces // 2):
                surface = with_effects(draw, noise=noise)
                truth, verdict = _tuned(surface, draw, pairs=pairs)
                rows.append((truth, verdict))
            shipped = [(truth, verdict) for truth, verdict in rows if verdict.shipped]
            given = [
                (truth, verdict.conditional) for truth, verdict in shipped if verdict.conditional is not None
            ]
            covered = float(np.mean([one.low <= truth <= one.high for truth, one in given]))
            report.line(
                f"effects_{noise}_{pairs}_pairs",
                holds=COVERED_GIVEN[0] <= covered <= COVERED_GIVEN[1],
                limits=COVERED_GIVEN,
                conditional_covered=covered,
                plain_covered=float(np.mean([_covers(verdict, truth) for truth, verdict in shipped])),
                plain_covered_of_all=float(np.mean([_covers(verdict, truth) for truth, verdict in rows])),
                conditional_error=float(np.median([one.mean - truth for truth, one in given])),
                plain_error=float(np.median([verdict.goal.mean - truth for truth, verdict in shipped])),
                shipped=len(shipped) / len(rows),
                shipped_without_gain=float(np.mean([truth >= 0 and v.shipped for truth, v in rows])),
                unbounded=float(np.mean([np.isinf(one.high) for _, one in given])),
                surfaces=len(rows),
            )


def retunes(report: Report, options: Options) -> None:
    """Ten tunings of one truth: how often they agree, and how often one ships what gains nothing."""
    count = max(options.surfaces // 20, 2)
    for name in ("effects", "null"):
        draw = np.random.default_rng([options.seed, 2])
        agree, ever, regrets, false = [], [], [], []
        for _ in range(count):
            surface = with_effects(draw) if name == "effects" else without_effect("normal")
            effects_ad = np.stack([example_effects(draw) for _ in surface.names])
            winners, shipped, wrong = [], False, False
            for look in range(1, MOST_LOOKS + 1):
                search = searched(surface, BUDGET, draw)
                winner = str(search.choice)
                place = surface.names.index(winner)
                truth = float(surface.full_a[place] - surface.full_a[0])
                runs = guard_pairs(draw, truth, pairs=3, examples_d=effects_ad[place])
                verdict = judge(runs, look=look, noise=search.noise)
                winners.append(winner)
                shipped |= verdict.shipped
                wrong |= verdict.shipped and truth >= 0
                regrets.append(surface.regret(winner))
            agree.append(np.mean([one == other for one, other in combinations(winners, 2)]))
            ever.append(shipped)
            false.append(wrong)
        report.line(
            f"retunes_{name}",
            same_winner=float(np.mean(agree)),
            ever_shipped=float(np.mean(ever)),
            ever_shipped_without_gain=float(np.mean(false)),
            mean_regret=float(np.mean(regrets)),
            surfaces=count,
        )


def reversals(report: Report, options: Options) -> None:
    """Ranks that turn between sizes: regret of the pick, and what ships without a gain."""
    for agree in (1.0, 0.9, 0.7, 0.4, 0.0):
        _tunings(
            report,
            f"reversals_agreement_{agree:g}",
            options,
            lambda draw, a=agree: with_effects(draw, agree=a),
        )  # type: ignore[misc]


def failing(report: Report, options: Options) -> None:
    """Trainers that fail half of the time, or never; and of equal recipes, some that do."""
    for share in (0.0, 0.5):
        _tunings(
            report,
            f"failing_{share:g}",
            options,
            lambda draw, failing=(share,) * RECIPES: with_effects(draw, failing=failing),  # type: ignore[misc]
        )
    draw = np.random.default_rng([options.seed, 4])
    half = (RECIPES - len(FIXED)) // 2
    surface = without_effect("normal", failing=(0.0,) * (len(FIXED) + half) + (0.5,) * half)
    wins, count = np.zeros(RECIPES), max(options.surfaces // 2, 2)
    for seed in range(count):
        wins[surface.names.index(str(searched(surface, BUDGET, draw, seed=seed).choice))] += 1 / count
    report.line(
        "failing_without_effect",
        wins_of_a_fixed_recipe=float(wins[1 : len(FIXED)].mean()),
        wins_of_one_that_never_fails=float(wins[len(FIXED) : -half].mean()),
        wins_of_one_that_fails_half_of_the_time=float(wins[-half:].mean()),
        surfaces=count,
    )


def regret(report: Report, options: Options) -> None:
    """Regret at equal FLOP on surfaces with effects."""
    for spread in (0.2, 0.5):
        for budget in BUDGETS:
            draw = np.random.default_rng([options.seed, 5])
            surfaces = [with_effects(draw, spread=spread) for _ in range(max(options.surfaces // 10, 2))]
            _rivals(report, f"regret_spread_{spread:g}_budget_{budget:g}", surfaces, budget, options)


def grids(report: Report, options: Options) -> None:
    """Regret at equal FLOP on published grids, in per cent of the best loss."""
    if not (folder() / "mixtures").is_dir() or not (folder() / "scaling_laws").is_dir():
        report.line("grids", skipped=f"{folder()} has no mixtures/ and scaling_laws/; set TAMIS_BENCH_DATA")
        return
    drawn = list(islice(published(options.seed), 3 * max(options.surfaces // 20, 2)))
    for grid in ("flan", "gigaword", "mixtures"):
        surfaces = [surface for name, surface in drawn if name == grid]
        for budget in BUDGETS:
            _rivals(report, f"grids_{grid}_budget_{budget:g}", surfaces, budget, options, in_percent=True)


def _noises(surface: Surface, count: int, seed: int) -> list[Noise]:
    """Return the noise that searches of a surface see."""
    draw = np.random.default_rng([seed, 3])
    return [searched(surface, BUDGET, draw).noise for _ in range(count)]


def _covers(verdict: Verdict, truth: float) -> bool:
    return verdict.goal.low <= truth <= verdict.goal.high


def _tuned(surface: Surface, draw: np.random.Generator, *, pairs: int = 3) -> tuple[float, Verdict]:
    """Return the true difference of the winner to random, and the guard's verdict at a first look."""
    search = searched(surface, BUDGET / 3 * pairs, draw, pairs=pairs)
    winner = search.choice or surface.names[1]
    truth = float(surface.full_a[surface.names.index(winner)] - surface.full_a[0])
    runs = guard_pairs(draw, truth, pairs=pairs, noise=surface.noise)
    return truth, judge(runs, look=1, noise=search.noise)


def _tunings(
    report: Report, name: str, options: Options, made: Callable[[np.random.Generator], Surface]
) -> None:
    """Report whole tunings of surfaces: regret of the winner, and of what ships, else random."""
    draw, rows = np.random.default_rng([options.seed, 6]), []
    for _ in range(max(options.surfaces // 4, 2)):
        surface = made(draw)
        truth, verdict = _tuned(surface, draw)
        best = float((surface.full_a - surface.full_a[0]).min())
        rows.append(
            [
                truth - best,
                (truth if verdict.shipped else 0.0) - best,
                verdict.shipped,
                verdict.shipped and truth >= 0,
            ]
        )
    mean = np.array(rows, dtype=np.float64).mean(0)
    report.line(
        name,
        regret_of_winner=float(mean[0]),
        regret_of_what_ships=float(mean[1]),
        shipped=float(mean[2]),
        shipped_without_gain=float(mean[3]),
        surfaces=len(rows),
    )


def _rivals(
    report: Report,
    name: str,
    surfaces: list[Surface],
    budget: float,
    options: Options,
    in_percent: bool = False,
) -> None:
    figures = {}
    for rival, choose in RIVALS.items():
        draw = np.random.default_rng([options.seed, 7])
        regrets = np.array(
            [
                surface.regret(choose(surface, budget, draw))
                * (100 / surface.full_a.min() if in_percent else 1)
                for surface in surfaces
            ]
        )
        figures[rival] = float(regrets.mean())
        figures[f"{rival} standard error"] = float(regrets.std(ddof=1) / len(regrets) ** 0.5)
    report.line(name, **figures, surfaces=len(surfaces))


PARTS: dict[str, Callable[[Report, Options], None]] = {
    "null": null,
    "effects": effects,
    "retunes": retunes,
    "reversals": reversals,
    "failing": failing,
    "regret": regret,
    "grids": grids,
}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--surfaces", type=at_least(40), default=2_000, help="without effect, a noise model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    arguments = begin(parser)
    report, options = Report(), Options(surfaces=arguments.surfaces, seed=arguments.seed)
    for part in arguments.only:
        began = time.process_time()
        PARTS[part](report, options)
        report.line(f"{part}_seconds", processor=time.process_time() - began)
    sys.exit(f"missed: {', '.join(report.failed)}" if report.failed else 0)


if __name__ == "__main__":
    main()
