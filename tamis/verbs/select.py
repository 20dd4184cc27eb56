"""`tamis.select`: texts in memory are chosen as a project chooses documents, and nothing of them is stored.

Each text is made a document (normal form, id), each distinct one is encoded and scored once, and the same
decision with the same reasons follows. Rules of form, near-duplicates and held-out examples exclude texts
where the call names them; scores of models that are trained or asked are left to projects.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.files import user_cache, whole_file
from tamis.base.numbers import counted
from tamis.base.precision import FLOAT32, computing_in
from tamis.base.progress import Progress
from tamis.coverage import DensitySketch
from tamis.embedding import encode_each, load_encoder
from tamis.embedding.storing import are_one
from tamis.embedding.unknown import SAMPLE, unknown_texts
from tamis.readers.text import normalise_text, normalised_id, without_surrogates
from tamis.samplers.debiased import pool_potential
from tamis.samplers.methods import METHODS, MethodProblem
from tamis.selection import Reason, find_sampler, parse_budget, select
from tamis.selection.computing import documents_in
from tamis.selection.decide import one_exclusion_each
from tamis.selection.pool import estimated_tokens
from tamis.settings.budget import Budget
from tamis.settings.samplers import (
    AWAY_SCORE,
    METHOD_SCORE,
    POOL_SCORE,
    QUALITY_SCORES,
    READS_TEXTS,
    SAMPLERS,
    WEIGH_QUALITY,
    Sampler,
    complete_options,
)
from tamis.settings.sections import AUTO_COLUMN, DensitySection, SelectionSection, TransportSection
from tamis.transport import FewTargetPoints, TargetPotential, nearest_cost, solve_and_score
from tamis.transport.prepare import FEW_TARGET_POINTS
from tamis.verbs.choice.data_types import REPEATED, UnusableTextsError, listed
from tamis.verbs.choice.from_files import CONTRAST
from tamis.verbs.choice.own_numbers import QUALITY, VECTORS, own_quality, own_vectors
from tamis.verbs.choice.text_exclusions import Excluding, excluded_texts

COLUMNS = ("row", "text", "verdict", "reason", "rank", "margin", "score", "doc_id")
EXCLUSION_COLUMNS = ("detail", "duplicate_of")
"""Columns of a call with rules, near-duplicates or held-out examples: the rule, and the text that is kept."""
KEEP_OUT = "keep_out"
_ARGUMENTS = {"goal": "goal", "away": "keep_away", "held_out": "held_out"}
MOST_SEED = 2**63


class UnknownToEncoder(UserWarning):
    """The encoder does not know much of the texts or of the goal, so vectors say little of them."""


class SameVectors(UserWarning):
    """All texts have the same vector, so that none is better than another."""


class NothingSelected(UserWarning):
    """No text was chosen: none is eligible, or none fits the budget."""


class BadSeedError(PermanentError, ValueError):
    """A seed that is no whole number from 0 to below `MOST_SEED`."""

    def __init__(self, seed: object) -> None:
        super().__init__(f"seed {seed!r} is not valid; pass a non-negative integer below 2**63")


class UnscoredSamplerError(PermanentError, ValueError):
    """A sampler whose scores come from a project alone; names those that work on texts in memory."""

    def __init__(self, sampler: str, columns: Iterable[str], valid: Iterable[str]) -> None:
        self.valid = sorted(valid)
        super().__init__(
            f"sampler {sampler!r} needs {', '.join(sorted(columns))}, which only a project computes; "
            f"choose a sampler that works on texts in memory: {', '.join(self.valid)}"
        )


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """Arguments of `tamis.select` but the texts and the goal."""

    budget: int | str
    sampler: str
    encoder: str
    seed: int
    cache: str | Path | None
    text_column: str | Sequence[str] = AUTO_COLUMN
    rules: str | Sequence[str] = ()
    near_duplicates: bool = False
    keep_away: Any = None
    held_out: Any = None
    keep_out: Any = None
    vectors: Any = None
    quality: Any = None

    def excluding(self, examples: Mapping[str, pl.DataFrame]) -> Excluding:
        """Return what keeps texts out; raises `UnknownNameError` for a rule that does not exist."""
        rules = (self.rules,) if isinstance(self.rules, str) else tuple(self.rules)
        given = {} if self.keep_out is None else self.keep_out
        by_name = given if isinstance(given, Mapping) else {KEEP_OUT: given}
        benchmarks = {
            str(name): _examples(_documents(rows, f'{KEEP_OUT}["{name}"]', self.text_column))
            for name, rows in by_name.items()
        }
        return Excluding(
            rules=rules,
            near_duplicates=self.near_duplicates,
            seed=self.seed,
            benchmarks=benchmarks,
            **examples,
        )


@dataclass(frozen=True, kw_only=True)
class _Scoring:
    """What a score is computed from: distinct texts in ascending order of id, and those of the goal."""

    sampler: Sampler
    budget: Budget
    seed: int
    pool: pl.DataFrame  # doc_id, normal, n_tokens
    goal: pl.DataFrame
    vectors_nd: npt.NDArray[np.float32]
    goal_md: npt.NDArray[np.float32]
    away_md: npt.NDArray[np.float32]
    excluded: pl.Series  # doc_id
    quality: pl.DataFrame | None = None  # doc_id, quality, judge_margin_predicted

    @cached_property
    def solved(self) -> tuple[TargetPotential, npt.NDArray[Any]]:
        """The potential of the goal, and the scores that it gives."""
        return self._solved(self.goal_md)

    def _solved(self, target_md: npt.NDArray[np.float32]) -> tuple[TargetPotential, npt.NDArray[Any]]:
        options = TransportSection().model_dump(include={"relative_epsilon", "tolerance", "max_passes"})
        return solve_and_score(target_md, self.vectors_nd, seed=self.seed, **options)

    def gradient(self) -> npt.NDArray[Any]:
        return self.solved[1]

    def gradient_away(self) -> npt.NDArray[Any]:
        return self._solved(self.away_md)[1]

    def pool_potential(self) -> npt.NDArray[Any]:
        ids = self.pool["doc_id"].to_list()
        own = pool_potential(self.solved[0], self.vectors_nd, ids=ids, seed=self.seed)
        return own.gradient(self.vectors_nd, ids=ids)

    def nearest(self) -> npt.NDArray[Any]:
        return nearest_cost(self.goal_md, self.vectors_nd)

    def density(self) -> npt.NDArray[Any]:
        section = DensitySection()
        count, dim = self.vectors_nd.shape
        sketch = DensitySketch(dim, rows=section.rows, hashes=section.hashes, expected=count, seed=self.seed)
        sketch.calibrate(self.vectors_nd[: section.calibration])
        return sketch.add(self.vectors_nd).density(self.vectors_nd)

    def method(self) -> npt.NDArray[Any]:
        """Return the score of a method that looks at the eligible documents alone; the others have NaN."""
        eligible_n = ~self.pool["doc_id"].is_in(self.excluded.implode()).to_numpy()
        pool = self.pool.filter(eligible_n)
        texts = self.sampler.method in READS_TEXTS
        section = SelectionSection(name="texts", sampler=self.sampler.name, budget=1)
        problem = MethodProblem(
            target=self.goal["normal"].to_list() if texts else self.goal_md,
            candidates=pool["normal"].to_list() if texts else [self.vectors_nd[eligible_n]],
            k=documents_in(self.budget, pool),
            ids=pool["doc_id"].to_list(),
            seed=self.seed,
            tokens=pool["n_tokens"].cast(pl.Int64).to_numpy(),
            quality=None if self.quality is None else self._quality_of(pool, "quality"),
            settings=section.model_dump(include={"rounds", "mixing", "quality_weight"})
            | TransportSection().model_dump(include={"relative_epsilon", "tolerance"}),
        )
        found_n = np.full(len(self.pool), np.nan)
        found_n[eligible_n] = METHODS[str(self.sampler.method)](problem) if len(pool) else ()
        return found_n

    def own_quality(self) -> npt.NDArray[Any]:
        return self._quality_of(self.pool, "quality")

    def own_log_odds(self) -> npt.NDArray[Any]:
        return self._quality_of(self.pool, "judge_margin_predicted")

    def _quality_of(self, pool: pl.DataFrame, column: str) -> npt.NDArray[Any]:
        assert self.quality is not None
        joined = pool.select("doc_id").join(self.quality, on="doc_id", how="left", maintain_order="left")
        return joined[column].to_numpy()


SCORES: Mapping[str, Callable[[_Scoring], npt.NDArray[Any]]] = {
    "transport_gradient": _Scoring.gradient,
    AWAY_SCORE: _Scoring.gradient_away,
    POOL_SCORE: _Scoring.pool_potential,
    "nearest_cost": _Scoring.nearest,
    "density": _Scoring.density,
    METHOD_SCORE: _Scoring.method,
}
OWN_QUALITY: Mapping[str, Callable[[_Scoring], npt.NDArray[Any]]] = dict(
    zip(QUALITY_SCORES, (_Scoring.own_quality, _Scoring.own_log_odds), strict=True)
)
"""Scores of a call with `quality`."""


def select_texts(texts: Any, goal: Any, choosing: Choosing) -> pl.DataFrame:
    """Return what `tamis.select` returns, and raise and warn as it does."""
    sampler, budget, seed = _usable_sampler(choosing), parse_budget(choosing.budget), choosing.seed
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < MOST_SEED:
        raise BadSeedError(seed)
    choosing = replace(choosing, seed=int(seed))
    given = _documents(texts, "texts", choosing.text_column)
    named = {"goal": goal, "away": choosing.keep_away, "held_out": choosing.held_out}
    rows = {
        side: _documents(data if data is not None else (), _ARGUMENTS[side], choosing.text_column)
        for side, data in named.items()
    }
    excluding = choosing.excluding({side: _examples(own) for side, own in rows.items()})
    if given.is_empty():
        raise UnusableTextsError(
            "texts", "it contains no texts, so there is nothing to select from; pass at least one text"
        )
    if sampler.needs_target and excluding.goal.is_empty():
        raise UnusableTextsError(
            "goal",
            f"it contains no texts; pass {FEW_TARGET_POINTS} or more examples of what the model should "
            "become good at, or choose a sampler that needs no goal, such as random",
        )
    if AWAY_SCORE in sampler.score_columns and excluding.away.is_empty():
        raise UnusableTextsError(
            "keep_away",
            f"it contains no texts; pass examples that the choice of {sampler.name!r} should avoid",
        )
    own = _own_numbers(sampler, choosing, {"texts": given, "goal": rows["goal"], "keep_away": rows["away"]})
    distinct = given.drop("row", "text").unique().sort("doc_id")
    if sampler.needs_target and len(excluding.goal) < FEW_TARGET_POINTS:
        warnings.warn(
            f"goal contains only {counted(len(excluding.goal), 'different text')}; with fewer than "
            f"{FEW_TARGET_POINTS}, the selection depends too much on the particular examples, so treat it as "
            "provisional",
            FewTargetPoints,
            stacklevel=3,
        )
    pool = distinct.filter(pl.col("normal") != "")
    if sampler.reads_vectors and not own.vectors:
        sides = {"texts": pool, "goal": excluding.goal} if sampler.needs_target else {"texts": pool}
        for side, documents in sides.items():
            if unknown := unknown_texts(choosing.encoder, documents["normal"].head(SAMPLE).to_list()):
                warnings.warn(f"{side}: {unknown.sentence}", UnknownToEncoder, stacklevel=3)
    excluded = _excluded(given, excluding)
    scored, refused = _scored(sampler, budget, pool, excluding, excluded["doc_id"], choosing, own)
    candidates = distinct.select("doc_id", "n_tokens").join(scored, on="doc_id", how="left")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decided = select(candidates, sampler.name, choosing.budget, choosing.seed, exclusions=excluded)
    if (decided["verdict"] == "selected").any():
        for one in caught:
            warnings.warn(one.message, stacklevel=3)
    else:
        why = (
            f"the budget {choosing.budget!r} is too small for the first-ranked text; pass a larger one"
            if decided["rank"].count()
            else "no text is eligible; the column reason says why"
        )
        warnings.warn(NothingSelected(f"nothing was selected: {why}"), stacklevel=3)
    ranked = bool(sampler.score_columns)
    score = sampler.score(complete_options(None)) if ranked else pl.lit(None, dtype=pl.Float64)
    without = pl.col("reason") == Reason.NO_SCORE.value
    answers = (
        given.join(decided, on="doc_id", how="left")
        .join(refused, on="doc_id", how="left")
        .with_columns(
            score=score, reason=pl.when(without).then(pl.coalesce("why", "reason")).otherwise("reason")
        )
    )
    if excluding.near_duplicates:
        answers = _without_repeats(answers)
    return answers.sort("rank", "row", nulls_last=True).select(
        *COLUMNS, *(EXCLUSION_COLUMNS if excluding.reads_texts else ())
    )


def _excluded(given: pl.DataFrame, excluding: Excluding) -> pl.DataFrame:
    """Return doc_id, reason, and what else is known, of each text that may not be chosen, once."""
    parts = [
        pl.concat([excluding.goal, excluding.away]).select("doc_id", reason=_reason(Reason.TARGET_EXAMPLE)),
        given.filter(pl.col("normal") == "").select("doc_id", reason=_reason(Reason.HEURISTIC)).unique(),
    ]
    if not excluding.reads_texts:
        return pl.concat(parts).unique("doc_id")
    return one_exclusion_each(pl.concat([*parts, excluded_texts(given, excluding)], how="diagonal"))


def _without_repeats(rows: pl.DataFrame) -> pl.DataFrame:
    """Leave its verdict to the first of the rows (by position) that have the same text."""
    first = pl.col("doc_id").is_first_distinct()
    ordered = rows.sort("row").with_columns(first=first)
    return ordered.with_columns(
        verdict=pl.when("first").then("verdict").otherwise(pl.lit("rejected")),
        reason=pl.when("first").then("reason").otherwise(pl.lit(REPEATED)),
        **{name: pl.when("first").then(name) for name in ("rank", "margin", "score", *EXCLUSION_COLUMNS)},
    )


def _reason(reason: Reason) -> pl.Expr:
    return pl.lit(reason.value)


@dataclass(frozen=True, kw_only=True)
class _Own:
    """Numbers of the user's own: vectors by argument (doc_id, vector), and qualities by document."""

    vectors: Mapping[str, pl.DataFrame]
    quality: pl.DataFrame | None


