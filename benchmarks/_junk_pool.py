"""A pool of sound texts of many kinds, pages and broken texts; four goals; a control: and what each text is.

The pool that the platform reads has the texts alone. Held-out examples of a goal and the control are the same
for all seeds; a seed draws the pool, the damage, and the examples that a goal is chosen by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import polars as pl

from benchmarks._junk_pages import BODY, MARKUP, NAVIGATION, pieces
from benchmarks._noise import HELD_OUT, NAMED_NOTICES, noise_of, pages_of_notices
from benchmarks._real_tasks import hashes
from benchmarks._texts import enough, read_texts
from tamis.filters.form.damage import damaged
from tamis.readers.text import document_id, normalise_text

RESEARCH = "p_mixed_research"
SHORTEST, SHORTEST_DAMAGED, LONGEST = 20, 60, 4_000  # characters
DAMAGE, NOISE, NOTICES = "damage", "noise", "notices"
JUNK: Mapping[str, float] = {MARKUP: 0.03, NAVIGATION: 0.035, DAMAGE: 0.055, NOISE: 0.02, NOTICES: 0.01}
"""Shares of the pool that are broken texts, by origin; 15 % in all."""
BODIES = 0.05
"""Share of the pool that is main text of web pages."""
FIRST_ARXIV = 0.3
"""Share of the abstracts that only the goal is made of."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows of a file of text/: of these sources, with these labels (all where empty)."""

    file: str
    sources: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def texts(self) -> pl.Series:
        """Return its different texts, in an order of their hashes."""
        rows = read_texts(self.file, "source", "label")
        for column, among in (("source", self.sources), ("label", self.labels)):
            rows = rows.filter(pl.col(column).is_in(among)) if among else rows
        rows = rows.filter(pl.col("text").str.len_chars() >= SHORTEST)
        rows = rows.select(pl.col("text").str.slice(0, LONGEST)).unique("text")
        return rows.with_columns(order=pl.Series(hashes(rows["text"].to_list()))).sort("order")["text"]


ABSTRACTS = Source(file="p_arxiv_a")
SOUND: Mapping[str, Source] = {
    "abstracts": ABSTRACTS,
    "statutes": Source(file="p_law"),
    "dialogues": Source(file="p_dialogue"),
    "prose": Source(file=RESEARCH, sources=("brown",)),
    "radio news": Source(file=RESEARCH, sources=("abc_news_2006",)),
    "forum": Source(file=RESEARCH, sources=("webtext_firefox", "webtext_overheard", "webtext_wine")),
    "encyclopedia": Source(file="p_wikipedia"),
    "reviews": Source(file="t_imdb_train"),
    "papers": Source(file="t_science_a", sources=("sci_cite",)),
    "trivia": Source(file="t_sentence", sources=("trec",)),
    "mixed": Source(file="p_mixed_free"),
}
GOALS: Mapping[str, Source] = {
    "titles": Source(file=RESEARCH, sources=("problem_reports",), labels=("apache", "eclipse")),
    "news": Source(file="t_ag_news_train"),
    "abstracts": ABSTRACTS,
    "leaflets": Source(file=RESEARCH, sources=("patient_leaflets_pil",)),
}
"""Titles of problem reports of two programming projects, news of an agency, abstracts, and leaflets that come
with medicines, for want of trials."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of texts by purpose; `control`: sound texts that are in no pool."""

    documents: int
    train: int = 300
    held_out: int = 1_000
    control: int = 500


@cache
def _texts(source: Source) -> pl.Series:
    return source.texts()


def _of_goal(goal: str) -> pl.Series:
    texts = _texts(GOALS[goal])
    return texts.head(int(FIRST_ARXIV * len(texts))) if GOALS[goal] == ABSTRACTS else texts


