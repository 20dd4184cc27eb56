"""Selection: which documents are chosen, with a reason for every document of the pool."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dagster as dg
import polars as pl

from tamis.base.files import write_atomically
from tamis.base.progress import say
from tamis.embedding.storing import current_table, require_different_vectors
from tamis.embedding.unknown import unknown_lines
from tamis.history.versions import decisions_of, note_version, prune_versions, section_then
from tamis.mixture.sources import grouped_by, source_of_documents
from tamis.platform.assets.scorers import scorers, scoring_options, target_table
from tamis.platform.assets.specification import asset, per_partition, specified, step
from tamis.platform.resources.judge import JudgeResource
from tamis.records.current_values import read_current_values
from tamis.records.manifest import InputReference
from tamis.records.published import PinnedVersion
from tamis.report.mix import choice_before, mix_page
from tamis.report.rendering import plot_markdown
from tamis.report.seen import look_at, page_links, subject_of
from tamis.report.selection import selection_page
from tamis.report.selection_data import (
    Division,
    SelectionReport,
    selection_plot_png,
    selection_report,
    source_mix,
)
from tamis.report.selection_map import axes_in_words, browse_page, map_page, thumbnail_png
from tamis.report.serving import served_page_name, serving_page
from tamis.report.summary import selection_lines
from tamis.runtime.record import Output
from tamis.runtime.step import Work
from tamis.scores.storing import score_lines
from tamis.selection import find_sampler, selection_digest
from tamis.selection.allocation import TargetShares
from tamis.selection.changes import repeated
from tamis.selection.choosing import choose_documents
from tamis.selection.computing import method_scores
from tamis.selection.filtering import FILES_LOST
from tamis.selection.pool import leaking, mean_margin, stored_count, with_scores
from tamis.selection.serving import Goal, Serving, serving_of
from tamis.settings.config import SelectionSection
from tamis.settings.references import named, scores_named
from tamis.store.schemas import schema_of
from tamis.store.tables import quoted
from tamis.transport.storing import counts_by_estimate, load_potential

GONE_SHOWN = 100
BEST_SHOWN = 3
PARTITIONED = dg.AssetCheckSpec(
    "every_document_decided",
    asset="decisions",
    description="Each document of the pool has exactly one verdict and one reason.",
    blocking=True,
)


@step(
    "selected_subset",
    [
        specified(
            "selected_subset",
            ["lancedb"],
            "The selected documents in order of rank, with a plot of the scores and the cutoff.",
        ),
        specified(
            "decisions",
            ["lancedb"],
            "Verdict, reason, rank and signed distance to the cutoff (margin) of every document of the pool.",
        ),
    ],
    [PARTITIONED],
    pooled=True,  # some samplers score the pool by a model
    engine=True,
)
def selected_subset(work: Work, judge: JudgeResource) -> Iterator[Any]:
    """Rank the pool by the selection's sampler, cut it at the budget, and give a reason for each document.

    A pinned selection repeats an earlier version of itself.
    """
    home = work.project.home
    order = [*work.snapshot.keys("selections"), *work.partitions]  # as tamis.toml has them
    for key in sorted(work.partitions, key=order.index):
        with work.apart(key):
            note_version(home, work.current, key)
            pin = work.snapshot.pinned.get(key)
            choice = _repeated(work, pin) if pin else _chosen(work, judge, key)
            yield from _recorded(work, key, choice)
            now, pinned_to = read_current_values(work.store), pin.version if pin else None
            note_version(home, now, key, pinned_to, just_hashed=True)
            pinned = [found.rows for found in work.snapshot.pinned.values()]
            prune_versions(home, work.project.settings.automation.kept_versions, pinned)
            if work.watched and key == order[0] and work.project.settings.base_model:
                for line in selection_lines(work.project, choice.section):  # hours before the last
                    say(line)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The decisions about every document, the settings they follow, and what the event log says of them."""

    section: SelectionSection
    decided: pl.DataFrame
    pool: pl.DataFrame
    facts: dict[str, Any]
    division: Division | None = None
    origins: tuple[InputReference, ...] = ()


def _chosen(work: Work, judge: JudgeResource, key: str) -> Choice:
    """The choice as settings and scores of now make it."""
    section = named(work.project.settings.selection, key)
    if find_sampler(section.sampler).reads_vectors:
        require_different_vectors(work.project)
    chosen = choose_documents(
        work.store,
        section,
        work.project.settings.filters,
        work.project.seed,
        partial(computed, work, judge, section),
        _mixture_of(work, section),
        work.project.settings.score,
    )
    facts: dict[str, Any] = {}
    if section.sampler == "got-d":  # what is clear of the cut by the estimated error, and what is not
        facts |= counts_by_estimate(work.upstream("target_potential", str(section.target)), chosen.decided)
    for shortfall in chosen.shortfalls:
        say(f"selection {key}: {shortfall}")
    if chosen.shortfalls:
        facts["shares_not_reached"] = "; ".join(chosen.shortfalls)
    division = None
    if (shares := chosen.shares) is not None:
        stated = shares.shares if isinstance(shares, TargetShares) else None
        division = Division(per=shares.per, shares=stated, shortfalls=chosen.shortfalls)
    return Choice(section=section, decided=chosen.decided, pool=chosen.pool, facts=facts, division=division)