def _own_numbers(sampler: Sampler, choosing: Choosing, documents: Mapping[str, pl.DataFrame]) -> _Own:
    """Return the numbers that a call brings; raises `UnusableTextsError` where they do not fit."""
    vectors: Mapping[str, pl.DataFrame] = {}
    if choosing.vectors is not None:
        if not sampler.reads_vectors:
            readers = ", ".join(sorted(one.name for one in SAMPLERS.values() if one.reads_vectors))
            raise UnusableTextsError(
                VECTORS,
                f"the sampler {sampler.name!r} reads no vectors; leave them out, or choose by {readers}",
            )
        is_read = {
            "texts": True,
            "goal": sampler.needs_target,
            "keep_away": AWAY_SCORE in sampler.score_columns,
        }
        needed = tuple(name for name, read in is_read.items() if read)
        vectors = own_vectors(choosing.vectors, documents, needed)
    quality = None
    if choosing.quality is not None:
        if sampler.name not in WEIGH_QUALITY:
            weighing = ", ".join(sorted(WEIGH_QUALITY))
            raise UnusableTextsError(
                QUALITY, f"the sampler {sampler.name!r} weighs no quality; choose by {weighing}"
            )
        quality = own_quality(choosing.quality, documents["texts"])
    return _Own(vectors=vectors, quality=quality)


