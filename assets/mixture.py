"""Mixtures: a small model trained on many mixtures of the sources, a law of its losses, the best mixture."""

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from tamis.base.files import write_atomically
from tamis.base.progress import say
from tamis.embedding.storing import current_table
from tamis.graph.submissions import Submissions
from tamis.mixture.analysis import (
    REFUSED_BELOW,
    WARNED_BELOW,
    Agreement,
    Caps,
    agreement,
    fit_losses,
    law_rows,
    method_rows,
    recommend,
    with_larger_runs,
)
from tamis.mixture.planned import stored_swarm, write_larger, write_swarm
from tamis.mixture.runs import losses, read_run, run_content, run_documents, train_run, unmeasured
from tamis.mixture.sources import (
    Design,
    design,
    drawn_from,
    source_of_documents,
    usable_documents,
)
from tamis.mixture.stage import recipe_settings
from tamis.mixture.swarm import PlannedRun, SwarmOptions
from tamis.platform.assets.scorers import target_table
from tamis.platform.assets.selection import computed
from tamis.platform.assets.specification import asset, per_partition
from tamis.platform.assets.training import checkpoint_folder, ended, given_up
from tamis.platform.resources.judge import JudgeResource
from tamis.platform.resources.tracker import TrackerResource
from tamis.records.manifest import InputReference, canonical_json
from tamis.records.registered import require_unregistered
from tamis.report.mixture import PAGE, mixture_page
from tamis.runtime.failures import tried_once
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.samplers.contrast import rank_domains
from tamis.selection import find_sampler
from tamis.selection.computing import known_vectors
from tamis.selection.decide import Ranking
from tamis.selection.pool import candidates, exclusions
from tamis.settings.budget import parse_budget
from tamis.settings.config import MixtureSection, SelectionSection
from tamis.settings.references import mixture_presets
from tamis.settings.samplers import complete_options
from tamis.store.digests import canonical_digest
from tamis.store.tables import ALL, quoted
from tamis.topics.storing import NO_VECTOR
from tamis.trainer.runs import Run
from tamis.trainer.trials import Finished, training_metadata
from tamis.training import CODE_VERSION as TRAINING_CODE_VERSION
from tamis.training import DivergedError, TrainingResult
from tamis.training.storing import record_training_documents
from tamis.transport.storing import target_vectors

AGREES = (
    "proxy_agreement",
    "Mixtures rank in the same order when a larger model is trained on them; with a rank correlation under "
    "0.9 this check warns, and under 0.8 no mixture is recommended.",
    True,
)
PREDICTS = (
    "held_out_runs",
    "For each target, predicted and measured losses of held-out runs have a rank correlation of 0.8 or more.",
    False,
)
PREDICTS_FROM = 0.8
FIGURES = ("steps", "tokens", "flops", "seconds", "peak_memory_bytes", "parameters")
"""Figures of a training run that are stored with it."""


