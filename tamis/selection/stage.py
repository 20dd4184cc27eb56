"""Stages of selections: what leaks the evaluation, what is chosen, and the reason for each document."""

from collections.abc import Callable, Iterable
from typing import Any

from tamis.corpus.shards import is_said_by_keys
from tamis.corpus.sources import SOURCES_AS_COUNTED
from tamis.coverage.stage import SCORES_STAGE as DENSITY_STAGE
from tamis.embedding.stage import copies_wanted
from tamis.filters.stage import FLAGS_STAGE, FORM_MODEL_STAGE, FORM_SCORES_STAGE, plan_of
from tamis.plugins.reading import PLUGINS
from tamis.quality.stage import QUALITY_STAGE, judges_of
from tamis.samplers import target_path
from tamis.scores.stage import CLASSIFIER_STAGE, PLUGIN_SCORES_STAGE, SCORES_STAGE
from tamis.selection import CODE_VERSION, KEEP_OUT_CODE_VERSION, SERVING_CODE_VERSION, find_sampler
from tamis.selection.filtering import (
    form_excludes,
    rules_of_flags,
    rules_of_licences,
    rules_of_sources,
)
from tamis.settings.language_codes import VERSION as LANGUAGE_CODES
from tamis.settings.references import named, scores_named
from tamis.settings.samplers import (
    ASK_LLM,
    AWAY_SCORE,
    OF_BASE_MODELS,
    PLUGIN,
    QUALITY_SCORES,
    SCORE,
    TARGET_PATH,
    model_of,
    score_of,
)
from tamis.settings.sections import DIVIDING, SelectionSection
from tamis.settings.where import names_in
from tamis.stage import (
    Edge,
    PartitionMapping,
    Snapshot,
    Stage,
    all_made,
    edge,
    every,
    only,
    precision_settings,
    same,
    section_settings,
    when,
)
from tamis.store.columns import DOC_ID, FINGERPRINT, TRAINING_COUNT, Table, hash64, integer, many, real, text
from tamis.tokens.stage import TOKEN_COUNTS_STAGE, tokens_counted
from tamis.topics.stage import TOPICS_STAGE
from tamis.training.stage import PERPLEXITY_STAGE, benchmarks_named, with_twins
from tamis.transport import GAPS_CODE_VERSION
from tamis.transport.stage import POOL_STAGE, TARGET_GAPS
from tamis.transport.stage import SCORES_STAGE as TRANSPORT_STAGE

CONTAMINATION = Table(
    name="contamination",
    key=("target", "doc_id"),
    text=(),
    partition="target",
    columns=(
        text("target", "name of the target whose held-out examples share word sequences with the document"),
        DOC_ID,
    ),
)

CONTAMINATION_RUNS = Table(
    name="contamination_runs",
    key=("target", "doc_id"),
    text=(),
    partition="target",
    columns=(
        text("target", "name of the target whose held-out examples contain the word sequences"),
        DOC_ID,
        many(
            hash64(
                "runs",
                "hashes of the word sequences that the document shares with held-out examples, ascending",
            )
        ),
        text(
            "left_out_mark",
            "digest of the shared text that is left out of the document; null if its whole text was compared",
        ),
    ),
)

_BENCHMARK = text("benchmark", "name of the benchmark, as its [[keep_out]] section has it")

KEPT_OUT = Table(
    name="kept_out",
    key=("benchmark", "doc_id"),
    text=(),
    emptied=True,
    columns=(
        _BENCHMARK,
        DOC_ID,
        many(
            hash64("runs", "hashes of the word sequences that the document shares with its rows, ascending")
        ),
    ),
)

KEPT_OUT_RUNS = Table(
    name="kept_out_runs",
    key=("doc_id",),
    text=(),
    per_document=True,
    emptied=True,
    columns=(
        DOC_ID,
        many(
            hash64(
                "runs",
                "hashes of the word sequences that the document shares with any benchmark, ascending; those "
                "that count as template text included",
            )
        ),
        text(
            "left_out_mark",
            "digest of the shared text that is left out of the document; null if its whole text was compared",
        ),
    ),
)

