"""Scores of the user's own: columns, classifiers and plug-ins that [[score]] names, a number a document."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from tamis.base.progress import say
from tamis.corpus.intake import count_documents
from tamis.corpus.quarantine import forget_refused, show_refused
from tamis.corpus.stage import KEPT_ROWS, QUARANTINE
from tamis.platform.assets.corpus import files_as_read, outputs_of
from tamis.platform.assets.specification import asset, part
from tamis.runtime.record import Output, Rows
from tamis.runtime.step import Work
from tamis.scores.answers import SET_ASIDE_IN, missing_answers, update_plugin_scores
from tamis.scores.classifier import Classifier
from tamis.scores.stage import CLASSIFIER_SCORES, PLUGIN_SCORES
from tamis.scores.storing import classifier_mark, update_classifier_scores, update_column_scores
from tamis.store.tables import one_of
from tamis.training.models import model_identity
from tamis.trust import trusted


@asset("column_scores", ["lancedb", "polars"])
def column_scores(work: Work) -> Iterator[Any]:
    """Value of each [[score]] for each document, from a column of its rows; of several rows the best.

    Rows that were not kept, or were too long for it, are read again from their files.
    """
    settings = work.project.settings
    with work.progress("scores", work.store.count(KEPT_ROWS.name)) as progress:
        found = update_column_scores(
            work.store, settings.column_scores, files_as_read(work), progress.advance
        )
    facts: dict[str, Any] = {}
    for name, own in found.rows.group_by("score", maintain_order=True):
        facts[f"documents_of_{name[0]}"] = len(own) - own["value"].null_count()
        facts[f"not_numbers_of_{name[0]}"] = int(own["not_numbers"].sum())
    if lost := found.unread.total():
        facts["unread_rows"] = lost
        say(f"{lost:,} rows could not be read again, so their documents have no score from them")
    yield from work.record(Output(row_count=len(found.rows), metadata=facts))


@part("classifier_scores", ["lancedb", "torch", "transformers"])
def classifier_scores(work: Work) -> Iterator[Any]:
    """Value of each [[score]] for each document, by a classifier or regressor of sequences.

    A text longer than the model's window has the mean of its windows' values, weighted by tokens.
    """
    scores = work.project.settings.classifier_scores
    sources = {score.name: work.project.model(score.model) for score in scores}
    marks = {score.name: classifier_mark(score, model_identity(sources[score.name])) for score in scores}
    loaded = {
        score.name: (Classifier(sources[score.name], score.label), marks[score.name]) for score in scores
    }
    forget_refused(work.store, work.stage.name, [*marks.values()])
    missing = sum(
        count_documents(work.store, work.partitions, CLASSIFIER_SCORES.name, one_of("fingerprint", [mark]))
        for mark in marks.values()
    )
    with work.progress("scores of classifiers", missing) as progress:

        def scores_of(group: dict[str, list[str]]) -> Iterator[Any]:
            every = sorted({doc_id for doc_ids in group.values() for doc_id in doc_ids})
            scored = update_classifier_scores(work.store, scores, loaded, every, progress.advance)
            aside = show_refused(work.store, work.stage.name, group, [*marks.values()])
            yield from work.record(*outputs_of(work, group, aside, ("scored", scored)))

        yield from work.in_groups(scores_of)


@asset("plugin_scores", ["lancedb", "python"])
def plugin_scores(work: Work) -> Iterator[Any]:
    """Answer of the plug-in of each [[score]] for each document; documents on which it fails are set aside.

    Only documents without an answer of the plug-in's present code are asked about.
    """
    scores = work.project.settings.plugin_scores
    missing = sum(map(len, missing_answers(work.store, scores).values()))
    with work.progress("plug-in scores", missing) as progress:
        counts = update_plugin_scores(work.store, scores, partial(trusted, work.project), progress.advance)
    facts: dict[str, Any] = {}
    for name, one in counts.items():
        facts |= {f"documents_of_{name}": one.values, f"asked_about_by_{name}": one.asked}
        facts |= {f"set_aside_by_{name}": one.set_aside} if one.set_aside else {}
    rows = [Rows(table=PLUGIN_SCORES.name)]
    if any(one.set_aside for one in counts.values()):
        rows.append(Rows(table=QUARANTINE.name, where=f"shard = '{SET_ASIDE_IN}'"))
    yield from work.record(Output(rows=rows, row_count=work.store.count(PLUGIN_SCORES.name), metadata=facts))
