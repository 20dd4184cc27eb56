"""The page of the mixture: natural and best shares, what the law predicts, and what a test measured."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tamis.base.numbers import percent
from tamis.mixture.analysis import (
    BEST_RUN,
    CHOSEN,
    NATURAL,
    REFUSED_BELOW,
    TRANSPORT,
    UNIFORM,
    UNIMAX,
    Agreement,
)
from tamis.mixture.planned import stored_swarm
from tamis.mixture.stage import MIXTURE_CONTROLS, MIXTURE_LAW, MIXTURE_METHODS, MIXTURE_SOURCES
from tamis.mixture.swarm import VIRTUAL, Swarm
from tamis.project import Project
from tamis.report.rendering import BLUE, FONT_POINTS, GREY, data_uri, new_figure, png_of, render
from tamis.store.tables import Store
from tamis.topics.storing import read_names

PAGE, GAIN_PAGE = "mixture.html", "mixture_gain.html"
"""The page of the prediction, and the same page with the answer of the test on top."""
WORDS = {
    CHOSEN: "the best mixture according to the law",
    NATURAL: "natural shares",
    UNIFORM: "uniform shares",
    UNIMAX: "UniMax shares",
    TRANSPORT: "shares by transport distance",
    BEST_RUN: "the best run",
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A form of the law that was tried for a target."""

    target: str
    method: str
    rank_correlation: float | None
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """Test of a law on runs that it was not fitted to: `rank` of the run it placed first, of `runs`."""

    target: str
    runs: int
    rank: int
    largest_error: float


@dataclass(frozen=True, kw_only=True)
class MixturePage:
    """`tested`: the answer of the test in new runs, "" before it; `pairs` of runs that the test asks for.

    `conditional`: sources that left, and of what else the law is conditional, in sentences. `labels`: the
    sources as people know them; `words_from`: the documents that words of these are from.
    """

    targets: Sequence[str]
    model: str
    train_tokens: int
    run_tokens: int
    max_repetition: float
    runs: int
    failed: int
    chosen: dict[str, Any]
    natural: dict[str, Any]
    tested: str
    pairs: int
    gain_page: str
    beaten: list[str]
    not_beaten: list[str]
    shares: list[dict[str, Any]]
    sources: dict[str, dict[str, Any]]
    controls: list[dict[str, Any]]
    methods: list[Method]
    backtests: list[Backtest]
    picture: str
    agreement: Agreement | None
    refused_below: float
    repetition: float
    conditional: list[str]
    labels: dict[str, str]
    words_from: list[str]


def mixture_page(project: Project, agreement: Agreement | None, tested: str = "") -> str:
    """Return the page of the mixture that the tables hold; `tested`: the answer of the test in new runs."""
    store, section = project.home.store, project.settings.mixture
    assert section is not None
    swarm = stored_swarm(store)
    assert swarm is not None
    law = store.read(MIXTURE_LAW.name).sort("run", "target")
    compared = law.filter(pl.col("measured").is_not_null() & pl.col("predicted").is_not_null())
    controls = [
        row | {"words": WORDS.get(row["name"], row["name"]), "shares": json.loads(row["shares"])}
        for row in store.read(MIXTURE_CONTROLS.name).iter_rows(named=True)
    ]
    by_name = {row["name"]: row for row in controls}
    others = [row for row in controls if row["name"] not in (CHOSEN, BEST_RUN)]
    sources = {row["source"]: row for row in store.read(MIXTURE_SOURCES.name).iter_rows(named=True)}
    natural, methods = by_name[NATURAL], store.read(MIXTURE_METHODS.name).sort("target", "method")
    names = read_names(store) if section.sources == "topics" else None
    return render(
        "mixture.html",
        MixturePage(
            targets=section.targets,
            model=section.model,
            train_tokens=section.train_tokens,
            run_tokens=section.run_tokens,
            max_repetition=section.max_repetition,
            runs=len(swarm.current),
            failed=law.filter(pl.col("measured").is_null())["run"].n_unique(),
            chosen=by_name[CHOSEN],
            natural=natural,
            tested=tested,
            pairs=section.pairs,
            gain_page=GAIN_PAGE,
            beaten=[row["words"] for row in others if row["difference_high"] < 0],
            not_beaten=[row["words"] for row in others if row["difference_high"] >= 0],
            shares=store.read("mixture").sort("weight", descending=True).to_dicts(),
            sources=sources,
            controls=controls,
            methods=[Method(**row) for row in methods.to_dicts()],
            backtests=_backtests(compared),
            picture=data_uri(_picture(compared)),
            agreement=agreement,
            refused_below=REFUSED_BELOW,
            repetition=swarm.repetition,
            conditional=_conditional(swarm, sources),
            labels={name: names.label(name) if names else name for name in sources},
            words_from=names.from_documents if names else [],
        ),
    )


