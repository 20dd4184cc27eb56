"""Away from harm (GOT-D contrast, arXiv 2405.02774, section 4.1), in miniature: JSON lines on stdout.

    python -m benchmarks.contrast
    python -m benchmarks.contrast --sets spam --home F
    python -m benchmarks.contrast --bad toxic.jsonl --good clean.jsonl

All that follows, and every default, was written down before the first run on these data; nothing was tuned on
them. With --home an interrupted benchmark goes on.

**Data.** `clickbait`: clickbait is bad, headlines of news are good. `spam`: spam among text messages is bad,
the other messages are good. Neutral: the `p_` files, cut at 400 characters. Labels are known to the benchmark
alone; the samplers see texts. Two files (parquet or JSON lines, column text) may take their place.

**Halves.** By a hash of their first 20 letters, texts go to the half that chooses (the pool: at most 4,000
bad, 4,000 good, 8,000 neutral; and examples) or to the half that measures (400 held-out texts of each kind;
texts that teach the judge of what is written). Excluded: texts that are both bad and good, and what the graph
excludes, near-duplicates and contaminated documents. Of spam there are 150 in each part, 1.6 % of its pool;
of clickbait 4,000, 25 %. `picked` prints the shares.

**Models.** Llama-shaped, .8M parameters, with fresh weights pre-trained for 2 million tokens on a mixture of
the pool's texts: of the documents 20 % bad, 20 % good, 60 % neutral; a kind that is scarce is repeated.
Warm-up: one epoch over 300,000 tokens (bytes / 4), the recipe of `benchmarks.warm_up`.

**Choices**, of the same pool, vectors and budget: `got-d-contrast` as the graph makes it; `knn-contrast`,
smallest cost to the nearest good example less that to the nearest bad one; `classifier-filter`, a random draw
of what logistic regression of good against bad examples lets pass; `random`; and no warm-up. A seed (three)
is a draw of 400 examples of each kind (60 of spam), of the samplers that draw, of the order of documents and
of the numbers that write; the base model is one a set.

**Measured**, before the warm-up, at four points of it and at its end: bits per byte of held-out bad, good and
neutral text; and the share of bad among 240 texts that the model writes (temperature 1, at most 40 tokens)
after words that begin neutral, bad and good texts, by a classifier of words and their parts that learnt from
the half that measures. Intervals (95 %): paired, over seeds and draws of held-out texts.

**At equal loss on neutral text**: the level of a seed is the largest loss on neutral text at the end of any
sampler's warm-up, but at most 1 % above that before it. Each run is read at the last step at which it has
this loss, interpolated between checkpoints; one that never has it, at its end.

**Claims**, at the end and at equal loss, over all sets: after GOT-D's choice bad text is less likely than
after random's, good text more likely, less bad text is written (intervals without 0), and as little as after
the best of the two rivals (the upper end is below 2 points). Exits with 0 whatever comes out: these are
findings.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks._contrast_data import FILES, KINDS, Sizes, Source, source_of_files, texts_in
from benchmarks._contrast_graph import SAMPLERS, Study
from benchmarks._contrast_runs import NONE, Finished, Recipe, judge_of, judged, make_runs
from benchmarks._flags import at_least, begin
from benchmarks._paired import Difference, difference, values
from benchmarks._project import in_its_folder
from benchmarks._real_graph import report
from tamis.training import PRESETS, FineTuningOptions, PretrainingOptions

NAME = "contrast"
OURS, RANDOM = "got-d-contrast", "random"
RIVALS = ("knn-contrast", "classifier-filter")
FIGURES = dict.fromkeys(KINDS, "bits_per_byte") | {"written": "accuracy"}
ENDS = ("end", "equal")
MARGIN = 0.02
"""Share of what is written by which ours may be worse than the best rival and still count as good as it."""
CLAIMS = (
    ("bad text is less likely than after random", "bad", 1),
    ("good text is more likely than after random", "good", -1),
    ("less bad text is written than after random", "written", -1),
)
"""What is claimed, of which figure, and the sign of the difference to random's choice."""
AS_GOOD = "as little bad text is written as after the best rival"
MIXTURE = (0.2, 0.2, 0.6)
ALL_SETS = "all sets"


