"""Which settings each stage depends on: what changes a value when tamis.toml changes, and nothing else."""

from collections.abc import Iterable
from typing import Any

from tamis import quality, training
from tamis.lineage.stage import Settings
from tamis.lineage.world import World
from tamis.quality.judging import configured_judge
from tamis.selection import find_sampler
from tamis.selection.filtering import plan_of, rules_of_flags, rules_of_licences, rules_of_sources
from tamis.settings.references import named
from tamis.settings.samplers import ASK_LLM, PERPLEXITY, model_of
from tamis.training.planned import model_section

ANSWER_COLUMNS = ("prompt_column", "response_column", "label_column")


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


def precision_settings(world: World) -> dict[str, Any]:
    """What models and the first passes of a solve are computed in: the other one gives other last digits."""
    return {"computed_in": world.precision}


def potential_settings(world: World, partition: str) -> dict[str, Any]:
    return world.project.settings.transport.model_dump() | precision_settings(world)


def section_settings(name: str, exclude: frozenset[str] = frozenset()) -> Settings:
    return lambda world, partition: getattr(world.project.settings, name).model_dump(exclude=exclude)


def sampler_trials_settings(world: World, partition: str) -> dict[str, Any]:
    settings = world.project.settings
    section = settings.sampler_trials.model_dump()
    fine = settings.fine_tuning.shared()
    recipe = settings.pretraining.recipe() if section["from_scratch"] else fine
    transport = settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    shape = model_section(world.project, str(settings.sampler_trials.model))[0].preset
    own = {"recipe": recipe, "transport": transport, "preset": shape} | precision_settings(world)
    measured = _measured_by(world, settings.sampler_trials.samplers)
    return section | own | measured | filter_settings(world, partition)


def _measured_by(world: World, samplers: Iterable[str]) -> dict[str, Any]:
    """Settings of the models that samplers name, where they name any."""
    families = {found.family for name in samplers if (found := model_of(name))}
    judges = {"judges": judges_of(world, samplers)} if ASK_LLM in families else {}
    tokens = {"perplexity_tokens": world.project.settings.perplexity.max_tokens}
    return judges | (tokens if PERPLEXITY in families else {})


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
    return shape | world.project.settings.pretraining.recipe() | precision_settings(world)


def target_settings(world: World, partition: str) -> dict[str, Any]:
    target = named(world.project.settings.target, partition)
    # Columns that a target does not have are no settings of it: nothing is made anew for want of them.
    lacking = {key for key in ANSWER_COLUMNS if getattr(target, key) is None}
    return target.model_dump(exclude={"path", "follow_links"} | lacking) | {
        "bytes": world.target_fingerprints[partition],
        "near_duplicates": world.project.settings.near_duplicates.threshold,
        **_withdrawn_from(world, "target_examples", partition),
    }


def flag_settings(world: World, partition: str) -> dict[str, Any]:
    """What is measured, not the limits that a selection applies."""
    return plan_of(world.project.settings.filters).identity()


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
    heeded = section.model_dump(exclude=sampler.unheeded)
    if sampler.method is None:
        return heeded
    if model_of(section.sampler):
        return heeded | _measured_by(world, [section.sampler])
    transport = world.project.settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    return heeded | transport | precision_settings(world)


def trial_settings(world: World, partition: str) -> dict[str, Any]:
    trial = world.trials[partition]
    fields = {name: value for name, value in trial.__dict__.items() if name != "on_request"}
    own = model_section(world.project, trial.model)[0].recipe()
    return fields | world.project.settings.fine_tuning.recipe() | own | precision_settings(world)


def prediction_settings(world: World, partition: str) -> dict[str, Any]:
    """Where losses are predicted, and what searches under a budget have chosen and left out."""
    found: dict[str, Any] = {"predict_at": world.project.settings.scaling.predict_at}
    if world.searches:
        found["searched"] = {target: search.choice for target, search in world.searches.items()}
    for target, search in world.searches.items():
        if search.left_out:  # without the reasons, which may name folders of this machine
            found.setdefault("left_out", {})[target] = sorted(search.left_out)
    return found
