"""Scores that a selection computes for itself, from the store: eligible documents in, `method_score` out."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tamis.base.progress import Advance, ignore
from tamis.base.unfit import finite_each
from tamis.corpus.intake import texts_of
from tamis.corpus.stage import TARGET_EXAMPLES
from tamis.plugins.declaration import TEXT, VECTORS
from tamis.plugins.reading import Plugin
from tamis.plugins.running import opened, ranks_of
from tamis.quality import AskLLM
from tamis.samplers.methods import METHODS, MethodProblem
from tamis.samplers.target_path import TargetPath, recipe, warm_up
from tamis.settings.budget import Budget, parse_budget
from tamis.settings.config import SelectionSection, TransportSection
from tamis.settings.samplers import READS_TEXTS, find_sampler
from tamis.store.digests import canonical_digest
from tamis.store.retained import take_back
from tamis.store.tables import Store, matrix_of, quoted
from tamis.training import document_bits_per_byte, fold_of
from tamis.transport.storing import target_vectors

TABLE = "scores_by_model"
BATCH = 64
Scores = npt.NDArray[np.float64]
Score = Callable[[Sequence[str], Sequence[str]], Scores]
"""Scores [n] of documents, smallest first, from their ids and texts; NaN where the model gives none."""
Opened = Callable[[Plugin], AbstractContextManager[Callable[..., Any]]]
"""Function that imports a plug-in and gives its function."""
BLOCK_ROWS = 4_096


@dataclass(frozen=True, kw_only=True)
class ModelScorer:
    """A model ready to score: what identifies its scores, and how they are computed."""

    fingerprint: str
    score: Score


ScorerOfTarget = Callable[[Mapping[str, str]], ModelScorer]
"""Function that makes the scorer of a model that learns a target, from the texts of its examples by id."""


def perplexity_scorer(folders: Mapping[int, str | Path], version: str, max_tokens: int) -> ModelScorer:
    """Bits per byte, by the model of the fold that a document is in: each trained on the other fold.

    folders: by fold 0 and 1; the same one twice for a model that trained on neither.
    """

    def score(doc_ids: Sequence[str], texts: Sequence[str]) -> Scores:
        folds = np.asarray(fold_of(list(doc_ids)), dtype=np.int8)
        bits = np.full(len(texts), np.nan)
        for fold, folder in folders.items():
            (own,) = np.nonzero(folds == fold)
            if len(own):
                read = partial(document_bits_per_byte, folder, max_tokens=max_tokens)
                bits[own], _refused = finite_each(read, [texts[at] for at in own.tolist()])
        return bits

    return ModelScorer(fingerprint=f"bits per byte {version[:32]} {max_tokens}", score=score)


def path_scorer(
    folders: Mapping[int, str | Path],
    version: str,
    max_tokens: int,
    examples: Mapping[str, str],
    *,
    seed: int,
    resume: Path,
) -> ModelScorer:
    """Loss drops of target-path, their sign turned, by the model of the fold that a document is in.

    folders: as for `perplexity_scorer`. Each model is warmed up on the examples when it first reads documents
    that have no score; the warm-up follows from model, examples and seed. `resume`: folder that is free for
    its states.
    """
    ids = sorted(examples)
    made_by = canonical_digest(json.dumps([ids, seed, recipe()]))
    texts_of_target = [examples[doc_id] for doc_id in ids]

    @cache
    def warmed(folder: str | Path) -> TargetPath:
        return warm_up(folder, texts_of_target, resume, max_tokens=max_tokens, seed=seed)

    def score(doc_ids: Sequence[str], texts: Sequence[str]) -> Scores:
        folds = np.asarray(fold_of(list(doc_ids)), dtype=np.int8)
        drops = np.full(len(texts), np.nan)
        for fold, folder in folders.items():
            (own,) = np.nonzero(folds == fold)
            if len(own):
                path = warmed(folder)  # outside of `finite_each`, which takes errors for those of a text
                drops[own], _refused = finite_each(partial(_drops, path), [texts[at] for at in own.tolist()])
        return -drops

    return ModelScorer(fingerprint=f"target path {version[:32]} {max_tokens} {made_by[:32]}", score=score)


def _drops(path: TargetPath, texts: list[str]) -> Scores:
    return path.drops(texts).score_n


def judge_scorer(judge: AskLLM) -> ModelScorer:
    """Ask-LLM's margin, its sign turned, by a judge of its own."""

    def score(doc_ids: Sequence[str], texts: Sequence[str]) -> Scores:
        return -judge.score(texts)["margin"].cast(pl.Float64).fill_null(np.nan).to_numpy()

    return ModelScorer(fingerprint=judge.fingerprint, score=score)