def _mixture_of(work: Work, section: SelectionSection) -> tuple[pl.DataFrame, TargetShares] | None:
    """The group of each document and the shares of [mixture]; None where the selection does not follow it."""
    mixture = work.project.settings.mixture
    if not section.mixture or mixture is None:
        return None
    weights = dict(work.store.read("mixture", ["source", "weight"]).iter_rows())
    shares = TargetShares(shares=weights, maximum_repetition=mixture.max_repetition, per=grouped_by(mixture))
    return source_of_documents(work.store, mixture, work.snapshot.files), shares


def _division_then(work: Work, section: SelectionSection) -> Division | None:
    """How a version that is repeated was divided; shares that a mixture had then are not kept."""
    if section.per:
        return Division(per=section.per)
    mixture = work.project.settings.mixture
    per = grouped_by(mixture) if mixture else "source"
    return Division(per=per) if section.mixture else None


def _repeated(work: Work, pin: PinnedVersion) -> Choice:
    """The choice of an earlier version, of the documents that are still there and leak no evaluation."""
    home = work.project.home
    pool = with_scores(work.store, (), None)
    found = repeated(decisions_of(home, pin).drop("selection"), pool, leaking(work.store))
    manifests = [work.manifests.read(pin.subset), work.manifests.read(pin.decisions)]
    facts: dict[str, Any] = {
        "pinned_to_version": pin.version,
        "documents_gone": len(found.gone),
        "gone": dg.MetadataValue.json(found.gone[:GONE_SHOWN]),
    }
    section = section_then(home, manifests[0], named(work.project.settings.selection, pin.selection))
    return Choice(
        section=section,
        decided=found.decisions,
        pool=pool,
        facts=facts,
        division=_division_then(work, section),
        origins=tuple(
            InputReference(
                asset=one.asset, partition=one.partition, data_version=one.data_version, manifest=one.id
            )
            for one in manifests
        ),
    )


def _recorded(work: Work, key: str, choice: Choice) -> Iterator[Any]:
    """Write the decisions, the chosen documents and the page, and record them as one value.

    Of decisions that their check refuses no page is written: that of the last value that passed stays.
    """
    scope, decided, section = f"selection = {quoted(key)}", choice.decided, choice.section
    check = _every_document_decided(decided, choice.pool)
    if "count" in decided.columns:
        decided = decided.with_columns(stored_count("count"))
    work.store.put("decisions", _complete(decided, key, "decisions"), scope)
    chosen = decided.filter(pl.col("verdict") == "selected").sort("rank")
    work.store.put("selected_subset", _complete(chosen, key, "selected_subset"), scope)
    report = selection_report(work.store, section, decided, work.project.settings.filters, choice.division)
    if find_sampler(section.sampler).reads_vectors:
        report = replace(report, warnings=unknown_lines(work.project, target=section.target or ""))
    if names := scores_named(section):
        scores = [one for one in work.project.settings.column_scores if one.name in names]
        report = replace(report, warnings=[*report.warnings, *score_lines(work.store, scores)])
    page = work.project.home.reports / f"selection_{key}.html"
    plot = selection_plot_png(report)
    if check.passed:
        write_atomically(page, selection_page(report, plot).encode())
        if report.baseline and report.baseline.noise:
            say(f"selection {key}: {report.baseline.noise}")
    counts = decided.group_by("reason").len().sort("reason").iter_rows()
    yield from work.record(
        Output(
            partition=key,
            files=[page] if check.passed else [],
            row_count=len(chosen),
            data_version=selection_digest(decided),
            metadata={
                **_shown(report, chosen),
                "page": work.link(page),
                "plot": dg.MetadataValue.md(plot_markdown(plot)),
                "sampler": find_sampler(section.sampler).description,
                "budget": str(section.budget),
                "mean_margin": mean_margin(decided),
                **choice.facts,
                **({FILES_LOST: list(report.files_lost)} if report.files_lost else {}),
            },
            origins=choice.origins,
        ),
        Output(
            asset="decisions",
            partition=key,
            row_count=len(decided),
            metadata={f"documents_{reason}": count for reason, count in counts},
            checks=[check],
            origins=choice.origins,
        ),
    )


def _shown(report: SelectionReport, chosen: pl.DataFrame) -> dict[str, Any]:
    """Say in Dagster what was chosen: by numbers and ids, since texts are on the page alone."""
    mix = source_mix(report).select("source", selected="chosen", rejected=pl.col("pool") - pl.col("chosen"))
    assert report.tokens is not None
    # Dagster has no table without rows: a pool without documents has no sources.
    sources = [dg.TableRecord(row) for row in mix.iter_rows(named=True)]
    return {
        "sources": dg.MetadataValue.table(sources) if sources else "none",
        "tokens": report.tokens.words,
        "token_count": report.tokens.tokens,
        "best_documents": ", ".join(chosen["doc_id"].head(BEST_SHOWN)),
    }


