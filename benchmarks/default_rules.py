"""What the rules that `tamis init` writes keep out of a choice, and what they take away: JSON lines.

    python -m benchmarks.default_rules --documents 4000

- noise: 5 % noise of seven kinds in a pool of one source, a target of 500 other texts of it, GOT-D by the
  static encoder, a tenth of the pool. Rules were chosen on two sources and one set of makers; three sources
  and the held-out makers are reported with their claim. Wanted: in the choice at most half the pool's share
  of noise, next to the choice without rules.
- boilerplate: 5 % pages of notices, worded as those the rule was written with, otherwise, and with the name
  of another site on each page. Wanted: in the choice no larger share than in the pool.
- clean: the share of clean texts that the rules drop, of every source of a file in its own pool. Wanted: at
  most 2 % of a file, and of each of its sources of 200 texts or more.
- languages, code: the same for human-rights texts in 386 languages (median and worst language, too) and for
  files of installed packages.
- speed: documents a second.

Text is found through TAMIS_BENCH_DATA (default ../shared/data next to the checkout).
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._flags import at_least, begin
from benchmarks._noise import (
    CHOSEN_ON,
    HELD_OUT,
    HELD_OUT_NOTICES,
    NAMED_NOTICES,
    noise_of,
    pages_of_notices,
)
from benchmarks._quality_data import FOREIGN, PACKAGES, Report
from benchmarks._real_pool import NOTICES
from benchmarks._texts import data_folder, read_texts
from tamis.embedding import load_encoder
from tamis.filters import Plan, measured
from tamis.filters.boilerplate import REPEATED, repeated_share
from tamis.transport import solve_potential

CHOSEN_SOURCES = ("p_mixed_free", "t_ag_news_train")
REPORTED = ("p_law", "p_dialogue", "t_goemotions")
CLEAN = ("p_mixed_research", "p_wikipedia", "p_arxiv_a", "t_sentence", "t_intent", "q_sms_spam")
PLAN = Plan(heuristics=("noise", "boilerplate"))
PLANTED, TARGET, BUDGET = 0.05, 500, 0.1
MOST_NOISE, MOST_DROPPED = 0.5, 0.02
FEWEST_OF_A_SOURCE = 200
"""Texts of a source from which its own share is judged: of fewer, two per cent are a few texts."""
SUFFIXES = (".py", ".js", ".c", ".h", ".json")


def texts_of(name: str, seed: int) -> pl.DataFrame:
    """text and source of a file, each text once, shuffled."""
    rows = read_texts(name, "source")
    return rows.unique("text", keep="first", maintain_order=True).sample(
        fraction=1.0, shuffle=True, seed=seed
    )


def dropped(texts: pl.Series) -> pl.Series:
    """Whether the rules drop each text of a pool."""
    rows = pl.DataFrame({"text": texts}).with_row_index("doc_id")
    flags = rows.hstack(measured(rows, PLAN)).with_columns(n_chars=pl.col("text").str.len_chars())
    pages = repeated_share(flags).filter(REPEATED.broken)["doc_id"]
    return flags.select((pl.col("broken") != "") | pl.col("doc_id").is_in(pages.implode())).to_series()


class Chooser:
    """GOT-D by the static encoder."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as cache:
            self.encoder = load_encoder("static", cache=Path(cache))

    def chosen(self, target: Sequence[str], pool: pl.Series, allowed: pl.Series) -> np.ndarray:
        """Places of the chosen in the pool: a tenth of it, of those that are allowed."""
        target_md, pool_nd = (self.encoder.encode(list(texts)).astype(np.float32) for texts in (target, pool))
        score_n = solve_potential(target_md, pool_nd[allowed.to_numpy()]).gradient(pool_nd)
        score_n = np.where(allowed.to_numpy(), score_n, np.inf)
        return np.argsort(score_n, kind="stable")[: round(BUDGET * len(pool))]


def bench_choice(
    chooser: Chooser,
    name: str,
    planted: Mapping[str, pl.DataFrame],
    target: list[str],
    clean: pl.Series,
    report: Report,
) -> None:
    """Shares of what is planted in the pool and in the choice, with rules and without them."""
    for how, bad in planted.items():
        kinds = pl.concat([pl.Series(["clean"] * len(clean)), bad["kind"]])
        pool = pl.concat([clean, bad["text"]])
        out, wrong = dropped(pool), (kinds != "clean").to_numpy()
        shares = []
        for allowed in (pl.Series([True] * len(pool)), ~out):
            shares.append(float(wrong[chooser.chosen(target, pool, allowed)].mean()))
        found = pl.DataFrame({"kind": kinds, "out": out}).group_by("kind").agg(pl.mean("out")).sort("kind")
        caught = dict(found.iter_rows())
        share, boilerplate = float(wrong.mean()), set(bad["kind"]) == {"boilerplate"}
        least = 0.0 if boilerplate else 1 - MOST_NOISE
        report.line(
            "default_rules_boilerplate" if boilerplate else "default_rules_noise",
            {"kept_out": least} if name in REPORTED else None,
            source=name,
            planted=how,
            pool=share,
            choice_without_rules=shares[0],
            choice=shares[1],
            kept_out=1 - shares[1] / share,  # of the pool's share
            dropped=caught,
        )