class Curve:
    """Figures of one run along its warm-up, [checkpoints, 1 + draws of held-out texts]."""

    def __init__(self, run: Finished) -> None:
        self.steps = np.array([one.step for one in run.measured], dtype=float)
        self.texts = {name: len(getattr(run.measured[0], name).n_bytes) for name in KINDS}
        self.texts["written"] = len(run.measured[0].written.expected)
        self._values = {
            name: values(metric, [getattr(one, name) for one in run.measured])
            for name, metric in FIGURES.items()
        }

    def at(self, figure: str, step: float) -> np.ndarray:
        """Return a figure [1 + draws] at a step, between two checkpoints interpolated."""
        after = min(int(np.searchsorted(self.steps, step)), len(self.steps) - 1)
        if after == 0:
            return self._values[figure][0]
        share = (step - self.steps[after - 1]) / (self.steps[after] - self.steps[after - 1])
        return (1 - share) * self._values[figure][after - 1] + share * self._values[figure][after]

    def last_at(self, level: float) -> float:
        """Return the last step at which the loss on neutral text is `level`; the last one if it never is."""
        above = self._values["neutral"][:, 0] - level
        for before in range(len(above) - 2, -1, -1):
            first, then = above[before], above[before + 1]
            if first * then <= 0 and first != then:
                share = first / (first - then)
                return float(self.steps[before] + share * (self.steps[before + 1] - self.steps[before]))
        return float(self.steps[-1])


class Scores:
    """Figures of all runs by set, sampler and seed, at the end and at equal loss on neutral text."""

    def __init__(self, runs: Sequence[Finished], rise: float) -> None:
        self.sets = list(dict.fromkeys(run.name for run in runs))
        self.samplers = list(dict.fromkeys(run.sampler for run in runs))
        self.seeds = sorted({run.seed for run in runs})
        self.curves = {(run.name, run.sampler, run.seed): Curve(run) for run in runs}
        self.rise = rise

    def step(self, name: str, sampler: str, seed: int, where: str) -> float:
        """Return the step at which a run is read."""
        curve = self.curves[name, sampler, seed]
        return float(curve.steps[-1]) if where == "end" else curve.last_at(self.level(name, seed))

    def level(self, name: str, seed: int) -> float:
        """Return the loss on neutral text at which the runs of a seed are compared."""
        warmed = [self.curves[name, sampler, seed] for sampler in self.samplers if sampler != NONE]
        ends = [float(curve.at("neutral", curve.steps[-1])[0]) for curve in warmed]
        before = float(self.curves[name, RANDOM, seed].at("neutral", 0)[0])
        return min(max(ends), before * (1 + self.rise))

    def of(self, name: str, sampler: str, figure: str, where: str) -> np.ndarray:
        """Return a figure of every seed: [seeds, 1 + draws]."""
        return np.stack(
            [
                self.curves[name, sampler, seed].at(figure, self.step(name, sampler, seed, where))
                for seed in self.seeds
            ]
        )

    def mean(self, sets: Sequence[str], sampler: str, figure: str, where: str) -> float:
        """Return the mean over sets and seeds."""
        return float(np.mean([self.of(name, sampler, figure, where)[:, 0].mean() for name in sets]))

    def gap(self, sets: Sequence[str], sampler: str, against: str, figure: str, where: str) -> Difference:
        """Return the paired difference of the means over sets."""
        found, other = (
            np.stack([self.of(name, one, figure, where) for name in sets]) for one in (sampler, against)
        )
        texts = sum(self.curves[name, sampler, self.seeds[0]].texts[figure] for name in sets)
        return difference(found, other, texts)


def print_curves(scores: Scores) -> None:
    """Print each sampler's figures along its warm-up, mean over seeds; the steps are those of the first."""
    for name in scores.sets:
        for sampler in scores.samplers:
            curves = [scores.curves[name, sampler, seed] for seed in scores.seeds]
            figures = {
                figure: np.mean([[one.at(figure, at)[0] for at in one.steps] for one in curves], axis=0)
                for figure in FIGURES
            }
            plain = {figure: found.round(4).tolist() for figure, found in figures.items()}
            report(NAME, "curve", set=name, sampler=sampler, steps=curves[0].steps.tolist(), **plain)


def print_figures(scores: Scores) -> None:
    """Print each sampler's figures at both points, with the paired differences to random's choice."""
    every = [*scores.sets, *([ALL_SETS] if len(scores.sets) > 1 else [])]
    for where in ENDS:
        for name in every:
            sets = scores.sets if name == ALL_SETS else [name]
            for sampler in scores.samplers:
                figures: dict[str, object] = {}
                for figure in FIGURES:
                    gap = scores.gap(sets, sampler, RANDOM, figure, where)
                    figures[figure] = round(scores.mean(sets, sampler, figure, where), 4)
                    figures[f"{figure}_over_random"] = [round(x, 4) for x in (gap.mean, gap.low, gap.high)]
                steps = [scores.step(one, sampler, seed, where) for one in sets for seed in scores.seeds]
                report(
                    NAME, where, set=name, sampler=sampler, steps=round(float(np.mean(steps)), 1), **figures
                )


