"""A small project made in this process: real stages, tables, manifests and events, without a command.

A whole graph of it takes about 3 s once the encoder is there, and a stage .2 s: the floor below end_to_end/.
The SQL models, which take twice as long as everything before them, are made where a test asks for them.
"""

import json
import random
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from resources.driver import materialize
from resources.events import logged_events
from resources.platform import Platform
from resources.running import Outcome, Wanted
from tamis.embedding import encoder_identity
from tamis.embedding.storing import table_name
from tamis.lineage.attempts import read_attempts
from tamis.lineage.audit import audit_graph
from tamis.lineage.audit_node import Audit
from tamis.lineage.heads import Heads, read_heads, unfinished
from tamis.lineage.look import look
from tamis.project import Project, open_project
from tamis.store.home import Home
from tamis.store.retained import retained_tables
from tamis.store.schemas import KEYS, UNHASHED_COLUMNS, kind_of
from tamis.store.tables import Store

SETTINGS = """
[project]
precision = "float32"

[automation]
settle_seconds = 0.0

[[corpus]]
name = "web"
kind = "files"
path = "landing"

[[target]]
name = "goal"
kind = "files"
path = "target"
train = 8
held_out = 4

[density]
rows = 20
hashes = 2
calibration = 10

[transport]
relative_epsilon = 0.05

[[selection]]
name = "near"
sampler = "got-d"
target = "goal"
budget = 5

[[selection]]
name = "thin"
sampler = "density"
budget = 5
"""
CORPUS = frozenset({"raw_shards", "documents", "near_duplicates"})
SCORED = CORPUS | {"embeddings", "density_sketch", "density_scores"}
CHOSEN = SCORED | {
    "target_examples", "target_embeddings", "contamination", "target_potential", "transport_scores",
    "selected_subset",
}  # fmt: skip
FITTED = CHOSEN - {"selected_subset"}
"""Everything but the choice, whose page and plot take as long as all before it."""
VECTORS = table_name("static", encoder_identity("static"))
OF_PLACES = {"occurrences", "quarantine"}
WORDS = {
    "cooking": "simmer butter garlic onion roast oven flour dough whisk pepper sauce bake spice broth",
    "sailing": "mast rudder harbour tide anchor sail wind compass deck knot voyage current hull storm",
    "algebra": "matrix vector kernel group ring field proof lemma module basis tensor eigenvalue norm",
}


def texts(topic: str, count: int, seed: int = 1) -> list[str]:
    """Generated documents of one topic, 30 words each, all different."""
    draw = random.Random(f"{topic}:{seed}")
    common = ["the", "of", "with", "then", "from", "under", "until", "each"]
    words = WORDS[topic].split()
    return [
        " ".join(draw.choice(words if draw.random() < 0.6 else common) for _ in range(30)).capitalize()
        for _ in range(count)
    ]


COOKING, SAILING = texts("cooking", 12), texts("sailing", 12)
REPEATED = COOKING[0]
NEAR = [f"{COOKING[1]} {word}" for word in ("indeed", "perhaps")]
"""Two near-duplicates of a document of the other file."""
BAD_ROWS = ["{no json", '{"body": "no text"}', '{"text": "   "}']


def lines(documents: Collection[str]) -> list[str]:
    """Rows of a jsonl file."""
    return [json.dumps({"text": text}) for text in documents]


