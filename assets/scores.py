"""Scores of the user's own: the columns that [[score]] names, as a number for each document."""

from collections.abc import Iterator
from typing import Any

from tamis.base.progress import say
from tamis.corpus.stage import KEPT_ROWS, RAW_STAGE
from tamis.platform.assets.specification import asset
from tamis.runtime.record import Output
from tamis.runtime.step import Work
from tamis.scores.storing import Files, update_column_scores


@asset("column_scores", ["lancedb", "polars"])
def column_scores(work: Work) -> Iterator[Any]:
    """Value of each [[score]] for each document, from a column of its rows; of several rows the best.

    Rows that were not kept, or were too long for it, are read again from their files.
    """
    settings = work.project.settings
    with work.progress("scores", work.store.count(KEPT_ROWS.name)) as progress:
        found = update_column_scores(work.store, settings.score, _files(work), progress.advance)
    facts: dict[str, Any] = {}
    for name, own in found.rows.group_by("score", maintain_order=True):
        facts[f"documents_of_{name[0]}"] = len(own) - own["value"].null_count()
        facts[f"not_numbers_of_{name[0]}"] = int(own["not_numbers"].sum())
    if lost := found.unread.total():
        facts["unread_rows"] = lost
        say(f"{lost:,} rows could not be read again, so their documents have no score from them")
    yield from work.record(Output(row_count=len(found.rows), metadata=facts))


def _files(work: Work) -> Files:
    """The files that are as they were when their documents were read."""
    values = {key: work.current.get((RAW_STAGE.name, key)) for key in work.snapshot.shards}
    read = {key: value.data_version for key, value in values.items() if value is not None}
    return Files(
        shards={
            key: shard
            for key, shard in work.snapshot.shards.items()
            if work.snapshot.fingerprints[key] == read.get(key)
        },
        corpora={section.name: section for section in work.project.settings.corpus},
    )
