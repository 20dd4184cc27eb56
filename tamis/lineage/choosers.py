"""Which partitions each stage depends on: the choosers behind the edges of the graph."""

from collections.abc import Iterable

from tamis.lineage.stage import Chooser
from tamis.lineage.world import World
from tamis.selection import find_sampler
from tamis.selection.filtering import plan_of, rules_of_flags
from tamis.settings.references import named
from tamis.settings.samplers import AWAY_SCORE, PERPLEXITY, model_of
from tamis.training.planned import OF_TARGETS, TWIN, model_section, target_of_warm_up

SCORE_STAGES = {
    "transport_gradient": "transport_scores",
    "gradient_away": "transport_scores",
    "nearest_cost": "transport_scores",
    "quality": "quality_scores",
    "judge_margin_predicted": "quality_scores",
    "density": "density_scores",
    "bits_per_byte": "perplexity_scores",
}
"""Which stage computes each score column."""


def perplexity_models(world: World, partition: str) -> tuple[str, ...]:
    name = world.project.settings.perplexity.model
    if name is None:
        return ()
    return tuple(model for model in (name, name + TWIN) if model in world.keys("models"))


def when_perplexity(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if perplexity_models(world, partition) else ()


def score_partitions(stage: str, chooser: Chooser) -> Chooser:
    def choose(world: World, partition: str) -> tuple[str, ...]:
        section = named(world.project.settings.selection, partition)
        columns = find_sampler(section.sampler).score_columns
        needed = {SCORE_STAGES[column] for column in columns if column in SCORE_STAGES}
        if stage not in needed:
            return ()
        if stage == "transport_scores":
            away = section.away_from if AWAY_SCORE in columns else None
            return tuple(target for target in (section.target, away) if target)
        return chooser(world, partition)

    return choose


def when_computed(partitions: Chooser) -> Chooser:
    """For selections whose sampler computes its score itself."""

    def choose(world: World, partition: str) -> tuple[str, ...]:
        section = named(world.project.settings.selection, partition)
        computed = find_sampler(section.sampler).method and not model_of(section.sampler)
        return partitions(world, partition) if computed else ()

    return choose


def models_of_selection(world: World, partition: str) -> tuple[str, ...]:
    """The base model, and its twin, whose perplexity a selection's sampler ranks by."""
    return _with_twins(world, [named(world.project.settings.selection, partition).sampler])


def _with_twins(world: World, samplers: Iterable[str]) -> tuple[str, ...]:
    asked = [found.model for name in samplers if (found := model_of(name)) and found.family == PERPLEXITY]
    both = [model for name in dict.fromkeys(asked) for model in (name, name + TWIN)]
    return tuple(model for model in both if model in world.keys("models"))


def models_compared(world: World, partition: str) -> tuple[str, ...]:
    """The model that compared runs begin with, unless they begin with fresh weights, and samplers' models."""
    trials = world.project.settings.sampler_trials
    fresh = trials.from_scratch and trained_on_pool(world, str(trials.model))
    begun = () if fresh else (str(trials.model),)
    return tuple(dict.fromkeys((*begun, *_with_twins(world, trials.samplers))))


def unless_pinned(chooser: Chooser) -> Chooser:
    """For what decides a choice: a selection that is kept at an earlier version reads none of it."""
    return lambda world, partition: () if partition in world.pins else chooser(world, partition)


def target_of_selection(world: World, partition: str) -> tuple[str, ...]:
    target = named(world.project.settings.selection, partition).target
    return (target,) if target else ()


def trial_data(*kinds: str) -> Chooser:
    def choose(world: World, partition: str) -> tuple[str, ...]:
        trial = world.trials[partition]
        return (trial.data,) if trial.kind in kinds else ()

    return choose


def trial_target(world: World, partition: str) -> tuple[str, ...]:
    return (target_of_trial(world, partition),)


def target_of_trial(world: World, name: str) -> str:
    """The target on whose held-out examples a trial is evaluated."""
    trial = world.trials[name]
    if trial.kind in OF_TARGETS:
        return trial.data
    return target_of_warm_up(world.project, trial.data)


def law_trials(world: World, partition: str) -> tuple[str, ...]:
    """The trials that loss curves are drawn from: all planned ones, or those that a search has measured."""
    if world.searches:
        measured = tuple(name for search in world.searches.values() for name in search.measured)
        return measured or tuple(name for search in world.searches.values() for name in search.open)
    return tuple(name for name, trial in world.trials.items() if trial.kind == "law")


def standing_trials(world: World, partition: str) -> tuple[str, ...]:
    """Trials that exist or are due, not those that wait to be asked for."""
    return tuple(key for key in world.keys("trials") if not world.waits_for_request("trials", key))


def trained_on_pool(world: World, partition: str) -> bool:
    return model_section(world.project, partition)[0].preset is not None


def if_trained(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if trained_on_pool(world, partition) else ()


def any_trained(world: World) -> bool:
    return any(model.preset for model in world.project.settings.base_model)


def copies_wanted(world: World) -> bool:
    """Whether vectors are compared, too, to find documents that repeat another."""
    return world.project.settings.near_duplicates.cosine is not None


def when_copies(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if copies_wanted(world) else ()


def compared(world: World) -> bool:
    """Whether samplers are compared by training on what they choose."""
    return world.project.settings.sampler_trials.model is not None


def when_compared(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if compared(world) else ()


def when_scored(stage: str, chooser: Chooser) -> Chooser:
    """For scores that a compared sampler ranks by; vectors, for samplers that compute theirs themselves."""

    def choose(world: World, partition: str) -> tuple[str, ...]:
        samplers = [find_sampler(name) for name in world.project.settings.sampler_trials.samplers]
        needed = {SCORE_STAGES.get(column) for found in samplers for column in found.score_columns}
        needed |= {"vectors"} if any(one.method and not model_of(one.name) for one in samplers) else set()
        return chooser(world, partition) if stage in needed else ()

    return choose


def compared_target(world: World, partition: str) -> tuple[str, ...]:
    return (str(world.project.settings.sampler_trials.target),)


def tokenizer_compared(world: World, partition: str) -> tuple[str, ...]:
    """The tokenizer of runs that begin with fresh weights."""
    trials = world.project.settings.sampler_trials
    return ("",) if trials.from_scratch and trained_on_pool(world, str(trials.model)) else ()


def quality_wanted(world: World) -> bool:
    """The judge costs minutes, so it is asked when a sampler needs it or tamis.toml has a [judge] section."""
    settings = world.project.settings
    used = [chosen.sampler for chosen in settings.selection]
    used += settings.sampler_trials.samplers if compared(world) else ()
    columns = {column for name in used for column in find_sampler(name).score_columns}
    needed = any(SCORE_STAGES.get(column) == "quality_scores" for column in columns)
    return needed or "judge" in settings.model_fields_set


def when_judged(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if quality_wanted(world) else ()


def when_active(chooser: Chooser) -> Chooser:
    """For a judge's sample that is chosen by vectors."""

    def choose(world: World, partition: str) -> tuple[str, ...]:
        return chooser(world, partition) if world.project.settings.judge.active_share else ()

    return choose


def flags_wanted(world: World) -> bool:
    """Whether [filters] asks for anything that has to be measured."""
    return bool(plan_of(world.project.settings.filters))


def when_flags_exclude(chooser: Chooser) -> Chooser:
    """For what heeds flags: personal data that is only flagged keeps no document out."""
    return lambda world, key: chooser(world, key) if rules_of_flags(world.project.settings.filters) else ()


def law_active(world: World) -> bool:
    return bool(law_trials(world, ""))
