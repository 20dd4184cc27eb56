"""Attribution: do sums of scores predict what training on half of a pool does? JSON lines on stdout.

    python -m benchmarks.attribution --home F                  what has no result in F yet
    python -m benchmarks.attribution --home F --part halves    only the trainings on halves, the longest part
    python -m benchmarks.attribution --rehearse                tiny sizes, some minutes

Of 4,000 documents, stratified by source and length, 100 random halves of equal tokens are each trained on
with two seeds, from a model of .8 million parameters that read a million tokens of other documents of these
sources. Losses are measured on 100 examples of each of four tasks (AG News, IMDB, banking77, SciCite). A
score predicts that a half with a larger sum of scores ends with a smaller loss: *lds* is Spearman's
correlation of the two over the halves, by example, averaged over the examples of all tasks (linear
datamodeling score), with a 95 % interval over draws of halves and examples. `by_example` has a score for
each example where the method knows one; `of_mean` compares the score for the goal, from 200 other examples
of the task, with the mean loss. *ceiling*: what a score without error would reach with two seeds, from the
agreement of the seeds.

*tail*: each score's best tenth of the tokens against a random tenth, in five pairs, on 100 further examples
of each task; difference to random, and to kNN with static vectors, with 90 % intervals over seeds and
examples. A score whose tail beats kNN's (Holm over scores, one-sided .05) is offered to [tune]. Registered
before the first run: at least one score has an lds of .05 or more; the orders of scores by `of_mean` and by
tail correlate by less than .7 (Spearman); target path has a larger lds than kNN with static vectors. All is
printed whatever comes.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._attribution_scores import METHODS, Asked, initial_bits
from benchmarks._flags import at_least, begin
from benchmarks._project import in_its_folder, made_once
from benchmarks._real_graph import report
from benchmarks._real_pool import PoolShares, pool_rows, unused_rows
from benchmarks._real_tasks import TASKS, Task, task_rows
from benchmarks._tune_runs import difference
from benchmarks._workers import in_workers
from tamis.base.files import write_atomically
from tamis.base.ranks import spearman
from tamis.comparison.statistics import holm
from tamis.training import PretrainingOptions, count_tokens, preset_shape, pretrain, train_tokenizer
from tamis.training.followed import MeasuredOptions, Start, train_measured
from tamis.training.options import Session

NAME = "attribution"
SHARES = PoolShares(noise=0.02, boilerplate=0.02, duplicates=0.0)
TARGET, GOAL, OTHER = 200, 100, 100
"""Examples of a task that scores may read, whose losses they predict, and that the tail is measured on."""
DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the study; what the rehearsal makes small."""

    preset: str = "llama-0.8m"
    documents: int = 4_000
    longest: int = 1_000
    """Characters of a document; the rest is cut off."""
    pretraining: int = 1_000_000
    halves: int = 100
    seeds: int = 2
    pairs: int = 5


