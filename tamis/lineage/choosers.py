"""Which partitions and settings each stage depends on: the choosers behind the edges of the graph."""

from typing import Any

from tamis import embedding, quality, training
from tamis.config import named
from tamis.lineage.stage import Chooser, Settings
from tamis.lineage.world import TWIN, World, model_section
from tamis.quality.judging import configured_judge
from tamis.selection import SAMPLERS
from tamis.selection.filtering import plan_of, rules_of_flags, rules_of_licences
from tamis.selection.samplers import AWAY_SCORE, DEFAULT_OPTIONS

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
        columns = SAMPLERS[section.sampler].score_columns
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
        return partitions(world, partition) if SAMPLERS[section.sampler].method else ()

    return choose


def target_of_selection(world: World, partition: str) -> tuple[str, ...]:
    target = named(world.project.settings.selection, partition).target
    return (target,) if target else ()


def trial_data(kind: str) -> Chooser:
    def choose(world: World, partition: str) -> tuple[str, ...]:
        trial = world.trials[partition]
        return (trial.data,) if trial.kind == kind else ()

    return choose


def trial_target(world: World, partition: str) -> tuple[str, ...]:
    return (target_of_trial(world, partition),)


def target_of_trial(world: World, name: str) -> str:
    """The target on whose held-out examples a trial is evaluated."""
    trial = world.trials[name]
    if trial.kind == "law":
        return trial.data
    chosen = named(world.project.settings.selection, trial.data).target
    return chosen or world.project.settings.scaling.target or world.keys("targets")[0]


def law_trials(world: World, partition: str) -> tuple[str, ...]:
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


def corpus_settings(world: World, partition: str) -> dict[str, Any]:
    section = named(world.project.settings.corpus, world.shards[partition].corpus)
    return section.model_dump(
        include={"kind", "text_column", "licence", "language", "minimum_characters", "maximum_row_bytes"}
    )


def encoder_settings(world: World, partition: str) -> dict[str, Any]:
    return {"encoder": embedding.encoder_identity(world.project.model(world.project.settings.encoder.name))}


def section_settings(name: str, exclude: frozenset[str] = frozenset()) -> Settings:
    return lambda world, partition: getattr(world.project.settings, name).model_dump(exclude=exclude)


def quality_wanted(world: World) -> bool:
    """The judge costs minutes, so it is asked when a sampler needs it or tamis.toml has a [judge] section."""
    settings = world.project.settings
    columns = {column for chosen in settings.selection for column in SAMPLERS[chosen.sampler].score_columns}
    needed = any(SCORE_STAGES.get(column) == "quality_scores" for column in columns)
    return needed or "judge" in settings.model_fields_set


def when_judged(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if quality_wanted(world) else ()


def judge_settings(world: World, partition: str) -> dict[str, Any]:
    section, judge = world.project.settings.judge, configured_judge(world.project)
    identity = quality.judge_identity(judge, section.prompt, max_tokens=section.max_tokens)
    return {"judge": identity, "model": section.model}


def base_model_settings(world: World, partition: str) -> dict[str, Any]:
    section, fold = model_section(world.project, partition)
    if section.path is not None:
        return {"model": training.model_identity(world.project.model(section.path))}
    shape = {"preset": section.preset, "fold": fold}
    return shape | world.project.settings.pretraining.model_dump()


def target_settings(world: World, partition: str) -> dict[str, Any]:
    section = named(world.project.settings.target, partition).model_dump(exclude={"path"})
    return section | {
        "bytes": world.target_fingerprints[partition],
        "near_duplicates": world.project.settings.near_duplicates.threshold,
    }


def flags_wanted(world: World) -> bool:
    """Whether [filters] asks for anything that has to be measured."""
    return bool(plan_of(world.project.settings.filters))


def flag_settings(world: World, partition: str) -> dict[str, Any]:
    """What is measured, not the limits that a selection applies."""
    return plan_of(world.project.settings.filters).identity()


def when_flags_exclude(chooser: Chooser) -> Chooser:
    """For what heeds flags: personal data that is only flagged keeps no document out."""
    return lambda world, key: chooser(world, key) if rules_of_flags(world.project.settings.filters) else ()


def filter_settings(world: World, partition: str) -> dict[str, Any]:
    """The filters that keep documents out; nothing at all without any, so that nothing is made anew."""
    filters = world.project.settings.filters
    rules = rules_of_flags(filters) | rules_of_licences(filters)
    return {"filters": rules} if rules else {}


def comparison_settings(world: World, partition: str) -> dict[str, Any]:
    settings = world.project.settings
    chosen = {"budget": settings.selection[0].budget, "target": world.keys("targets")[0]}
    return chosen | filter_settings(world, partition)


def selection_settings(world: World, partition: str) -> dict[str, Any]:
    """What the sampler heeds, so that a key it does not know makes nothing anew, and the filters."""
    return _sampler_settings(world, partition) | filter_settings(world, partition)


def _sampler_settings(world: World, partition: str) -> dict[str, Any]:
    section = named(world.project.settings.selection, partition)
    sampler = SAMPLERS[section.sampler]
    unused = set(DEFAULT_OPTIONS) - set(sampler.options)
    unused |= set() if AWAY_SCORE in sampler.score_columns else {"away_from"}
    if sampler.method is None:
        return section.model_dump(exclude=unused | {"rounds", "mixing"})
    transport = world.project.settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    return section.model_dump(exclude=unused) | transport


def trial_settings(world: World, partition: str) -> dict[str, Any]:
    trial = world.trials[partition]
    fields = {name: value for name, value in trial.__dict__.items() if name != "on_request"}
    return fields | world.project.settings.fine_tuning.model_dump()


def law_active(world: World) -> bool:
    return bool(law_trials(world, ""))
