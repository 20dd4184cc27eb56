"""What the tables of tamis.toml say of each other: every name resolves, every sampler has what it needs."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from tamis.base.errors import UnknownNameError, did_you_mean
from tamis.plugins.reading import installed_names
from tamis.settings.budget import parse_budget
from tamis.settings.samplers import (
    AWAY_SCORE,
    FORMS,
    METHOD_SCORE,
    MODEL_SCORES,
    OF_BASE_MODELS,
    OWN_SCORE,
    PLUGIN,
    POOL_SCORE,
    SAMPLERS,
    SCORE,
    TARGET_PATH,
    VECTOR_SCORES,
    WEIGH_QUALITY,
    BadModelSamplerError,
    find_sampler,
    model_of,
    score_of,
    weighs_quality,
)
from tamis.settings.sections import CorpusSection, ScoreSection, SelectionSection, TargetSection
from tamis.settings.tokenizer import counting_tokenizer
from tamis.settings.training_sections import (
    PRESETS,
    BaseModelSection,
    MixtureSection,
    Preset,
    ScalingSection,
)
from tamis.settings.values import TOKENS, refuse, split_length, wrong_key
from tamis.settings.where import FACTS, BadConditionError, is_name, names_in, parse_condition

if TYPE_CHECKING:
    from tamis.settings.config import Settings

TWIN = "-twin"
"""The name of a twin is that of its model and this."""
TAKEN = frozenset({METHOD_SCORE, OWN_SCORE, *MODEL_SCORES, *VECTOR_SCORES, *FACTS}) | {
    *("judge_margin", "margin", "form_logit"),
    *("card_count", "iban_count", "ssn_count", "email_count", "phone_count", "ip_address_count"),
}
"""Names of facts and of scores that Tamis computes, which no [[score]] may have."""
Entry = TypeVar("Entry", CorpusSection, TargetSection, ScoreSection, SelectionSection, BaseModelSection)


def named(entries: tuple[Entry, ...], name: str) -> Entry:
    """The entry of that name; raises `KeyError` when there is none."""
    return {entry.name: entry for entry in entries}[name]


def check_references(settings: "Settings") -> None:
    targets = {target.name for target in settings.target}
    models = {model.name for model in settings.base_model}
    selections = {selection.name for selection in settings.selection}
    _check_splits(settings)
    _check_score_names(settings)
    for selection in settings.selection:
        _check_sampler(selection.sampler, settings, f"[[selection]] {selection.name}: sampler")
        _check_scores(settings, selection)
        target = () if selection.target is None else (selection.target,)
        _must_be(target, targets, f"[[selection]] {selection.name}: target")
        _check_perplexity(settings, selection.sampler, f"selection {selection.name!r}")
        refuse(
            (
                selection.target is None and find_sampler(selection.sampler).needs_target,
                f"[[selection]] {selection.name}: target",
                None,
                f"{_one_of(targets)} (sampler {selection.sampler!r} needs a target)",
            )
        )
        _check_contrast(selection, targets)
    _check_exports(selections)
    _check_followers(settings)
    _check_mixture(settings)
    _check_scaling(settings.scaling, settings.target, models, settings.fine_tuning.validation)
    refuse(
        (
            settings.trial_budget.share is not None and not settings.scaling.models,
            "[scaling] models",
            None,
            f"{_one_of(models)} (required, since [trial_budget] sets share)",
        )
    )
    _check_trials(settings)
    _check_trainer(settings)
    _check_trial_names(settings)
    _check_twins(settings)
    compared, more = settings.comparison, settings.comparison.on_request
    _must_be((compared.model,) if compared.model is not None else (), models, "[comparison] model")
    measuring = settings.perplexity.model
    _must_be((measuring,) if measuring is not None else (), models, "[perplexity] model")
    if "sampler_trials" in settings.model_fields_set:
        _check_sampler_trials(settings, targets, models)
    _check_tune(settings, targets, models)
    _check_held_out(settings)
    _must_be(compared.selections, selections, "[comparison] selections")
    _must_be(more.selections, selections, "[comparison.on_request] selections")
    _must_be(more.models, models, "[comparison.on_request] models")


def _check_sampler(name: str, settings: "Settings", where: str) -> None:
    """A sampler's name, and where it holds a model that model and the part of its training."""
    models, valid = settings.base_model, {*SAMPLERS, *settings.plugins.names("sampler")}
    try:
        is_plugin = find_sampler(name).method == PLUGIN
    except (UnknownNameError, BadModelSamplerError):
        is_plugin = True
    if is_plugin and (":" in name or name not in valid):
        raise wrong_key(where, name, f"{_one_of(valid)}; or {FORMS}{did_you_mean(name, valid)}")
    asked = model_of(name)
    if asked is None or asked.family not in OF_BASE_MODELS:
        return
    if asked.model not in (known := {model.name for model in models}):
        expected = f"{asked.family}:MODEL, where MODEL is {_one_of(known, 'a [[base_model]]')}"
        raise wrong_key(where, name, f"{expected}{did_you_mean(asked.model, known)}")
    kept = named(models, asked.model).checkpoints
    refuse(
        (
            asked.checkpoint is not None and asked.checkpoint not in kept,
            where,
            name,
            f"{asked.family}:{asked.model}@SHARE, where SHARE is listed in checkpoints of [[base_model]] "
            f"{asked.model} (listed: {', '.join(map(str, kept)) or 'none'})",
        ),
        (
            asked.family == TARGET_PATH and bool(named(models, asked.model).lora_rank),
            where,
            name,
            f"a [[base_model]] without lora_rank, since {TARGET_PATH} trains an adapter of its own on the "
            "target",
        ),
    )


