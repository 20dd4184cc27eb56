"""A pool of real text of many domains with planted noise, boilerplate and near-duplicates, and the truth.

The pool that the platform reads has a blind id a row and the text, nothing else. A table of its own,
keyed by that id, holds what each row is; only the benchmark reads it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._project import made_once
from benchmarks._real_tasks import hashes
from benchmarks._texts import files_of_texts, read_texts
from tamis.quality import planted_noise
from tamis.readers.text import document_id, normalise_text

SHORTEST = 20  # characters
SHARDS = 8
NOTICES = (
    "We use cookies to give you the best experience. By continuing you accept our cookie policy.",
    "All rights reserved. No part of this page may be reproduced without prior written permission.",
    "Subscribe to our newsletter and never miss an update. You can unsubscribe at any time.",
    "This e-mail and any attachments are confidential and intended solely for the addressee.",
    "Please enable JavaScript in your browser to view this page. Click here to reload.",
    "Share this article on social media. Print this page. Report a problem with this page.",
    "Terms of use | Privacy policy | Accessibility | Contact | Sitemap | Advertise with us",
    "The information provided is for general purposes only and does not constitute advice.",
)


@dataclass(frozen=True, kw_only=True)
class PoolShares:
    """Shares of the pool that are planted; the rest is text as it was found."""

    noise: float = 0.10
    boilerplate: float = 0.05
    duplicates: float = 0.05


def write_pool(folder: Path, truth: Path, documents: int, shares: PoolShares, seed: int) -> None:
    """`documents` rows in parquet shards under `folder`; `truth`: id, doc_id, domain, planted, of.

    Exits where a kept `truth` is that of another pool.
    """

    def write(path: Path) -> None:
        rows = pool_rows(documents, shares, seed)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(SHARDS):
            part = rows.gather_every(SHARDS, number).select("id", "text")
            part.write_parquet(folder / f"part-{number}.parquet")
        ids = [document_id(text) for text in rows["text"]]
        rows.select("id", pl.Series("doc_id", ids), "domain", "planted", "of").write_parquet(path)

    made_once(truth, {"documents": documents, "seed": seed, **vars(shares)}, write)


def pool_rows(documents: int, shares: PoolShares, seed: int) -> pl.DataFrame:
    """id (blind), text, domain, planted ("" or what it is), of (id of the row that it repeats)."""
    found, (kept, counts) = _found(seed), _counts(documents, shares)
    clean = found.head(kept).with_columns(planted=pl.lit(""), of=pl.lit(""))
    # Noise is made of texts that are not in the pool themselves.
    spare = found.slice(kept, counts["noise"] + counts["boilerplate"])
    parts = [
        clean,
        _noise(spare.head(counts["noise"]), seed),
        _boilerplate(spare.tail(counts["boilerplate"]), seed),
        _near_duplicates(clean, counts["duplicates"], seed),
    ]
    rows = pl.concat([part.select("text", "domain", "planted", "of") for part in parts]).unique(
        "text", keep="first"
    )
    assert all(map(normalise_text, rows["text"])), "Tamis would leave a blank text out, and the truth has it"
    blind = hashes([f"{seed}:{text}" for text in rows["text"]])
    return rows.with_columns(pl.Series("id", blind)).sort("id")


def unused_rows(documents: int, shares: PoolShares, seed: int) -> pl.DataFrame:
    """text and domain of what such a pool is not made of, noise and boilerplate included, in its order."""
    kept, counts = _counts(documents, shares)
    return _found(seed).slice(kept + counts["noise"] + counts["boilerplate"])


def _counts(documents: int, shares: PoolShares) -> tuple[int, dict[str, int]]:
    """How many rows are left as they were found, and how many of each kind are planted."""
    counts = {name: round(documents * share) for name, share in vars(shares).items()}
    return documents - sum(counts.values()), counts


def _found(seed: int) -> pl.DataFrame:
    """text and domain of every pool file, each text once, in an order of seed and text alone."""
    rows = pl.concat([read_texts(file, "source", "split") for file in files_of_texts("p_*")])
    rows = rows.filter(pl.col("split").is_null() & (pl.col("text").str.len_chars() >= SHORTEST))
    rows = rows.unique("text", keep="none").select("text", domain="source")
    order = hashes([f"{seed}/{text}" for text in rows["text"]])
    return rows.with_columns(pl.Series("order", order)).sort("order").drop("order")


def _noise(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    made = planted_noise(rows["text"].to_list(), seed)
    return rows.with_columns(made["text"], planted="noise: " + made["kind"], of=pl.lit(""))


def _boilerplate(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Notices around the first words of a text, as a page that holds little else."""
    generator = np.random.default_rng([seed, 1])
    texts = [_notice(text, generator) for text in rows["text"]]
    return rows.with_columns(pl.Series("text", texts), planted=pl.lit("boilerplate"), of=pl.lit(""))


def _notice(text: str, generator: np.random.Generator) -> str:
    chosen = [NOTICES[place] for place in generator.permutation(len(NOTICES))[: generator.integers(3, 6)]]
    return "\n".join([" ".join(text.split()[:8]), *chosen])


def _near_duplicates(rows: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """Rows of the pool again, a word in thirty left out or doubled."""
    generator = np.random.default_rng([seed, 2])
    places = generator.permutation(len(rows))[:count]
    source = rows[places.tolist()]
    of = hashes([f"{seed}:{text}" for text in source["text"]])
    texts = [_edited(text.split(), generator) for text in source["text"]]
    return source.with_columns(
        pl.Series("text", texts), pl.Series("of", of), planted=pl.lit("near-duplicate")
    )


def _edited(words: Sequence[str], generator: np.random.Generator) -> str:
    changed = set(generator.permutation(len(words))[: max(len(words) // 30, 1)].tolist())
    drop = generator.random() < 0.5 and len(words) > 1  # a text of one word would be left without any
    return " ".join(
        word if place not in changed else ("" if drop else f"{word} {word}")
        for place, word in enumerate(words)
    ).strip()