KEPT_OUT_EXAMPLES = Table(
    name="kept_out_examples",
    key=("benchmark", "target", "doc_id"),
    text=(),
    emptied=True,
    columns=(_BENCHMARK, text("target", "name of the target whose training example repeats a row"), DOC_ID),
)

BENCHMARKS = Table(
    name="benchmarks",
    key=("benchmark",),
    text=(),
    emptied=True,
    columns=(
        _BENCHMARK,
        integer("rows", "number of rows that were read"),
        integer("without_text", "number of these without text in the columns that are read"),
        integer("unreadable", "number of further rows that could not be read, at least"),
        integer("too_short", "number of rows with too few words to be recognised"),
        integer(
            "template", "number of rows whose words all stand in many documents of the pool or many rows"
        ),
        integer("rows_found", "number of rows that a document of the pool gives away"),
        integer("documents", "number of documents of the pool that give a row away"),
    ),
)

SELECTED_SUBSET = Table(
    name="selected_subset",
    key=("selection", "doc_id"),
    text=(),
    partition="selection",
    columns=(
        text("selection", "name of the selection"),
        DOC_ID,
        integer("rank", "rank of the document among all eligible documents, from 1 (best)"),
        TRAINING_COUNT,
    ),
)

DECISIONS = Table(
    name="decisions",
    key=("selection", "doc_id"),
    text=(),
    partition="selection",
    indexed=True,
    columns=(
        text("selection", "name of the selection"),
        DOC_ID,
        text("verdict", "selected or rejected"),
        text("reason", "code of the reason for the verdict, exactly one per document"),
        integer("rank", "rank of the document among all eligible documents, from 1 (best); null if excluded"),
        real(
            "margin",
            "signed distance of the ranking score from the selection cutoff; positive if the document was "
            "selected",
        ),
        text("duplicate_of", "doc_id of the near-duplicate that is kept instead, if any"),
        real(
            "transport_gradient",
            "gradient of the optimal transport distance between the pool and the target with respect to the "
            "document's mass; null if the sampler did not use this score",
        ),
        real(
            "pool_potential",
            "the pool's own potential at the document, which is small where the pool is crowded; null if the "
            "sampler did not use this score",
        ),
        real(
            "gradient_away",
            "gradient, with respect to the document's mass, of the optimal transport distance between the "
            "pool and the target to keep away from; null if there is no such target",
        ),
        real(
            "quality",
            "quality from 0 (worst) to 1 (best), as predicted or by a score of the project; null if the "
            "sampler did not use this score",
        ),
        real(
            "judge_margin_predicted",
            "predicted log odds that the judge calls the text worth training on, or the log odds of a score "
            "of the project as quality, nats; null if the sampler did not use this score",
        ),
        real(
            "density",
            "estimated number of similar documents in the pool; null if the sampler did not use this score",
        ),
        real(
            "nearest_cost",
            "transport cost from the document to the nearest target example; null if the sampler did not use "
            "this score",
        ),
        real(
            "bits_per_byte",
            "bits per byte of the text under a small language model; null if the sampler did not use this "
            "score",
        ),
        real(
            "own_score",
            "score of the project that the sampler ranks by, its sign turned where a higher value is worse; "
            "null if the sampler did not use a score of the project",
        ),
        real(
            "method_score",
            "score that the sampler computed itself, smallest selected first; null if the sampler computes "
            "no score",
        ),
        text(
            "detail",
            "rule that the document breaks, or why the budget had no room for the document; null otherwise",
        ),
        text(
            "budget_group",
            "group whose budget the document counts towards; null if the budget is not divided into groups",
        ),
        TRAINING_COUNT,
    ),
)

SERVED_EXAMPLES = Table(
    name="served_examples",
    key=("selection", "doc_id", "example_id"),
    text=(),
    partition="selection",
    columns=(
        text("selection", "name of the selection"),
        DOC_ID,
        text(
            "example_id", "content id of a target example that the transport plan couples with the document"
        ),
        real(
            "mass",
            "mass transported from the document to the example; masses sum to 1 over all pairs of the "
            "selection",
        ),
        real(
            "cost",
            "transport cost per unit of mass: squared distance between the centred unit vectors of the "
            "document and the example",
        ),
    ),
)

