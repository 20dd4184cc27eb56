"""What the tables of tamis.toml say of each other: every name resolves, every sampler has what it needs."""

from typing import TYPE_CHECKING, TypeVar

from tamis.base.errors import UnknownNameError, did_you_mean
from tamis.settings.budget import parse_budget
from tamis.settings.samplers import (
    AWAY_SCORE,
    FORMS,
    PERPLEXITY,
    SAMPLERS,
    BadModelSamplerError,
    find_sampler,
    model_of,
)
from tamis.settings.sections import CorpusSection, SelectionSection, TargetSection
from tamis.settings.training_sections import (
    PRESETS,
    BaseModelSection,
    MixtureSection,
    Preset,
    ScalingSection,
)
from tamis.settings.values import wrong_key

if TYPE_CHECKING:
    from tamis.settings.config import Settings

TWIN = "-twin"
"""The name of a twin is that of its model and this."""
Entry = TypeVar("Entry", CorpusSection, TargetSection, SelectionSection, BaseModelSection)


def named(entries: tuple[Entry, ...], name: str) -> Entry:
    """The entry of that name; raises `KeyError` when there is none."""
    for entry in entries:
        if entry.name == name:
            return entry
    raise KeyError(name)


def check_references(settings: "Settings") -> None:
    targets = {target.name for target in settings.target}
    models = {model.name for model in settings.base_model}
    selections = {selection.name for selection in settings.selection}
    for selection in settings.selection:
        _check_sampler(selection.sampler, settings.base_model, f"[[selection]] {selection.name}: sampler")
        if selection.target is not None:
            _must_be(selection.target, targets, f"[[selection]] {selection.name}: target")
        if "bits_per_byte" in find_sampler(selection.sampler).score_columns and not settings.perplexity.model:
            expected = (
                f'the name of a [[base_model]], since selection {selection.name!r} uses sampler "perplexity"'
            )
            raise wrong_key("perplexity.model", None, expected)
        if selection.target is None and find_sampler(selection.sampler).needs_target:
            expected = f"{_one_of(targets)} (sampler {selection.sampler!r} needs a target)"
            raise wrong_key(f"[[selection]] {selection.name}: target", None, expected)
        _check_contrast(selection, targets)
    _check_exports(selections)
    check_mixture(settings)
    _check_scaling(settings.scaling, settings.target, models, settings.fine_tuning.validation)
    if settings.trial_budget.share is not None and not settings.scaling.models:
        raise wrong_key(
            "[scaling] models", None, f"{_one_of(models)} (required, since [trial_budget] sets share)"
        )
    _check_trials(settings)
    _check_trial_names(settings)
    _check_twins(settings)
    for where, model_name in (
        ("comparison", settings.comparison.model),
        ("perplexity", settings.perplexity.model),
    ):
        if model_name is not None:
            _must_be(model_name, models, f"[{where}] model")
    _check_sampler_trials(settings, set(targets), models)
    more = settings.comparison.on_request
    for name in settings.comparison.selections:
        _must_be(name, selections, "[comparison] selections")
    for name in more.selections:
        _must_be(name, selections, "[comparison.on_request] selections")
    for name in more.models:
        _must_be(name, models, "[comparison.on_request] models")


def _check_sampler(name: str, models: tuple[BaseModelSection, ...], where: str) -> None:
    """A sampler's name, and where it holds a model that model and the part of its training."""
    try:
        find_sampler(name)
    except (UnknownNameError, BadModelSamplerError) as error:
        meant = did_you_mean(name, SAMPLERS)
        raise wrong_key(where, name, f"{_one_of(set(SAMPLERS))}; or {FORMS}{meant}") from error
    asked = model_of(name)
    if asked is None or asked.family != PERPLEXITY:
        return
    if asked.model not in (known := {model.name for model in models}):
        expected = f"{PERPLEXITY}:MODEL, where MODEL is {_one_of(known, 'a [[base_model]]')}"
        raise wrong_key(where, name, f"{expected}{did_you_mean(asked.model, known)}")
    kept = named(models, asked.model).checkpoints
    if asked.checkpoint is not None and asked.checkpoint not in kept:
        expected = (
            f"{PERPLEXITY}:{asked.model}@SHARE, where SHARE is listed in checkpoints of [[base_model]] "
            f"{asked.model} (listed: {', '.join(map(str, kept)) or 'none'})"
        )
        raise wrong_key(where, name, expected)


def _check_contrast(selection: SelectionSection, targets: set[str]) -> None:
    where, others = f"[[selection]] {selection.name}: away_from", targets - {str(selection.target)}
    if selection.away_from is not None:
        _must_be(selection.away_from, others, where)
    elif AWAY_SCORE in find_sampler(selection.sampler).score_columns:
        named = _one_of(others) if others else "a second [[target]]"
        raise wrong_key(where, None, f"{named} (sampler {selection.sampler!r} needs two targets)")