def mixture_lines(store: Store) -> list[str]:
    """Return the mixture as it is stored, for a person: a line for each source, then what it is worth."""
    shares = store.read("mixture").sort("weight", "source", descending=[True, False])
    if shares.is_empty():
        return []
    lines = [
        f"{row['source']}: {percent(row['weight'])} "
        f"(90 % interval: {100 * row['low']:.1f} to {100 * row['high']:.1f}), "
        f"natural share {percent(row['natural'])}, {row['repetition']:.2g} passes"
        for row in shares.iter_rows(named=True)
    ]
    for row in store.read(MIXTURE_CONTROLS.name).iter_rows(named=True):
        if row["name"] in (NATURAL, UNIFORM, UNIMAX, TRANSPORT):
            better = row["difference_high"] < 0
            said = "better according to the law" if better else "the law does not say which is better"
            ends = f"{row['difference_low']:+.4f} to {row['difference_high']:+.4f}"
            lines.append(
                f"predicted against {WORDS[row['name']]}: {row['difference']:+.4f} bits per byte "
                f"(90 % interval: {ends}), {said}"
            )
    return lines


def _backtests(known: pl.DataFrame) -> list[Backtest]:
    found = []
    for (target,), group in known.sort("target").group_by("target", maintain_order=True):
        first = group.sort("predicted", "run").row(0, named=True)
        rank = int((group["measured"] < first["measured"]).sum()) + 1
        error = float((group["measured"] - group["predicted"]).abs().max())  # type: ignore[arg-type]
        found.append(Backtest(target=str(target), runs=len(group), rank=rank, largest_error=error))
    return found


def _conditional(swarm: Swarm, sources: dict[str, dict[str, Any]]) -> list[str]:
    gone = [
        name for ratio in swarm.parts.values() for name in ratio if not sources.get(name, {}).get("tokens")
    ]
    lines = [
        f"The source {name} no longer has documents, so its share is 0; the law was fitted to mixtures that "
        "contained this source."
        for name in sorted(gone)
    ]
    if VIRTUAL in swarm.parts:
        kept = ", ".join(sorted(swarm.parts[VIRTUAL]))
        lines.append(
            f"The shares of {kept} keep the ratio of the previous mixture: the new runs varied only the sum "
            "of these shares, and the shares of new or revised sources. The other mixtures in the comparison "
            "are predicted with the same ratio."
        )
    return lines


def _picture(known: pl.DataFrame) -> bytes:
    """Return predicted against measured losses of held-out runs, as PNG."""
    figure, (axis,) = new_figure(1, width=5.4, height=4.2)
    axis.plot(known["measured"], known["predicted"], "o", color=BLUE, markersize=4)
    if len(known):
        values = [*known["measured"], *known["predicted"]]
        axis.plot([min(values), max(values)], [min(values), max(values)], color=GREY, linewidth=1)
    axis.set_xlabel("measured loss, bits per byte", fontsize=FONT_POINTS)
    axis.set_ylabel("predicted loss, run held out", fontsize=FONT_POINTS)
    return png_of(figure)