def model_scores(
    store: Store, scorer: ModelScorer, doc_ids: Sequence[str], advance: Advance = ignore
) -> pl.DataFrame:
    """doc_id and method_score of the documents, in order; null where the model gives none.

    Scores that are stored or retained are read, the others computed and stored, `BATCH` a commit.
    """
    wanted = pl.DataFrame({"doc_id": list(doc_ids)}, schema={"doc_id": pl.String})
    take_back(store, TABLE, doc_ids, scorer.fingerprint)
    missing = wanted.join(_known(store, scorer.fingerprint), on="doc_id", how="anti")["doc_id"].to_list()
    advance(len(wanted) - len(missing))
    for start in range(0, len(missing), BATCH):
        ids = missing[start : start + BATCH]
        texts = texts_of(store, ids)
        scores = pa.array(scorer.score(ids, [texts[doc_id] for doc_id in ids]), from_pandas=True)
        store.put(TABLE, {"doc_id": ids, "fingerprint": [scorer.fingerprint] * len(ids), "value": scores})
        advance(len(ids))
    return wanted.join(_known(store, scorer.fingerprint), on="doc_id", how="left", maintain_order="left")


def _known(store: Store, fingerprint: str) -> pl.DataFrame:
    rows = store.read(TABLE, ["doc_id", "value"], f"fingerprint = {quoted(fingerprint)}")
    return rows.select("doc_id", pl.col("value").alias("method_score"))


class Blocks:
    """Rows [n, d] of half precision as blocks of float32 that can be read again and again."""

    def __init__(self, vectors_nd: np.ndarray) -> None:
        self.vectors_nd = vectors_nd

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.vectors_nd), BLOCK_ROWS):
            yield self.vectors_nd[start : start + BLOCK_ROWS].astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What computed scores depend on besides the selection: how exact, what is drawn, and what is read.

    Tables are those of the encoder. `scorer`: of a sampler that names a model, made of the target's examples
    where the model learns them first. `plugin`: the sampler itself, where it is one; `opened` imports it.
    `examples`: ids of the target's examples that a sampler is given, None for the whole training part.
    """

    transport: TransportSection
    seed: int
    pool_table: str
    target_table: str
    scorer: ModelScorer | ScorerOfTarget | None = None
    plugin: Plugin | None = None
    opened: Opened = opened
    examples: frozenset[str] | None = None


def method_scores(
    store: Store,
    section: SelectionSection,
    eligible: pl.DataFrame,
    options: ScoringOptions,
    advance: Advance = ignore,
) -> pl.DataFrame:
    """doc_id and method_score (smallest first) of the eligible documents (doc_id, n_tokens, maybe quality).

    Documents without a vector, and those without a quality where it counts, get none.
    """
    sampler, target = find_sampler(section.sampler), str(section.target)
    pool = eligible.drop_nulls().sort("doc_id")
    if not len(pool):
        return pl.DataFrame(schema={"doc_id": pl.String, "method_score": pl.Float64})
    scorer = options.scorer
    if scorer is not None:
        if not isinstance(scorer, ModelScorer):
            scorer = scorer(dict(_examples(store, target, options.examples).iter_rows()))
        return model_scores(store, scorer, pool["doc_id"].to_list(), advance)
    if options.plugin is not None:
        return _plugin_scores(store, options.plugin, pool, options, section.target)
    sides: tuple[Any, Any]
    if sampler.method in READS_TEXTS:
        texts = texts_of(store, pool["doc_id"].to_list())
        examples = _examples(store, target, options.examples)
        sides = examples["text"].to_list(), [texts[doc_id] for doc_id in pool["doc_id"]]
    else:
        pool, vectors_nd = known_vectors(store, options.pool_table, pool)
        example_md = None
        if sampler.needs_target:
            example_md = target_vectors(store, options.target_table, target, only=options.examples)
        sides = example_md, Blocks(vectors_nd)
    problem = MethodProblem(
        target=sides[0],
        candidates=sides[1],
        k=documents_in(parse_budget(section.budget), pool),
        ids=pool["doc_id"].to_list(),
        seed=options.seed,
        settings=section.model_dump(include={"rounds", "mixing", "quality_weight"})
        | options.transport.model_dump(include={"relative_epsilon", "tolerance"}),
        quality=pool["quality"].to_numpy() if "quality" in pool.columns else None,
        tokens=pool["n_tokens"].cast(pl.Int64).to_numpy(),
        advance=advance,
    )
    return pool.select(
        "doc_id", pl.Series("method_score", METHODS[str(sampler.method)](problem), dtype=pl.Float64)
    )


def _examples(store: Store, target: str, only: frozenset[str] | None) -> pl.DataFrame:
    """Return doc_id and text of a target's training examples, by id; `only` those with these ids."""
    where = f"target = {quoted(target)} AND split = 'train'"
    examples = store.read(TARGET_EXAMPLES.name, ["doc_id", "text"], where).sort("doc_id")
    return examples if only is None else examples.filter(pl.col("doc_id").is_in(list(only)))


