"""Values beside the texts that could not be kept as their files have them, for a person."""

from collections import defaultdict
from collections.abc import Iterator

from tamis.base.numbers import counted, named
from tamis.corpus.shards import SEPARATOR
from tamis.corpus.sources import corpora_of
from tamis.corpus.stage import KEPT_ROWS
from tamis.readers.kept_columns import read_heading
from tamis.readers.rows import WHOLE_SHARD
from tamis.store.tables import Store

MOST_NAMED = 3


def odd_value_lines(store: Store) -> Iterator[str]:
    """Yield a line for each corpus, column and what was done to its values; they were counted when read."""
    found: dict[tuple[str, str, str], dict[str, int]] = defaultdict(dict)
    rows = store.read(KEPT_ROWS.name, ["shard", "content"], f"row = {WHOLE_SHARD}").sort("shard")
    odd = {shard: read_heading(content).odd for shard, content in rows.iter_rows() if '"odd": ' in content}
    corpora = corpora_of(store, set(odd))
    for shard, counts in odd.items():
        for (column, problem), count in counts.items():
            name = shard.removeprefix(f"{corpora[shard]}{SEPARATOR}")
            found[corpora[shard], column, problem][name] = count
    for (corpus, column, problem), files in sorted(found.items()):
        shown = named(list(files), MOST_NAMED)
        values = counted(sum(files.values()), "value")
        yield f"corpus {corpus}: column {column} of {shown}: {values} {problem}"
