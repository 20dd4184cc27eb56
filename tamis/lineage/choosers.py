"""Which partitions and settings each stage depends on: the choosers behind the edges of the graph."""

from collections.abc import Iterable
from typing import Any

from tamis import quality, training
from tamis.lineage.stage import Chooser, Settings
from tamis.lineage.world import OF_TARGETS, TWIN, World, model_section, target_of_warm_up
from tamis.quality.judging import configured_judge
from tamis.references import named
from tamis.selection import find_sampler
from tamis.selection.families import ASK_LLM, PERPLEXITY, model_of
from tamis.selection.filtering import plan_of, rules_of_flags, rules_of_licences, rules_of_sources
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
ANSWER_COLUMNS = ("prompt_column", "response_column", "label_column")


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


def judges_of(world: World, samplers: Iterable[str]) -> dict[str, str]:
    """Identities of the judges that samplers name: other weights are another score."""
    asked = [found.model for name in samplers if (found := model_of(name)) and found.family == ASK_LLM]
    section = world.project.settings.judge
    return {
        model: quality.judge_identity(
            world.project.model(model), section.prompt, max_tokens=section.max_tokens
        )
        for model in asked
    }


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
    if world.search is not None:
        return world.search.measured or world.search.open
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
    read = section.model_dump(
        include={"kind", "text_column", "licence", "language", "minimum_characters", "maximum_row_bytes"}
    )
    return read | _withdrawn_from(world, "documents", partition)


def _withdrawn_from(world: World, asset: str, partition: str) -> dict[str, Any]:
    """What is refused of a shard or target; nothing at all where nothing is, so that nothing is made anew."""
    found = world.withdrawn.get((asset, partition))
    return {"withdrawn": found} if found else {}


def encoder_settings(world: World, partition: str) -> dict[str, Any]:
    return {"encoder": world.encoder_identity}


def copies_wanted(world: World) -> bool:
    """Whether vectors are compared, too, to find documents that repeat another."""
    return world.project.settings.near_duplicates.cosine is not None


def when_copies(chooser: Chooser) -> Chooser:
    return lambda world, partition: chooser(world, partition) if copies_wanted(world) else ()


def section_settings(name: str, exclude: frozenset[str] = frozenset()) -> Settings:
    return lambda world, partition: getattr(world.project.settings, name).model_dump(exclude=exclude)


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


def sampler_trials_settings(world: World, partition: str) -> dict[str, Any]:
    settings = world.project.settings
    section = settings.sampler_trials.model_dump()
    fine = settings.fine_tuning.shared()
    recipe = settings.pretraining.model_dump() if section["from_scratch"] else fine
    transport = settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    shape = model_section(world.project, str(settings.sampler_trials.model))[0].preset
    own = {"recipe": recipe, "transport": transport, "preset": shape}
    measured = _measured_by(world, settings.sampler_trials.samplers)
    return section | own | measured | filter_settings(world, partition)


def _measured_by(world: World, samplers: Iterable[str]) -> dict[str, Any]:
    """Settings of the models that samplers name, where they name any."""
    families = {found.family for name in samplers if (found := model_of(name))}
    judges = {"judges": judges_of(world, samplers)} if ASK_LLM in families else {}
    tokens = {"perplexity_tokens": world.project.settings.perplexity.max_tokens}
    return judges | (tokens if PERPLEXITY in families else {})


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


def judge_settings(world: World, partition: str) -> dict[str, Any]:
    section, judge = world.project.settings.judge, configured_judge(world.project)
    identity = quality.judge_identity(judge, section.prompt, max_tokens=section.max_tokens)
    return {"judge": identity, "model": section.model}


def base_model_settings(world: World, partition: str) -> dict[str, Any]:
    section, fold = model_section(world.project, partition)
    if section.path is not None:
        return {"model": training.model_identity(world.project.model(section.path))}
    kept = {"checkpoints": section.checkpoints} if section.checkpoints else {}
    shape = {"preset": section.preset, "fold": fold} | kept
    return shape | world.project.settings.pretraining.model_dump()


def target_settings(world: World, partition: str) -> dict[str, Any]:
    target = named(world.project.settings.target, partition)
    # Columns that a target does not have are no settings of it: nothing is made anew for want of them.
    lacking = {key for key in ANSWER_COLUMNS if getattr(target, key) is None}
    return target.model_dump(exclude={"path"} | lacking) | {
        "bytes": world.target_fingerprints[partition],
        "near_duplicates": world.project.settings.near_duplicates.threshold,
        **_withdrawn_from(world, "target_examples", partition),
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
    rules = rules_of_flags(filters) | rules_of_licences(filters) | rules_of_sources(filters)
    return {"filters": rules} if rules else {}


def comparison_settings(world: World, partition: str) -> dict[str, Any]:
    settings = world.project.settings
    chosen = {"budget": settings.selection[0].budget, "target": world.keys("targets")[0]}
    return chosen | filter_settings(world, partition)


def selection_settings(world: World, partition: str) -> dict[str, Any]:
    """What the sampler heeds, so that a key it does not know makes nothing anew, and the filters.

    A selection that is pinned depends on nothing but the version it is kept at.
    """
    if pin := world.pins.get(partition):
        return {"pinned": pin.decisions}
    return _sampler_settings(world, partition) | filter_settings(world, partition)


def _sampler_settings(world: World, partition: str) -> dict[str, Any]:
    section = named(world.project.settings.selection, partition)
    sampler = find_sampler(section.sampler)
    unused = set(DEFAULT_OPTIONS) - set(sampler.options)
    unused |= set() if AWAY_SCORE in sampler.score_columns else {"away_from"}
    if sampler.method is None:
        return section.model_dump(exclude=unused | {"rounds", "mixing"})
    if model_of(section.sampler):
        measured = _measured_by(world, [section.sampler])
        return section.model_dump(exclude=unused | {"rounds", "mixing"}) | measured
    transport = world.project.settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    return section.model_dump(exclude=unused) | transport


def trial_settings(world: World, partition: str) -> dict[str, Any]:
    trial = world.trials[partition]
    fields = {name: value for name, value in trial.__dict__.items() if name != "on_request"}
    own = model_section(world.project, trial.model)[0].recipe()
    return fields | world.project.settings.fine_tuning.recipe() | own


def prediction_settings(world: World, partition: str) -> dict[str, Any]:
    """Where losses are predicted, and what a search under a budget has chosen, where there is one."""
    searched = {"searched": world.search.choice} if world.search else {}
    return {"predict_at": world.project.settings.scaling.predict_at} | searched


def law_active(world: World) -> bool:
    return bool(law_trials(world, ""))