def _of_pool(kind: str, sizes: Sizes) -> tuple[pl.Series, pl.Series]:
    """Return the part of the control and what a pool may be made of."""
    texts = _texts(SOUND[kind])
    texts = texts.slice(int(FIRST_ARXIV * len(texts))) if SOUND[kind] == ABSTRACTS else texts
    count = -(-sizes.control // len(SOUND))
    return texts.head(count), texts.slice(count)


def held_out(goal: str, sizes: Sizes) -> list[str]:
    """Return the held-out examples of a goal."""
    return enough(_of_goal(goal).head(sizes.held_out), sizes.held_out, f"texts of {goal}").to_list()


def examples(goal: str, sizes: Sizes, seed: int) -> list[str]:
    """Return examples to choose by, half more than wanted: the graph holds some out, near-duplicates too."""
    rest = _of_goal(goal).slice(sizes.held_out).to_list()
    return _drawn(rest, sizes.train * 3 // 2, seed, goal)


def control(sizes: Sizes) -> list[str]:
    """Return sound texts of every kind of the pool."""
    return [text for kind in SOUND for text in _of_pool(kind, sizes)[0]]


def _drawn(texts: list[str], count: int, seed: int, purpose: str) -> list[str]:
    keys = hashes([f"{seed}/{purpose}/{text}" for text in texts])
    drawn = [text for _, text in sorted(zip(keys, texts, strict=True))[:count]]
    return enough(drawn, count, f"texts of {purpose}")


def pool_rows(sizes: Sizes, pages: Path | None, seed: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return doc_id, text, kind and junk of the pool, and how many pieces of pages are absent, by kind.

    Damaged texts take the place of absent pieces of junk, and sound texts that of absent bodies.
    """
    wanted = {kind: round(share * sizes.documents) for kind, share in JUNK.items()}
    wanted[BODY] = round(BODIES * sizes.documents)
    parts = {kind: pieces(pages, kind, wanted[kind], seed) for kind in (BODY, MARKUP, NAVIGATION)}
    absent = {kind: wanted[kind] - len(found) for kind, found in parts.items() if len(found) < wanted[kind]}
    damage = wanted[DAMAGE] + absent.get(MARKUP, 0) + absent.get(NAVIGATION, 0)
    broken = damage + wanted[NOISE] + wanted[NOTICES]
    sound, spare = _sound(
        sizes,
        sizes.documents - len(parts[BODY]) - broken - len(parts[MARKUP]) - len(parts[NAVIGATION]),
        broken,
        seed,
    )
    drawn = damaged(spare[:damage], seed=seed).with_columns(kind=DAMAGE + ": " + pl.col("kind"))
    drawn = drawn.filter(pl.col("text") != pl.Series(spare[:damage]))
    noise = noise_of(spare[damage : damage + wanted[NOISE]], HELD_OUT, seed)
    notices = pages_of_notices(spare[damage + wanted[NOISE] :], NAMED_NOTICES, seed)
    frames = [
        sound,
        *(pl.DataFrame({"text": found}, schema={"text": pl.String}).with_columns(kind=pl.lit(kind))
          for kind, found in parts.items()),
        drawn,
        noise.with_columns(kind=NOISE + ": " + pl.col("kind")),
        notices.with_columns(kind=pl.lit(NOTICES)),
    ]  # fmt: skip
    rows = pl.concat([frame.select("text", "kind") for frame in frames])
    rows = rows.filter(pl.Series([bool(normalise_text(text)) for text in rows["text"]]))
    rows = rows.with_columns(doc_id=pl.Series([document_id(text) for text in rows["text"]]))
    rows = rows.with_columns(junk=~pl.col("kind").is_in([*SOUND, BODY]))
    return rows.unique("doc_id", keep="first", maintain_order=True).sort("doc_id"), absent


def _sound(sizes: Sizes, count: int, spare: int, seed: int) -> tuple[pl.DataFrame, list[str]]:
    """Return text and kind of `count` sound texts, the kinds alike, and `spare` others to be damaged.

    A kind that has too few gives what it has, and the others more.
    """
    own = {kind: _of_pool(kind, sizes)[1].to_list() for kind in SOUND}
    frames: list[pl.DataFrame] = []
    others: list[str] = []
    left = count
    for place, (kind, texts) in enumerate(sorted(own.items(), key=lambda pair: len(pair[1]))):
        to_damage = min(-(-2 * spare // len(own)), len(texts) // 3)  # twice as many, as short ones are no use
        share = min(-(-left // (len(own) - place)), len(texts) - to_damage)
        drawn = _drawn(texts, share + to_damage, seed, kind)
        frames.append(pl.DataFrame({"text": drawn[:share], "kind": [kind] * share}))
        others += [text for text in drawn[share:] if len(text) >= SHORTEST_DAMAGED]
        left -= share
    enough(range(count - left), count, "sound texts")
    return pl.concat(frames), _drawn(others, spare, seed, DAMAGE)
