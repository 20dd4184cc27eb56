"""Form: the model that judges how documents are written, and what it says of each."""

from collections.abc import Iterator
from typing import Any

from tamis.base.progress import say
from tamis.corpus.intake import count_documents
from tamis.filters.form.model import default_model
from tamis.filters.form.storing import (
    SAMPLE,
    StoredForm,
    broken_goal_lines,
    read_form,
    score_form,
    unseen_among,
    update_form_model,
)
from tamis.filters.stage import FORM_SCORES, kept_away
from tamis.graph.plan import reference
from tamis.platform.assets.specification import asset, part
from tamis.records.manifest import NOT_LEARNT_FROM
from tamis.runtime.record import Output
from tamis.runtime.step import Work


@asset("form_model", ["numpy", "polars"])
def form_model(work: Work) -> Iterator[Any]:
    """Model that tells damaged texts from sound ones by how they are written, with the limit of each target.

    A pool of 5,000 documents or more gets one of its own, fitted on a sample; otherwise it is the model that
    ships with Tamis. It is chosen again when the pool has grown by half, or the seed or the method changes.
    """
    before, earlier = work.current.get(("form_model", "")), read_form(work.store)
    away = kept_away(work.project.settings)
    with work.progress("form", 3 * SAMPLE) as progress:
        known, reason = update_form_model(work.store, work.project.seed, away, progress.advance)
    if earlier is not None and earlier.fingerprint != known.fingerprint:
        say(f"the model of form was chosen again, since {reason}: {known.note}")
    elif reason and known.own_was_refused:
        say(f"form is judged by {known.note}")
    for line in broken_goal_lines(known):
        say(line)
    yield from work.record(
        Output(
            row_count=1 + len(known.limits),
            metadata=_facts(known)
            | ({"chosen_since": reason} if reason else {})
            | ({NOT_LEARNT_FROM: ["documents"]} if known.model == default_model() else {}),
            origins=[reference(before)] if before is not None and not reason else [],
        )
    )


def _facts(known: StoredForm) -> dict[str, Any]:
    """Figures of a model for the event log."""
    facts: dict[str, Any] = {
        "model": known.note,
        "languages": ", ".join(known.model.languages),
        "limit": known.limit,
        "limit_in_words": known.limit_in_words,
    }
    for one in known.limits:
        facts[f"limit_of_{one.target}"] = one.limit
        facts[f"examples_like_damaged_of_{one.target}"] = one.over
    if broken := broken_goal_lines(known):
        facts["examples_like_damaged"] = "; ".join(broken)
    return facts


@part("form_scores", ["lancedb", "polars"])
def form_scores(work: Work) -> Iterator[Any]:
    """Log odds that each document is damaged, and what decided; null of short and foreign ones."""
    known = read_form(work.store)
    assert known is not None
    scored = f"fingerprint = '{known.fingerprint}'"
    missing = count_documents(work.store, work.partitions, FORM_SCORES.name, scored)
    with work.progress("form", missing) as progress:

        def scores_of(group: dict[str, list[str]]) -> Iterator[Any]:
            made = []
            for key, doc_ids in group.items():
                new = score_form(work.store, known, doc_ids, progress.advance)
                unseen = unseen_among(work.store, doc_ids)
                facts = {"scored": new, "reused": len(doc_ids) - new, "abstained": unseen}
                made.append(Output(partition=key, doc_ids=doc_ids, row_count=len(doc_ids), metadata=facts))
            yield from work.record(*made)

        yield from work.in_groups(scores_of)
