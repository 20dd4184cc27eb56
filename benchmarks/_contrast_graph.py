"""A project of Tamis over bad, good and neutral texts: what each sampler chooses, seed by seed.

The pool that the platform reads has the texts alone. Every seed has examples of its own for both targets.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks._contrast_data import Sizes, Source, texts_in, write_texts
from benchmarks._project import made_once, materialize
from benchmarks._stored_vectors import Vectors
from tamis.readers.text import document_id
from tamis.selection import select
from tamis.store.home import Home
from tamis.store.tables import Store, quoted

SAMPLERS = ("random", "classifier-filter", "knn-contrast", "got-d-contrast")
SETTINGS = """
[project]
name = "contrast"

[[corpus]]
name = "pool"
kind = "files"
path = "pool.parquet"
text_column = "text"

[encoder]
name = "{encoder}"
"""
TARGET = """
[[target]]
name = "{name}"
kind = "files"
path = "target/{name}.parquet"
text_column = "text"
train = {train}
held_out = {held_out}
"""
SELECTION = """
[[selection]]
name = "contrast-{seed}"
sampler = "got-d-contrast"
target = "good-{seed}"
away_from = "bad-{seed}"
budget = "{budget}"
"""
DRAWN_SHARE, LEARNT_SHARE, CHECKED_SHARE = 2 / 3, 0.6, 0.1
"""Of the texts kept for examples, what a seed draws; of these, the examples, and what the graph holds out.
The rest makes up for near-duplicates, which go to one side."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One pair of bad and good texts, its pool, its targets and what is chosen."""

    folder: Path
    source: Source
    sizes: Sizes
    budget: str
    seeds: tuple[int, ...]
    encoder: str = "static"

    @property
    def texts(self) -> Path:
        """The file of all texts with their kinds and parts."""
        return self.folder / "texts.parquet"

    @property
    def store(self) -> Store:
        """Tables of the study's home."""
        return Home(self.folder / ".tamis").store

    def identity(self) -> dict[str, object]:
        """What a choice depends on, but the seed."""
        stated = asdict(self)
        return {name: stated[name] for name in ("source", "sizes", "budget", "encoder")}

    def materialize(self) -> None:
        """Write the project and bring it to the settled state; exits when that fails."""
        write_texts(self.texts, self.source, self.sizes)
        pool = pl.read_parquet(self.texts).filter(part="pool").select("text")
        made_once(self.folder / "pool.parquet", {"texts": len(pool)}, pool.write_parquet)
        settings = SETTINGS.format(encoder=self.encoder)
        for seed in self.seeds:
            for kind in ("bad", "good"):
                settings += self._target(kind, seed)
            settings += SELECTION.format(seed=seed, budget=self.budget)
        (self.folder / "tamis.toml").write_text(settings)
        materialize(self.folder)

    def _target(self, kind: str, seed: int) -> str:
        """Write the examples of a seed; its section of tamis.toml."""
        texts = pl.DataFrame({"text": texts_in(self.texts, "examples", kind)})
        drawn = texts.sample(fraction=DRAWN_SHARE, seed=seed)
        name = f"{kind}-{seed}"
        made_once(self.folder / "target" / f"{name}.parquet", {"texts": len(texts)}, drawn.write_parquet)
        train, held_out = int(len(drawn) * LEARNT_SHARE), int(len(drawn) * CHECKED_SHARE)
        return TARGET.format(name=name, train=train, held_out=held_out)

    def chosen(self, sampler: str, seed: int) -> list[str]:
        """Return the doc_ids of a choice, best first; every sampler chooses of the same documents."""
        where = f"selection = {quoted(f'contrast-{seed}')} AND rank IS NOT NULL"
        decided = self.store.read("decisions", ["doc_id", "verdict", "rank"], where)
        if sampler == "got-d-contrast":
            return decided.filter(verdict="selected").sort("rank")["doc_id"].to_list()
        sizes = self.store.read("documents", ["doc_id", "n_bytes"])
        pool = decided.select("doc_id").join(sizes, on="doc_id")
        pool = pool.with_columns(n_tokens=(pl.col("n_bytes") / 4).ceil())
        if sampler == "knn-contrast":
            pool = pool.join(self._nearer_to_good(seed), on="doc_id")
        elif sampler == "classifier-filter":
            pool = self._let_pass(pool, seed)
        rule = "knn" if sampler == "knn-contrast" else "random"
        made = select(pool, rule, self.budget, seed=1_000 + seed)
        return made.filter(verdict="selected").sort("rank")["doc_id"].to_list()

    def _nearer_to_good(self, seed: int) -> pl.DataFrame:
        """doc_id, and the cost to the nearest good example less that to the nearest bad one."""
        good, bad = (
            self.store.read(f"transport_{kind}-{seed}", ["doc_id", "nearest_cost"])
            for kind in ("good", "bad")
        )
        gap = pl.col("nearest_cost") - pl.col("nearest_cost_bad")
        return good.join(bad, on="doc_id", suffix="_bad").select("doc_id", nearest_cost=gap)

    def _let_pass(self, pool: pl.DataFrame, seed: int) -> pl.DataFrame:
        """Documents that a linear classifier of the examples, on the same vectors, takes for good."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        vectors = Vectors(self.store, self.encoder)
        good_md, bad_md = (vectors.of_target(f"{kind}-{seed}", "train") for kind in ("good", "bad"))
        is_bad = np.repeat([0, 1], [len(good_md), len(bad_md)])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced"))
        model.fit(np.concatenate([good_md, bad_md]), is_bad)
        ordered = pool.sort("doc_id")
        passes = model.predict(vectors.of_documents(ordered["doc_id"].to_list())) == 0
        return ordered.filter(pl.Series(passes))

    def picked(self, sampler: str, seed: int) -> dict[str, float]:
        """Return the documents of a choice, and the shares of each kind among them and among their bytes."""
        pool = pl.read_parquet(self.texts).filter(part="pool")
        ids = pl.Series("doc_id", [document_id(text) for text in pool["text"]])
        chosen = pl.DataFrame({"doc_id": self.chosen(sampler, seed)}) if sampler != "the pool" else None
        rows = pool.with_columns(ids, n_bytes=pl.col("text").str.len_bytes())
        rows = rows if chosen is None else rows.join(chosen, on="doc_id", how="semi")
        shares: dict[str, float] = {"documents": len(rows)}
        for kind in ("bad", "good"):
            is_kind = pl.col("kind") == kind
            shares[kind] = rows.select(is_kind.mean()).item()
            shares[f"{kind}_bytes"] = rows.select(
                pl.col("n_bytes").filter(is_kind).sum() / pl.col("n_bytes").sum()
            ).item()
        return shares