@asset("mixture_design", ["polars"], engine=True)
def mixture_design(work: Work, judge: JudgeResource) -> Iterator[Any]:
    """Documents that the sampler selects from each source, and the mixtures that runs are trained on.

    Mixtures that a change of the sources does not affect are kept, with their runs.
    """
    section = _section(work)
    before, chosen, origins = stored_swarm(work.store), *_chosen_before(work)
    usable = _usable(work, judge, section)
    documents = drawn_from(usable, _options(work).repetition, work.project.seed)
    known = work.store.read("mixture_documents") if before else documents.clear()
    made = design(documents, known, before, chosen, _options(work), lambda ids: _vectors(work, ids))
    swarm, rows = made.swarm, _source_rows(work, made, usable)
    work.store.put("mixture_documents", made.documents, ALL)
    work.store.overwrite_values("mixture_sources", rows.to_dicts())
    write_swarm(work.store, swarm)
    new = len([run for run in swarm.current if before is None or run.name not in before.proxies])
    shown = rows.select("source", "documents", "tokens", "share", "change")
    yield from work.record(
        Output(
            row_count=len(swarm.current),
            metadata={
                "runs": len(swarm.current),
                "new_runs": new,
                "tokens": sum(run.tokens for run in swarm.current),
                "sources": dg.MetadataValue.table(
                    [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
                ),
            },
            origins=origins,
        )
    )


def _section(work: Work) -> MixtureSection:
    section = work.project.settings.mixture
    assert section is not None
    return section


def _options(work: Work) -> SwarmOptions:
    section, preset = _section(work), mixture_presets(work.project.settings)[0]
    assert preset is not None
    settings, seed = recipe_settings(work.snapshot), work.project.seed
    recipe = [preset, section.run_tokens, settings, TRAINING_CODE_VERSION, seed]
    return SwarmOptions(
        preset=preset,
        run_tokens=section.run_tokens,
        train_tokens=section.train_tokens,
        recipe=canonical_digest(canonical_json(recipe))[:32],
        runs=section.runs,
        maximum_repetition=section.max_repetition,
        seed=seed,
    )


def _chosen_before(work: Work) -> tuple[dict[str, float] | None, list[InputReference]]:
    """The mixture that the present plan led to, where one passed its check, and where it comes from."""
    value = work.current.get(("mixture", ""))
    if value is None or not value.published:
        return None, []
    weights = dict(work.store.read("mixture", ["source", "weight"]).iter_rows())
    manifest = work.manifests.read(value.published)
    origin = InputReference(
        asset="mixture", partition="", data_version=manifest.data_version, manifest=manifest.id
    )
    return weights or None, [origin]


def _usable(work: Work, judge: JudgeResource, section: MixtureSection) -> pl.DataFrame:
    """What may be selected of each source, best first, as a selection with this sampler has it."""
    budget = f"{section.train_tokens}tok"
    asked = SelectionSection(
        name="mixture", sampler=section.sampler, budget=budget, target=section.targets[0]
    )
    pool = candidates(work.store, asked, work.project.settings.score)
    excluded = exclusions(work.store, work.project.settings.filters)
    if find_sampler(section.sampler).method:
        pool = pool.join(computed(work, judge, asked, pool, excluded), on="doc_id", how="left")
    ranking = Ranking(
        sampler=find_sampler(section.sampler), seed=work.project.seed, options=complete_options(None)
    )
    sources = source_of_documents(work.store, section, work.snapshot.files)
    pool = pool.join(sources.filter(pl.col("group") != NO_VECTOR), on="doc_id")
    return usable_documents(pool, excluded, ranking, parse_budget(budget))


def _vectors(work: Work, doc_ids: list[str]) -> np.ndarray:
    asked = pl.DataFrame({"doc_id": sorted(doc_ids)}, schema={"doc_id": pl.String})
    return known_vectors(work.store, current_table(work.project), asked)[1].astype(np.float32)


def _source_rows(work: Work, made: Design, usable: pl.DataFrame) -> pl.DataFrame:
    sources, drawn = made.sources, made.documents
    total = sum(source.tokens for source in sources)
    estimated = dict(usable.group_by("source").agg(pl.col("is_estimated").sum()).iter_rows())
    taken = drawn.filter(pl.col("rank").is_not_null()).group_by("source").agg(pl.col("n_tokens").sum())
    tokens, distances = dict(taken.iter_rows()), _distances(work, usable)
    rows = [
        {
            "source": source.name,
            "documents": source.documents,
            "tokens": source.tokens,
            "estimated": int(estimated.get(source.name, 0)),
            "share": source.tokens / total,
            "run_tokens": tokens.get(source.name, 0),
            "documents_digest": source.documents_digest,
            "change": source.change,
            "changed_share": source.changed_share,
            "distance": distances.get(source.name),
        }
        for source in sources
    ]
    return pl.DataFrame(rows, schema_overrides={"distance": pl.Float64})


def _distances(work: Work, usable: pl.DataFrame) -> dict[str, float]:
    """Mean transport divergence of each source from the targets; none where one of them has no vector."""
    vectors = {
        str(name): _vectors(work, part["doc_id"].to_list())
        for (name,), part in usable.sort("source", "doc_id").group_by("source", maintain_order=True)
    }
    table, targets = target_table(work), _section(work).targets
    examples = [target_vectors(work.store, table, target) for target in targets]
    if any(len(one) == 0 for one in (*vectors.values(), *examples)):
        return {}
    found: dict[str, list[float]] = {}
    for target_md in examples:
        for one in rank_domains(target_md, vectors, seed=work.project.seed):
            found.setdefault(one.domain, []).append(one.divergence)
    return {name: float(np.mean(values)) for name, values in found.items()}


@asset("mixture_runs", ["torch", "mlflow"])
@per_partition
def mixture_runs(work: Work, key: str, tracker: TrackerResource) -> Iterator[Any]:
    """A small model trained from scratch on one mixture of the sources; all runs use the same settings."""
    yield from _trained(work, key, tracker)


@asset("agreement_runs", ["torch", "mlflow"])
@per_partition
def agreement_runs(work: Work, key: str, tracker: TrackerResource) -> Iterator[Any]:
    """A larger model trained on some mixtures, to check whether both model sizes rank the mixtures alike."""
    yield from _trained(work, key, tracker)


def _trained(work: Work, key: str, tracker: TrackerResource) -> Iterator[Any]:
    """Train a run, or have the command of [trainer] train it; one that Tamis trains goes on after a kill."""
    swarm = work.snapshot.swarm
    assert swarm is not None
    planned = swarm.run(key)
    require_unregistered(work.store, key)
    tracker.require(work.project)
    documents, folder = run_documents(work.store, planned), checkpoint_folder(work, key)
    by_source = {str(name): part["doc_id"].to_list() for (name,), part in documents.group_by("source")}
    repeated = dict(documents.filter(pl.col("count") > 1).select("doc_id", "count").iter_rows())
    record_training_documents(work.store, key, by_source, repeated)
    run = _run(work, key)
    with tried_once(), given_up(run):
        has_ended = yield from ended(work, key, run, f"run {key} of the mixture")
        if not has_ended:
            return
        result, failure = _result(work, planned, run, folder)
    row: dict[str, Any] = {
        "run": key,
        "preset": planned.preset,
        "documents": len(documents),
        "largest_count": documents["count"].max(),
        "failure": failure,
    }
    announce = None
    if result is not None:
        row |= {name: getattr(result, name) for name in FIGURES}
        row["checkpoint"] = work.project.home.relative(folder)
        row["mlflow_run"] = tracker.log(work.project, _finished(work, planned, result, row, by_source))
        announce = partial(tracker.register, work.project, row["mlflow_run"])
        if math.isnan(result.flops):
            row |= {"flops": None}
    work.store.merge_values("mixture_runs", [row])
    yield from work.record(
        Output(
            partition=key,
            rows=[
                Rows(table="mixture_runs", where=f"run = {quoted(key)}"),
                Rows(table="trained_on", where=f"checkpoint = {quoted(key)}"),
            ],
            files=[folder] if result is not None else [],
            row_count=len(documents),
            metadata={
                **(training_metadata(result) if result is not None else {"failure": failure}),
                "shares": dg.MetadataValue.json(dict(planned.weights)),
            },
            announce=announce,
        )
    )
    run.erase()


def _run(work: Work, key: str) -> Run:
    every = Submissions(project=work.project, snapshot=work.snapshot, current=work.current)
    run = every.of(work.stage.name, key, work.key(key))
    assert isinstance(run, Run)
    return run


def _result(
    work: Work, planned: PlannedRun, run: Run, folder: Path
) -> tuple[TrainingResult | None, str | None]:
    """The result of a run, or why it has none: its loss diverged while Tamis trained it."""
    if work.project.settings.trainer is not None:
        return read_run(run, folder), None
    content = run_content(work.project, planned, work.upstream("tokenizer"), _section(work).targets)
    with work.progress(f"run {run.name}", planned.tokens, "tokens") as progress:
        try:
            return train_run(run, content, folder, progress.advance), None
        except DivergedError as error:
            return None, f"diverged: {error}"


def _finished(
    work: Work, run: PlannedRun, result: TrainingResult, row: dict[str, Any], by_source: dict[str, list[str]]
) -> Finished:
    """The run as a tracker takes it."""
    shares = {f"share.{name}": weight for name, weight in run.weights.items()}
    recipe = work.project.settings.pretraining.recipe() | {"tokens": run.tokens}
    return Finished(
        trial=run.name,
        input_key=work.key(run.name),
        results=[result],
        values=row | {"flops": float(result.flops), "seconds": float(result.seconds)},
        parameters={"kind": "mixture", "preset": run.preset, "seed": work.project.seed} | shares | recipe,
        losses=result.losses,
        datasets=[(name, run.documents[name], len(ids)) for name, ids in sorted(by_source.items())],
    )


@asset("mixture_losses", ["torch"])
@per_partition
def mixture_losses(work: Work, key: str) -> Iterator[Any]:
    """Loss of each run on the targets' held-out examples; new targets are evaluated on old checkpoints."""
    yield from _evaluated(work, key, "mixture_runs")


@asset("agreement_losses", ["torch"])
@per_partition
def agreement_losses(work: Work, key: str) -> Iterator[Any]:
    """Loss of the runs with the larger model preset on the targets' held-out examples."""
    yield from _evaluated(work, key, "agreement_runs")


def _evaluated(work: Work, key: str, runs: str) -> Iterator[Any]:
    targets, where = _section(work).targets, f"run = {quoted(key)}"
    (failure,) = work.store.read("mixture_runs", ["failure"], where)["failure"].to_list() or [None]
    checkpoint, run = None if failure else work.upstream(runs, key), _run(work, key)
    if checkpoint is None:
        measured: list[tuple[str, float | None, int]] = [(target, None, 0) for target in targets]
    else:
        with tried_once(), given_up(run):
            later = None
            if work.project.settings.trainer is not None and unmeasured(work.store, checkpoint, targets):
                later = run
                has_ended = yield from ended(work, key, run, f"run {key} of the mixture")
                if not has_ended:
                    return
            measured = losses(work.project, checkpoint, targets, later)
    rows = [
        {"run": key, "target": target, "bits_per_byte": bits, "examples": count}
        for target, bits, count in measured
    ]
    values = pl.DataFrame(rows, schema_overrides={"bits_per_byte": pl.Float64})
    work.store.put("mixture_losses", values, where)
    facts = {f"bits_per_byte_{target}": bits for target, bits, _count in measured if bits is not None}
    yield from work.record(Output(partition=key, row_count=len(rows), metadata=facts))
    run.erase()


@asset("mixture_law", ["scipy"], [PREDICTS])
def mixture_law(work: Work) -> Iterator[Any]:
    """Law that predicts loss from the mixture, chosen by cross-validation, and runs that validate the law."""
    swarm, targets = work.snapshot.swarm, _section(work).targets
    assert swarm is not None
    law = fit_losses(swarm, work.store.read("mixture_losses"), targets, work.project.seed)
    rows, methods = law_rows(swarm, law, targets), method_rows(law, targets)
    work.store.overwrite_values("mixture_law", rows)
    work.store.overwrite_values("mixture_methods", methods)
    preset = mixture_presets(work.project.settings)[1]
    write_larger(work.store, with_larger_runs(swarm, law, preset, _section(work).run_tokens))
    chosen = (row["rank_correlation"] for row in methods if row["chosen"])
    worst = min((value for value in chosen if value is not None), default=None)
    check = dg.AssetCheckResult(
        asset_key="mixture_law",
        check_name=PREDICTS[0],
        passed=worst is not None and worst >= PREDICTS_FROM,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"rank_correlation": worst} if worst is not None else {},
    )
    yield from work.record(
        Output(
            row_count=len(rows),
            metadata={
                "form": ", ".join(dict.fromkeys(law.method)),
                "failed_runs": int((~np.isfinite(law.losses)).any(1).sum()),
            }
            | ({"rank_correlation": worst} if worst is not None else {}),
            checks=[check],
        )
    )


