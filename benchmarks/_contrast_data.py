"""Bad, good and neutral texts in two halves: one chooses and trains, the other measures and judges.

Texts that begin alike (20 letters, whatever the digits) are in one half, since messages of one campaign
differ in a number alone. Everything is in the order of a hash of the text.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from benchmarks._project import made_once
from benchmarks._real_pool import PoolShares, unused_rows
from benchmarks._real_tasks import hashes
from benchmarks._texts import read_texts

KINDS = ("bad", "good", "neutral")
LONGEST = 400
"""Characters that are kept of a text: long ones would be most of any budget."""
ALIKE = 20
LEAST = 80
FILES = {"clickbait": ("q_clickbait_headlines", "clickbait", "news"), "spam": ("q_sms_spam", "spam", "ham")}
"""File in text/, label of the bad texts, label of the good ones."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Texts of each part at most; what a set has fewer of is shared out."""

    examples: int = 1_000
    """Kept apart for examples, of which each seed draws; at most half of those of the half."""
    pool: int = 4_000
    """Bad ones in the pool, and as many good ones."""
    neutral: int = 8_000
    judging: int = 3_000
    """Of each kind, for the classifier that judges what is written."""
    held_out: int = 400


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the bad and the good texts of a set come from."""

    name: str
    bad: str
    good: str

    def texts(self) -> dict[str, list[str]]:
        """Return bad and good texts, none twice and none in both, in the order of their hashes; exits
        where there are too few.
        """
        if self.name in FILES:
            file, *labels = FILES[self.name]
            rows = read_texts(file, "label")
            found = {
                kind: rows.filter(label=label)["text"] for kind, label in zip(KINDS, labels, strict=False)
            }
        else:
            found = {"bad": _column(Path(self.bad)), "good": _column(Path(self.good))}
        texts = {kind: _cut(rows) for kind, rows in found.items()}
        both = set(texts["bad"]) & set(texts["good"])
        texts = {kind: [text for text in rows if text not in both] for kind, rows in texts.items()}
        for kind, some in texts.items():
            if min(len(part) for part in halves(some)) < LEAST:
                sys.exit(
                    f"{self.name}: {len(some)} distinct {kind} texts are too few to be halved; each half "
                    f"needs at least {LEAST}"
                )
        return texts


def source_of_files(bad: Path, good: Path) -> Source:
    """Return the set of two files of texts, named after both."""
    return Source(name=f"{bad.stem}-{good.stem}", bad=str(bad.resolve()), good=str(good.resolve()))


def _column(file: Path) -> pl.Series:
    if not file.is_file():
        sys.exit(f"there is no file {file}")
    rows = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_ndjson(file)
    if "text" not in rows.columns or rows.schema["text"] != pl.String:
        sys.exit(f"{file} has no column text of strings; it has {', '.join(rows.columns)}")
    return rows["text"].drop_nulls()


def _cut(texts: pl.Series) -> list[str]:
    """Distinct texts, cut at a word, in the order of their hashes."""
    whole = {text.strip() for text in texts}
    cut = {text if len(text) <= LONGEST else text[:LONGEST].rsplit(maxsplit=1)[0] for text in whole if text}
    return [text for _, text in sorted(zip(hashes(list(cut)), cut, strict=True))]


def halves(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the half that chooses and the half that measures, each in order."""
    parts: tuple[list[str], list[str]] = ([], [])
    for text in texts:
        letters = "".join(filter(str.isalpha, text.lower()))[:ALIKE]
        parts[hashlib.blake2b(letters.encode("utf-8", "replace")).digest()[0] % 2].append(text)
    return parts


def write_texts(path: Path, source: Source, sizes: Sizes) -> None:
    """Write text, kind and part (examples, pool, judging, held_out); exits where `path` is another set's."""
    made_once(
        path,
        {**asdict(source), **asdict(sizes), "longest": LONGEST},
        lambda partial: parts_of(source, sizes).write_parquet(partial),
    )


def parts_of(source: Source, sizes: Sizes) -> pl.DataFrame:
    """Return a row a text: text, kind, part."""
    rows: list[tuple[str, str, str]] = []
    texts = source.texts()
    known = {text for some in texts.values() for text in some}
    found = unused_rows(0, PoolShares(noise=0, boilerplate=0, duplicates=0), 0)["text"].head(
        8 * (sizes.neutral + sizes.judging + sizes.held_out)
    )
    texts["neutral"] = [text for text in _cut(found) if text not in known]
    for kind in KINDS:
        chooses, measures = halves(texts[kind])
        pool = sizes.pool if kind != "neutral" else sizes.neutral
        reserved = min(sizes.examples, len(chooses) // 2) if kind != "neutral" else 0
        held_out = min(sizes.held_out, len(measures) // 2)
        cuts = {
            "examples": chooses[:reserved],
            "pool": chooses[reserved : reserved + pool],
            "held_out": measures[:held_out],
            "judging": measures[held_out : held_out + sizes.judging],
        }
        rows += [(text, kind, part) for part, some in cuts.items() for text in some]
    return pl.DataFrame(rows, schema=["text", "kind", "part"], orient="row")


def texts_in(path: Path, part: str, kind: str) -> list[str]:
    """Return the texts of a part and kind, in their order."""
    return pl.read_parquet(path).filter(part=part, kind=kind)["text"].to_list()


def beginnings(path: Path, count: int) -> list[str]:
    """Return words that begin neutral held-out texts, and bad and good texts of the pool, too, by turns.

    So what follows may be of any kind. Exits where there is none.
    """
    rows = pl.read_parquet(path)
    first = pl.col("text").str.split(" ").list.first()
    of_pool = [set(rows.filter(part="pool", kind=kind).select(first)["text"]) for kind in ("bad", "good")]
    of_neutral = rows.filter(part="held_out", kind="neutral").select(first)["text"].to_list()
    shared = [word for word in dict.fromkeys(of_neutral) if all(word in words for words in of_pool)]
    if not shared:
        sys.exit("no neutral text begins with a word that begins bad and good ones too; give more texts")
    return (shared * (count // len(shared) + 1))[:count]
