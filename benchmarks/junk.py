"""Junk in a choice, by sampler, with and without rules of form: what the default is decided by. JSON lines.

    python -m benchmarks.junk --pages FOLDER
    python -m benchmarks.junk --pages FOLDER --documents 25000 --seeds 100 101 102 103 104 --judge --home F
    python -m benchmarks.junk --part choices --samplers got-d knn --goals titles news

FOLDER: HTML of Debian's documentation packages, unpacked by `apt-get download NAME` and
`dpkg -x NAME*.deb FOLDER`: debian-faq, debian-policy, debian-reference-en, developers-reference,
exim4-doc-html, git-doc, postgresql-doc-15, python-django-doc, python-flask-doc, python-sqlalchemy-doc,
python3.11-doc, rust-doc. Pages that the model of form is fitted on (apache2-doc, sqlite3-doc) are left out.
What is absent is said in a line, and other damage takes its place.

**Pool.** Sound texts of eleven kinds, evenly, and 5 % main text of pages; 15 % junk: raw markup of pages (3),
their navigation and notices (3.5), damage of tamis/filters/form/damage.py (5.5, each kind alike), noise by
makers that were written apart from any rule (2), pages of notices (1). A seed draws pool, damage, examples.
**Goals.** Titles of problem reports of two programming projects, news of an agency, scientific abstracts,
leaflets that come with medicines (shared/data has no trials): 300 examples to choose by, 1,000 held out, the
same for all seeds. The pool has no texts of the sources of titles, news and leaflets.
**Choices.** The project of `tamis init`: rules noise and boilerplate, 10 %. form: `off`; `shipped`, the
model of the package with the goal's limit; `unseen`, each kind of drawn damage judged by a model that was
fitted without it and a quarter of the others (mixtures of kinds by the package's, which is fitted on none).
--judge adds the samplers that ask the judge; its minutes are its own line.
**Measured.** Junk in the choice, in all and by kind. Distance (2 - 2 cos) of the sound part of the choice to
the nearest held-out example; `matched`: at equal depth, of as many sound documents, best first, as today's
choice has or this one, if that has fewer. Bits per byte of held-out examples and of a control (500 sound
texts as in the pool) after training .8M fresh parameters for 300,000 tokens of the choice. Minutes of each
step of the graph, wall and CPU, of all goals together.

**Registered** before the first run with the seeds 100 to 104, 25,000 documents, static vectors, --judge;
seeds below 100 are for trials. Today's default: got-d without form. An arm is a sampler without form or with
`shipped`.
Aims: junk at most 3 % on average over goals and seeds, at most 5 % for each goal, for none more than a
random choice under the same rules has; matched distance, bits per byte of the goals and bits per byte of the
control no worse than today's: the 95 % interval of the paired difference, means over goals, does not lie
above 0.
Winner: of the arms that meet all aims and ask no judge, the one with the fewest bits per byte of the goals;
if there is none, the same among those that ask the judge; if there is none, no arm meets the aims, and the
arm with the least junk of those that are no worse in distance and bits is named. `unseen` is reported beside
`shipped` and decides nothing, but where its junk misses an aim that `shipped` meets, the verdict says so.
An arm that is worse in distance cannot win whatever its bits, so it is trained after the others. Bits are
over the seeds whose trainings of the arm and of today's default are made.
Where the model of form changes, the same command gives the verdict for the new one: choices are made
again, and models are trained on those that changed.

With --home an interrupted benchmark goes on; --minutes ends it before a training that would begin later.
Exits 0 whatever comes out: these are findings.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._junk_graph import BY_JUDGE, FORMS, OFF, SHIPPED, STEPS, UNSEEN, Study, Verdicts
from benchmarks._junk_pool import GOALS, Sizes
from benchmarks._junk_runs import Recipe, Trained, read_result, result_path, train_on
from benchmarks._junk_verdict import Arm, Interval, over_seeds, verdict
from benchmarks._paired import difference, values
from benchmarks._project import in_its_folder
from benchmarks._real_graph import report
from tamis.training import PRESETS

NAME = "junk"
DEFAULT = ("got-d", OFF)
PLAIN = tuple(sampler for step in STEPS[:2] for sampler in step)
ARMS_TRAINED = (OFF, SHIPPED)
Key = tuple[str, str, str]
"""goal, sampler, form."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A choice of one seed: documents, best first, which of them are junk, and their distances by encoder."""

    ids: tuple[str, ...]
    is_junk: np.ndarray
    kinds: np.ndarray
    distance: dict[str, np.ndarray]
    covered: dict[str, float]

    @property
    def junk(self) -> float:
        """Share of junk."""
        return float(self.is_junk.mean())

    def sound(self, encoder: str, most: int | None = None) -> float:
        """Mean distance of the sound documents, of the first `most` of them."""
        return float(self.distance[encoder][~self.is_junk][:most].mean())


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Choices in one pool, and what was learned from it as far as it is trained."""

    study: Study
    choices: dict[Key, Choice]
    trained: dict[Key, list[Trained]]


def choices_of(study: Study, verdicts: Verdicts, encoders: Sequence[str], cache: Path) -> dict[Key, Choice]:
    """Return every choice with its figures."""
    chosen, truth = study.choices(verdicts), study.truth.with_row_index("place")
    rows = chosen.join(truth.select("place", "doc_id", "kind", "junk"), on="doc_id", how="left")
    own, nearest = {encoder: study.vectors(encoder, cache) for encoder in encoders}, {}
    for encoder, (pool_nd, goals) in own.items():
        for goal, held_out_md in goals.items():
            nearest[encoder, goal] = 2 - 2 * (pool_nd @ held_out_md.T).max(1)
    found: dict[Key, Choice] = {}
    for (goal, sampler, rules), part in rows.group_by("goal", "sampler", "form", maintain_order=True):
        ranked = part.sort("rank")
        place_k, junk_k = ranked["place"].to_numpy(), ranked["junk"].to_numpy()
        covered = {}
        for encoder, (pool_nd, goals) in own.items():
            near_m = (goals[str(goal)] @ pool_nd[place_k[~junk_k]].T).max(1)
            covered[encoder] = float((2 - 2 * near_m).mean())
        found[str(goal), str(sampler), str(rules)] = Choice(
            ids=tuple(ranked["doc_id"]),
            is_junk=junk_k,
            kinds=ranked["kind"].to_numpy(),
            distance={encoder: nearest[encoder, goal][place_k] for encoder in encoders},
            covered=covered,
        )
    return found


def by_kind(kinds: Sequence[str]) -> dict[str, int]:
    """Return the number of texts of each kind, the most first."""
    counts = pl.Series("kind", kinds).value_counts().sort("count", "kind", descending=[True, False])
    return dict(counts.iter_rows())


def print_pool(study: Study, verdicts: Verdicts) -> None:
    """Print what the pool holds, and what of each kind passes each filter."""
    truth = study.truth
    where = "selection = 'random' AND rank IS NOT NULL"
    eligible = study.store.read("decisions", ["doc_id"], where).with_columns(eligible=True)
    rows = truth.join(study.judged(verdicts), on="doc_id").join(eligible, on="doc_id", how="left")
    rows = rows.with_columns(pl.col("eligible").fill_null(False))
    passes = pl.col("eligible") & (pl.col(SHIPPED) <= 0).fill_null(True)
    unseen = pl.col("eligible") & (pl.col(UNSEEN) <= 0).fill_null(True)
    for kind in ("", *sorted(set(truth["kind"]))):
        part = rows.filter(kind=kind) if kind else rows
        shares = part.select(
            n=pl.len(), eligible=pl.mean("eligible"), with_form=passes.mean(), with_unseen=unseen.mean()
        ).row(0, named=True)
        about = (
            {"kind": kind, "junk": bool(part["junk"][0])}
            if kind
            else {"kind": "all", "junk": truth["junk"].mean()}
        )
        report(
            NAME, "pool", seed=study.seed, **{f"of_{name}": value for name, value in about.items()}, **shares
        )
    if study.absent:
        report(NAME, "absent", seed=study.seed, **study.absent)
    for note in study.minutes():
        report(NAME, "minutes", seed=study.seed, **note)


def print_choices(seed: Seed) -> None:
    """Print a line a choice, kinds of junk by their counts."""
    for (goal, sampler, rules), choice in seed.choices.items():
        figures: dict[str, object] = {"documents": len(choice.ids), "junk": choice.junk}
        for encoder in choice.distance:
            figures |= {
                f"distance_{encoder}": choice.sound(encoder),
                f"covered_{encoder}": choice.covered[encoder],
            }
        about = {"seed": seed.study.seed, "goal": goal, "sampler": sampler, "form": rules}
        kinds = by_kind(choice.kinds[choice.is_junk].tolist())
        report(NAME, "choice", **about, **figures, kinds=kinds)


def units(summary: "Summary", recipe: Recipe) -> Iterator[tuple[Seed, Key, int, Path]]:
    """Yield each training: first of the arms that are not worse in distance, which alone can win."""
    worse = {arm for arm in summary.arms if summary.distance(arm, summary.encoder).is_worse}
    for excluded in (False, True):
        for seed in summary.seeds:
            for key, choice in seed.choices.items():
                if key[2] not in ARMS_TRAINED or (key[1:] in worse) is not excluded:
                    continue
                for number in range(recipe.training_seeds):
                    yield seed, key, number, result_path(seed.study, recipe, key[0], choice.ids, number)


def print_trained(summary: "Summary", recipe: Recipe, until: float) -> int:
    """Make the runs that have no result, note and print all; return how many are left."""
    left = 0
    for seed, key, number, path in units(summary, recipe):
        if not path.is_file():
            if time.monotonic() > until:
                left += 1
                continue
            train_on(seed.study, recipe, key[0], seed.choices[key].ids, number, path)
        found = read_result(path)
        seed.trained.setdefault(key, []).append(found)
        bits = {name: _bits_per_byte(found, name) for name in ("goal", "control")}
        about = {"seed": seed.study.seed, "training_seed": number, **_named(key)}
        report(NAME, "bits", **about, **bits_named(bits), epochs=found.epochs, seconds=found.seconds)
    return left


def bits_named(bits: dict[str, float]) -> dict[str, float]:
    """Return names of figures that say what was measured."""
    return {f"{name}_bits_per_byte": value for name, value in bits.items()}


def _named(key: Key) -> dict[str, str]:
    return dict(zip(("goal", "sampler", "form"), key, strict=True))


def _bits_per_byte(trained: Trained, part: str) -> float:
    outcomes = getattr(trained, part)
    return float(sum(outcomes.bits) / sum(outcomes.n_bytes))


class Summary:
    """Means and paired differences over the seeds that are whole."""

    def __init__(self, seeds: Sequence[Seed], goals: Sequence[str], encoder: str) -> None:
        self.seeds, self.goals, self.encoder = seeds, goals, encoder
        arms = {(sampler, rules) for _, sampler, rules in seeds[0].choices}
        self.arms = sorted(arms, key=lambda arm: (FORMS.index(arm[1]), arm[0]))

    def junk(self, arm: tuple[str, str]) -> dict[str, float]:
        """Return the mean share over seeds, by goal."""
        return {
            goal: float(np.mean([seed.choices[goal, *arm].junk for seed in self.seeds]))
            for goal in self.goals
        }

    def junk_interval(self, arm: tuple[str, str]) -> Interval:
        """Return the mean over goals with its interval."""
        return over_seeds(
            [float(np.mean([seed.choices[goal, *arm].junk for goal in self.goals])) for seed in self.seeds]
        )

    def distance(self, arm: tuple[str, str], encoder: str, matched: bool = True) -> Interval:
        """Return the difference to today's default, at equal depth or of all sound documents."""
        gaps = []
        for seed in self.seeds:
            own = []
            for goal in self.goals:
                one, today = seed.choices[goal, *arm], seed.choices[goal, *DEFAULT]
                most = min(int((~choice.is_junk).sum()) for choice in (one, today)) if matched else None
                own.append(one.sound(encoder, most) - today.sound(encoder, most))
            gaps.append(float(np.mean(own)))
        return over_seeds(gaps)

    def bits(self, arm: tuple[str, str], part: str, goals: Sequence[str] | None = None) -> Interval | None:
        """Return the difference to today's default over held-out texts and the seeds that trained both.

        None without any.
        """
        keys = [(goal, *own) for goal in self.goals for own in (arm, DEFAULT)]
        whole = [seed for seed in self.seeds if all(key in seed.trained for key in keys)]
        if not whole:
            return None
        both = []
        for own in (arm, DEFAULT):
            by_goal = []
            for goal in goals or self.goals:
                runs = [[getattr(one, part) for one in seed.trained[goal, *own]] for seed in whole]
                by_goal.append(np.stack([values("bits_per_byte", one).mean(0) for one in runs]))
            both.append(np.stack(by_goal))
        texts = sum(len(whole[0].trained[goal, *arm][0].goal.n_bytes) for goal in goals or self.goals)
        found = difference(both[0], both[1], texts)
        few = len(whole) < 2
        return Interval(
            mean=found.mean, low=-np.inf if few else found.low, high=np.inf if few else found.high
        )

    def arm(self, arm: tuple[str, str]) -> Arm:
        """Return what the rule looks at."""
        sampler, rules = arm
        return Arm(
            sampler=sampler,
            form=rules,
            by_judge=sampler in BY_JUDGE,
            junk=self.junk(arm),
            random=self.junk(("random", rules)),
            distance=self.distance(arm, self.encoder),
            goal_bits=self.bits(arm, "goal") if rules in ARMS_TRAINED else None,
            control_bits=self.bits(arm, "control") if rules in ARMS_TRAINED else None,
        )


