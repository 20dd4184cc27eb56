"""Models and trials that tamis.toml asks for, by name: nothing here has been made, nor is anything read."""

from dataclasses import dataclass

from tamis.project import Project
from tamis.settings.config import BaseModelSection
from tamis.settings.references import TWIN, named
from tamis.settings.samplers import OF_BASE_MODELS, ModelOf, model_of

OF_TARGETS = ("law", "direct")
"""Kinds of trials that are trained on the examples of a target alone."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fine-tuning by its kind: `law` trials take nested subsets of a target, `warm_up` ones a selection.

    `two_stage` trials take a selection and then what the target has to learn from, `direct` ones the latter
    alone. `on_request`: made when it is asked for, never because it is missing.
    """

    name: str
    model: str
    kind: str
    data: str
    size: int
    on_request: bool = False


def model_names(project: Project) -> tuple[str, ...]:
    """Base models, and twins of those that measure perplexity where the graph trains them."""
    settings = project.settings
    names = [model.name for model in settings.base_model]
    measuring = [settings.perplexity.model, *(found.model for found in sampler_models(project))]
    trained = [name for name in measuring if name in names and named(settings.base_model, name).preset]
    return (*names, *(name + TWIN for name in dict.fromkeys(trained)))


def sampler_models(project: Project) -> list[ModelOf]:
    """Base models by whose losses samplers rank, as `Settings.ranking_samplers` has them."""
    used = project.settings.ranking_samplers
    return [model for name in used if (model := model_of(name)) and model.family in OF_BASE_MODELS]


def model_section(project: Project, name: str) -> tuple[BaseModelSection, int]:
    """Settings of a base model and the fold of the pool it trains on: 0, or 1 for a twin."""
    fold = int(name.endswith(TWIN) and name not in {model.name for model in project.settings.base_model})
    return named(project.settings.base_model, name.removesuffix(TWIN) if fold else name), fold


def planned_trials(project: Project) -> list[Trial]:
    """The grid for the scaling law, then warm-ups, trials in two stages, and warm-ups on request."""
    settings = project.settings
    trials = []
    for place, target in enumerate(settings.scaling.targets):
        # The first target's trials keep their names when others are added, so none is made again.
        of_target = f"__{target}" if place else ""
        trials += [
            Trial(name=f"law__{model}__{size}{of_target}", model=model, kind="law", data=target, size=size)
            for model in settings.scaling.models
            for size in settings.sizes_of(target)
        ]
    compared, more = settings.comparison, settings.comparison.on_request
    standing = [(compared.model, name) for name in compared.selections if compared.model]
    asked = [(model, name) for model in more.models for name in more.selections]
    trials += [_warm_up(model, name, False) for model, name in standing if model]
    if compared.two_stage and compared.model:
        trials += _two_stage(project, compared.model, compared.selections)
    return trials + [_warm_up(*pair, True) for pair in asked if pair not in standing]


def _two_stage(project: Project, model: str, selections: tuple[str, ...]) -> list[Trial]:
    """Both stages after each selection, and the second one alone: what a warm-up has to beat."""
    targets = dict.fromkeys(target_of_warm_up(project, selection) for selection in selections)
    direct = [
        Trial(name=f"direct__{model}__{target}", model=model, kind="direct", data=target, size=0)
        for target in targets
    ]
    return direct + [
        Trial(name=f"two-stage__{model}__{name}", model=model, kind="two_stage", data=name, size=0)
        for name in selections
    ]


def target_of_warm_up(project: Project, selection: str) -> str:
    """The target on whose held-out examples a warm-up is measured: the selection's own, or the project's."""
    settings = project.settings
    chosen = named(settings.selection, selection).target
    return chosen or next(iter(settings.scaling.targets), settings.target[0].name)


def _warm_up(model: str, selection: str, on_request: bool) -> Trial:
    name = f"warm-up__{model}__{selection}"
    return Trial(name=name, model=model, kind="warm_up", data=selection, size=0, on_request=on_request)