def _plugin_scores(
    store: Store, plugin: Plugin, pool: pl.DataFrame, options: ScoringOptions, target: str | None
) -> pl.DataFrame:
    """doc_id and method_score of the documents, smallest first; null where the plug-in gives no number."""
    vectors_nd, goal_md = None, None
    if VECTORS in plugin.declaration.reads:
        pool, halves_nd = known_vectors(store, options.pool_table, pool)
        vectors_nd = halves_nd.astype(np.float32)
        if target:
            goal_md = target_vectors(store, options.target_table, target, only=options.examples)
    candidates = pool.select("doc_id", "n_tokens")
    if TEXT in plugin.declaration.reads:
        texts = texts_of(store, pool["doc_id"].to_list())
        candidates = candidates.with_columns(
            text=pl.Series([texts[doc_id] for doc_id in pool["doc_id"]], dtype=pl.String)
        )
    with options.opened(plugin) as function:
        score_n = ranks_of(plugin, function, len(pool), candidates, vectors_nd, goal_md, options.seed)
    score = pl.Series("method_score", score_n, dtype=pl.Float64).fill_nan(None)
    return pool.select("doc_id", score)


def documents_in(budget: Budget, eligible: pl.DataFrame) -> int:
    """How many documents a budget comes to, tokens by their mean length; 1 to all of the eligible."""
    if budget.unit == "documents":
        wanted = float(budget.amount)
    elif budget.unit == "percent":
        wanted = float(budget.amount * len(eligible) / 100)
    else:
        wanted = float(budget.amount) * len(eligible) / max(float(eligible["n_tokens"].sum()), 1.0)
    return min(max(math.floor(wanted), 1), len(eligible))


def known_vectors(store: Store, table: str, pool: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the documents that have a vector, by id, and their vectors [n, d] in half precision.

    pool: doc_id, ascending, and other columns, which are kept.
    """
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for block in store.by_ids(table, pool["doc_id"].to_list(), ["doc_id", "vector"]):
        ids += block["doc_id"].to_pylist()
        parts.append(matrix_of(block["vector"]).astype(np.float16))
    order = np.argsort(np.array(ids, dtype=object), kind="stable")
    known = pool.filter(pl.col("doc_id").is_in(ids))
    return known, np.concatenate(parts or [np.zeros((0, 1), np.float16)])[order]