def print_kinds(summary: Summary) -> None:
    """Print, by arm, which share of the choices of all seeds and goals is junk of each kind."""
    for sampler, rules in summary.arms:
        own = [seed.choices[goal, sampler, rules] for seed in summary.seeds for goal in summary.goals]
        total = sum(len(choice.ids) for choice in own)
        counts = by_kind(np.concatenate([choice.kinds[choice.is_junk] for choice in own]).tolist())
        shares = {kind: round(count / total, 4) for kind, count in counts.items()}
        report(NAME, "kinds", sampler=sampler, form=rules, shares=shares)


def print_summary(summary: Summary, encoders: Sequence[str]) -> None:
    """Print every arm's figures with intervals over seeds, and the verdict."""
    for arm in summary.arms:
        figures: dict[str, object] = {"junk": summary.junk_interval(arm).figures()}
        figures |= {f"junk_{goal}": round(share, 4) for goal, share in summary.junk(arm).items()}
        for encoder in encoders:
            figures[f"matched_{encoder}_over_today"] = summary.distance(arm, encoder).figures()
            figures[f"distance_{encoder}_over_today"] = summary.distance(
                arm, encoder, matched=False
            ).figures()
        for part in ("goal", "control") if arm[1] in ARMS_TRAINED else ():
            gap = summary.bits(arm, part)
            figures[f"{part}_bits_over_today"] = gap.figures() if gap else None
        for goal in summary.goals if arm[1] in ARMS_TRAINED else ():
            gap = summary.bits(arm, "goal", [goal])
            figures[f"{goal}_bits_over_today"] = gap.figures() if gap else None
        report(NAME, "summary", sampler=arm[0], form=arm[1], seeds=len(summary.seeds), **figures)