SCORES_BY_MODEL = Table(
    name="scores_by_model",
    key=("doc_id", "fingerprint"),
    text=(),
    sealed=True,
    retained=True,
    per_document=True,
    columns=(
        DOC_ID,
        FINGERPRINT,
        real(
            "value",
            "score of the document by the sampler's own model, lower is better; null if the model gave none",
        ),
    ),
)

MIXTURE = "mixture"
"""Stage and table of `tamis.mixture`: how much of each source is best."""
TABLES = (SCORES_BY_MODEL,)
SCORED = (TRANSPORT_STAGE, POOL_STAGE, QUALITY_STAGE, DENSITY_STAGE, PERPLEXITY_STAGE)
"""Stages whose scores samplers rank by."""


def scored_by(columns: Iterable[str]) -> set[str]:
    """Return the stages that compute these score columns; a method's own score is of none."""
    known = {column: stage.name for stage in SCORED for table in stage.tables for column in table.scores}
    return {
        known["transport_gradient" if name == AWAY_SCORE else name]
        for name in columns
        if name in known or name == AWAY_SCORE
    }


def computes_itself(sampler: str) -> bool:
    """Whether a sampler computes its score from vectors when a selection is made."""
    known = find_sampler(sampler)
    if known.method == PLUGIN:
        return known.reads_vectors
    return bool(known.method) and not model_of(sampler)


def eligible_edges() -> tuple[Edge, ...]:
    """The documents as an input, and what says which of them may be chosen."""
    return (
        edge("documents", every("shards")),
        edge("near_duplicates"),
        edge("near_copies", when(copies_wanted, only)),
        edge("target_examples", every("targets")),
        edge("contamination", every("targets")),
        edge("kept_out", when(benchmarks_named, only)),
        # Personal data that is only flagged keeps no document out.
        edge("document_flags", when(_flags_exclude, every("shards"))),
        edge(FORM_MODEL_STAGE.name, when(_form_excludes, only)),
        edge(FORM_SCORES_STAGE.name, when(_form_excludes, every("shards"))),
    )


def pool_edges() -> tuple[Edge, ...]:
    """The pool as an input: its documents, which of them may be chosen, and how large they are."""
    return (
        *eligible_edges(),
        edge(TOKEN_COUNTS_STAGE.name, when(tokens_counted, every("shards"))),
    )


def _kept_out_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    settings, digests = snapshot.project.settings, snapshot.benchmark_fingerprints
    return {
        "benchmarks": {
            one.name: {"bytes": digests[one.name], "text_columns": list(one.text_columns)}
            for one in settings.keep_out
        },
        "maximum_share": settings.decontamination.maximum_share,
    }


def _flags_exclude(snapshot: Snapshot) -> bool:
    filters = snapshot.project.settings.filters
    return bool(rules_of_flags(filters) and plan_of(filters))


def _form_excludes(snapshot: Snapshot) -> bool:
    return form_excludes(snapshot.project.settings.filters)


def filter_settings(snapshot: Snapshot) -> dict[str, Any]:
    """The filters that keep documents out; nothing at all without any, so that no key changes.

    Corpora that keys do not name are looked up. They are a setting, so that what was chosen by the keys alone
    is chosen again.
    """
    settings = snapshot.project.settings
    filters = settings.filters
    rules = rules_of_flags(filters) | rules_of_licences(filters) | rules_of_sources(filters)
    unsaid = [corpus.name for corpus in settings.corpus if not is_said_by_keys(corpus.name)]
    found: dict[str, Any] = {"filters": rules} if rules else {}
    found |= {"language_codes": LANGUAGE_CODES} if filters.languages else {}
    return found | ({"corpora_looked_up": sorted(unsaid)} if unsaid else {})


