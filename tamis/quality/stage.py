"""Stages of quality: a judge asked about a sample, a grader that learns its answers, its scores of all."""

from collections.abc import Iterable
from typing import Any

from tamis.quality import CODE_VERSION, GRADER_CODE_VERSION, judge_identity, second_asking
from tamis.quality.judging import configured_judge
from tamis.settings.samplers import ASK_LLM, find_sampler, model_of
from tamis.stage import Automation, Learning, Price, Snapshot, Stage, edge, every, same, when
from tamis.store.columns import BY_SERVER, DOC_ID, FINGERPRINT, Table, flag, real, text
from tamis.training.stage import perplexity_wanted

_ANSWER_MASS = real(
    "answer_mass", "probability that the judge answers yes or no, over all single-token spellings of both"
)
_MARGIN = real("margin", "logp_yes - logp_no, nats")
JUDGE_SAMPLE = Table(
    name="judge_sample",
    key=("doc_id",),
    text=(),
    columns=(
        DOC_ID,
        text("part", "part of the sample that the document is in: train or hold_out"),
    ),
)

SCORES_JUDGE = Table(
    name="scores_judge",
    key=("doc_id",),
    text=(),
    sealed=True,
    retained=True,
    paid=True,
    per_document=True,
    source="judge_scores",
    scores=("margin",),
    columns=(
        DOC_ID,
        real(
            "logp_yes_raw",
            "log-probability of the one token yes that the question asks for, over all tokens, nats",
        ),
        real("logp_yes", "log of the summed probability of all single-token spellings of yes, nats"),
        real("logp_no", "log of the summed probability of all single-token spellings of no, nats"),
        _ANSWER_MASS,
        _MARGIN,
        flag("truncated", "whether the judge was shown only the beginning of a too long document"),
        BY_SERVER,
        FINGERPRINT,
    ),
)

SCORES_JUDGE_AGAIN = Table(
    name="scores_judge_again",
    key=("doc_id",),
    text=(),
    sealed=True,
    retained=True,
    paid=True,
    per_document=True,
    columns=(
        DOC_ID,
        _ANSWER_MASS,
        real(
            "margin",
            "logp_yes - logp_no when the judge is asked again, with the question's parts reordered, nats",
        ),
        BY_SERVER,
        FINGERPRINT,
    ),
)

SCORES_NOISE = Table(
    name="scores_noise",
    key=("text_digest", "fingerprint"),
    text=(),
    sealed=True,
    columns=(
        text("text_digest", "first 128 bits of the SHA-256 of a noise text made to test the judge, hex"),
        _ANSWER_MASS,
        _MARGIN,
        FINGERPRINT,
    ),
)

SCORES_QUALITY = Table(
    name="scores_quality",
    key=("doc_id",),
    text=(),
    per_document=True,
    source="quality_scores",
    scores=("judge_margin_predicted", "quality"),
    columns=(
        DOC_ID,
        real(
            "judge_margin_predicted",
            "the judge's margin (logp_yes - logp_no) as predicted by the grader, a fitted regression, nats",
        ),
        real("quality", "quality in [0, 1]; the higher judge_margin_predicted, the higher the quality"),
        FINGERPRINT,
    ),
)

TABLES = (SCORES_NOISE,)


def quality_wanted(snapshot: Snapshot) -> bool:
    """The judge costs minutes, so it is asked when a sampler needs it or tamis.toml has a [judge] section."""
    settings = snapshot.project.settings
    used = [chosen.sampler for chosen in settings.selection if chosen.quality is None]
    used += settings.sampler_trials.samplers if settings.sampler_trials.model else ()
    used += settings.tune.samplers if settings.tune and settings.tune.quality is None else ()
    needed = any(set(find_sampler(name).score_columns) & set(SCORES_QUALITY.scores) for name in used)
    return needed or "judge" in settings.model_fields_set


def judges_of(snapshot: Snapshot, samplers: Iterable[str]) -> dict[str, str]:
    """Identities of the judges that samplers name: other weights are another score."""
    asked = [found.model for name in samplers if (found := model_of(name)) and found.family == ASK_LLM]
    section = snapshot.project.settings.judge
    return {
        model: judge_identity(snapshot.project.model(model), section.prompt, max_tokens=section.max_tokens)
        for model in asked
    }


def _judge_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    section, judge = snapshot.project.settings.judge, configured_judge(snapshot.project)
    return {
        "judge": judge_identity(judge, section.prompt, max_tokens=section.max_tokens),
        "model": section.model,
    }


def _price(snapshot: Snapshot) -> Price | None:
    section = snapshot.project.settings.judge
    if section.price_per_million_tokens is None:
        return None
    return Price(questions=section.sample, per_million_tokens=section.price_per_million_tokens)


def _chosen_by_vectors(snapshot: Snapshot) -> bool:
    return bool(snapshot.project.settings.judge.active_share)


JUDGE_STAGE = Stage(
    name="judge_scores",
    group="quality",
    active=quality_wanted,
    code_version=f"{CODE_VERSION}.{second_asking.CODE_VERSION}",
    edges=(edge("judge_sample"),),
    settings=_judge_settings,
    tables=(SCORES_JUDGE, SCORES_JUDGE_AGAIN),
    automation=Automation.ONCE_SELECTED,
    price=_price,
)
QUALITY_STAGE = Stage(
    name="quality_scores",
    group="quality",
    active=quality_wanted,
    partitions="shards",
    step="shards",
    code_version=GRADER_CODE_VERSION,
    edges=(
        edge("quality_grader"),
        edge("embeddings", same),
        edge("perplexity_scores", when(perplexity_wanted, same)),
    ),
    tables=(SCORES_QUALITY,),
    automation=Automation.ONCE_SELECTED,
)
STAGES = (
    Stage(
        name="judge_sample",
        group="quality",
        active=quality_wanted,
        code_version=CODE_VERSION,
        by_content=True,
        edges=(
            edge("documents", every("shards")),
            edge("near_duplicates"),
            edge("embeddings", when(_chosen_by_vectors, every("shards"))),
        ),
        settings=lambda snapshot, key: snapshot.project.settings.judge.model_dump(
            include={"sample", "active_share"}
        ),
        tables=(JUDGE_SAMPLE,),
        automation=Automation.ONCE_SELECTED,
    ),
    JUDGE_STAGE,
    Stage(
        name="quality_grader",
        group="quality",
        active=quality_wanted,
        code_version=GRADER_CODE_VERSION,
        edges=(
            edge("judge_scores"),
            edge("embeddings", every("shards")),
            edge("perplexity_scores", when(perplexity_wanted, every("shards"))),
        ),
        files="fitted",
        learning=Learning.FITTED,
        automation=Automation.ONCE_SELECTED,
    ),
    QUALITY_STAGE,
)
