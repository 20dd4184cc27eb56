"""The model of form of a project, from and into the store: fitted on a sample and kept, with its limits.

The model that ships with Tamis is used for a pool of under `LEAST_POOL` documents, and wherever a sample
has too few sound texts in languages that it knows. A larger pool gets a model of its own: the sound texts of
the sample against themselves damaged. Sound is what the model that ships lets pass, under the limit of the
project's targets, so that broken texts of the pool teach nothing. The model stays until there is a reason to
choose again; limits follow the targets as they are.
"""

import hashlib
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from tamis.base.numbers import counted, percent
from tamis.base.progress import Advance, ignore
from tamis.corpus.stage import DOCUMENTS, TARGET_EXAMPLES
from tamis.filters import FORM_CODE_VERSION
from tamis.filters.flags import shipped_form
from tamis.filters.form.damage import MAKERS, damaged, varied
from tamis.filters.form.model import FormModel, default_model, fit, limit_for
from tamis.filters.form.statistics import LONGEST, form
from tamis.filters.stage import FORM_LIMITS, FORM_MODEL, FORM_SCORES
from tamis.store.tables import ALL, Store

LEAST_POOL = 5_000
"""Documents of a pool that gets a model of its own."""
SAMPLE, LEAST_SOUND = 3_000, 1_000
"""Documents of the sample, and sound ones that a fit needs."""
GROWTH = 1.5
"""Times as many documents as there were, from which the model is fitted again."""
PARTS = 9
"""Parts of the sample, drawn: each is judged by a fit on others to find the limit."""
LEAST_DAMAGED = 60
"""Characters of the shortest texts that are damaged: of shorter ones damage cannot be told from words."""
BATCH = 2_000
MUCH = 0.05
"""Share of a target's examples that are written like damaged texts, from which it is said."""
Goals = dict[str, pl.DataFrame]


@dataclass(frozen=True, kw_only=True)
class TargetLimit:
    """The limit for a target.

    examples: its training examples; over: of these, beyond the limit of the model that ships with Tamis,
    whichever is used; unseen: short, or in a language that the model has not seen.
    """

    target: str
    limit: float
    examples: int
    over: int
    unseen: int


@dataclass(frozen=True, kw_only=True)
class StoredForm:
    """The stored model: `note` says which it is and why, `fingerprint` marks the scores that it gave."""

    model: FormModel
    fingerprint: str
    note: str
    pool: int
    limits: tuple[TargetLimit, ...]

    @property
    def own_was_refused(self) -> bool:
        """Whether a pool that is large enough got no model of its own."""
        return self.pool >= LEAST_POOL and self.model == default_model()

    @property
    def limit(self) -> float:
        """The limit for the documents: the highest of the targets, or the model's own without any."""
        return max([self.model.limit, *(one.limit for one in self.limits)])

    @property
    def limit_in_words(self) -> str:
        """The limit and where it comes from, as part of a sentence."""
        if self.limit == self.model.limit:
            return f"{self.limit:.4g}, the model's own"
        highest = max(self.limits, key=lambda one: one.limit)
        which = f"target {highest.target}" if len(self.limits) == 1 else f"the targets', of {highest.target}"
        return f"{self.limit:.4g}, the {'limit' if len(self.limits) == 1 else 'highest'} of {which}"


def update_form_model(
    store: Store, seed: int, kept_away: Collection[str] = (), advance: Advance = ignore
) -> tuple[StoredForm, str]:
    """Write the model and the limits of targets as they are now; return them, and why a model was chosen.

    The reason is a clause, "" where the stored model stays. kept_away: targets that are no goals, so that
    documents like their examples need not stay.
    """
    goals = {name: goal for name, goal in _goals(store).items() if name not in kept_away}
    there, mark = store.count(DOCUMENTS.name), _mark(seed, goals)
    reason = _reason_to_choose(store, there, mark)
    if reason:
        model, note = _chosen(store, goals, there, seed, advance)
        row = {"fingerprint": _fingerprint(model), "model": json.dumps(asdict(model)), "note": note}
        store.overwrite_values(FORM_MODEL.name, [row | {"pool": there, "method": mark}])
    else:
        model = _from_json(store.read(FORM_MODEL.name, ["model"])["model"][0])
    limits = [_limit(model, target, goal) for target, goal in goals.items()]
    rows = pl.DataFrame(limits, schema=list(TargetLimit.__annotations__), infer_schema_length=None)
    store.put(FORM_LIMITS.name, rows, ALL)
    found = read_form(store)
    assert found is not None
    return found, reason