def _usable_sampler(choosing: Choosing) -> Sampler:
    """Return the sampler; raise `UnscoredSamplerError` where texts alone do not do."""
    name = choosing.sampler
    sampler = find_sampler(name)
    has_quality = choosing.quality is not None
    if not _scores_texts(sampler, has_quality):
        columns = {*sampler.score_columns} - SCORES.keys() or {"the answers of a model"}
        raise UnscoredSamplerError(
            name, columns, [one.name for one in SAMPLERS.values() if _scores_texts(one, has_quality)]
        )
    if choosing.keep_away is not None and AWAY_SCORE not in sampler.score_columns:
        raise UnusableTextsError(
            "keep_away", f"the sampler {name!r} keeps away from nothing; pass sampler={CONTRAST!r} with it"
        )
    return sampler


def _scores_texts(sampler: Sampler, has_quality: bool) -> bool:
    known = {*SCORES} | ({*OWN_QUALITY} if has_quality and sampler.name in WEIGH_QUALITY else set())
    return known >= {*sampler.score_columns} and (sampler.method is None or sampler.method in METHODS)


def _examples(rows: pl.DataFrame) -> pl.DataFrame:
    """Return normal, doc_id and n_tokens of the different texts that are not blank, by id."""
    return rows.filter(pl.col("normal") != "").drop("row", "text").unique().sort("doc_id")