def _check_splits(settings: "Settings") -> None:
    """Refuse to split documents that have one vector each, or by a tokenizer that is trained on them."""
    tokenizer = counting_tokenizer(settings)
    for corpus in settings.corpus:
        refuse(
            (
                corpus.split is not None and settings.encoder.column is not None,
                f"[[corpus]] {corpus.name}: split",
                corpus.split,
                "no split, since the column of [encoder] has a vector for each row and none for its passages",
            )
        )
        in_tokens = corpus.split is not None and split_length(corpus.split).unit == TOKENS
        refuse(
            (
                in_tokens and tokenizer is not None and tokenizer.path is None,
                f"[[corpus]] {corpus.name}: split",
                corpus.split,
                'a length in words or characters, such as "1500 words", since the tokenizer '
                f"{tokenizer.name if tokenizer else ''!r} of [project] is trained on the documents",
            )
        )


def _check_score_names(settings: "Settings") -> None:
    """Refuse scores that conditions could not name, or that are called as something else is."""
    for score in settings.score:
        refuse(
            (
                score.name in TAKEN,
                "[[score]] name",
                score.name,
                "another name: Tamis has a value called so",
            ),
            (not is_name(score.name), "[[score]] name", score.name, "another name: it is a word of SQL"),
        )
        if score.plugin and settings.plugins.get("score", score.plugin) is None:
            valid = {*settings.plugins.names("score"), *installed_names("score")}
            none = 'a score in Python: of a file in plugins = ["scores.py"] of [project], or an installed one'
            expected = f"one of: {', '.join(sorted(valid))}" if valid else none
            meant = did_you_mean(score.plugin, valid)
            raise wrong_key(f"[[score]] {score.name}: plugin", score.plugin, f"{expected}{meant}")


def _check_scores(settings: "Settings", selection: SelectionSection) -> None:
    """Require of [[score]] what the sampler, the quality and the condition of a selection name."""
    where, scores = f"[[selection]] {selection.name}", {score.name: score for score in settings.score}
    quality = selection.quality
    _check_own_score(selection.sampler, f"{where}: sampler", settings)
    if quality is not None:
        refuse(
            (
                selection.sampler not in WEIGH_QUALITY,
                f"{where}: quality",
                quality,
                f"no value, since sampler {selection.sampler!r} weighs no quality; those that do: "
                f"{', '.join(sorted(WEIGH_QUALITY))}",
            ),
            (
                quality not in scores,
                f"{where}: quality",
                quality,
                f"{_one_of({*scores}, 'a [[score]]')}{did_you_mean(quality, scores)}",
            ),
            (
                quality in scores and scores[quality].range is None,
                f"[[score]] {quality}: range",
                None,
                f"its ends, such as range = [0, 5], since selection {selection.name!r} takes it as quality",
            ),
        )
    if selection.where is not None:
        try:
            parse_condition(selection.where, tuple(scores))
        except BadConditionError as error:
            raise wrong_key(f"{where}: where", selection.where, error.expected) from error


