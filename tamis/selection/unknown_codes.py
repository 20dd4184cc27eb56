"""Languages that rows state in words or codes that no rule knows, counted for the person who stated them."""

import polars as pl

from tamis.base.numbers import counted, named
from tamis.base.progress import visible_name
from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import OCCURRENCES
from tamis.settings.config import Settings
from tamis.settings.language_codes import is_known
from tamis.store.tables import Store

LONGEST_SHOWN = 30


def unknown_language_lines(store: Store, settings: Settings) -> list[str]:
    """Return a line for each corpus whose rows state languages that are no codes, if a rule reads them."""
    by_filter = bool(settings.filters.languages) and settings.filters.language_from == "stated"
    if not by_filter and all(section.per != "language" for section in settings.selection):
        return []
    effect = (
        "the language of these rows is detected from the text instead"
        if by_filter
        else "these rows count as of unknown language"
    )
    places = store.read(OCCURRENCES.name, ["shard", "language"]).drop_nulls("language")
    stated = places.group_by("shard", "language").len()
    unknown = [name for name in stated["language"].unique() if not is_known(name)]
    found = with_corpora(store, stated.filter(pl.col("language").is_in(unknown)))
    rows = found.group_by("corpus", "language").agg(pl.col("len").sum())
    ordered = rows.sort("corpus", "len", "language", descending=[False, True, False])
    lines = []
    for (corpus,), part in ordered.group_by("corpus", maintain_order=True):
        names = [
            f'"{visible_name(name[:LONGEST_SHOWN])}" ({count:,})'
            for name, count in part.select("language", "len").iter_rows()
        ]
        lines.append(
            f"corpus {corpus}: {counted(int(part['len'].sum()), 'row')} with a language that is no ISO 639 "
            f'code: {named(names, 5)}; {effect}. Write codes such as "en" or "deu" into the rows'
        )
    return lines