def _documents(texts: Any, argument: str, text_column: str | Sequence[str]) -> pl.DataFrame:
    """Return a frame of texts as given: row, text, normal (form), doc_id and n_tokens (estimated)."""
    found = listed(texts, argument, text_column)
    wrong = [row for row, text in enumerate(found) if not isinstance(text, str)]
    if wrong:
        what = f"row {wrong[0]} is not a str but {type(found[wrong[0]]).__name__}"
        what += f" ({len(wrong):,} of {len(found):,} rows are not str)" if len(wrong) > 1 else ""
        raise UnusableTextsError(argument, f"{what}; leave out such rows, or pass '' in place of them")
    normal = [normalise_text(text) for text in found]
    n_tokens = estimated_tokens(pl.col("normal").str.len_bytes())
    columns = {
        "text": [without_surrogates(text) for text in found],
        "normal": normal,
        "doc_id": [normalised_id(text) for text in normal],
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_row_index("row")
    return frame.with_columns(pl.col("row").cast(pl.Int64), n_tokens=n_tokens)


def _scored(
    sampler: Sampler,
    budget: Budget,
    pool: pl.DataFrame,
    excluding: Excluding,
    excluded: pl.Series,
    choosing: Choosing,
    own: _Own,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the score of each document of the pool, and why (doc_id, why) some have no vector."""
    refused = pl.DataFrame(schema={"doc_id": pl.String, "why": pl.String})
    if not sampler.score_columns:
        return pool.select("doc_id"), refused
    goal = excluding.goal if sampler.needs_target else excluding.goal.clear()
    away = excluding.away
    nothing = pl.DataFrame(schema={"doc_id": pl.String, "vector": pl.Array(pl.Float32, 1)})
    if sampler.method in READS_TEXTS:
        vectors = [nothing] * 3
    else:
        if own.vectors:
            vectors = [own.vectors.get(side, nothing) for side in ("texts", "goal", "keep_away")]
        else:
            encoded, refused = _vectors(pl.concat([pool, goal, away]).unique(), choosing)
            vectors = [encoded] * 3
        pool, goal, away = (
            side.join(known, on="doc_id", how="semi").sort("doc_id")
            for side, known in zip((pool, goal, away), vectors, strict=True)
        )
    needed = {"goal": goal} if sampler.needs_target else {}
    needed |= {"keep_away": away} if AWAY_SCORE in sampler.score_columns else {}
    for argument, side in needed.items():
        if side.is_empty():
            raise UnusableTextsError(
                argument, "the encoder could not encode any of these texts; pass other examples"
            )
    scoring = _Scoring(
        sampler=sampler,
        budget=budget,
        seed=choosing.seed,
        pool=pool,
        goal=goal,
        vectors_nd=_matrix(pool, vectors[0]),
        goal_md=_matrix(goal, vectors[1]),
        away_md=_matrix(away, vectors[2]),
        excluded=excluded,
        quality=own.quality,
    )
    # Where nothing sets the texts apart, each is zero once they are centred.
    if len(pool) < 2 if sampler.method in READS_TEXTS else are_one(scoring.vectors_nd):
        score_cn = [np.zeros(len(pool))] * len(sampler.score_columns)
        if len(pool) > 1:
            warnings.warn(
                f"{'vectors' if own.vectors else f'the encoder {choosing.encoder}'} gives all {len(pool):,} "
                "different texts the same vector, so none is better than another, and which are chosen is "
                "arbitrary",
                SameVectors,
                stacklevel=4,
            )
    else:
        with computing_in(FLOAT32), warnings.catch_warnings():
            warnings.simplefilter("ignore", FewTargetPoints)
            computed = {**SCORES, **OWN_QUALITY}
            score_cn = [computed[column](scoring) for column in sampler.score_columns]
    scores = zip(sampler.score_columns, score_cn, strict=True)
    columns = [pl.Series(column, score_n, dtype=pl.Float64) for column, score_n in scores]
    return pool.select("doc_id", *columns), refused


def _vectors(documents: pl.DataFrame, choosing: Choosing) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return doc_id and vector of the documents that have one, and doc_id and why of the others.

    Those that the cache has are read from there, and those that are encoded are added to it.
    """
    folder = user_cache() if choosing.cache is None else Path(choosing.cache).expanduser()
    with Progress(f"loading encoder {choosing.encoder}"):
        encoder = load_encoder(choosing.encoder, cache=folder)
    kept = None if choosing.cache is None else folder / "vectors" / encoder.fingerprint
    kind = pl.Array(pl.Float32, encoder.dimension)
    known = pl.DataFrame(schema={"doc_id": pl.String(), "vector": kind})
    if kept is not None and (parts := sorted(kept.glob("*.parquet"))):
        known = (
            pl.scan_parquet(parts, glob=False)
            .join(documents.lazy(), on="doc_id", how="semi")
            .unique("doc_id")
            .collect()
        )
    missing = documents.join(known, on="doc_id", how="anti").sort("doc_id")
    with Progress("encoding texts", len(missing), "texts") as progress:
        vectors_nd, refused = encode_each(encoder, missing["normal"].to_list(), progress.advance)
    made = pl.DataFrame({"doc_id": missing["doc_id"], "vector": pl.Series(vectors_nd, dtype=kind)})
    why = {missing["doc_id"][place]: str(one.reason) for place, one in refused.items()}
    made = made.filter(~pl.col("doc_id").is_in([*why]))
    if kept is not None and len(made):
        kept.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256("".join(made["doc_id"]).encode()).hexdigest()
        with whole_file(kept / f"{name}.parquet") as draft:
            made.write_parquet(draft)
    aside = {"doc_id": [*why], "why": [*why.values()]}
    return pl.concat([known, made]), pl.DataFrame(aside, schema=dict.fromkeys(aside, pl.String))


def _matrix(documents: pl.DataFrame, vectors: pl.DataFrame) -> npt.NDArray[np.float32]:
    """Return the vectors [n, d] of documents, in their order."""
    joined = documents.select("doc_id").join(vectors, on="doc_id", how="left", maintain_order="left")
    return joined["vector"].to_numpy()