def read_form(store: Store) -> StoredForm | None:
    """Return the stored model with its limits, None where there is none yet, or one of another version."""
    for row in store.read(FORM_MODEL.name).to_dicts():
        if json.loads(row["model"]).keys() != FormModel.__dataclass_fields__.keys():
            return None
        limits = store.read(FORM_LIMITS.name).sort("target").to_dicts()
        return StoredForm(
            model=_from_json(row["model"]),
            limits=tuple(TargetLimit(**one) for one in limits),
            **{name: row[name] for name in ("fingerprint", "note", "pool")},
        )
    return None


def score_form(store: Store, known: StoredForm, doc_ids: Sequence[str], advance: Advance = ignore) -> int:
    """Score and store the documents that the model has not scored yet; returns how many that were."""
    stored = map(pl.from_arrow, store.by_ids(FORM_SCORES.name, doc_ids, ["doc_id", "fingerprint"]))
    scored = pl.concat(
        [pl.DataFrame(schema={"doc_id": pl.String, "fingerprint": pl.String}), *map(pl.DataFrame, stored)]
    ).filter(fingerprint=known.fingerprint)
    missing = sorted(set(doc_ids).difference(scored["doc_id"]))
    for start in range(0, len(missing), BATCH):
        texts = _heads(store, missing[start : start + BATCH])
        stats = form(texts["text"])
        rows = texts.select("doc_id").hstack(known.model.judge(stats)).hstack([stats["language"]])
        rows = rows.rename({"language": "form_language"}).with_columns(fingerprint=pl.lit(known.fingerprint))
        store.put(FORM_SCORES.name, rows)
        advance(len(texts))
    return len(missing)


def unusual_statistics(store: Store, known: StoredForm, doc_ids: Sequence[str]) -> pl.DataFrame:
    """Return doc_id and form_reasons of documents, whatever the limit; null where the model abstains."""
    texts = _heads(store, doc_ids)
    every = replace(known.model, limit=-math.inf).judge(form(texts["text"]))
    return texts.select("doc_id").hstack(every.select("form_reasons"))


def unseen_among(store: Store, doc_ids: Sequence[str]) -> int:
    """Count the documents of which the model says nothing: short, or in a language that it has not seen."""
    blocks = store.by_ids(FORM_SCORES.name, doc_ids, ["doc_id", "form_logit"])
    return sum(block["form_logit"].null_count for block in blocks)


def _mark(seed: int, goals: Goals) -> str:
    return f"{FORM_CODE_VERSION}|{seed}|{shipped_form()}|{','.join(goals)}"