REHEARSED = Sizes(preset="llama-0.3m", documents=400, pretraining=40_000, halves=6, pairs=3)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Documents, examples, and the model that every run begins with, in a folder."""

    folder: Path
    sizes: Sizes

    @cached_property
    def pool(self) -> pl.DataFrame:
        """Text, source and tokens of each document, stratified by source and by thirds of length."""
        rows = pool_rows(8 * self.sizes.documents, SHARES, 0).select(
            "id", "domain", text=pl.col("text").str.slice(0, self.sizes.longest)
        )
        third = (
            pl.col("text").str.len_bytes().rank("ordinal").over("domain") * 3 // (pl.len().over("domain") + 1)
        )
        kept = (
            pl.col("id").rank("ordinal").over("domain", "third") * 8 <= pl.len().over("domain", "third") + 7
        )
        rows = rows.with_columns(third=third).filter(kept).sort("id").head(self.sizes.documents)
        return rows.with_columns(tokens=pl.Series(count_tokens(self.tokenizer, rows["text"])))

    @property
    def tokenizer(self) -> Path:
        """Folder of a tokenizer that was trained on other documents."""
        return self.folder / "tokenizer"

    @property
    def base(self) -> Path:
        """Folder of the model that every run begins with."""
        return self.folder / "base"

    def prepare(self) -> None:
        """Train the tokenizer and the model on documents that are not in the pool.

        Exits where a kept folder is that of a study of other sizes.
        """
        made_once(self.folder / "study.json", asdict(self.sizes), lambda path: path.write_text("{}"))
        count = 8 * self.sizes.documents
        texts = unused_rows(count, SHARES, 0)["text"].str.slice(0, self.sizes.longest).to_list()
        if not self.tokenizer.is_dir():
            train_tokenizer(texts[:4_000], self.tokenizer)
        if not self.base.is_dir():
            options = PretrainingOptions(tokens=self.sizes.pretraining)
            shape = preset_shape(self.sizes.preset, 4_096)
            pretrain(shape, texts, self.tokenizer, options, self.base, self.folder / "resume-base")

    def examples(self, task: Task) -> tuple[list[str], list[str], list[str]]:
        """Return the texts of a task: those scores read, those they predict, and those of the tail."""
        texts = task_rows(task)["text"].str.slice(0, self.sizes.longest).to_list()
        return texts[:TARGET], texts[TARGET : TARGET + GOAL], texts[TARGET + GOAL : TARGET + GOAL + OTHER]

    def half(self, number: int) -> list[int]:
        """Return the places of the documents of a half: about half of the tokens of each source and third."""
        keys = np.random.default_rng([number, 1]).permutation(len(self.pool))
        ordered = self.pool.with_row_index("place").with_columns(key=pl.Series(keys)).sort("key")
        within = ordered.with_columns(
            before=pl.col("tokens").cum_sum().over("domain", "third") - pl.col("tokens"),
            whole=pl.col("tokens").sum().over("domain", "third"),
        )
        return within.filter(2 * pl.col("before") < pl.col("whole"))["place"].to_list()

    def best(self, score_n: np.ndarray) -> list[int]:
        """Return the places of the best documents, a tenth of all tokens."""
        tokens_n = self.pool["tokens"].to_numpy()
        order = np.lexsort((np.arange(len(score_n)), -score_n))
        return order[np.cumsum(tokens_n[order]) - tokens_n[order] < tokens_n.sum() / 10].tolist()

    def random_tenth(self, pair: int) -> list[int]:
        """Return the places of random documents, a tenth of all tokens."""
        return self.best(np.random.default_rng([pair, 2]).random(len(self.pool)))

    def train(self, name: str, places: Sequence[int], seed: int) -> None:
        """Train on documents, for half of all tokens or, in a tail, a tenth, unless a file has the losses."""
        kept = self.folder / "runs" / f"{name}.json"
        if kept.is_file():
            return
        share, measured = (0.5, 1) if name.startswith("half") else (0.1, 2)
        held_out = {task.name: self.examples(task)[measured] for task in TASKS.values()}
        texts = self.pool["text"].to_list()
        order = np.random.default_rng([seed, 3]).permutation(places)
        tokens = int(share * float(self.pool["tokens"].sum()))
        began = time.monotonic()
        run = train_measured(
            Start(model=self.base),
            [texts[place] for place in order],
            MeasuredOptions(tokens=tokens, evaluations=1, learning_rate=2e-3, seed=seed),
            held_out,
            Session(resume=self.folder / "resume" / name),
        )
        bits = {task: part.document_bits.tolist() for task, part in run.evaluations.items()}
        kept.parent.mkdir(exist_ok=True)
        write_atomically(kept, json.dumps({"bits": bits, "seconds": time.monotonic() - began}).encode())


def train_halves(study: Study, workers: int) -> None:
    """Train on every half with each seed."""
    sizes = study.sizes
    calls = [
        (study.folder, sizes, f"half-{half}-{seed}", study.half(half), seed)
        for half in range(sizes.halves)
        for seed in range(sizes.seeds)
    ]
    in_workers(_train, calls, workers)


def train_tails(study: Study, scores: Mapping[str, Mapping[str, np.ndarray]], workers: int) -> None:
    """Train on every score's best tenth, in pairs with a random one."""
    calls: list[tuple[object, ...]] = []
    for pair in range(study.sizes.pairs):
        places = {"random": study.random_tenth(pair)}
        for method, by_task in scores.items():
            places |= {f"{method}-{task}": study.best(score_n) for task, score_n in by_task.items()}
        calls += [
            (study.folder, study.sizes, f"tail-{name}-{pair}", chosen, pair)
            for name, chosen in places.items()
        ]
    in_workers(_train, calls, workers)


def _train(folder: Path, sizes: Sizes, name: str, places: list[int], seed: int) -> None:
    _opened(folder, sizes).train(name, places, seed)


