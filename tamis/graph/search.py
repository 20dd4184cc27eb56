"""Search under a budget: which trials of the scaling law to run next, given the losses in the store.

No state is kept between two scans: the search is replayed with every current loss, so that trials of another
target or recipe do not count, and a killed run changes nothing. The price is a ranking of all models for each
round at each scan.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

import polars as pl

from tamis.base.errors import MissingPackageError
from tamis.graph.plan import input_key
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.scaling import BudgetedSearch, predict_full_loss
from tamis.scaling.searched import CLEAR, SPENT, TOO_SMALL, UNKNOWN, Search
from tamis.training import UnknownModelError, count_parameters, preset_shape
from tamis.training.failures import failures_of
from tamis.training.planned import Trial, model_section
from tamis.training.stage import BASE_MODELS_STAGE, TRIALS, TRIALS_STAGE


def searches_of(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, Search]:
    """Return the search for each target of [scaling]; empty without a budget: then every trial is wanted."""
    share, targets = snapshot.project.settings.trial_budget.share, snapshot.project.settings.scaling.targets
    if share is None or not snapshot.project.settings.scaling.models:
        return {}
    costs, losses, failed = (
        costs_of_models(snapshot, current),
        _losses(snapshot, current),
        _left_out(snapshot, current),
    )
    return {target: _search(snapshot, target, costs, losses, failed) for target in targets}


def _search(
    snapshot: ProjectSnapshot,
    target: str,
    costs: Mapping[str, float],
    losses: Mapping[str, float],
    failed: Mapping[str, str],
) -> Search:
    """Return the state of the search for one target after replaying its measured and failed trials."""
    laws = {
        (trial.model, trial.size): trial
        for trial in snapshot.trials.values()
        if trial.kind == "law" and trial.data == target
    }
    share = snapshot.project.settings.trial_budget.share
    assert share is not None
    search = Search(budget_share=share, target=target)
    if unknown := sorted({model for model, _size in laws} - set(costs)):
        return replace(search, ended=f"{UNKNOWN}: {', '.join(unknown)}")
    searching = BudgetedSearch(
        list(costs), sorted({size for _model, size in laws}), costs, share, snapshot.project.seed
    )
    for (model, size), trial in laws.items():
        if trial.name in losses or trial.name in failed:
            searching.tell(model, size, losses.get(trial.name, math.nan))
    clear = _is_clear(searching, laws, losses)
    asked = [] if clear else searching.ask()
    tried = {model for (model, _size), trial in laws.items() if trial.name in losses or trial.name in failed}
    ended = CLEAR if clear else "" if asked else SPENT if tried else TOO_SMALL
    largest = max(size for _model, size in laws)
    return replace(
        search,
        measured=tuple(trial.name for trial in laws.values() if trial.name in losses),
        open=tuple(laws[model, int(size)].name for model, size in asked),
        left_out={
            trial.name: failed[trial.name]
            for trial in laws.values()
            if trial.name in failed and trial.name not in losses
        },
        choice=searching.choice,
        spent_share=searching.spent_share,
        least_share=searching.least_share,
        untried=() if clear else tuple(sorted(set(costs) - tried - {model for model, _size in asked})),
        next_share=searching.next_share() if ended == SPENT else None,
        costs=dict(costs),
        unpaid=_unpaid(laws, largest, costs, {*losses, *failed}, 1 - searching.spent_share)
        if ended == SPENT and share == 1
        else (),
        largest=largest,
        ended=ended,
    )


def _unpaid(
    laws: Mapping[tuple[str, int], Trial],
    largest: int,
    costs: Mapping[str, float],
    done: Collection[str],
    left_share: float,
) -> tuple[str, ...]:
    """Return the models without a trial at the largest size, where the remaining budget cannot pay for all.

    `done`: names of the trials that were measured or left out; `left_share`: remaining share of the cost of
    running every model at the largest size.
    """
    lacking = [model for model in sorted(costs) if laws[model, largest].name not in done]
    return tuple(lacking) if sum(costs[model] for model in lacking) > left_share * sum(costs.values()) else ()


def costs_of_models(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, float]:
    """Return what an example costs in each model of the scaling law, in units of its number of parameters.

    A model with an adapter costs two thirds of that. Models of unknown size are left out. The size follows
    from the shape of a model that the graph trains; of others it is read from the manifest, or from the
    headers of their files.
    """
    found = {}
    for model in snapshot.project.settings.scaling.models:
        if parameters := _parameters(snapshot, current, model):
            # An adapter spares the gradients of the frozen weights: 4 N T instead of 6 N T operations.
            adapted = model_section(snapshot.project, model)[0].lora_rank is not None
            found[model] = float(parameters) * (2 / 3 if adapted else 1)
    return found


def _parameters(snapshot: ProjectSnapshot, current: CurrentValues, model: str) -> int | None:
    section, _fold = model_section(snapshot.project, model)
    if section.preset is not None:
        return preset_shape(section.preset, snapshot.project.settings.pretraining.vocabulary).parameters
    try:
        value = current[(BASE_MODELS_STAGE.name, model)]
        return int(ManifestFolder.of(snapshot.project.home).read(value.manifest).beside["parameters"])
    except (ManifestError, KeyError):
        try:
            return count_parameters(snapshot.project.model(str(section.path)))
        except (UnknownModelError, MissingPackageError):
            # The model's own asset reports it; raised here it would stop every command.
            return None


def _losses(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, float]:
    """Return the held-out loss of each current trial: bits per byte, or nats an example of a labelled target.

    NaN where no loss is stored.
    """
    stage = stages()[TRIALS_STAGE.name]
    trained = {
        trial.name
        for trial in snapshot.trials.values()
        if trial.kind == "law"
        and (value := current.get((stage.name, trial.name))) is not None
        and value.usable
        and value.input_key == input_key(stage, trial.name, snapshot, current)
    }
    read = snapshot.project.home.store.read(TRIALS.name, ["trial", "held_out_bits_per_byte", "held_out_loss"])
    rows = read.select("trial", pl.coalesce("held_out_bits_per_byte", "held_out_loss")).iter_rows()
    return {name: math.nan if loss is None else float(loss) for name, loss in rows if name in trained}


def _left_out(snapshot: ProjectSnapshot, current: CurrentValues) -> dict[str, str]:
    """Return the reason for each trial that is not tried again with its present inputs.

    It failed for good, or as often as [trial_budget] maximum_attempts allows.
    """
    most, stage = snapshot.project.settings.trial_budget.maximum_attempts, stages()[TRIALS_STAGE.name]
    return {
        failure.trial: failure.reason
        for failure in failures_of(snapshot.project.home.store)
        if failure.trial in snapshot.trials
        and (failure.permanent or failure.attempts >= most)
        and failure.input_key == input_key(stage, failure.trial, snapshot, current)
    }


def _is_clear(
    searching: BudgetedSearch, laws: Mapping[tuple[str, int], Trial], losses: Mapping[str, float]
) -> bool:
    """Return whether the 90 % interval of the best model at the largest size is below those of all others.

    Always False within a round: the answer would depend on which of its trials ended first.
    """
    if searching.round_begun or searching.choice is None:
        return False
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for (model, size), trial in laws.items():
        if trial.name in losses:
            sizes, values = curves.setdefault(model, ([], []))
            sizes.append(size)
            values.append(losses[trial.name])
    if len(curves) < len({model for model, _size in laws}) or len(curves) < 2:
        return False
    predicted = predict_full_loss(curves, max(size for _model, size in laws), method="best")
    best = predicted[searching.choice].high
    return all(best < found.low for model, found in predicted.items() if model != searching.choice)