def measured_by(snapshot: Snapshot, samplers: Iterable[str]) -> dict[str, Any]:
    """Settings of the models, scores and plug-ins that samplers name, and versions of what they compute."""
    samplers = list(samplers)
    families = {found.family for name in samplers if (found := model_of(name))}
    versions = {name: one.version for name in samplers if (one := find_sampler(name)).version}
    judges = {"judges": judges_of(snapshot, samplers)} if ASK_LLM in families else {}
    settings = snapshot.project.settings
    tokens = {"perplexity_tokens": settings.perplexity.max_tokens}
    higher = {score.name: score.higher for score in settings.score if f"{SCORE}:{score.name}" in samplers}
    plugins = [plugin for name in samplers if (plugin := settings.plugins.get("sampler", name))]
    return (
        judges
        | (tokens if families & OF_BASE_MODELS else {})
        | (target_path.recipe() if TARGET_PATH in families else {})
        | ({"sampler_versions": versions} if versions else {})
        | ({"own_scores": higher} if higher else {})
        | ({PLUGINS: [plugin.to_json() for plugin in plugins]} if plugins else {})
    )


def own_score_edges(samplers: Callable[[Snapshot], Iterable[str]]) -> tuple[Edge, ...]:
    """Return the inputs of a stage that are values of the [[score]]s by which its samplers rank."""

    def when_of(origin: str, mapping: PartitionMapping) -> PartitionMapping:
        def is_named(snapshot: Snapshot) -> bool:
            names = {score_of(name) for name in samplers(snapshot)}
            scores = snapshot.project.settings.score
            return any(score.name in names and getattr(score, origin) for score in scores)

        return when(is_named, mapping)

    return (
        edge(SCORES_STAGE.name, when_of("column", only)),
        edge(CLASSIFIER_STAGE.name, when_of("model", every("shards"))),
        edge(PLUGIN_SCORES_STAGE.name, when_of("plugin", only)),
    )


def _selection_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """The settings that the sampler uses and the filters; of a pinned selection, the version alone."""
    if pin := snapshot.pinned.get(partition):
        return {"pinned": pin.decisions}
    return _sampler_settings(snapshot, partition) | filter_settings(snapshot)


def _sampler_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    section = named(snapshot.project.settings.selection, partition)
    sampler = find_sampler(section.sampler)
    undivided = (set() if section.per else DIVIDING) | (set() if section.mixture else {"mixture"})
    unset = {name for name in ("where", "quality") if getattr(section, name) is None}
    used = section.model_dump(exclude=sampler.ignored | undivided | unset)
    used |= _mixture_settings(snapshot, section.mixture) | _own_settings(snapshot, section)
    counted: dict[str, dict[str, Any]] = {
        "source": SOURCES_AS_COUNTED,
        "language": {"language_codes": LANGUAGE_CODES},
    }
    used |= counted.get(section.per or "", {})
    if sampler.version:
        used |= {"sampler_version": sampler.version}
    if sampler.method is None:
        return used
    if model_of(section.sampler):
        return used | measured_by(snapshot, [section.sampler])
    if sampler.method == PLUGIN:
        plugin = snapshot.project.settings.plugins.get("sampler", sampler.name)
        assert plugin is not None, "settings require it"
        precision = precision_settings(snapshot) if sampler.reads_vectors else {}
        return used | {PLUGINS: [plugin.to_json()]} | precision
    transport = snapshot.project.settings.transport.model_dump(include={"relative_epsilon", "tolerance"})
    return used | transport | precision_settings(snapshot)


def _own_settings(snapshot: Snapshot, section: SelectionSection) -> dict[str, Any]:
    """The scores of the project that a selection uses, and the facts that its condition reads."""
    used: dict[str, Any] = {}
    scores = {one.name: one for one in snapshot.project.settings.score}
    if own := score_of(section.sampler):
        used["own_score"] = scores[own].higher
    if section.quality is not None:
        used["own_quality"] = scores[section.quality].model_dump(include={"higher", "range"})
    facts = names_in(section.where) if section.where else ()
    if "language" in facts:
        used["where_languages"] = [LANGUAGE_CODES, *snapshot.project.settings.filters.languages]
    return used | ({"where_sources": SOURCES_AS_COUNTED} if "source" in facts else {})


