"""The models and tables that samplers score by, at the versions that a step pinned."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from tamis.embedding.storing import current_table, encoder_slug
from tamis.platform.resources.judge import JudgeResource
from tamis.runtime.step import Work
from tamis.selection.computing import (
    ModelScorer,
    ScorerOfTarget,
    ScoringOptions,
    judge_scorer,
    path_scorer,
    perplexity_scorer,
)
from tamis.settings.samplers import ASK_LLM, TARGET_PATH, ModelOf, model_of
from tamis.store.digests import canonical_digest
from tamis.training.loop import checkpoint_folder, resume_folder
from tamis.training.planned import TWIN, model_section
from tamis.training.stage import BASE_MODELS_STAGE
from tamis.trust import trusted

Scorer = ModelScorer | ScorerOfTarget


def scorers(work: Work, judge: JudgeResource, samplers: Iterable[str]) -> dict[str, Scorer]:
    """By sampler, for those that name a model."""
    return {name: _scorer(work, judge, asked) for name in samplers if (asked := model_of(name))}


def target_table(work: Work) -> str:
    """Return the table of the vectors that the encoder gives to the examples of targets."""
    return f"target_embeddings_{encoder_slug(work.project.settings.encoder.name)}"


def scoring_options(work: Work, by_model: Mapping[str, Scorer], sampler: str) -> ScoringOptions:
    """Return the options by which a sampler scores the pool; `by_model`: what `scorers` returns."""
    return ScoringOptions(
        transport=work.project.settings.transport,
        seed=work.project.seed,
        pool_table=current_table(work.project),
        target_table=target_table(work),
        scorer=by_model.get(sampler),
        plugin=work.project.settings.plugins.get("sampler", sampler),
        opened=partial(trusted, work.project),
    )


def _scorer(work: Work, judge: JudgeResource, asked: ModelOf) -> Scorer:
    if asked.family == ASK_LLM:
        return judge_scorer(judge.open(work.project, asked.model))
    base, _fold = model_section(work.project, asked.model)
    twin = asked.model + TWIN if base.preset else asked.model
    versions = [work.current[(BASE_MODELS_STAGE.name, name)].data_version for name in (asked.model, twin)]
    version = canonical_digest(f"{versions} {asked.checkpoint}")
    # The model itself trained on fold 0, so it measures fold 1.
    folders = {0: _folder(work, twin, asked), 1: _folder(work, asked.model, asked)}
    max_tokens = work.project.settings.perplexity.max_tokens
    if asked.family == TARGET_PATH:
        resume = resume_folder(work.project.home.cache, work.stage.name, f"{TARGET_PATH}-{asked.model}")
        return partial(path_scorer, folders, version, max_tokens, seed=work.project.seed, resume=resume)
    return perplexity_scorer(folders, version, max_tokens)


def _folder(work: Work, name: str, asked: ModelOf) -> str | Path:
    section, _fold = model_section(work.project, name)
    if section.path is not None:
        return work.project.model(section.path)
    folder = work.upstream(BASE_MODELS_STAGE.name, name)
    return folder if asked.checkpoint is None else checkpoint_folder(folder, asked.checkpoint)
