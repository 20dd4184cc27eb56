"""The configured judge, its sample, and the grader fitted to its answers: what the quality assets call."""

from typing import Any

import numpy as np
import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.corpus.intake import texts_of
from tamis.corpus.stage import DOCUMENTS, NEAR_DUPLICATES
from tamis.embedding.storing import current_table
from tamis.project import Project
from tamis.quality.active import candidates, choose_actively
from tamis.quality.ask_llm import AskLLM
from tamis.quality.endpoint import Endpoint
from tamis.quality.grader import Grader, fit_grader
from tamis.quality.judge_check import JudgeCheck, check_judge
from tamis.quality.noise import NoScoresError
from tamis.quality.sample import choose_sample, hash_order, split_sample
from tamis.quality.second_asking import asked_again, margins_again
from tamis.quality.storing import (
    ANSWERS,
    RememberingJudge,
    read_features,
    read_visible,
    values_of,
    vector_dimension,
)
from tamis.store.tables import Store

CHECKED = 48  # documents that noise is made of, eight of each kind: 14 s of the embedded judge


def configured_judge(project: Project) -> str | Endpoint:
    """The judge that tamis.toml names: an endpoint, a folder, a hub id or the embedded one."""
    section = project.settings.judge
    return (
        Endpoint(section.url, section.model, section.key_env) if section.url else project.model(section.model)
    )


def sample_of_pool(store: Store, project: Project) -> pl.DataFrame:
    """Documents to ask about, without near-duplicates, each in the training or the hold-out part."""
    section, seed = project.settings.judge, project.seed
    dropped = store.read(NEAR_DUPLICATES.name, ["doc_id"])
    pool = store.read(DOCUMENTS.name, ["doc_id"]).join(dropped, on="doc_id", how="anti")["doc_id"].to_list()
    if not section.active_share or not pool:
        return split_sample(sorted(choose_sample(pool, section.sample, seed)), seed)
    ids, vectors_nd, surface_nk, _ = read_visible(
        store, current_table(project), candidates(pool, section.sample, seed)
    )
    return choose_actively(
        ids,
        np.concatenate([vectors_nd, surface_nk], axis=1),
        section.sample,
        seed,
        active_share=section.active_share,
        vector_columns=vectors_nd.shape[1],
    )


def median_answer_mass(store: Store, doc_ids: list[str]) -> float:
    """Half of the documents have at least this much of the judge's probability on its answers."""
    blocks = [
        block["answer_mass"].to_numpy() for block in store.by_ids("scores_judge", doc_ids, ["answer_mass"])
    ]
    mass_n = np.concatenate(blocks) if blocks else np.zeros(0)
    return float(np.nanmedian(mass_n)) if np.isfinite(mass_n).any() else 0.0


def mark_of_judge(
    store: Store, judge: AskLLM, sample: pl.DataFrame, seed: int, advance: Advance = ignore
) -> JudgeCheck | None:
    """Return how well the judge tells its sample from noise made of it; None without answers to both.

    Documents of the hold-out first, since these are a uniform draw of the pool.
    """
    doc_ids = sample["doc_id"].to_list()
    rank = dict(zip(doc_ids, sample["part"] != "hold_out", strict=True))
    asked = sorted((doc_ids[place] for place in hash_order(doc_ids, seed)), key=rank.__getitem__)[:CHECKED]
    if not asked:
        return None
    texts = texts_of(store, asked)
    blocks = store.by_ids("scores_judge", asked, ["doc_id", "margin", "answer_mass"])
    stored = pl.concat([pl.DataFrame(pl.from_arrow(block)) for block in blocks])
    answers = stored.filter(pl.col("margin").is_finite()).sort("doc_id")
    if not len(answers):
        return None
    clean = [texts[doc_id] for doc_id in answers["doc_id"]]
    try:
        return check_judge(RememberingJudge(store, judge), clean, answers=answers, seed=seed, advance=advance)
    except NoScoresError:
        return None


def grader_of_sample(store: Store, embeddings: str, seed: int) -> tuple[Grader, int]:
    """The grader fitted to the judge's answers about the sample, and how many documents that were."""
    sample = store.read("judge_sample")
    ids, features_nk, lengths_n = read_features(store, embeddings, sample["doc_id"].to_list())
    margins = values_of(store, ANSWERS, ids, "margin")
    parts = dict(sample.select("doc_id", "part").iter_rows())
    return fit_grader(
        features_nk,
        np.array([margins[doc_id] for doc_id in ids], dtype=np.float64),
        np.array([parts[doc_id] == "hold_out" for doc_id in ids]),
        doc_ids=ids,
        lengths_n=lengths_n,
        margins_again_n=margins_again(store, ids, asked_again(sample, seed)),
        vector_columns=vector_dimension(store, embeddings),
        seed=seed,
    ), len(ids)


def grader_report(grader: Grader) -> dict[str, Any]:
    """Figures of the hold-out for the event log; those that could not be measured are left out."""
    found = dict(grader.report.__dict__)
    ceiling = found.pop("ceiling")
    if ceiling is not None:
        names = ("spearman", "spearman_low", "spearman_high", "auc_at_cut", "spearman_of_mean")
        found |= {
            "documents_asked_twice": ceiling.documents,
            "judge_reliability": ceiling.reliability,
            "judge_reliability_low": ceiling.reliability_low,
            "judge_reliability_high": ceiling.reliability_high,
            **{f"noise_ceiling_{name}": getattr(ceiling, name) for name in names},
        }
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, int | float | str) and value == value
    }


def mark_in_words(mark: JudgeCheck | None) -> dict[str, Any]:
    """The judge's mark as metadata: AUC with its interval, by kind, that of length, and on what."""
    if mark is None:
        return {"auc_on": "nothing, because the judge gave no score"}
    return {
        "auc": mark.judge.value,
        "auc_low": mark.judge.low,
        "auc_high": mark.judge.high,
        "auc_of_length_alone": mark.length_only,
        **{f"auc_{kind}": value for kind, value in mark.by_kind.items()},
        "auc_on": f"{mark.judge.n_clean} documents of the sample against {mark.judge.n_noisy} pieces "
        "of noise made from them: shuffled words, repeated n-grams, menus, keyboard mash, fragments, numbers",
    }