def check_mixture(settings: "Settings") -> None:
    """What [mixture] and the selections that follow it ask of the other tables."""
    for selection in settings.selection:
        where = f"[[selection]] {selection.name}: mixture"
        if not selection.mixture:
            continue
        if settings.mixture is None:
            raise wrong_key(
                where, True, "a [mixture] section in tamis.toml, from which the selection takes its shares"
            )
        if selection.per is not None:
            raise wrong_key(where, True, "either mixture or per, not both, since each divides the budget")
        if parse_budget(selection.budget).unit != "tokens":
            expected = 'a budget in tokens, such as budget = "2Mtok", since mixture = true'
            raise wrong_key(f"[[selection]] {selection.name}: budget", selection.budget, expected)
    section = settings.mixture
    if section is None:
        return
    for target in section.targets:
        _must_be(target, {one.name for one in settings.target}, "[mixture] target")
    for key in ("model", "agreement_model"):
        if (name := getattr(section, key)) is not None and preset_named(settings, name) is None:
            presets = {one.name for one in settings.base_model if one.preset} | {*PRESETS}
            raise wrong_key(f"[mixture] {key}", name, f"{_one_of(presets)}{did_you_mean(name, presets)}")
    smaller, larger = (PRESETS.index(one) if one else -1 for one in mixture_presets(settings))
    if section.agreement_model is not None and larger <= smaller:
        expected = f"a preset larger than the one that [mixture] names as model = {section.model!r}"
        raise wrong_key("[mixture] agreement_model", section.agreement_model, expected)
    where = "[mixture] sampler"
    _check_sampler(section.sampler, settings.base_model, where)
    if AWAY_SCORE in find_sampler(section.sampler).score_columns:
        raise wrong_key(
            where, section.sampler, "a sampler that does not need away_from, which [mixture] does not have"
        )
    if "bits_per_byte" in find_sampler(section.sampler).score_columns and not settings.perplexity.model:
        expected = 'the name of a [[base_model]], since [mixture] uses sampler "perplexity"'
        raise wrong_key("perplexity.model", None, expected)
    if "run_tokens" in section.model_fields_set and section.run_tokens > section.train_tokens:
        expected = (
            f"at most train_tokens ({section.train_tokens:,}), "
            "since no run may be longer than the training run that it imitates"
        )
        raise wrong_key("[mixture] run_tokens", section.run_tokens, expected)
    if section.sources == "corpora":
        count = len(settings.corpus)
        if count < 2:
            raise wrong_key(
                "[mixture] sources", "corpora", "at least two [[corpus]] sections, or sources = 'source'"
            )
        if section.runs is not None and section.runs < count + 2:
            raise wrong_key(
                "[mixture] runs",
                section.runs,
                f"at least {count + 2}, two more than the number of sources ({count})",
            )


def uses_topics(settings: "Settings") -> bool:
    """Return whether a selection or the mixture divides documents by topics."""
    by_topic = any(selection.per == "topic" for selection in settings.selection)
    return by_topic or (settings.mixture is not None and settings.mixture.sources == "topics")


def preset_named(settings: "Settings", name: str) -> Preset | None:
    """Return the preset of that name, or of the [[base_model]] of that name; None where it has none."""
    for model in settings.base_model:
        if model.name == name and model.preset:
            return model.preset
    return next((preset for preset in PRESETS if preset == name), None)


def mixture_presets(settings: "Settings") -> tuple[Preset | None, Preset | None]:
    """Return the presets of the runs of [mixture] and of those that validate them, None for none of these.

    Without agreement_model it is the next larger one.
    """
    section: MixtureSection | None = settings.mixture
    if section is None:
        return None, None
    model = preset_named(settings, section.model)
    if section.agreement_model is not None:
        return model, preset_named(settings, section.agreement_model)
    larger = PRESETS[PRESETS.index(model) + 1 :] if model else ()
    return model, next(iter(larger), None)


def _check_sampler_trials(settings: "Settings", targets: set[str], models: set[str]) -> None:
    trials = settings.sampler_trials
    if "sampler_trials" not in settings.model_fields_set:
        return
    _must_be(trials.model, models, "[sampler_trials] model")
    _must_be(trials.target, targets, "[sampler_trials] target")
    for name in trials.samplers:
        where = "[sampler_trials] samplers"
        _check_sampler(name, settings.base_model, where)
        if AWAY_SCORE in find_sampler(name).score_columns:
            raise wrong_key(
                where, name, "a sampler that does not need away_from, which [sampler_trials] does not have"
            )
    measured = any("bits_per_byte" in find_sampler(name).score_columns for name in trials.samplers)
    if measured and not settings.perplexity.model:
        expected = 'the name of a [[base_model]], since [sampler_trials] uses sampler "perplexity"'
        raise wrong_key("perplexity.model", None, expected)


