"""Languages that rows state in words or codes that no rule knows, counted for the person who stated them."""

from collections.abc import Mapping

import polars as pl

from tamis.base.numbers import counted, named
from tamis.base.progress import visible_name
from tamis.corpus.sources import with_corpora
from tamis.corpus.stage import OCCURRENCES
from tamis.settings.config import Settings
from tamis.settings.language_codes import is_known
from tamis.store.tables import Store

LONGEST_SHOWN, VALUES_SHOWN = 30, 5


def unknown_language_lines(
    store: Store, settings: Settings, unread: Mapping[str, pl.Series] | None = None
) -> list[str]:
    """Return a line for each corpus whose rows state languages that are no codes, if a rule reads them.

    unread: what the first rows of files state that are still to be read, by corpus; it counts where nothing
    of a corpus is stored.
    """
    by_filter = bool(settings.filters.languages) and settings.filters.language_from == "stated"
    if not by_filter and all(section.per != "language" for section in settings.selection):
        return []
    effect = (
        "the language of these rows is detected from the text instead"
        if by_filter
        else "these rows count as of unknown language"
    )
    places = with_corpora(store, store.read(OCCURRENCES.name, ["shard", "language"]))
    stated = {str(corpus): rows["language"] for (corpus,), rows in places.group_by("corpus")}
    found = {
        name: counts
        for name, languages in sorted({**(unread or {}), **stated}.items())
        if len(counts := _unknown(languages))
    }
    return [
        f"corpus {name}: {counted(int(counts['count'].sum()), 'row')} with a language that is no ISO 639 "
        f"code{'' if name in stated else ' among the first'}: {_shown(counts)}; {effect}. "
        'Write codes such as "en" or "deu" into the rows'
        for name, counts in found.items()
    ]


def _unknown(languages: pl.Series) -> pl.DataFrame:
    """Return the values that are no codes and how many rows state each, the most frequent first."""
    counts = languages.drop_nulls().value_counts(name="count").rename({languages.name: "language"})
    unknown = [name for name in counts["language"] if not is_known(name)]
    kept = counts.filter(pl.col("language").is_in(unknown))
    return kept.sort("count", "language", descending=[True, False])


def _shown(counts: pl.DataFrame) -> str:
    shown = [
        f'"{visible_name(name[:LONGEST_SHOWN])}" ({count:,})'
        for name, count in counts.select("language", "count").iter_rows()
    ]
    return named(shown, VALUES_SHOWN)