def print_verdict(summary: Summary, left: int) -> None:
    """Print what the rule says of each arm, and the winner."""
    arms = [summary.arm(arm) for arm in summary.arms if arm[1] in ARMS_TRAINED]
    for arm in arms:
        report(NAME, "aims", arm=arm.name, meets=not arm.failures(), missed=arm.failures())
    found = verdict(arms)
    blind = (
        summary.arm((found.winner.sampler, UNSEEN)) if found.winner and found.winner.form == SHIPPED else None
    )
    report(
        NAME,
        "verdict",
        winner=found.winner.name if found.winner else None,
        meets=found.meets,
        junk=found.winner.mean_junk if found.winner else None,
        bits_over_today=found.winner.bits if found.winner else None,
        by_judge=found.judge.name if found.judge else None,
        on_unseen_damage=blind.mean_junk if blind else None,
        missed_on_unseen_damage=blind.failures() if blind else None,
        trainings_left=left,
        seeds=len(summary.seeds),
    )


def run(flags: argparse.Namespace, folder: Path) -> None:
    """Choose, measure, train, print."""
    until = time.monotonic() + 60 * flags.minutes
    samplers = tuple(dict.fromkeys(("random", "got-d", *flags.samplers, *(BY_JUDGE if flags.judge else ()))))
    encoders = tuple(dict.fromkeys(("static", flags.encoder, *flags.measured_by)))
    sizes = Sizes(documents=flags.documents, held_out=flags.held_out)
    verdicts, seeds = Verdicts(folder / "models"), []
    for number in flags.seeds:
        study = Study(
            folder=folder / f"{flags.encoder}-{number}",
            sizes=sizes,
            pages=flags.pages.resolve() if flags.pages else None,
            seed=number,
            samplers=samplers,
            goals=tuple(flags.goals),
            budget=flags.budget,
            encoder=flags.encoder,
        )
        study.materialize()
        print_pool(study, verdicts)
        seed = Seed(study=study, choices=choices_of(study, verdicts, encoders, folder / "models"), trained={})
        print_choices(seed)
        seeds.append(seed)
    summary, left = Summary(seeds, flags.goals, flags.encoder), 0
    print_kinds(summary)
    if flags.part != "choices":
        recipe = Recipe(preset=flags.model, tokens=flags.tokens, training_seeds=flags.training_seeds)
        left = print_trained(summary, recipe, until)
    print_summary(summary, encoders)
    print_verdict(summary, left)
    if left:
        print(f"{left} trainings are left; run the same command again with --home", file=sys.stderr)


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pages", type=Path, help="folder with HTML of documentation packages")
    parser.add_argument("--documents", type=at_least(1_000), default=6_000, help="texts of a pool")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="a pool each")
    parser.add_argument("--goals", nargs="+", default=[*GOALS], choices=[*GOALS])
    parser.add_argument("--samplers", nargs="+", default=[*PLAIN], choices=[*PLAIN])
    parser.add_argument("--judge", action="store_true", help="samplers that ask the judge, too")
    parser.add_argument("--budget", default="10%")
    parser.add_argument("--encoder", default="static", help="of the choices")
    parser.add_argument("--measured-by", nargs="*", default=[], help="encoders of distances, beside static")
    parser.add_argument("--held-out", type=at_least(20), default=1_000, help="examples of a goal")
    parser.add_argument("--part", choices=["choices", "bits"], default="bits", help="choices: no training")
    parser.add_argument("--model", default="llama-0.8m", choices=[*PRESETS])
    parser.add_argument("--tokens", type=at_least(1_000), default=300_000, help="of a training")
    parser.add_argument("--training-seeds", type=at_least(1), default=1)
    parser.add_argument("--minutes", type=float, default=1e9, help="no training begins later")
    parser.add_argument("--home", type=Path, help="folder to use and keep")
    in_its_folder(begin(parser), run)


if __name__ == "__main__":
    main()