def scores_named(selection: SelectionSection) -> tuple[str, ...]:
    """Return the scores that a selection names, sorted: by its sampler, quality and condition."""
    names = {score_of(selection.sampler), selection.quality}
    names |= {*names_in(selection.where)} - {*FACTS} if selection.where else set()
    return tuple(sorted(filter(None, names)))


def _check_own_score(sampler: str, where: str, settings: "Settings") -> None:
    """Require of a sampler that ranks by a [[score]] that there is one."""
    own, scores = score_of(sampler), {score.name for score in settings.score}
    if own is not None and own not in scores:
        expected = f"{SCORE}:NAME, where NAME is {_one_of(scores, 'a [[score]]')}"
        raise wrong_key(where, sampler, f"{expected}{did_you_mean(own, scores)}")


def _check_perplexity(settings: "Settings", sampler: str, user: str) -> None:
    """Refuse a sampler that ranks by perplexity where no model is named that measures it."""
    refuse(
        (
            "bits_per_byte" in find_sampler(sampler).score_columns and not settings.perplexity.model,
            "perplexity.model",
            None,
            f'the name of a [[base_model]], since {user} uses sampler "perplexity"',
        )
    )


def _check_contrast(selection: SelectionSection, targets: set[str]) -> None:
    where, others = f"[[selection]] {selection.name}: away_from", targets - {str(selection.target)}
    if selection.away_from is not None:
        _must_be([selection.away_from], others, where)
    elif AWAY_SCORE in find_sampler(selection.sampler).score_columns:
        named = _one_of(others) if others else "a second [[target]]"
        raise wrong_key(where, None, f"{named} (sampler {selection.sampler!r} needs two targets)")


def _check_followers(settings: "Settings") -> None:
    """Require of [mixture] what the selections that follow it need, and of their own keys."""
    for selection in settings.selection:
        where = f"[[selection]] {selection.name}"
        refuse(
            (
                selection.mixture and settings.mixture is None,
                f"{where}: mixture",
                True,
                "a [mixture] section in tamis.toml, from which the selection takes its shares",
            ),
            (
                selection.mixture and selection.per is not None,
                f"{where}: mixture",
                True,
                "either mixture or per, not both, since each divides the budget",
            ),
            (
                selection.mixture and parse_budget(selection.budget).unit != "tokens",
                f"{where}: budget",
                selection.budget,
                'a budget in tokens, such as budget = "2Mtok", since mixture = true',
            ),
        )


def _check_mixture(settings: "Settings") -> None:
    """Require of the other tables what [mixture] needs."""
    section = settings.mixture
    if section is None:
        return
    _must_be(section.targets, {one.name for one in settings.target}, "[mixture] target")
    for key in ("model", "agreement_model"):
        if (name := getattr(section, key)) is not None and preset_named(settings, name) is None:
            presets = {one.name for one in settings.base_model if one.preset} | {*PRESETS}
            raise wrong_key(f"[mixture] {key}", name, f"{_one_of(presets)}{did_you_mean(name, presets)}")
    smaller, larger = (PRESETS.index(one) if one else -1 for one in mixture_presets(settings))
    refuse(
        (
            section.agreement_model is not None and larger <= smaller,
            "[mixture] agreement_model",
            section.agreement_model,
            f"a preset larger than the one that [mixture] names as model = {section.model!r}",
        )
    )
    _check_sampler(section.sampler, settings, "[mixture] sampler")
    _check_own_score(section.sampler, "[mixture] sampler", settings)
    _check_one_target(section.sampler, "[mixture]", "sampler")
    _check_perplexity(settings, section.sampler, "[mixture]")
    count, of_corpora = len(settings.corpus), section.sources == "corpora"
    refuse(
        (
            "run_tokens" in section.model_fields_set and section.run_tokens > section.train_tokens,
            "[mixture] run_tokens",
            section.run_tokens,
            f"at most train_tokens ({section.train_tokens:,}), "
            "since no run may be longer than the training run that it imitates",
        ),
        (
            of_corpora and count < 2,
            "[mixture] sources",
            "corpora",
            "at least two [[corpus]] sections, or sources = 'source'",
        ),
        (
            of_corpora and section.runs is not None and section.runs < count + 2,
            "[mixture] runs",
            section.runs,
            f"at least {count + 2}, two more than the number of sources ({count})",
        ),
    )