def _fingerprint(model: FormModel) -> str:
    """Return the digest of code, tables and model that give a score, 32 hex digits."""
    parts = json.dumps([FORM_CODE_VERSION, shipped_form(), asdict(model)], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def _from_json(written: str) -> FormModel:
    """Return the model that `json.dumps(asdict(model))` wrote."""

    def as_tuples(value: Any) -> Any:
        return tuple(map(as_tuples, value)) if isinstance(value, list) else value

    return FormModel(**{name: as_tuples(value) for name, value in json.loads(written).items()})


def _reason_to_choose(store: Store, there: int, mark: str) -> str:
    """Return why a model is chosen, as a clause, "" where the stored one stays."""
    rows = store.read(FORM_MODEL.name, ["pool", "method"]).rows()
    if not rows:
        return "there was no model yet"
    ((before, chosen),) = rows
    if chosen != mark:
        return "the targets, the seed, the method or the model that ships with Tamis changed"
    enough = there >= LEAST_POOL and (before < LEAST_POOL or there >= GROWTH * before)
    return f"the pool grew from {before:,} to {there:,} documents" if enough else ""


def _chosen(store: Store, goals: Goals, there: int, seed: int, advance: Advance) -> tuple[FormModel, str]:
    """Return the model for the pool, and a sentence that says which it is and why."""
    shipped, ships = default_model(), "the model that ships with Tamis"
    if there < LEAST_POOL:
        return shipped, f"{ships}: the pool has {counted(there, 'document')}, a fit needs {LEAST_POOL:,}"
    texts = _sampled(store, seed)
    stats = _measured(texts["text"], advance)
    limit = max([shipped.limit, *(_limit(shipped, name, goal).limit for name, goal in goals.items())])
    logits = shipped.judge(stats)["form_logit"]
    sound = (logits <= limit).fill_null(False)
    if int(sound.sum()) < LEAST_SOUND:
        unseen, over = int(logits.null_count()), int((logits > limit).sum())
        return shipped, (
            f"{ships}: of a sample of {counted(len(texts), 'document')} {over:,} are written like damaged "
            f"texts and {unseen:,} short or in languages that it has not seen; a fit needs {LEAST_SOUND:,} "
            "others"
        )
    model = _fitted(texts.filter(sound).hstack(stats.filter(sound)), goals, there, seed, advance)
    return model, model.fitted_on


def _fitted(sound: pl.DataFrame, goals: Goals, there: int, seed: int, advance: Advance) -> FormModel:
    """Fit a model on sound texts and examples of targets, as they are, changed harmlessly, and damaged.

    sound: doc_id, text and statistics of documents, in the order of the sample, which is drawn. Examples
    count as sound, or a kind of text that the pool has not would raise the limit for all; the model's own
    limit is that for the documents.
    """
    part = pl.format("part {}", pl.int_range(pl.len()) % PARTS)
    frames = [sound.drop("doc_id").with_columns(kind=part, changed=pl.lit(False))]
    for target, goal in goals.items():
        known = goal.filter(default_model().seen(goal)).head(SAMPLE)
        frames.append(known.with_columns(kind=pl.lit(f"target {target}"), changed=pl.lit(True)))
    good = pl.concat(frames)
    texts = good["text"]
    changed = _measured(pl.Series(varied(texts.to_list(), seed), dtype=pl.String), advance)
    changed = changed.with_columns(good["kind"], changed=pl.lit(True))
    long = texts.filter(texts.str.len_chars() >= LEAST_DAMAGED)
    rows = damaged((texts if long.is_empty() else long).to_list(), tuple(MAKERS), seed)
    bad = rows.select("kind").hstack(_measured(rows["text"], advance))
    good = pl.concat([good.drop("text"), changed])
    fitted_on = (
        f"{len(sound):,} documents drawn from a pool of {there:,}, which the model that ships with Tamis "
        "lets pass, examples of the targets, and the same damaged"
    )
    return fit(good, bad, fitted_on, seed)


def _measured(texts: pl.Series, advance: Advance) -> pl.DataFrame:
    frames = []
    for start in range(0, len(texts), BATCH):
        frames.append(form(texts[start : start + BATCH]))
        advance(len(frames[-1]))
    return pl.concat(frames) if frames else form(texts)


def _sampled(store: Store, seed: int) -> pl.DataFrame:
    """Return doc_id and text of a sample in an order drawn by seed and id, whatever else is in the pool."""
    ids = store.read(DOCUMENTS.name, ["doc_id"])["doc_id"]
    low, high = (ids.str.slice(at, 16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy() for at in (0, 16))
    drawn = ids.to_frame().with_columns(
        key=pl.Series(_mixed(low ^ _mixed(high ^ np.uint64(seed % 2**64))), dtype=pl.UInt64)
    )
    first = drawn.sort("key", "doc_id").head(SAMPLE)
    texts = _heads(store, first["doc_id"].to_list())
    return first.join(texts, on="doc_id", maintain_order="left").select("doc_id", "text")


def _mixed(key_n: np.ndarray) -> np.ndarray:
    """Return the finalizer of splitmix64 (Steele, Lea and Flood 2014) of whole numbers [n]."""
    key_n = key_n + np.uint64(0x9E3779B97F4A7C15)
    key_n = (key_n ^ (key_n >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key_n = (key_n ^ (key_n >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key_n ^ (key_n >> np.uint64(31))


def _heads(store: Store, doc_ids: Sequence[str]) -> pl.DataFrame:
    """Return doc_id and as much of the text of documents as is looked at."""
    head = pl.col("text").str.slice(0, LONGEST)
    blocks = store.by_ids(DOCUMENTS.name, doc_ids, ["doc_id", "text"])
    texts = [pl.DataFrame(pl.from_arrow(block)).with_columns(head) for block in blocks]
    return pl.concat([pl.DataFrame(schema={"doc_id": pl.String, "text": pl.String}), *texts])


def _goals(store: Store) -> Goals:
    """Return the text and statistics of the training examples of each target, by name."""
    rows = store.read(TARGET_EXAMPLES.name, ["target", "doc_id", "text"], "split = 'train'")
    heads = rows.sort("target", "doc_id").select("target", pl.col("text").str.slice(0, LONGEST))
    parts = heads.group_by("target", maintain_order=True)
    return {str(target): part.select("text").hstack(form(part["text"])) for (target,), part in parts}


def _limit(model: FormModel, target: str, goal: pl.DataFrame) -> TargetLimit:
    shipped = default_model()
    return TargetLimit(
        target=target,
        limit=limit_for(model, goal),
        examples=len(goal),
        over=int((shipped.judge(goal)["form_logit"] > shipped.limit).sum()),
        unseen=int((~model.seen(goal)).sum()),
    )


def broken_goal_lines(known: StoredForm) -> list[str]:
    """Return a line for each target many of whose examples are written like damaged texts."""
    return [
        f"target {one.target}: {percent(one.over / one.examples)} of its {one.examples:,} training examples "
        "are written like damaged texts, so form_implausible keeps documents like them for all selections "
        f"(form_logit up to {one.limit:.4g}); if the examples are not meant to be like this, mend them"
        for one in known.limits
        if one.over > MUCH * one.examples
    ]