def bench_source(chooser: Chooser, name: str, flags: argparse.Namespace, report: Report) -> None:
    """Noise and boilerplate in a pool of one source."""
    texts = texts_of(name, flags.seed)["text"]
    count = min(flags.documents, round((len(texts) - TARGET) / (1 + PLANTED)))
    target, clean = texts.head(TARGET).to_list(), texts.slice(TARGET, count)
    spare = texts.slice(TARGET + count).head(round(PLANTED * count)).to_list()
    planted = {
        "noise as chosen on": noise_of(spare, CHOSEN_ON, flags.seed),
        "noise held out": noise_of(spare, HELD_OUT, flags.seed),
        "notices as chosen on": pages_of_notices(spare, NOTICES, flags.seed),
        "notices held out": pages_of_notices(spare, HELD_OUT_NOTICES, flags.seed),
        "notices with names": pages_of_notices(spare, NAMED_NOTICES, flags.seed),
    }
    bench_choice(chooser, name, planted, target, clean, report)


def bench_clean(name: str, flags: argparse.Namespace, report: Report) -> None:
    """Clean texts that the rules drop, of a whole file and of each of its sources."""
    rows = texts_of(name, flags.seed).head(flags.clean)
    rows = rows.with_columns(out=dropped(rows["text"]))
    sources = rows.group_by("source").agg(pl.len(), pl.mean("out")).sort("source")
    by_source = dict(sources.select("source", "out").iter_rows())
    worst = sources.filter(pl.col("len") >= FEWEST_OF_A_SOURCE)["out"].max() or 0.0
    wanted = {"kept": 1 - MOST_DROPPED, "kept_of_the_worst_source": 1 - MOST_DROPPED}
    report.line(
        "default_rules_clean",
        wanted,
        file=name,
        kept=1 - rows["out"].mean(),
        kept_of_the_worst_source=1 - worst,
        n=len(rows),
        dropped=by_source,
    )


def bench_other(flags: argparse.Namespace, report: Report) -> None:
    """Other languages and code."""
    rows = read_texts(FOREIGN, "label")
    rows = rows.with_columns(out=dropped(rows["text"]))
    languages = rows.group_by("label").agg(pl.mean("out")).sort("out", "label")
    worst = dict(languages.filter(pl.col("out") > MOST_DROPPED).iter_rows())
    wanted = {"kept": 1 - MOST_DROPPED}
    report.line(
        "default_rules_languages",
        wanted,
        kept=1 - rows["out"].mean(),
        n=len(rows),
        languages=len(languages),
        worst=worst,
    )
    code = pl.DataFrame(code_files(flags.files), schema=["text", "source"], orient="row").unique("text")
    code = code.with_columns(out=dropped(code["text"]))
    by_suffix = dict(code.group_by("source").agg(pl.mean("out")).sort("source").iter_rows())
    report.line("default_rules_code", wanted, kept=1 - code["out"].mean(), n=len(code), dropped=by_suffix)


def code_files(most: int) -> list[tuple[str, str]]:
    """Text and suffix of source files of installed packages, the first 20,000 characters of each."""
    found = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            files = sorted(path for path in Path(place).rglob("*") if path.suffix in SUFFIXES)
            for path in files[:: max(len(files) // most, 1)]:
                text = path.read_text(errors="replace")[:20_000].strip()
                if len(text) > 100:
                    found.append((text, path.suffix))
    return found


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=at_least(400), default=4_000)
    parser.add_argument("--clean", type=at_least(400), default=20_000)
    parser.add_argument("--files", type=at_least(1), default=200)
    parser.add_argument("--seed", type=int, default=0)
    flags = begin(parser)
    data_folder()
    report, chooser = Report(), Chooser()
    texts = texts_of(CHOSEN_SOURCES[0], flags.seed).head(flags.documents)
    began = time.perf_counter()
    dropped(texts["text"])
    rate = len(texts) / (time.perf_counter() - began)
    report.line(
        "default_rules_speed", documents_per_second=rate, characters=texts["text"].str.len_chars().mean()
    )
    for name in (*CHOSEN_SOURCES, *REPORTED):
        bench_source(chooser, name, flags, report)
    for name in (*CHOSEN_SOURCES, *REPORTED, *CLEAN):
        bench_clean(name, flags, report)
    bench_other(flags, report)
    print(*report.missed, sep="\n", end="\n" if report.missed else "", file=sys.stderr)
    sys.exit(bool(report.missed))


if __name__ == "__main__":
    main()
