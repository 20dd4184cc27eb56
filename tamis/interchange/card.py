"""Words of others in a card: names of sources, licences, columns and files, none of which may act as markup.

They come from crawls. A line break in one would end a table, a hub would read `<script>` and `![](...)`, and
the terminal of whoever prints the card an escape sequence.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from tamis.base.progress import visible_name
from tamis.interchange.facts import Facts, Histogram, Share, Written
from tamis.selection.decide import SCORES, SENTENCES

LONGEST = 200
_PLAIN = re.compile(r"[\w .,:;()/+%='-]*")
_OUTER_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")
SHOWN_SOURCES, BAR = 25, 30
UNKNOWN = "not stated"
ALL = (
    "\n\nThe file contains all {unit} of the pool, the chosen ones first, each with its verdict, its "
    "reason and the scores that the sampler used."
)
FILTERS = "filters"
"""Under this name a selection's settings hold those that are set."""


def words(value: object) -> str:
    """Return a value for a cell or a line: as it is, or as code where Markdown would read signs of it.

    Of a list each entry. White space is single, other control characters are written out, and what is longer
    than 200 characters is cut.
    """
    if isinstance(value, list | tuple):
        return ", ".join(words(entry) for entry in value)
    text = one_line(value)
    plain = text.replace("|", "")
    if _PLAIN.fullmatch(plain) and not _OUTER_UNDERSCORE.search(plain):
        return text.replace("|", "\\|")
    return code(text)


def code(value: object) -> str:
    """Return a value as code in a cell or a line: between more backticks than it has in a row."""
    text = one_line(value).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") or not text else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def one_line(value: object) -> str:
    """Return a value as one line of at most 200 characters that neither Markdown nor a terminal breaks."""
    text = visible_name(" ".join(str(value).split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def data_card(facts: Facts, written: Written, others: list[str]) -> str:
    """Return the card; `others` names the other files that describe the subset."""
    chosen_by = {
        name: value for name, value in facts.settings.items() if name != FILTERS and value is not None
    }
    scores = [_histogram(one) for one in facts.histograms] or ["The sampler used no scores."]
    every = ALL.format(unit=facts.unit) if written.all_documents else ""
    parts = [
        _head(facts, written),
        f"# {facts.selection}\n\n{facts.sentence}{every}",
        _counts(facts, written),
        "## How it was chosen\n\n" + _settings("setting", chosen_by),
        _filters(facts),
        "## Licences\n\nAs stated by the sources; not checked.\n\n"
        + _shares("licence", facts.licences, facts.unit),
        _sources(facts),
        "\n\n".join(["## Scores of the pool and of the chosen documents", *scores]),
        "## Where it came from\n\n"
        f"Manifest `{facts.manifest}` names every input, down to the SHA-256 of the raw files; "
        f"{', '.join(map(code, others))} contain the same lineage in the formats of other tools. Personal "
        "data, licences and quality were checked only by the filters above.",
    ]
    return "\n\n".join(parts) + "\n"


def _head(facts: Facts, written: Written) -> str:
    """Return front matter as hubs read it: how to load the file, and its licence if there is just one."""
    known = {licence for licence, _documents, _bytes in facts.licences}
    head: dict[str, Any] = {"pretty_name": facts.selection}
    if len(known) == 1 and (licence := one_line(next(iter(known)) or "")):
        head |= {"license": "other", "license_name": licence}
    head["configs"] = [{"config_name": "default", "data_files": written.name}]
    readable = written.name.isprintable()  # else its signs are written as escapes
    return f"---\n{yaml.safe_dump(head, allow_unicode=readable, sort_keys=False, width=math.inf)}---"


def _counts(facts: Facts, written: Written) -> str:
    rows = [
        [facts.unit, f"{facts.documents:,}"],
        ["UTF-8 bytes of text", f"{facts.n_bytes:,}"],
        ["tokens", facts.tokens.words],
        ["pool", f"{facts.pool:,} {facts.unit}, {facts.eligible:,} of them eligible"],
        ["shards", f"{facts.shards:,}"],
        ["columns", ", ".join(map(code, written.columns.names))],
        ["version", f"{facts.version}, created {facts.made_at}"],
        ["file", f"{code(written.name)}, {written.size:,} bytes, SHA-256 `{written.sha256}`"],
    ]
    if facts.in_passages:
        rows.insert(1, ["passages", facts.passages_words])
    if facts.copies > facts.documents and written.in_training_order:
        rows.insert(1, ["training set", f"{facts.copies:,} {facts.unit}, repetitions included"])
    elif facts.copies > facts.documents:
        each = "row" if facts.in_passages else "document"
        training = (
            f"{facts.copies:,} {facts.unit}: the trainer must repeat each {each} `training_count` times"
        )
        rows.insert(1, ["training set", training])
    return "## What it contains\n\n" + _table(["", ""], rows)


def _settings(kind: str, values: Mapping[str, Any]) -> str:
    return _table([kind, "value"], [[code(name), words(value)] for name, value in sorted(values.items())])


def _filters(facts: Facts) -> str:
    """Return the filters that were set, and how many documents each reason took or left."""
    settings = facts.settings.get(FILTERS, {})
    reasons = [
        [
            reason.replace("_", " ") + (f" ({words(detail)})" if detail else ""),
            f"{count:,}",
            SENTENCES.get(reason, ""),
        ]
        for reason, detail, count in facts.reasons
    ]
    parts = [
        "## Filters, and what happened to the pool",
        _settings("filter", settings) if settings else "No filter was set.",
        f"Every document {'or passage ' if facts.in_passages else ''}of the pool was chosen or left out for "
        "exactly one reason:",
        _table(["reason", facts.unit, "meaning"], reasons, "lrl"),
    ]
    return "\n\n".join(parts)


def _sources(facts: Facts) -> str:
    text, rest = _shares("source", facts.sources[:SHOWN_SOURCES], facts.unit), facts.sources[SHOWN_SOURCES:]
    if rest:
        text += (
            f"\n\nNumber of other sources: {len(rest):,}, "
            f"with {sum(documents for _, documents, _ in rest):,} {facts.unit} in total."
        )
    return f"## Sources\n\n{text}"


def _shares(name: str, found: tuple[Share, ...], unit: str) -> str:
    rows = [[words(value or UNKNOWN), f"{documents:,}", f"{size:,}"] for value, documents, size in found]
    return _table([name, unit, "bytes"], rows, "lrr")


def _histogram(histogram: Histogram) -> str:
    most = max(histogram.pool)
    lines = [
        *(f"### {histogram.score}", "", SCORES[histogram.score], "", "```text"),
        f"{'from':>11} {'to':>11} {'pool':>10} {'chosen':>10}",
    ]
    bins = zip(histogram.edges, histogram.edges[1:], histogram.pool, histogram.chosen, strict=False)
    for low, high, pool, chosen in bins:
        full = round(BAR * pool / most)
        taken = min(full, round(BAR * chosen / most))
        bar = ("#" * taken + "." * (full - taken)).rstrip()
        lines.append(f"{low:>11.4g} {high:>11.4g} {pool:>10,} {chosen:>10,} {bar}".rstrip())
    return "\n".join([*lines, "```"])


def _table(head: list[str], rows: list[list[str]], align: str = "") -> str:
    marks = ["---:" if mark == "r" else "---" for mark in align.ljust(len(head), "l")]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))
