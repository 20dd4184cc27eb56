"""A project of `tamis init` over a pool with junk: what each sampler chooses, with and without rules of form.

The graph computes the scores once; a choice with rules of form is the same choice among the documents that
they leave, as the graph makes it where a filter drops a document.
"""

import hashlib
import json
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._form_data import measured_damage, measured_kinds, to_fit
from benchmarks._junk_pool import DAMAGE, GOALS, Sizes, examples, held_out, pool_rows
from benchmarks._project import made_once, materialize
from benchmarks._real_graph import SELECTION
from tamis.base.files import write_atomically
from tamis.embedding import load_encoder
from tamis.filters.form.damage import MAKERS
from tamis.filters.form.model import MODEL, FormModel, default_model, fit, limit_for, read
from tamis.filters.form.statistics import form
from tamis.selection import SAMPLERS, select
from tamis.selection.pool import with_scores
from tamis.store.home import Home
from tamis.store.tables import Store, quoted

RULES = ("noise", "boilerplate")
"""Those of `tamis init`."""
OFF, SHIPPED, UNSEEN = "off", "shipped", "unseen"
FORMS = (OFF, SHIPPED, UNSEEN)
"""Rules of form: none; the model of the package; the same, but each kind of drawn damage judged by a model
that was fitted without this kind and a quarter of the others."""
FITS = 4
STEPS = (("random", "got-d", "knn"), ("got-d-debiased",), ("got-d-quality", "rank-ensemble"))
"""Samplers that a materialization adds: the default and two that cost no more, a rival, and two that ask the
judge."""
BY_JUDGE = STEPS[2]
SETTINGS = """
[project]
name = "junk"
seed = {seed}

[[corpus]]
name = "pool"
kind = "files"
path = "pool"
text_column = "text"

[encoder]
name = "{encoder}"

[filters]
heuristics = {rules}
"""
TARGET = """
[[target]]
name = "{name}"
kind = "files"
path = "target/{name}.parquet"
text_column = "text"
train = {train}
held_out = 50
"""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One pool, its goals, and what each sampler chooses for them."""

    folder: Path
    sizes: Sizes
    pages: Path | None
    seed: int
    samplers: Sequence[str]
    goals: Sequence[str] = tuple(GOALS)
    budget: str = "10%"
    encoder: str = "static"

    @property
    def store(self) -> Store:
        """Tables of the study's home."""
        return Home(self.folder / ".tamis").store

    @cached_property
    def truth(self) -> pl.DataFrame:
        """doc_id, text, kind and junk of the pool, by doc_id."""
        return pl.read_parquet(self.folder / "truth.parquet")

    @property
    def absent(self) -> dict[str, int]:
        """Pieces of pages that the pool lacks, by kind."""
        return dict(json.loads((self.folder / "absent.json").read_text()))

    def materialize(self) -> None:
        """Write the project and bring it to the settled state, noting the minutes of each step."""
        stated = {"sizes": asdict(self.sizes), "seed": self.seed, "pages": bool(self.pages)}
        made_once(self.folder / "truth.parquet", stated, self._write_pool)
        for goal in self.goals:
            rows = pl.DataFrame({"text": examples(goal, self.sizes, self.seed)})
            made_once(self.folder / "target" / f"{goal}.parquet", stated, rows.write_parquet)
        samplers: list[str] = []
        for step in STEPS:
            added = [sampler for sampler in step if sampler in self.samplers]
            samplers += added
            if added:
                self._step(samplers, added)

    def _write_pool(self, path: Path) -> None:
        rows, absent = pool_rows(self.sizes, self.pages, self.seed)
        (self.folder / "pool").mkdir(exist_ok=True)
        rows.select("text").write_parquet(self.folder / "pool" / "texts.parquet")
        write_atomically(self.folder / "absent.json", json.dumps(absent).encode())
        rows.write_parquet(path)

    def _step(self, samplers: Sequence[str], added: Sequence[str]) -> None:
        settings = self._settings(samplers)
        key = hashlib.sha256(settings.encode()).hexdigest()[:12]
        note = self.folder / f"minutes-{key}.json"
        if note.is_file():
            return
        (self.folder / "tamis.toml").write_text(settings)
        began, cpu = time.perf_counter(), _cpu_of_children()
        materialize(self.folder)
        minutes = {"wall": time.perf_counter() - began, "cpu": _cpu_of_children() - cpu}
        found = {name: round(seconds / 60, 2) for name, seconds in minutes.items()}
        write_atomically(note, json.dumps({"added": added, **found}).encode())

    def _settings(self, samplers: Sequence[str]) -> str:
        text = SETTINGS.format(seed=self.seed, encoder=self.encoder, rules=json.dumps(RULES))
        for goal in self.goals:
            text += TARGET.format(name=goal, train=self.sizes.train)
        for sampler in samplers:
            for goal in self.goals if SAMPLERS[sampler].needs_target else ("",):
                name = f"{sampler}-{goal}" if goal else sampler
                text += SELECTION.format(name=name, sampler=sampler, budget=self.budget)
                text += f'target = "{goal}"\n' if goal else ""
        return text

    def minutes(self) -> list[dict[str, Any]]:
        """Return what each step added and took."""
        notes = [json.loads(path.read_text()) for path in self.folder.glob("minutes-*.json")]
        place = {sampler: number for number, step in enumerate(STEPS) for sampler in step}
        return sorted(notes, key=lambda note: place[note["added"][0]])

    def train(self, goal: str) -> list[str]:
        """Return the examples that the graph chose by."""
        where = f"target = {quoted(goal)} AND split = 'train'"
        return self.store.read("target_examples", ["doc_id", "text"], where).sort("doc_id")["text"].to_list()

    def choices(self, verdicts: "Verdicts") -> pl.DataFrame:
        """Return goal, sampler, form, rank and doc_id of all choices."""
        stated = [verdicts.identity, self.budget, self.encoder, list(self.goals), list(self.samplers)]
        key = hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:12]
        path = self.folder / f"choices-{key}.parquet"

        def make() -> pl.DataFrame:
            eligible = self.store.read("decisions", ["doc_id"], "selection = 'random' AND rank IS NOT NULL")
            judged = self.judged(verdicts)
            frames = []
            for goal in self.goals:
                limit = limit_for(default_model(), form(pl.Series(self.train(goal))))
                for rules in FORMS:
                    kept = eligible.join(kept_by(judged, rules, limit), on="doc_id", how="semi")
                    frames += [self._choice(goal, sampler, rules, kept) for sampler in self.samplers]
            return pl.concat(frames)

        return _kept(path, make)

    def judged(self, verdicts: "Verdicts") -> pl.DataFrame:
        """Return what `Verdicts.of_pool` says of this pool."""
        return _kept(self.folder / f"form-{verdicts.identity}.parquet", lambda: verdicts.of_pool(self.truth))

    def _choice(self, goal: str, sampler: str, rules: str, kept: pl.DataFrame) -> pl.DataFrame:
        pool = with_scores(self.store, SAMPLERS[sampler].score_columns, goal)
        decided = select(pool.join(kept, on="doc_id", how="semi"), sampler, self.budget, seed=self.seed)
        chosen = decided.filter(pl.col("verdict") == "selected").sort("rank").select("rank", "doc_id")
        return chosen.with_columns(goal=pl.lit(goal), sampler=pl.lit(sampler), form=pl.lit(rules))

    def vectors(self, encoder: str, cache: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return vectors of length 1: of the pool [n, d], as `truth` has it, and of held-out texts."""
        texts = {goal: held_out(goal, self.sizes) for goal in self.goals} | {
            "pool": self.truth["text"].to_list()
        }
        paths = {name: self.folder / f"vectors-{encoder}-{name}.npy" for name in texts}
        absent = [name for name, path in paths.items() if not path.is_file()]
        if absent:
            model = load_encoder(encoder, cache=cache)
            for name in absent:
                np.save(paths[name], model.encode(texts[name]).astype(np.float32))
        found = {name: np.load(path) for name, path in paths.items()}
        return found.pop("pool"), found


def _kept(path: Path, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
    """Return a table that is stored, or make and store it."""
    if not path.is_file():
        partial = path.with_suffix(".partial")
        make().write_parquet(partial)
        partial.replace(path)
    return pl.read_parquet(path)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kept_by(judged: pl.DataFrame, rules: str, limit: float) -> pl.DataFrame:
    """Return doc_id of documents that rules of form leave; where the model abstains they stay.

    judged: doc_id, and for each kind of rules how far the logit is over the limit of its model. limit: that
    of the package's model for the goal, which is its own or higher; all limits rise by as much.
    """
    if rules == OFF:
        return judged.select("doc_id")
    raised = limit - default_model().limit
    return judged.filter((pl.col(rules) <= raised).fill_null(True)).select("doc_id")


class Verdicts:
    """Models of form: the package's, and models that have not seen some kinds of damage."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        code = MODEL.with_name("statistics.py").read_bytes()
        shipped = json.dumps(asdict(default_model()), sort_keys=True)
        self.identity = hashlib.sha256(code + shipped.encode()).hexdigest()[:12]

    def blind(self) -> Mapping[str, FormModel]:
        """Return for each kind of drawn damage a model that was fitted without it."""
        kinds = list(MAKERS)
        paths = [self.cache / f"form-{self.identity}-{fold}.json" for fold in range(FITS)]
        if not all(path.is_file() for path in paths):
            self.cache.mkdir(parents=True, exist_ok=True)
            texts = to_fit(300, None)
            good, bad = measured_kinds(texts, changed=True), measured_damage(texts, 150, 0)
            for fold, path in enumerate(paths):
                left = ~pl.col("kind").is_in(kinds[fold::FITS])
                fit(good, bad.filter(left), f"without kinds {fold} of {FITS}").write(path)
        models = [read(path) for path in paths]
        return {kind: models[place % FITS] for place, kind in enumerate(kinds)}

    def of_pool(self, truth: pl.DataFrame) -> pl.DataFrame:
        """Return doc_id and, by kind of rules, the logit less the limit; null where the model abstains."""
        stats, blind, shipped = form(truth["text"]), self.blind(), default_model()
        over = shipped.judge(stats)["form_logit"] - shipped.limit
        rows = truth.select("doc_id", "kind").with_columns(over.alias(SHIPPED)).with_row_index()
        drawn = pl.col("kind").is_in([f"{DAMAGE}: {kind}" for kind in blind])
        parts = [rows.filter(~drawn).with_columns(pl.col(SHIPPED).alias(UNSEEN))]
        for kind, model in blind.items():
            part = rows.filter(kind=f"{DAMAGE}: {kind}")
            if len(part):
                logit = model.judge(stats[part["index"].to_list()])["form_logit"] - model.limit
                parts.append(part.with_columns(logit.alias(UNSEEN)))
        return pl.concat(parts).drop("index", "kind").sort("doc_id")