def claims_of(scores: Scores) -> list[dict[str, object]]:
    """Return what was claimed, each with its interval and whether it holds; one seed shows nothing."""
    rivals = [name for name in RIVALS if name in scores.samplers]
    several = len(scores.seeds) > 1
    found: list[dict[str, object]] = []
    for where in ENDS:
        for claim, figure, sign in CLAIMS:
            gap = scores.gap(scores.sets, OURS, RANDOM, figure, where)
            clear = gap.low > 0 if sign > 0 else gap.high < 0
            found.append(_claim(claim, where, RANDOM, gap, several and clear))
        if rivals:
            best = min(rivals, key=lambda one: scores.mean(scores.sets, one, "written", where))
            gap = scores.gap(scores.sets, OURS, best, "written", where)
            found.append(_claim(AS_GOOD, where, best, gap, several and gap.high < MARGIN))
    return found


def _claim(claim: str, where: str, against: str, gap: Difference, holds: bool) -> dict[str, object]:
    interval = {"mean": gap.mean, "low": gap.low, "high": gap.high}
    return {"claim": claim, "where": where, "against": against, "holds": holds, **interval}


def print_judge(study: Study) -> None:
    """Print how often the judge calls held-out texts of each kind bad."""
    judge = judge_of(study.texts)
    shares = {
        kind: float(np.mean(judged(judge, texts_in(study.texts, "held_out", kind)).predicted))
        for kind in KINDS
    }
    report(NAME, "judge", set=study.source.name, called_bad=shares)


def recipe_of(flags: argparse.Namespace) -> Recipe:
    """Return how models are made."""
    return Recipe(
        preset=flags.model,
        pretraining=PretrainingOptions(tokens=flags.pretraining_tokens),
        mixture=MIXTURE,
        warm_up=FineTuningOptions(epochs=1, learning_rate=flags.warm_up_rate),
        written=flags.written,
        written_tokens=flags.written_tokens,
    )


def run(flags: argparse.Namespace, folder: Path) -> None:
    """Select, train, print."""
    sources = [Source(name=name, bad="", good="") for name in flags.sets]
    if flags.bad is not None:
        sources = [source_of_files(flags.bad, flags.good)]
    samplers = tuple(dict.fromkeys((RANDOM, *flags.samplers)))
    runs: list[Finished] = []
    for source in sources:
        study = Study(
            folder=folder / source.name,
            source=source,
            sizes=Sizes(neutral=flags.neutral, held_out=flags.held_out),
            budget=flags.budget,
            seeds=tuple(range(flags.seeds)),
            encoder=flags.encoder,
        )
        study.folder.mkdir(parents=True, exist_ok=True)
        study.materialize()
        for sampler in ("the pool", *samplers):
            shares = [study.picked(sampler, seed) for seed in study.seeds]
            means = {key: float(np.mean([one[key] for one in shares])) for key in shares[0]}
            report(NAME, "picked", set=source.name, sampler=sampler, **means)
        print_judge(study)
        found = make_runs(study, recipe_of(flags), samplers, flags.workers)
        for one in found:
            plain = {"sampler": one.sampler, "seed": one.seed, "documents": one.documents}
            plain |= {"tokens": one.tokens, "seconds": round(one.seconds), "writes": one.samples[:2]}
            report(NAME, "run", set=one.name, **plain)
        runs += found
    scores = Scores(runs, flags.rise)
    print_curves(scores)
    print_figures(scores)
    for claim in claims_of(scores) if OURS in samplers else []:
        report(NAME, "claim", **claim)


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=[*FILES], choices=[*FILES])
    parser.add_argument(
        "--bad", type=Path, help="texts to keep away from, instead: parquet or JSON lines, column text"
    )
    parser.add_argument("--good", type=Path, help="texts to go towards, with --bad")
    parser.add_argument("--samplers", nargs="+", default=[*SAMPLERS], choices=[*SAMPLERS])
    parser.add_argument("--budget", default="300ktok", help="of the warm-up")
    parser.add_argument("--neutral", type=at_least(200), default=8_000, help="neutral texts in the pool")
    parser.add_argument(
        "--held-out", type=at_least(20), default=400, help="texts of each kind that are measured"
    )
    parser.add_argument("--seeds", type=at_least(1), default=3)
    parser.add_argument("--model", default="llama-0.8m", choices=[*PRESETS])
    parser.add_argument("--encoder", default="static")
    parser.add_argument("--pretraining-tokens", type=at_least(1), default=2_000_000)
    parser.add_argument("--warm-up-rate", type=float, default=2e-3)
    parser.add_argument(
        "--written", type=at_least(20), default=240, help="texts that a model writes, a checkpoint"
    )
    parser.add_argument("--written-tokens", type=at_least(2), default=40, help="tokens of each at most")
    parser.add_argument("--rise", type=float, default=0.01, help="of the loss on neutral text, at most")
    parser.add_argument("--workers", type=at_least(1), default=1, help="runs at a time, one thread each")
    parser.add_argument("--home", type=Path, help="folder to use and keep")
    flags = begin(parser)
    if (flags.bad is None) != (flags.good is None):
        parser.error("--bad and --good go together")
    in_its_folder(flags, run)


if __name__ == "__main__":
    main()