def write(path: Path, rows: list[str]) -> None:
    """A file of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


@cache
def assets() -> dg.Definitions:
    """The assets of the platform without its sensors; definitions.py opens the project of TAMIS_PROJECT."""
    from assets import withdrawal
    from definitions import MODULES

    return dg.Definitions(
        assets=dg.load_assets_from_modules(MODULES),
        asset_checks=dg.load_asset_checks_from_modules([withdrawal]),
    )


@dataclass
class SmallGraph:
    """A project folder, and an event log in memory."""

    root: Path
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)
    said: list[str] = field(default_factory=list)

    @property
    def project(self) -> Project:
        return open_project(self.root)

    @property
    def home(self) -> Home:
        return self.project.home

    @property
    def store(self) -> Store:
        return self.project.home.store

    @property
    def heads(self) -> Heads:
        return read_heads(self.store)

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    def copy(self, root: Path) -> "SmallGraph":
        """A copy of the project and its home, with an event log of its own."""
        shutil.copytree(self.root, root)
        return SmallGraph(root)

    def make(self, only: Collection[str] | None = CHOSEN, certified: bool = False) -> Outcome:
        """Materialize these stages, None for all, as `tamis materialize` does."""
        outcome = self.try_making(only, certified)
        assert not outcome.failed, outcome.failed
        return outcome

    def try_making(
        self,
        only: Collection[str] | None = CHOSEN,
        certified: bool = False,
        allowed: Collection[str] = (),
        partitions: Collection[str] | None = None,
    ) -> Outcome:
        """The same where stages may fail, of some partitions alone, or where names are let go that are held
        back."""
        wanted = Wanted(
            only=None if only is None else frozenset(only),
            partitions=None if partitions is None else frozenset(partitions),
            certified=certified,
            allow_removal=frozenset(allowed),
        )
        return materialize(self.project, self._definitions, self.instance, self.said.append, wanted)

    def _definitions(self) -> dg.Definitions:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAMIS_PROJECT", str(self.root / "tamis.toml"))
            patch.setenv("DAGSTER_HOME", str(self.home.dagster))
            known = assets()
        return dg.Definitions(
            assets=known.assets,
            asset_checks=known.asset_checks,
            resources={"platform": Platform(project_file=str(self.root / "tamis.toml"))},
            executor=dg.in_process_executor,
        )

    def versions(self) -> dict[tuple[str, str], str]:
        """Data version of everything that was made."""
        return {entry: head.data_version for entry, head in self.heads.items()}

    def rows(self, table: str) -> pl.DataFrame:
        """A table in the order of its key, without columns that no digest covers (clocks, costs)."""
        frame = self.store.read(table)
        return frame.drop(UNHASHED_COLUMNS, strict=False).sort(KEYS[kind_of(table)])

    def tables(self) -> dict[str, pl.DataFrame]:
        """Every table of results; what is retained of documents that left is none."""
        records = {
            "heads",
            "attempts",
            "selection_versions",
            "failed_steps",
            "withdrawals",
            "withdrawn_places",
            "shard_files",
            "absent_files",
            "shrunken_files",
            "removals",
        }
        return {
            name: self.rows(name)
            for name in self.store.names()
            if name not in records | set(retained_tables(self.store))
        }

    def state(self) -> dict[str, Any]:
        """Everything that a run which has nothing to do must leave as it is, to the version of a table."""
        everything = (path for path in self.home.root.rglob("*") if path.is_file())
        files = [path for path in everything if "lance" not in path.parts and path.name != "writer.lock"]
        return {
            "runs": self.instance.get_runs_count(),
            "tables": {name: self.store.version(name) for name in self.store.names()},
            "files": sorted(
                (str(path.relative_to(self.home.root)), path.stat().st_mtime_ns) for path in files
            ),
            "heads": self.heads,
        }

    def audit(self) -> Audit:
        """The audit of everything, as `tamis audit` makes it; without the event log while that is empty."""
        return audit_graph(self.home, look(self.project), self.heads, logged_events(self.instance) or None)

    def assert_sound(self, of: Collection[str] = CHOSEN, amber: bool = False) -> None:
        """Check that nothing is lost, orphaned, doubled, or begun and left, and that the audit is green.

        `of`: the stages that were made again after the last change; later ones may be out of date.
        `amber`: something is held back, so that the audit calls it not current.
        """
        pool = set(self.store.read("documents", ["doc_id"])["doc_id"])
        assert set(self.store.read("occurrences", ["doc_id"])["doc_id"]) == pool
        for name in self.store.names():
            key = KEYS.get(kind_of(name))
            if not key:
                continue
            frame = self.store.read(name, list(key))
            assert not frame.is_duplicated().any(), f"doubled rows in {name}"
            if WHOLE.get(kind_of(name)) in of:
                assert set(frame["doc_id"]) == pool, f"{name} is not about the pool"
        assert {asset for asset, _key in unfinished(self.heads, read_attempts(self.store))}.isdisjoint(of)
        audit = self.audit()
        bad = {"red"} if amber or of != CHOSEN else {"red", "amber"}
        wrong = [(node.name, node.details) for node in audit.nodes.values() if node.status in bad]
        assert not wrong, wrong

    def logged(self) -> Iterator[str]:
        """Every entry of the event log, with its messages, metadata, tags and errors, as JSON."""
        for run in self.instance.get_runs():
            yield json.dumps(dict(run.tags))
            for entry in self.instance.all_logs(run.run_id):
                yield dg.serialize_value(entry)


WHOLE = {
    "embeddings": "embeddings",
    "scores_density": "density_scores",
    "transport": "transport_scores",
    "decisions": "selected_subset",
    "near_duplicate_bands": "near_duplicates",
}
"""Kinds of tables with a row for each document of the pool, and the stage that writes them."""


def make_graph(root: Path, encoder_cache: Path, settings: str = SETTINGS) -> SmallGraph:
    """Two files with near-duplicates, a repetition and bad rows, and a target; nothing is made yet."""
    root.mkdir(parents=True)
    (root / "tamis.toml").write_text(settings)
    write(root / "landing" / "cooking.jsonl", lines(COOKING))
    write(root / "landing" / "sailing.jsonl", [*lines([*SAILING, *NEAR, REPEATED]), *BAD_ROWS])
    write(root / "target" / "goal.jsonl", lines(texts("algebra", 14, 2)))
    shutil.copytree(encoder_cache, root / ".tamis" / "cache")
    return SmallGraph(root)