def _check_scaling(
    scaling: ScalingSection, targets: tuple[TargetSection, ...], models: set[str], validation: int
) -> None:
    names = {target.name for target in targets}
    for model in scaling.models:
        _must_be(model, models, "[scaling] models")
    for target in scaling.targets:
        _must_be(target, names, "[scaling] target")
    if scaling.models and not scaling.targets:
        raise wrong_key("[scaling] target", None, _one_of(names))
    if scaling.models and not scaling.sizes:
        raise wrong_key("[scaling] sizes", [], "at least one training-set size, as a number of examples")
    # A size too large for one of several targets is left out there; it must suit one, and each target one.
    train = {target: named(targets, target).train - validation for target in scaling.targets}
    if not train or not scaling.sizes:
        return
    largest, smallest = max(train, key=lambda one: train[one]), min(train, key=lambda one: train[one])
    for size, target in ((max(scaling.sizes), largest), (min(scaling.sizes), smallest)):
        if size > train[target]:
            aside = f" minus [fine_tuning] validation = {validation}" if validation else ""
            expected = f"sizes up to {train[target]} (the train setting of target {target!r}{aside})"
            raise wrong_key("[scaling] sizes", size, expected)


def _check_trials(settings: "Settings") -> None:
    """What fine-tuning asks of the targets that trials are measured on."""
    aside = settings.fine_tuning.validation
    for target in settings.target if aside else ():
        if aside >= target.train:
            raise wrong_key(
                "[fine_tuning] validation",
                aside,
                f"a number less than train = {target.train} of target {target.name!r}",
            )
    if settings.comparison.two_stage and not (settings.comparison.model and settings.comparison.selections):
        expected = "both model and selections to be set in [comparison], since two_stage = true"
        raise wrong_key("[comparison] model", settings.comparison.model, expected)
    if settings.comparison.two_stage and not settings.target:
        raise wrong_key("[comparison] two_stage", True, "a [[target]] to train on in the second stage")


def _check_exports(selections: set[str]) -> None:
    """Exports of two selections must not have the same file names: `a.map.parquet` is also the map of `a`."""
    for name in sorted(selections):
        for ending in (".map", ".openlineage", ".scores"):
            if name + ending in selections:
                expected = f"another name: exports of the selection {name!r} have files of this name"
                raise wrong_key("[[selection]] name", name + ending, expected)


def _check_trial_names(settings: "Settings") -> None:
    """Names of trials are made of other names, which two of them must not spell alike."""
    scaling, compared = settings.scaling, settings.comparison
    laws = [
        (model, str(size), *([target] if place else []))
        for place, target in enumerate(scaling.targets)
        for model in scaling.models
        for size in settings.sizes_of(target)
    ]
    more = compared.on_request
    warm_ups = [(compared.model, name) for name in compared.selections if compared.model]
    warm_ups += [(model, name) for model in more.models for name in more.selections]
    for kind, asked in (("law", laws), ("warm-up", warm_ups)):
        spelt: dict[str, tuple[str, ...]] = {}
        for parts in asked:
            name = "__".join((kind, *parts))
            if (other := spelt.setdefault(name, parts)) != parts:
                expected = (
                    f"names that keep trials apart, since {' and '.join(other)} would have the same trial, "
                    f"{name!r}; rename one of them, without two underscores in a row"
                )
                raise wrong_key("[[base_model]] name", " and ".join(parts), expected)


def _check_twins(settings: "Settings") -> None:
    """A model that measures perplexity has a twin, whose name no other model may have."""
    models = {model.name: model for model in settings.base_model}
    samplers = [section.sampler for section in settings.selection]
    samplers += settings.sampler_trials.samplers if settings.sampler_trials.model else ()
    asked = [found for name in samplers if (found := model_of(name))]
    measuring = [settings.perplexity.model, *(one.model for one in asked if one.family == PERPLEXITY)]
    for name in dict.fromkeys(measuring):
        if name in models and models[name].preset and name + TWIN in models:
            expected = f"another name: Tamis trains a twin of {name!r} with this name, to measure perplexity"
            raise wrong_key("[[base_model]] name", name + TWIN, expected)


def _must_be(name: str | None, valid: set[str], where: str) -> None:
    if name not in valid:
        raise wrong_key(where, name, f"{_one_of(valid)}{did_you_mean(name, valid)}")


def _one_of(valid: set[str], kind: str = "a section") -> str:
    if valid:
        return f"one of: {', '.join(sorted(valid))}"
    return f"the name of {kind}, but tamis.toml has none" + (
        " of the required kind" if kind == "a section" else ""
    )