def _check_one_target(sampler: str, section: str, key: str) -> None:
    """Refuse a sampler that needs two targets in a section that names one."""
    refuse(
        (
            AWAY_SCORE in find_sampler(sampler).score_columns,
            f"{section} {key}",
            sampler,
            f"a sampler that does not need away_from, which {section} does not have",
        )
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

    Without agreement_model it is the next larger one, up to llama-6m: larger runs take hours.
    """
    section: MixtureSection | None = settings.mixture
    if section is None:
        return None, None
    model = preset_named(settings, section.model)
    if section.agreement_model is not None:
        return model, preset_named(settings, section.agreement_model)
    larger = PRESETS[PRESETS.index(model) + 1 : PRESETS.index("llama-6m") + 1] if model else ()
    return model, next(iter(larger), None)


def _check_sampler_trials(settings: "Settings", targets: set[str], models: set[str]) -> None:
    trials = settings.sampler_trials
    _must_be([trials.model], models, "[sampler_trials] model")
    _must_be([trials.target], targets, "[sampler_trials] target")
    for name in trials.samplers:
        _check_sampler(name, settings, "[sampler_trials] samplers")
        _check_own_score(name, "[sampler_trials] samplers", settings)
        _check_one_target(name, "[sampler_trials]", "samplers")
    for name in trials.samplers:
        _check_perplexity(settings, name, "[sampler_trials]")


def _check_tune(settings: "Settings", targets: set[str], models: set[str]) -> None:
    tune = settings.tune
    if tune is None:
        return
    _must_be([tune.target], targets, "[tune] target")
    _must_be(tune.models, models, "[tune] models")
    for name in tune.samplers:
        _check_sampler(name, settings, "[tune] samplers")
        _check_own_score(name, "[tune] samplers", settings)
        _check_one_target(name, "[tune]", "samplers")
        _check_perplexity(settings, name, "[tune]")
        refuse(
            (
                POOL_SCORE in find_sampler(name).score_columns,
                "[tune] samplers",
                name,
                "a sampler that does not read the pool's own potential, which no search computes",
            )
        )
    if tune.quality is not None:
        _must_be([tune.quality], {score.name for score in settings.score}, "[tune] quality")
        refuse(
            (
                named(settings.score, tune.quality).range is None,
                f"[[score]] {tune.quality}: range",
                None,
                "its ends, such as range = [0, 5], since [tune] takes it as quality",
            )
        )
    refuse(
        (
            tune.quality_weights not in ((), (1.0,)) and not any(map(weighs_quality, tune.samplers)),
            "[tune] quality_weights",
            list(tune.quality_weights),
            "a sampler in samplers that reads a weight of quality, such as got-d-quality, or no such key",
        )
    )
    adapted = [model.name for model in settings.base_model if model.lora_rank and model.name in tune.models]
    refuse(
        (
            bool(adapted),
            "[tune] models",
            ", ".join(adapted),
            "models without lora_rank, since runs of [tune] train all weights",
        )
    )


def _check_held_out(settings: "Settings") -> None:
    """Refuse trials that would be measured on a target without held-out examples."""
    without = {target.name for target in settings.target if not target.held_out}
    compared, more, trials = settings.comparison, settings.comparison.on_request, settings.sampler_trials
    every = tuple(target.name for target in settings.target)
    trained = bool(compared.model and compared.selections) or bool(more.models and more.selections)
    users = {
        "[scaling]": settings.scaling.targets if settings.scaling.models else (),
        "[comparison]": every if trained else (),
        "[sampler_trials]": (trials.target,) if trials.model else (),
        "[mixture]": settings.mixture.targets if settings.mixture else (),
        "[tune]": (settings.tune.target,) if settings.tune else (),
    }
    refuse(
        *(
            (
                name in without,
                f"[[target]] {name}: held_out",
                0,
                f"at least 1, since the models of {section} are measured on held-out examples",
            )
            for section, names in users.items()
            for name in names
        )
    )


def _check_scaling(
    scaling: ScalingSection, targets: tuple[TargetSection, ...], models: set[str], validation: int
) -> None:
    names = {target.name for target in targets}
    _must_be(scaling.models, models, "[scaling] models")
    _must_be(scaling.targets, names, "[scaling] target")
    refuse(
        (scaling.models and not scaling.targets, "[scaling] target", None, _one_of(names)),
        (
            scaling.models and not scaling.sizes,
            "[scaling] sizes",
            [],
            "at least one training-set size, as a number of examples",
        ),
    )
    # A size too large for one of several targets is left out there; it must suit one, and each target one.
    train = {target: named(targets, target).train - validation for target in scaling.targets}
    if not train or not scaling.sizes:
        return
    largest, smallest = max(train, key=lambda one: train[one]), min(train, key=lambda one: train[one])
    aside = f" minus [fine_tuning] validation = {validation}" if validation else ""
    refuse(
        *(
            (
                size > train[target],
                "[scaling] sizes",
                size,
                f"sizes up to {train[target]} (the train setting of target {target!r}{aside})",
            )
            for size, target in ((max(scaling.sizes), largest), (min(scaling.sizes), smallest))
        )
    )


def _check_trials(settings: "Settings") -> None:
    """What fine-tuning asks of the targets that trials are measured on."""
    aside, compared = settings.fine_tuning.validation, settings.comparison
    refuse(
        *(
            (
                aside and aside >= target.train,
                "[fine_tuning] validation",
                aside,
                f"a number less than train = {target.train} of target {target.name!r}",
            )
            for target in settings.target
        ),
        (
            compared.two_stage and not (compared.model and compared.selections),
            "[comparison] model",
            compared.model,
            "both model and selections to be set in [comparison], since two_stage = true",
        ),
        (
            compared.two_stage and not settings.target,
            "[comparison] two_stage",
            True,
            "a [[target]] to train on in the second stage",
        ),
    )


def _check_trainer(settings: "Settings") -> None:
    """Refuse with [trainer] what a command is not given: its spec has no place for it."""
    if settings.trainer is None:
        return
    compared, more = settings.comparison, settings.comparison.on_request
    warmed_up = {*(compared.selections if compared.model else ()), *(more.selections if more.models else ())}
    first = next(iter((*settings.scaling.targets, *(target.name for target in settings.target))), None)
    measured = {named(settings.selection, name).target or first for name in warmed_up} | {
        *(settings.scaling.targets if settings.scaling.models else ())
    }
    refuse(
        (
            settings.fine_tuning.validation,
            "[fine_tuning] validation",
            settings.fine_tuning.validation,
            "0 with [trainer], whose command decides when a training ends",
        ),
        *(
            (
                target.label_column is not None and target.name in measured,
                f"[[target]] {target.name}: label_column",
                target.label_column,
                "no value with [trainer], which measures losses on text, responses and messages",
            )
            for target in settings.target
        ),
    )


def _check_exports(selections: set[str]) -> None:
    """Exports of two selections must not have the same file names: `a.map.parquet` is also the map of `a`."""
    refuse(
        *(
            (
                name + ending in selections,
                "[[selection]] name",
                name + ending,
                f"another name: exports of the selection {name!r} have files of this name",
            )
            for name in sorted(selections)
            for ending in (".map", ".openlineage", ".scores")
        )
    )


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
            other = spelt.setdefault(name, parts)
            refuse(
                (
                    other != parts,
                    "[[base_model]] name",
                    " and ".join(parts),
                    f"names that keep trials apart, since {' and '.join(other)} would have the same trial, "
                    f"{name!r}; rename one of them, without two underscores in a row",
                )
            )


def _check_twins(settings: "Settings") -> None:
    """A model that measures perplexity has a twin, whose name no other model may have."""
    models = {model.name: model for model in settings.base_model}
    asked = [found for name in settings.ranking_samplers if (found := model_of(name))]
    measuring = [settings.perplexity.model, *(one.model for one in asked if one.family in OF_BASE_MODELS)]
    refuse(
        *(
            (
                models[name].preset and name + TWIN in models,
                "[[base_model]] name",
                name + TWIN,
                f"another name: Tamis trains a twin of {name!r} with this name, to measure perplexity",
            )
            for name in dict.fromkeys(measuring)
            if name in models
        )
    )


def _must_be(names: Iterable[str | None], valid: set[str], where: str) -> None:
    """Refuse the first name that is none of the valid ones."""
    for name in names:
        if name not in valid:
            raise wrong_key(where, name, f"{_one_of(valid)}{did_you_mean(name, valid)}")


def _one_of(valid: set[str], kind: str = "a section") -> str:
    if valid:
        return f"one of: {', '.join(sorted(valid))}"
    return f"the name of {kind}, but tamis.toml has none" + (
        " of the required kind" if kind == "a section" else ""
    )
