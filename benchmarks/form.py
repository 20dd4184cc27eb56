"""Recall of the rules `form` on damage that their model has not seen, and what they drop: JSON lines.

    python -m benchmarks.form --documentation FOLDER --manuals MANUALS

- unseen: each kind of damage is left out of a fit in turn; recall is of that kind, on texts of sources that
  the fit has not seen. Wanted: .8 on average, .5 for each kind.
- seen: recall of the model that is part of the package.
- sound: the share of sound texts that it drops, by kind, of other sources. Wanted: at most 1 % on average and
  2 % of each. sound_left_out: the same of the kinds that are fitted on, each left out.
- rivals: recall by kind and dropped shares of noise with boilerplate, Gopher and FineWeb, same texts.
- speed: documents and characters a CPU second.

FOLDER: where `dpkg-deb -x` unpacked the packages fortunes, fortunes-min, debian-reference-en, jargon-text and
vim-doc of Debian, and any with pages of HTML; without it, their kinds of text are missing. MANUALS: the same
of sqlite3-doc and apache2-doc, which the default is fitted on.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._form_data import (
    Kinds,
    main_texts,
    measured_damage,
    measured_kinds,
    pages,
    raw_pages,
    texts_to_fit,
    to_judge,
)
from benchmarks._quality_data import Report
from tamis.filters import Plan, measured
from tamis.filters.boilerplate import REPEATED, repeated_share
from tamis.filters.form.damage import KINDS
from tamis.filters.form.model import FormModel, default_model, fit
from tamis.filters.form.statistics import form

RIVALS = {"noise and boilerplate": ("noise", "boilerplate"), "gopher": ("gopher",), "fineweb": ("fineweb",)}
LEAST_LENGTH = 150
"""Characters of the sound text that is damaged to measure recall."""


def over(model: FormModel, stats: pl.DataFrame) -> pl.DataFrame:
    """Return `kind` and `out` of each row."""
    fell = (model.judge(stats)["form_logit"] > model.limit).fill_null(False)
    return stats.select("kind").with_columns(out=fell)


def by_kind(rows: pl.DataFrame) -> dict[str, float]:
    """Return the share of each kind that is out."""
    return {
        kind: round(share, 4) for kind, share in rows.group_by("kind").agg(pl.mean("out")).sort("kind").rows()
    }


def bench_unseen(
    good: pl.DataFrame, bad: pl.DataFrame, judged: pl.DataFrame, fits: int, report: Report
) -> None:
    """Leave each kind of damage out of a fit, also as a part of mixtures.

    With fewer fits than kinds, several are left out at once, and recall is a lower bound.
    """
    kinds, recall = sorted(set(judged["kind"])), dict[str, float]()
    for fold in range(min(fits, len(kinds))):
        out = kinds[fold::fits]
        mixed = pl.any_horizontal(pl.col("parts").list.contains(kind) for kind in out)
        model = fit(good, bad.filter(~mixed), "without some kinds of damage")
        recall |= by_kind(over(model, judged.filter(pl.col("kind").is_in(out))))
    report.line(
        "form_unseen",
        {"recall": 0.8, "recall_of_the_worst": 0.5},
        left_out_at_once=-(-len(kinds) // fits),
        kinds=len(kinds),
        recall=sum(recall.values()) / len(recall),
        recall_of_the_worst=min(recall.values()),
        under_half=sum(share < 0.5 for share in recall.values()),
        by_kind=dict(sorted(recall.items(), key=lambda pair: pair[1])),
    )


def bench_shipped(damage: pl.DataFrame, sound: pl.DataFrame, report: Report) -> None:
    """Judge texts of other sources by the model that is part of the package."""
    caught = by_kind(over(default_model(), damage))
    report.line("form_seen", None, recall=sum(caught.values()) / len(caught), by_kind=caught)
    report_sound("form_sound", by_kind(over(default_model(), sound)), report, judged=True)


def bench_kinds(good: pl.DataFrame, bad: pl.DataFrame, folds: int, report: Report) -> None:
    """Leave kinds of sound text out of a fit in turn and judge these, as they are."""
    kinds = np.random.default_rng(1).permutation(sorted(set(good["kind"]))).tolist()
    dropped: dict[str, float] = {}
    for fold in range(folds):
        out = pl.col("kind").is_in(kinds[fold::folds])
        model = fit(good.filter(~out), bad, "without some kinds of sound text")
        dropped |= by_kind(over(model, good.filter(out & ~pl.col("changed"))))
    report_sound("form_sound_left_out", dropped, report, judged=False)


def report_sound(name: str, dropped: dict[str, float], report: Report, judged: bool) -> None:
    """Report shares of sound texts that fall."""
    mean, worst = sum(dropped.values()) / len(dropped), max(dropped.values())
    report.line(
        name,
        {"kept": 0.99, "kept_of_the_worst": 0.98} if judged else None,
        kept=1 - mean,
        kept_of_the_worst=1 - worst,
        dropped=dict(sorted(dropped.items(), key=lambda pair: -pair[1])),
    )


def bench_rivals(damage: pl.DataFrame, sound: pl.DataFrame, report: Report) -> None:
    """Other families of rules on the same texts."""
    rows = pl.concat([damage.select("kind", "text", good=False), sound.select("kind", "text", good=True)])
    for rival, families in RIVALS.items():
        frame = rows.with_row_index("doc_id").with_columns(n_chars=pl.col("text").str.len_chars())
        flags = frame.hstack(measured(frame, Plan(heuristics=families)))
        out = pl.col("broken") != ""
        if "boilerplate" in families:
            pages = repeated_share(flags).filter(REPEATED.broken)["doc_id"]
            out = out | pl.col("doc_id").is_in(pages.implode())
        found = flags.select("kind", "good", out=out)
        caught = by_kind(found.filter(~pl.col("good")))
        report.line(
            "form_rival", None, rules=rival, recall=sum(caught.values()) / len(caught), by_kind=caught
        )
        report_sound(f"form_rival_sound {rival}", by_kind(found.filter(pl.col("good"))), report, judged=False)


def bench_speed(texts: pl.Series, report: Report) -> None:
    """Statistics and verdicts of the default model."""
    texts = texts.str.slice(0, 670)
    began = time.process_time()
    default_model().judge(form(texts))
    seconds = time.process_time() - began
    characters = int(texts.str.len_chars().sum())
    report.line(
        "form_speed",
        {"documents_of_670_a_cpu_second": 10_000},
        documents_of_670_a_cpu_second=characters / 670 / seconds,
        characters_a_cpu_second=characters / seconds,
    )


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=at_least(20), default=400, help="of a kind, to fit")
    parser.add_argument("--damaged", type=at_least(10), default=300, help="of a kind, to fit")
    parser.add_argument("--judged", type=at_least(10), default=400, help="of a kind, to judge")
    parser.add_argument("--fits", type=at_least(2), default=len(KINDS) + 2, help="each leaves out some kinds")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--documentation", type=Path)
    parser.add_argument("--manuals", type=Path)
    flags = begin(parser)
    report = Report()
    others = to_judge(flags.judged, flags.documentation)
    broken: Kinds = {}
    if flags.documentation:
        documents = pages(flags.documentation)
        others |= {"manuals as text": main_texts(documents, flags.judged)}
        broken = raw_pages(documents, flags.judged // 3, 1)
    sound = measured_kinds(others)
    damage = measured_damage(others, flags.judged // 3, 1, LEAST_LENGTH, broken)
    bench_speed(sound["text"], report)
    bench_shipped(damage, sound, report)
    if not flags.no_rivals:
        bench_rivals(damage, sound, report)
    good, bad = texts_to_fit(flags.texts, flags.damaged, flags.manuals)
    bench_unseen(good, bad, damage, flags.fits, report)
    bench_kinds(good, bad, 6, report)
    print(*report.missed, sep="\n", end="\n" if report.missed else "", file=sys.stderr)
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