@cache
def _opened(folder: Path, sizes: Sizes) -> Study:
    """Return the study in a worker, which reads the pool once for all its runs."""
    return Study(folder=folder, sizes=sizes)


def losses(study: Study) -> dict[str, np.ndarray]:
    """Return bits of each goal example after training on each half, [half, seed, example] by task."""
    sizes = study.sizes
    read = [
        [
            json.loads((study.folder / "runs" / f"half-{half}-{seed}.json").read_bytes())["bits"]
            for seed in range(sizes.seeds)
        ]
        for half in range(sizes.halves)
    ]
    return {task: np.array([[seed[task] for seed in seeds] for seeds in read]) for task in TASKS}


def correlations(sums_he: np.ndarray, bits_he: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation [e] of sums of scores with how far losses fall, over halves."""
    ranks_he, falls_he = (
        pl.DataFrame(part).select(pl.all().rank()).to_numpy() for part in (sums_he, -bits_he)
    )
    ranks_he, falls_he = ranks_he - ranks_he.mean(0), falls_he - falls_he.mean(0)
    norm_e = np.sqrt((ranks_he**2).sum(0) * (falls_he**2).sum(0))
    return np.where(norm_e > 0, (ranks_he * falls_he).sum(0) / np.where(norm_e > 0, norm_e, 1), 0.0)


def interval(sums: Sequence[np.ndarray], bits: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Return the mean over tasks and examples, and its 95 % interval over draws of halves and examples."""
    rng, drawn = np.random.default_rng(0), []
    means = [float(correlations(sum_he, bits_he).mean()) for sum_he, bits_he in zip(sums, bits, strict=True)]
    halves = len(bits[0])
    for _ in range(DRAWS):
        rows = rng.integers(0, halves, halves)
        parts = []
        for sum_he, bits_he in zip(sums, bits, strict=True):
            columns = rng.integers(0, bits_he.shape[1], bits_he.shape[1])
            parts.append(float(correlations(sum_he[rows][:, columns], bits_he[rows][:, columns]).mean()))
        drawn.append(float(np.mean(parts)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean(means)), float(low), float(high)


def print_ceiling(bits: Mapping[str, np.ndarray]) -> None:
    """Print what a perfect score would reach: the square root of the reliability of the mean over seeds."""
    agreements = [float(correlations(-bits_hse[:, 0], bits_hse[:, 1]).mean()) for bits_hse in bits.values()]
    agreed = float(np.mean(agreements))
    reliability = 2 * agreed / (1 + agreed) if agreed > 0 else 0.0
    report(NAME, "ceiling", seeds_agree=agreed, ceiling=reliability**0.5)


def print_lds(
    study: Study, methods: Mapping[str, Mapping[str, Asked]], bits: Mapping[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Print the linear datamodeling score of each method; return it, by example and of the mean."""
    scores = {}
    member_hn = np.zeros((study.sizes.halves, len(study.pool)))
    for half in range(study.sizes.halves):
        member_hn[half, study.half(half)] = 1
    for method, by_task in methods.items():
        each, mean = [], []
        for task, asked in by_task.items():
            own_ne = asked.by_example if asked.by_example is not None else asked.goal[:, None]
            sums_he = member_hn @ np.nan_to_num(own_ne)
            mean_he = bits[task].mean(1)
            each.append((np.broadcast_to(sums_he, mean_he.shape), mean_he))
            mean.append(((member_hn @ np.nan_to_num(asked.goal))[:, None], mean_he.mean(1, keepdims=True)))
        by_example, low, high = interval([part[0] for part in each], [part[1] for part in each])
        of_mean, mean_low, mean_high = interval([part[0] for part in mean], [part[1] for part in mean])
        report(
            NAME,
            "lds",
            method=method,
            has_examples=next(iter(by_task.values())).by_example is not None,
            by_example=by_example,
            low=low,
            high=high,
            of_mean=of_mean,
            of_mean_low=mean_low,
            of_mean_high=mean_high,
        )
        scores[method] = by_example, of_mean
    return scores


def print_tails(study: Study, methods: Sequence[str]) -> dict[str, float]:
    """Print what training on each score's best tenth gives, against random and kNN; return the former."""
    pairs = range(study.sizes.pairs)

    def read(name: str, task: str) -> list[float]:
        values: list[float] = json.loads((study.folder / "runs" / f"{name}.json").read_bytes())["bits"][task]
        return values

    examples = {task.name: study.examples(task)[2] for task in TASKS.values()}
    size_d = [len(text.encode()) for texts in examples.values() for text in texts]

    def bits(method: str) -> np.ndarray:
        names = {task: "random" if method == "random" else f"{method}-{task}" for task in TASKS}
        return np.array(
            [[b for task in TASKS for b in read(f"tail-{names[task]}-{pair}", task)] for pair in pairs]
        )

    random_pd, knn_pd = bits("random"), bits("knn, static")
    tails = {method: bits(method) for method in methods}
    against = {
        method: difference(own, knn_pd, size_d) for method, own in tails.items() if method != "knn, static"
    }
    corrected = dict(zip(against, holm([gain.p_better for gain in against.values()]), strict=True))
    gains = {method: difference(own_pd, random_pd, size_d) for method, own_pd in tails.items()}
    for method, gain in gains.items():
        row = {"to_random": gain.mean, "low": gain.low, "high": gain.high}
        if method in against:
            other = against[method]
            row |= {"to_knn": other.mean, "to_knn_low": other.low, "to_knn_high": other.high}
            row |= {"p_better_than_knn": corrected[method]}
        fall_d = (tails[method] - random_pd).mean(0)
        by_task = {
            f"to_random_{task}": float(fall_d[part].sum() / sum(size_d[part]))
            for part, task in zip(_parts(examples), TASKS, strict=True)
        }
        report(NAME, "tail", method=method, **row, **by_task, offered=bool(corrected.get(method, 1.0) < 0.05))
    return {method: gain.mean for method, gain in gains.items()}


def print_claims(scores: Mapping[str, tuple[float, float]], tails: Mapping[str, float]) -> None:
    """Print what was registered, and whether it holds."""
    largest = max(by_example for by_example, _ in scores.values())
    report(NAME, "claim", what="an lds of .05", largest=largest, holds=largest >= 0.05)
    agreed = spearman(np.array([scores[method][1] for method in tails]), -np.array([*tails.values()]))
    report(NAME, "claim", what="orders by lds and tail differ", spearman=agreed, holds=bool(agreed < 0.7))
    ahead = scores["target path"][0] - scores["knn, static"][0]
    report(NAME, "claim", what="target path ahead of kNN", ahead=ahead, holds=ahead > 0)


def _parts(examples: Mapping[str, Sequence[str]]) -> list[slice]:
    ends = np.cumsum([len(texts) for texts in examples.values()]).tolist()
    return [slice(end - len(texts), end) for end, texts in zip(ends, examples.values(), strict=True)]


def run(flags: argparse.Namespace, folder: Path) -> bool:
    """Prepare, score, train what is missing, print."""
    sizes = REHEARSED if flags.rehearse else Sizes()
    study = Study(folder=folder, sizes=sizes)
    study.prepare()
    report(
        NAME, "study", **asdict(sizes), tokens=int(study.pool["tokens"].sum()), documents_kept=len(study.pool)
    )
    train_halves(study, flags.workers)
    if flags.part == "halves":
        return True
    methods: dict[str, dict[str, Asked]] = {}
    initial = initial_bits(tuple(study.pool["text"]), study.base)
    for method, score in METHODS.items():
        began = time.monotonic()
        methods[method] = {
            task.name: score(study.pool["text"].to_list(), *study.examples(task)[:2], study.base)
            for task in TASKS.values()
        }
        seconds = time.monotonic() - began
        with_length, with_loss = (
            float(np.mean([spearman(asked.goal, other) for asked in methods[method].values()]))
            for other in (study.pool["tokens"].to_numpy(), initial)
        )
        report(
            NAME,
            "score",
            method=method,
            seconds=seconds,
            with_length=with_length,
            with_initial_loss=with_loss,
        )
    goals = {
        method: {task: asked.goal for task, asked in by_task.items()} for method, by_task in methods.items()
    }
    train_tails(study, goals, flags.workers)
    bits = losses(study)
    print_ceiling(bits)
    print_claims(print_lds(study, methods, bits), print_tails(study, list(methods)))
    return True


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=at_least(1), default=2, help="runs at a time, one thread each")
    parser.add_argument("--part", choices=["halves", "all"], default="all")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes")
    parser.add_argument("--home", type=Path, help="folder to use and keep")
    flags = begin(parser)
    sys.exit(not in_its_folder(flags, run))


if __name__ == "__main__":
    main()
