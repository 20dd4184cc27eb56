"""Warn of corpora with markup that would become documents with all its tags, or did."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tamis.corpus.shards import Shard
from tamis.readers import pages
from tamis.readers.files import is_readable, read_file
from tamis.readers.markup import is_code, kind_of
from tamis.readers.rows import Row
from tamis.readers.streams import holds_pages
from tamis.readers.text_columns import usual_place
from tamis.scan.remedies import among
from tamis.settings.config import CorpusSection

FILES, CHARACTERS = 200, 32_000_000
"""Files of a corpus that are read, and characters of their texts in total: about two seconds."""
JUDGED, CODE_CHARACTERS = 20_000, 2_000
"""Leading characters of a text that are judged as markup, and as code."""
EACH_JUDGED, CODE_EVERY = 500, 16
"""Number of texts judged as code each; of the texts after them, every sixteenth is."""
LEAST_TEXTS, LEAST_SHARE = 3, 0.005
CODE_BASE = 0.2
"""Share of code from which a corpus is a code base; its pages are texts like its other files."""


def markup_lines(corpora: Sequence[CorpusSection], shards: Sequence[Shard]) -> Iterator[str]:
    """Yield a line for each corpus with markup among the texts of the files that are about to be read.

    Corpora with `extract`, conversations and code bases get no line.
    """
    for corpus in filter(_may_hold_pages, corpora):
        own = [one for one in shards if one.corpus == corpus.name and _is_looked_at(one)]
        counts, is_cut = _counted(corpus, among(own, FILES))
        yield from _line_of(corpus, counts, is_cut or len(own) > FILES)


def stored_markup_line(corpus: CorpusSection, texts: Iterable[str], is_cut: bool) -> Iterator[str]:
    """Yield the same line on stored texts of a corpus; `is_cut`: it has more."""
    if _may_hold_pages(corpus):
        counts = Counter[str]()
        for text in texts:
            _count(text, counts)
        yield from _line_of(corpus, counts, is_cut)


def _may_hold_pages(corpus: CorpusSection) -> bool:
    return not corpus.extract and corpus.format == "text" and corpus.kind != "python-docs"


def _is_looked_at(file: Shard) -> bool:
    is_local = file.kind == "file" and file.remote is None
    return is_local and is_readable(file.name) and not holds_pages(file.name)


def _counted(corpus: CorpusSection, files: Sequence[Shard]) -> tuple[Counter[str], bool]:
    """Return the counts of the texts of files, and whether some of them were left out."""
    counts, is_cut = Counter[str](), False
    for file in files:
        left = CHARACTERS // len(files)
        with contextlib.suppress(Exception):  # said by the step that reads it
            for text in _texts(file, corpus):
                left -= len(text)
                if left < 0:
                    is_cut = True
                    break
                _count(text, counts)
    return counts, is_cut


def _line_of(corpus: CorpusSection, counts: Counter[str], is_cut: bool) -> Iterator[str]:
    """Yield the line on a corpus with markup; `is_cut`: it has more texts."""
    markup, texts = counts["markup"], counts["texts"]
    if markup < max(LEAST_TEXTS, LEAST_SHARE * texts) or _is_code_base(counts):
        return
    looked_at = " that were looked at" if is_cut else ""
    package = "" if pages.is_installed() else f" (install the package for it: {pages.INSTALL})"
    yield (
        f"{markup:,} of {texts:,} texts of {corpus.name}{looked_at} are markup: "
        f'set extract = "html" in [[corpus]] {corpus.name} to read their main text{package}'
    )


def _texts(file: Shard, corpus: CorpusSection) -> Iterator[str]:
    for item in read_file(file.path, corpus):
        if isinstance(item, Row):
            text = item.values[(item.text or usual_place(corpus)).name]
            if isinstance(text, str) and text.strip():
                yield text


def _count(text: str, counts: Counter[str]) -> None:
    """Count a text, and whether it is markup or code; of texts without tags a sample is judged as code."""
    counts["texts"] += 1
    if kind := kind_of(text[:JUDGED]) if text.count("<", 0, JUDGED) > 1 else "":
        counts[kind] += 1
        return
    counts["others"] += 1
    if counts["others"] <= EACH_JUDGED or counts["others"] % CODE_EVERY == 0:
        counts["code in the sample" if is_code(text[:CODE_CHARACTERS]) else "prose in the sample"] += 1


def _is_code_base(counts: Counter[str]) -> bool:
    """Return whether code is a fifth of the texts, or outnumbers markup, by the sample that was judged."""
    sampled = counts["code in the sample"]
    share = sampled / max(1, sampled + counts["prose in the sample"])
    code = counts["code"] + counts["others"] * share
    return code >= CODE_BASE * counts["texts"] or code > counts["markup"]