@asset("mixture", ["scipy"], [AGREES])
def mixture(work: Work) -> Iterator[Any]:
    """Predicted best share of each source for the targets, with natural shares and other controls."""
    section, swarm, seed = _section(work), work.snapshot.swarm, work.project.seed
    assert swarm is not None
    losses, sources = work.store.read("mixture_losses"), work.store.read("mixture_sources")
    law = fit_losses(swarm, losses, section.targets, seed)
    caps = Caps(
        tokens=dict(sources.select("source", "tokens").iter_rows()),
        train_tokens=section.train_tokens,
        max_repetition=section.max_repetition,
        stay_near=section.stay_near,
        distances=dict(sources.select("source", "distance").iter_rows()),
    )
    found, agreed = recommend(swarm, law, caps, seed), agreement(swarm, losses, section.targets, seed)
    check = _agrees(agreed)
    page, files = work.project.home.reports / PAGE, []
    if check.passed or check.severity == dg.AssetCheckSeverity.WARN:
        work.store.overwrite_values("mixture", found.shares.to_dicts())
        rows = [vars(one) | {"shares": json.dumps(dict(one.shares))} for one in found.controls]
        work.store.overwrite_values("mixture_controls", rows)
        write_atomically(page, mixture_page(work.project, agreed).encode())
        files.append(page)
    else:
        say(f"the mixture is not recommended: {agreed.words if agreed else ''}; any earlier mixture is kept")
    best = found.mixture
    yield from work.record(
        Output(
            files=files,
            row_count=len(found.shares),
            metadata={
                "predicted": best.predicted,
                "predicted_at_natural_shares": best.predicted_at_prior,
                "shares": dg.MetadataValue.json(dict(found.shares.select("source", "weight").iter_rows())),
                **({"page": work.link(page)} if files else {}),
            },
            checks=[check],
        )
    )


def _agrees(agreed: Agreement | None) -> dg.AssetCheckResult:
    refused = agreed is not None and agreed.correlation < REFUSED_BELOW
    said = agreed.words if agreed else "not validated, since no larger preset was run on these mixtures"
    return dg.AssetCheckResult(
        asset_key="mixture",
        check_name=AGREES[0],
        passed=agreed is not None and agreed.correlation >= WARNED_BELOW,
        severity=dg.AssetCheckSeverity.ERROR if refused else dg.AssetCheckSeverity.WARN,
        metadata={"agreement": said}
        | ({"correlation": agreed.correlation, "low": agreed.low, "high": agreed.high} if agreed else {}),
    )
