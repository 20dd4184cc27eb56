"""Scores that are plug-ins, into the store: answers are kept by document, and only new ones are asked for.

A killed step goes on where it stopped: answers are committed with each 10,000 documents, or after 10 s.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tamis.base.progress import Advance, ignore
from tamis.base.unfit import Refusal, Unfit
from tamis.corpus.intake import texts_of
from tamis.corpus.quarantine import TABLE as SET_ASIDE
from tamis.corpus.quarantine import forget_refused, note_refused, place_of, read_refused, show_rows
from tamis.corpus.stage import DOCUMENTS
from tamis.plugins.reading import Plugin
from tamis.plugins.running import Failure, PluginFailedError, scores_of
from tamis.scores.stage import PLUGIN_SCORES, PLUGIN_SCORES_STAGE
from tamis.store.tables import Store, one_of, quoted

BATCH = 256
"""Texts that a plug-in gets at once."""
READ_ROWS, COMMIT_ROWS, COMMIT_SECONDS = 2_000, 10_000, 10.0
SET_ASIDE_IN = place_of(PLUGIN_SCORES_STAGE.name)
"""Place in quarantine of the documents on which plug-ins failed."""
Opened = Callable[[Plugin], AbstractContextManager[Callable[..., Any]]]
"""Function that imports a plug-in and gives its function."""


@dataclass(frozen=True, kw_only=True)
class PluginScore:
    """Documents of one score: `asked` the plug-in now, with a value, and set aside."""

    asked: int
    values: int
    set_aside: int


def missing_answers(store: Store, scores: Mapping[str, Plugin]) -> dict[str, list[str]]:
    """Return the documents, sorted, for which each score has no answer of its plug-in's present code."""
    doc_ids = store.read(DOCUMENTS.name, ["doc_id"])
    return {
        score: doc_ids.join(_known(store, score, plugin, ["doc_id"]), on="doc_id", how="anti")["doc_id"]
        .sort()
        .to_list()
        for score, plugin in scores.items()
    }


def update_plugin_scores(
    store: Store, scores: Mapping[str, Plugin], opened: Opened, advance: Advance = ignore
) -> dict[str, PluginScore]:
    """Ask the plug-in of each score about the documents that it has not answered for; return the counts.

    Documents on which it fails get no value and are set aside. Answers of other code, and those of scores
    that left tamis.toml, are deleted at the end. Raises as `opened` and `scores_of` do, and
    `PluginFailedError` where a plug-in has never answered and fails on all of several documents.
    """
    missing = missing_answers(store, scores)
    for score, plugin in sorted(scores.items()):
        forget_refused(store, stage_of(score), [plugin.fingerprint])
        if missing[score]:
            with opened(plugin) as function:
                _ask(store, score, plugin, function, missing[score], advance)
    _delete_others(store, scores)
    stages = [stage_of(score) for score in scores]
    refused = read_refused(store, stages, [plugin.fingerprint for plugin in scores.values()])
    show_rows(store, SET_ASIDE_IN, refused)
    counts = {}
    for score, plugin in sorted(scores.items()):
        values = _known(store, score, plugin, ["value"])["value"]
        counts[score] = PluginScore(
            asked=len(missing[score]),
            values=len(values) - values.null_count(),
            set_aside=len(refused.filter(stage=stage_of(score))),
        )
    return counts


def stage_of(score: str) -> str:
    """Return the name under which documents are set aside by a score."""
    return f"{PLUGIN_SCORES_STAGE.name}/{score}"


def _known(store: Store, score: str, plugin: Plugin, columns: Sequence[str]) -> pl.DataFrame:
    scope = f"score = {quoted(score)} AND fingerprint = {quoted(plugin.fingerprint)}"
    return store.read(PLUGIN_SCORES.name, columns, scope)


def _ask(
    store: Store,
    score: str,
    plugin: Plugin,
    function: Callable[..., Any],
    doc_ids: Sequence[str],
    advance: Advance,
) -> None:
    never_answered = not _known(store, score, plugin, ["value"])["value"].count()
    held, since = _Answers(), time.monotonic()
    for ids, texts in _batches(store, doc_ids):
        answer_n, failures = scores_of(plugin, function, texts)
        if never_answered and len(failures) == len(ids) > 1:  # it is at fault, and not the documents
            first = failures[0]
            raise PluginFailedError(
                f"plug-in {plugin.name} failed on each of the first {len(ids):,} documents, on the first "
                f"with {first.name} ({first.place})"
            )
        never_answered = False
        held.add(ids, answer_n, failures)
        advance(len(ids))
        if len(held.ids) >= COMMIT_ROWS or time.monotonic() - since > COMMIT_SECONDS:
            _commit(store, score, plugin, held)
            held, since = _Answers(), time.monotonic()
    _commit(store, score, plugin, held)


@dataclass(kw_only=True)
class _Answers:
    """Answers that wait for a commit: numbers [n] by batch, and failures by document."""

    ids: list[str] = field(default_factory=list)
    parts: list[np.ndarray] = field(default_factory=lambda: [np.zeros(0)])
    failures: dict[str, Failure] = field(default_factory=dict)

    def add(self, ids: Sequence[str], answer_n: np.ndarray, failures: Mapping[int, Failure]) -> None:
        self.ids += ids
        self.parts.append(answer_n)
        self.failures |= {ids[place]: failure for place, failure in failures.items()}


def _batches(store: Store, doc_ids: Sequence[str]) -> Iterator[tuple[Sequence[str], list[str]]]:
    for start in range(0, len(doc_ids), READ_ROWS):
        block = doc_ids[start : start + READ_ROWS]
        texts = texts_of(store, block)
        for first in range(0, len(block), BATCH):
            ids = block[first : first + BATCH]
            yield ids, [texts[doc_id] for doc_id in ids]


def _commit(store: Store, score: str, plugin: Plugin, held: _Answers) -> None:
    refused = {doc_id: _refusal(plugin, failure) for doc_id, failure in held.failures.items()}
    answer_n = np.concatenate(held.parts)
    failed = np.isin(held.ids, [*refused]) if refused else np.zeros(len(answer_n), dtype=bool)
    rows = pl.DataFrame(
        {
            "doc_id": pl.Series(held.ids, dtype=pl.String),
            "value": pl.Series(answer_n, dtype=pl.Float64).fill_nan(None),
            "not_numbers": (np.isnan(answer_n) & ~failed).astype(np.int64),
        }
    ).with_columns(score=pl.lit(score), fingerprint=pl.lit(plugin.fingerprint))
    note_refused(store, stage_of(score), plugin.fingerprint, refused)
    if len(rows):
        store.put(PLUGIN_SCORES.name, rows)


def _refusal(plugin: Plugin, failure: Failure) -> Refusal:
    detail = f"plug-in {plugin.name} failed on it with {failure.name} ({failure.place})"
    return Refusal(reason=Unfit.PLUGIN_FAILED, detail=detail)


def _delete_others(store: Store, scores: Mapping[str, Plugin]) -> None:
    """Delete answers of other code, and of scores that are not there any more."""
    valid = " OR ".join(
        f"(score = {quoted(score)} AND fingerprint = {quoted(plugin.fingerprint)})"
        for score, plugin in sorted(scores.items())
    )
    store.delete(PLUGIN_SCORES.name, f"NOT ({valid})")
    if store.exists(SET_ASIDE):
        own = f"starts_with(stage, {quoted(stage_of(''))})"
        store.delete(SET_ASIDE, f"{own} AND NOT ({one_of('stage', sorted(map(stage_of, scores)))})")