def computed(
    work: Work, judge: JudgeResource, section: SelectionSection, pool: pl.DataFrame, excluded: pl.DataFrame
) -> pl.DataFrame:
    """The score that the sampler computes for this selection, of the eligible documents."""
    with work.progress(f"{section.sampler} for {section.name}", unit="rows") as progress:
        return method_scores(
            work.store,
            section,
            pool.join(excluded, on="doc_id", how="anti"),
            scoring_options(work, scorers(work, judge, [section.sampler]), section.sampler),
            progress.advance,
        )


def _every_document_decided(decided: pl.DataFrame, pool: pl.DataFrame) -> dg.AssetCheckResult:
    missing = len(pool.join(decided, on="doc_id", how="anti"))
    silent = decided.filter(pl.col("reason").is_null() | pl.col("verdict").is_null())
    return dg.AssetCheckResult(
        asset_key="decisions",
        check_name="every_document_decided",
        passed=missing == 0 and len(silent) == 0 and decided["doc_id"].n_unique() == len(pool),
        metadata={"documents": len(pool), "without_verdict": missing + len(silent)},
    )


def _complete(frame: pl.DataFrame, selection: str, table: str) -> pl.DataFrame:
    """The frame with exactly the table's columns; scores that were not used are null."""
    absent = [name for name in schema_of(table).names if name not in frame.columns and name != "selection"]
    return frame.with_columns(
        pl.lit(selection).alias("selection"), *(pl.lit(None, dtype=pl.Float64).alias(name) for name in absent)
    )


@asset("served_examples", ["lancedb"])
@per_partition
def served_examples(work: Work, key: str) -> Iterator[Any]:
    """Target examples matched to each selected document, and the selection's distance to held-out examples.

    Optimal transport matches the examples; a selection without a target has none.
    """
    table, scope = "served_examples", f"selection = {quoted(key)}"
    target = named(work.project.settings.selection, key).target
    if target is None:
        work.store.delete(table, scope)
        yield from work.record(Output(partition=key))
        return
    decisions = work.store.read("decisions", ["doc_id", "verdict", "rank"], scope)
    potential = load_potential(work.upstream("target_potential", target))
    goal = Goal(  # in the geometry of the target's potential, so that costs compare with scores
        target=target,
        pool_table=current_table(work.project),
        target_table=target_table(work),
        center=potential.center,
        normalize=potential.normalize,
    )
    serving = serving_of(work.store, decisions, goal, work.project.seed)
    rows = serving.pairs.with_columns(pl.lit(key).alias("selection"))
    work.store.put(table, rows, scope)
    page = work.project.home.reports / served_page_name(key)
    doubts = unknown_lines(work.project, target=target)
    write_atomically(page, serving_page(work.store, key, target, serving, doubts).encode())
    facts = _serving_facts(serving) | {"page": work.link(page)}
    yield from work.record(Output(partition=key, files=[page], row_count=len(rows), metadata=facts))


def _serving_facts(serving: Serving) -> dict[str, Any]:
    """Figures of a coupling for the event log."""
    facts: dict[str, Any] = {"coupled_documents": serving.coupled, "examples": serving.examples}
    if serving.served is not None:
        facts |= {"examples_served": serving.served, "cost_of_another_half": serving.limit}
    for name, found in serving.distances.items():
        facts |= {
            f"distance_of_{name}": found.value,
            f"distance_of_{name}_low": found.low,
            f"distance_of_{name}_high": found.high,
        }
    return facts


@asset("selection_pages", ["polars"])
@per_partition
def selection_pages(work: Work, key: str) -> Iterator[Any]:
    """Pages about a selection: a map, documents to browse, and the change in the mix of texts."""
    subject = subject_of(work.project, named(work.project.settings.selection, key))
    seen = look_at(work.store, subject)
    place_n2, links = seen.point_nk[:, :2], page_links(key)
    made = [
        map_page(seen, place_n2, axes_in_words(seen), links),
        browse_page(work.store, seen, work.project.settings.filters, links),
        mix_page(seen, choice_before(work.project.home, key), links),
    ]
    files = [work.project.home.reports / name for name, _what in links[1:]]
    for file, content in zip(files, made, strict=True):
        write_atomically(file, content.encode())
    yield from work.record(
        Output(
            partition=key,
            files=files,
            row_count=len(seen.points),
            metadata={
                "map": work.link(files[0]),
                "documents": work.link(files[1]),
                "mix": work.link(files[2]),
                "thumbnail": dg.MetadataValue.md(plot_markdown(thumbnail_png(seen, place_n2))),
            },
        )
    )
