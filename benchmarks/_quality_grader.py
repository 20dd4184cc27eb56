"""The grader's parts of the quality benchmark: crowd-judged arguments, planted noise, chosen samples."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from benchmarks._quality_data import Report, arguments, clean_texts, features_of, noise_of
from tamis.base.progress import Progress
from tamis.quality import AskLLM, auc, choose_actively, fit_grader

LEAST_SPEARMAN, LEAST_AREA = 0.70, 0.95
SHARES, SEEDS, JUDGED, TESTED = (0.0, 0.5, 1.0), 16, 200, 350
WITHOUT_VECTORS = -2  # the last two columns are perplexity and whether it is missing


def bench_grader(given: Namespace, report: Report) -> None:
    """Each topic predicted by a grader of the others; crowd scores stand for the judge's."""
    rows = arguments()
    if rows is None:
        return
    features_nk, dimension = features_of(rows["text"].to_list(), given.encoder, given.cache)
    for group, wanted in (("topic", {"spearman": LEAST_SPEARMAN}), ("question", None)):
        # Both sides of a question share words: leaving out one of them is what others report.
        side = pl.col("topic") if group == "topic" else pl.col("topic").str.replace("_[^_]*$", "")
        figures = _left_out(rows.with_columns(side.alias("left_out")), features_nk, dimension, given.seed)
        report.line("grader", wanted, data="ukpconvarg1", encoder=given.encoder, left_out=group, **figures)
    bench_active(rows, features_nk, dimension, report)


def _left_out(rows: pl.DataFrame, features_nk: np.ndarray, dimension: int, seed: int) -> dict[str, Any]:
    topics = rows["left_out"].unique().sort()
    lengths_n = rows["text"].str.len_chars().to_numpy()
    reports = []
    with Progress("leave one out", len(topics)) as progress:
        for topic in topics:
            grader = fit_grader(
                features_nk,
                rows["bt_score"].to_numpy(),
                (rows["left_out"] == topic).to_numpy(),
                doc_ids=rows["doc_id"].to_list(),
                lengths_n=lengths_n,
                vector_columns=dimension,
                seed=seed,
            )
            reports.append(grader.report)
            progress.advance(1)
    ours_t = np.array([found.spearman for found in reports])
    low, high = _interval(ours_t)
    length = float(np.mean([found.length_only_spearman for found in reports]))
    return {
        "n": len(rows),
        "groups": len(topics),
        "spearman": float(ours_t.mean()),
        "low": low,
        "high": high,
        "length_only": length,
    }


def _interval(values: np.ndarray) -> tuple[float, float]:
    drawn = np.random.default_rng(0).choice(values, (2_000, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def bench_active(rows: pl.DataFrame, features_nk: np.ndarray, dimension: int, report: Report) -> None:
    """Samples of 200 chosen with each share, graders compared on 350 documents that no choice has seen."""
    found = np.array(
        [[_chosen(rows, features_nk, dimension, seed, share) for share in SHARES] for seed in range(SEEDS)]
    )
    for place, share in enumerate(SHARES[1:], start=1):
        against = found[:, place] - found[:, 0]
        low, high = _interval(against)
        means: dict[str, Any] = {
            "spearman": float(found[:, place].mean()),
            "uniform": float(found[:, 0].mean()),
        }
        difference: dict[str, Any] = {"difference": float(against.mean()), "low": low, "high": high}
        report.line("active_sample", active_share=share, judged=JUDGED, seeds=SEEDS, **means, **difference)


def _chosen(rows: pl.DataFrame, features_nk: np.ndarray, dimension: int, seed: int, share: float) -> float:
    order = np.random.default_rng(seed).permutation(len(rows))
    tested, pool = order[:TESTED], order[TESTED:]
    ids = rows["doc_id"].to_numpy()
    seen_nk = features_nk[pool, :WITHOUT_VECTORS]
    sample = choose_actively(
        ids[pool].tolist(), seen_nk, JUDGED, seed, active_share=share, vector_columns=dimension
    )
    learned = np.isin(ids, sample.filter(pl.col("part") == "train")["doc_id"].to_list())
    used = np.concatenate([np.flatnonzero(learned), tested])
    grader = fit_grader(
        features_nk[used],
        rows["bt_score"].to_numpy()[used],
        np.isin(used, tested),
        doc_ids=ids[used].tolist(),
        lengths_n=rows["text"].str.len_chars().to_numpy()[used],
        vector_columns=dimension,
        seed=seed,
    )
    return grader.report.spearman


def bench_noise(given: Namespace, report: Report) -> None:
    """A grader of half noise tells other clean texts from other noise."""
    half, tested = given.judged // 2, given.tested
    name, texts = clean_texts(2 * (half + tested), given.seed)
    # Noise is made of other documents than those that stand for clean ones: neither is a copy of the other.
    parts = np.split(np.array(texts, dtype=object), np.cumsum([half, half, tested]))
    noise = noise_of(parts[1].tolist(), given.seed, 0)
    other_noise = noise_of(parts[3].tolist(), given.seed + 1, 1)
    learned = [*parts[0].tolist(), *noise["text"]]
    asked = [*parts[2].tolist(), *other_noise["text"]]
    is_clean = np.arange(len(learned)) < half
    with Progress("asking the judge", len(learned)) as progress:
        judge = AskLLM("smollm2-135m", max_tokens=given.max_tokens)
        margins = judge.score(learned, progress.advance)["margin"].to_numpy()
    features_nk, dimension = features_of([*learned, *asked], given.filter_encoder, given.cache)
    kinds = other_noise["kind"].to_numpy()
    facts = {"clean": name, "n": len(asked), "judged": len(learned), "seed": given.seed}
    facts |= {"encoder": given.filter_encoder, "max_tokens": given.max_tokens}
    area = auc(margins[is_clean], margins[~is_clean], seed=given.seed)
    report.line("judge_on_training_part", auc=area.value, low=area.low, high=area.high, **facts)
    for labels, values in (("judge margins", margins), ("noise labels", is_clean.astype(float))):
        predicted = _predictions(features_nk, values, [*learned, *asked], dimension, given.seed)
        clean, noisy = predicted[: len(parts[2])], predicted[len(parts[2]) :]
        area = auc(clean, noisy, seed=given.seed)
        by_kind = {
            str(kind): auc(clean, noisy[kinds == kind], resamples=1).value for kind in np.unique(kinds)
        }
        figures = {"auc": area.value, "low": area.low, "high": area.high, "by_kind": by_kind}
        report.line("grader_on_noise", {"auc": LEAST_AREA}, learned_from=labels, **figures, **facts)


def _predictions(
    features_nk: np.ndarray, values_n: np.ndarray, texts: Sequence[str], dimension: int, seed: int
) -> np.ndarray:
    """Predictions for the texts behind the judged ones, by a grader of nearly all of these."""
    count = len(values_n)
    held_out = np.arange(count) % 10 == 0  # for the grader's own report, which is not used here
    grader = fit_grader(
        features_nk[:count],
        values_n,
        held_out,
        doc_ids=[str(row) for row in range(count)],
        lengths_n=[len(text) for text in texts[:count]],
        vector_columns=dimension,
        seed=seed,
    )
    return grader.predict(features_nk[count:])