def _mixture_settings(snapshot: Snapshot, followed: bool) -> dict[str, Any]:
    """What a selection that follows [mixture] reads of it besides the shares."""
    section = snapshot.project.settings.mixture
    if not followed or section is None:
        return {}
    counted = SOURCES_AS_COUNTED if section.sources == "source" else {}
    return {"mixture_of": section.model_dump(include={"sources", "max_repetition"})} | counted


def _by_topic(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """The topics, for a selection that divides its budget by them, itself or as the mixture does."""
    settings = snapshot.project.settings
    section, mixture = named(settings.selection, partition), settings.mixture
    by_mixture = section.mixture and mixture is not None and mixture.sources == "topics"
    return ("",) if section.per == "topic" or by_mixture else ()


def _follows_mixture(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    """The mixture, for a selection that follows it."""
    return ("",) if named(snapshot.project.settings.selection, partition).mixture else ()


def _where(condition: Callable[[SelectionSection], bool], mapping: PartitionMapping) -> PartitionMapping:
    """For selections that meet a condition."""

    def choose(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        section = named(snapshot.project.settings.selection, partition)
        return mapping(snapshot, partition) if condition(section) else ()

    return choose


def _when_named(origin: str, mapping: PartitionMapping) -> PartitionMapping:
    """For selections that name a [[score]] with this origin, which is a key of the section."""

    def choose(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
        settings = snapshot.project.settings
        names = scores_named(named(settings.selection, partition))
        scores = [score for score in settings.score if score.name in names]
        return mapping(snapshot, partition) if any(getattr(score, origin) for score in scores) else ()

    return choose


def _columns_of(section: SelectionSection) -> tuple[str, ...]:
    """Return the score columns of the sampler that stages of their own compute."""
    own = QUALITY_SCORES if section.quality else ()
    return tuple(name for name in find_sampler(section.sampler).score_columns if name not in own)


def _when_scored(stage: Stage, mapping: PartitionMapping) -> PartitionMapping:
    """For selections whose sampler ranks by a score of the stage."""
    return _where(lambda section: stage.name in scored_by(_columns_of(section)), mapping)


def _targets_scored(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    section = named(snapshot.project.settings.selection, partition)
    away = section.away_from if AWAY_SCORE in find_sampler(section.sampler).score_columns else None
    return tuple(target for target in (section.target, away) if target)


def _target_of_selection(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    target = named(snapshot.project.settings.selection, partition).target
    return (target,) if target else ()


def _with_target(mapping: PartitionMapping) -> PartitionMapping:
    """For selections that have a target."""
    return _where(lambda section: bool(section.target), mapping)


def _any_with_target(snapshot: Snapshot) -> bool:
    return any(_target_of_selection(snapshot, name) for name in snapshot.keys("selections"))


def _when_computed(mapping: PartitionMapping) -> PartitionMapping:
    """For selections whose sampler computes its score itself."""
    return _where(lambda section: computes_itself(section.sampler), mapping)


def _models_of_selection(snapshot: Snapshot, partition: str) -> tuple[str, ...]:
    return with_twins(snapshot, [named(snapshot.project.settings.selection, partition).sampler])


def _unless_pinned(mapping: PartitionMapping) -> PartitionMapping:
    """For what decides a choice: a selection that is kept at an earlier version reads none of it."""
    return lambda snapshot, partition: () if partition in snapshot.pinned else mapping(snapshot, partition)


def _edges() -> tuple[Edge, ...]:
    # A pinned selection reads these too: it loses texts that are gone, and what would leak the evaluation.
    always = {"documents", "target_examples", "contamination", "kept_out"}
    inputs = (
        *pool_edges(),
        edge("transport_scores", _when_scored(TRANSPORT_STAGE, _targets_scored)),
        edge("pool_potential_scores", _when_scored(POOL_STAGE, _target_of_selection)),
        edge("quality_scores", _when_scored(QUALITY_STAGE, every("shards"))),
        edge("density_scores", _when_scored(DENSITY_STAGE, only)),
        edge("perplexity_scores", _when_scored(PERPLEXITY_STAGE, every("shards"))),
        edge(SCORES_STAGE.name, _when_named("column", only)),
        edge(CLASSIFIER_STAGE.name, _when_named("model", every("shards"))),
        edge(PLUGIN_SCORES_STAGE.name, _when_named("plugin", only)),
        edge("embeddings", _when_computed(every("shards"))),
        edge("target_embeddings", _when_computed(_target_of_selection)),
        edge("base_models", _models_of_selection),
        edge(MIXTURE, _follows_mixture),
        edge(TOPICS_STAGE.name, _by_topic),
    )
    return tuple(
        one if one.asset in always else edge(one.asset, _unless_pinned(one.partitions)) for one in inputs
    )


GAPS_STAGE = Stage(
    name="target_gaps",
    group="target",
    # One value for all targets: then it is made in the run of the selections, without one of its own.
    code_version=GAPS_CODE_VERSION,
    active=lambda snapshot: bool(snapshot.keys("targets")),
    edges=(
        *eligible_edges(),
        edge("target_potential", every("targets")),
        edge("target_embeddings", every("targets")),
        edge("embeddings", every("shards")),
    ),
    settings=lambda snapshot, partition: filter_settings(snapshot),
    tables=(TARGET_GAPS,),
)
SELECTION_STAGE = Stage(
    name="selected_subset",
    group="selection",
    partitions="selections",
    code_version=CODE_VERSION,
    by_content=True,
    edges=_edges(),
    settings=_selection_settings,
    tables=(SELECTED_SUBSET,),
    result=True,
)
DECISIONS_STAGE = Stage(
    name="decisions",
    group="selection",
    partitions="selections",
    code_version=CODE_VERSION,
    by_content=True,
    edges=SELECTION_STAGE.edges,
    settings=_selection_settings,
    made_with="selected_subset",
    tables=(DECISIONS,),
    result=True,
)
SERVED_STAGE = Stage(
    name="served_examples",
    group="selection",
    partitions="selections",
    code_version=SERVING_CODE_VERSION,
    active=_any_with_target,
    edges=(
        edge("selected_subset", same),
        edge("decisions", same),
        edge("target_potential", _target_of_selection),
        edge("target_embeddings", _target_of_selection),
        edge("target_gaps", _with_target(only)),
        edge("embeddings", _with_target(every("shards"))),
    ),
    tables=(SERVED_EXAMPLES,),
)
PAGES_STAGE = Stage(
    name="selection_pages",
    group="selection",
    partitions="selections",
    code_version="4",  # 4: small files count as their folder
    edges=(
        edge("selected_subset", same),
        edge("decisions", same),
        edge("documents", every("shards")),
        edge(FLAGS_STAGE.name, all_made(FLAGS_STAGE)),
        edge(FORM_MODEL_STAGE.name, all_made(FORM_MODEL_STAGE)),
        edge(FORM_SCORES_STAGE.name, all_made(FORM_SCORES_STAGE)),
        edge("embeddings", every("shards")),
        edge("target_embeddings", _target_of_selection),
        edge("target_gaps", _with_target(only)),
        edge(TOPICS_STAGE.name, all_made(TOPICS_STAGE)),
    ),
)
"""The map, the documents to browse, and the mix: pages, and no table."""
STAGES = (
    Stage(
        name="contamination",
        group="target",
        partitions="targets",
        code_version=f"{CODE_VERSION}.1",  # .1: text that many documents of a file share is no leak
        by_content=True,
        edges=(edge("target_examples", same), edge("documents", every("shards"))),
        settings=section_settings("decontamination"),
        tables=(CONTAMINATION, CONTAMINATION_RUNS),
    ),
    Stage(
        name="kept_out",
        group="selection",
        code_version=KEEP_OUT_CODE_VERSION,
        active=benchmarks_named,
        by_content=True,
        edges=(edge("documents", every("shards")), edge("target_examples", every("targets"))),
        settings=_kept_out_settings,
        tables=(KEPT_OUT, KEPT_OUT_RUNS, KEPT_OUT_EXAMPLES, BENCHMARKS),
    ),
    GAPS_STAGE,
    SELECTION_STAGE,
    DECISIONS_STAGE,
    SERVED_STAGE,
    PAGES_STAGE,
)
