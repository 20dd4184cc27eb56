"""Projects of tests: settings with defaults, files, what a run would leave, and the ways into the product.

Tests build and drive projects through it: they write settings and files, run commands, materialize in
this process, let the sensors tick, and read. Three kinds of project differ in what is real:
- `SmallProject`: all of it; `make_project` for commands, `make_graph` for runs in this process (a whole graph
  takes about 3 s once the encoder is there, a stage .2 s), `plain_project` for what needs neither.
- a project whose values are only noted (`note_made`, `record`): manifests and current values without a run.
- `Imagined`: settings alone; what the corpora hold is stated, current values are in memory.

The frozen goldens (tests/golden) have settings and a builder of their own, on purpose: what they compare must
not move with this module. Tests about the text of tamis.toml itself (test_config.py) keep their text, too.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from forked import run_forked

from tamis.corpus import Shard
from tamis.embedding import encoder_identity
from tamis.embedding.storing import table_name
from tamis.graph.automation import next_groups
from tamis.graph.plan import due_partitions, input_key
from tamis.graph.snapshot import ProjectSnapshot
from tamis.graph.stages import stages
from tamis.project import Project, open_project
from tamis.records.attempts import read_attempts
from tamis.records.current_values import (
    CurrentValue,
    CurrentValues,
    forget_current_values,
    read_current_values,
    unfinished,
    write_current_values,
)
from tamis.records.manifest import InputReference, Manifest, ManifestFolder
from tamis.scan.sources import scan
from tamis.settings.config import parse_settings
from tamis.store.home import Home
from tamis.store.retained import retained_tables
from tamis.store.rows_files import stored_rows
from tamis.store.schemas import UNHASHED_COLUMNS, declared, kind_of, schema_of
from tamis.store.tables import Store
from tamis.withdrawal.asking import WithdrawalReason

if TYPE_CHECKING:
    import dagster as dg
    import polars as pl

    from tamis.audit.events import LoggedEvent
    from tamis.audit.verdicts import Audit
    from tamis.runtime.running import Outcome
    from tamis.withdrawal.withdrawing import Withdrawn

CHECKOUT = Path(__file__).resolve().parents[1]
VECTORS = table_name("static", encoder_identity("static"))


PLUGIN_FILE = "plugins.py"
LENGTH = """from tamis.plugins import score


@score(name="length", version="1")
def length(texts):
    return [len(text) for text in texts]
"""

# Settings: text of tamis.toml, part by part.


def settings(*parts: str, name: str = "small", precision: str = "float32", **automation: Any) -> str:
    """Return a tamis.toml of these parts, and of the corpus `web` in documents/ where none is a corpus.

    `automation`: keys of [automation]; files are taken as they are, and reports wait for a person, unless
    these say otherwise.
    """
    first = [
        _table("[project]", {"name": name, "precision": precision}),
        _table("[automation]", {"settle_seconds": 0.0, "until": "selections"} | automation),
    ]
    if not any("[[corpus]]" in part for part in parts):
        first.append(corpus())
    return "\n".join([*first, *parts])


def corpus(name: str = "web", path: str = "documents", **more: Any) -> str:
    """Return a corpus of files."""
    return _table("[[corpus]]", {"name": name, "kind": "files", "path": path} | more)


def target(name: str = "goal", path: str = "target", **more: Any) -> str:
    """Return a target of files."""
    return _table("[[target]]", {"name": name, "kind": "files", "path": path} | more)


def selection(name: str, sampler: str = "random", budget: int = 2, **more: Any) -> str:
    """Return a selection."""
    return _table("[[selection]]", {"name": name, "sampler": sampler} | more | {"budget": budget})


def score(name: str = "edu", column: str | None = "meta.edu", **more: Any) -> str:
    """Return a score of the rows; without a column of what else is given, such as a model."""
    return _table("[[score]]", {"name": name} | ({"column": column} if column else {}) | more)


def base_model(name: str = "small", preset: str | None = "llama-0.8m", **more: Any) -> str:
    """Return a base model, of a preset unless that is None."""
    return _table("[[base_model]]", {"name": name} | ({"preset": preset} if preset else {}) | more)


def _table(value: str, values: Mapping[str, Any]) -> str:
    return "\n".join([value, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])


TRANSPORT = "[transport]\nrelative_epsilon = 0.05\n"
LANDING = corpus("landing", "landing", text_column="text")
ALGEBRA = target("algebra", train=30, held_out=15)
NEAR_ALGEBRA = selection("near-algebra", "got-d", 20, target="algebra")
UNIFORM = selection("uniform", budget=20)
TRAINED = f"""
[judge]
sample = 40
max_tokens = 16

{base_model()}
[pretraining]
tokens = 1_000
vocabulary = 512
sequence_length = 32

[scaling]
target = "algebra"
models = ["small"]
sizes = [10]

[comparison]
model = "small"
selections = ["uniform"]
"""


def small_settings(
    *more: str,
    corpus: str = LANDING,
    target: str = ALGEBRA,
    selections: Sequence[str] = (NEAR_ALGEBRA, UNIFORM),
    settle_seconds: float = 0.0,
    **automation: Any,
) -> str:
    """Return settings for the files of `make_project`."""
    density = "[density]\nrows = 50\nhashes = 4\n"
    parts = (corpus, target, TRANSPORT, density, *selections, *more)
    return settings(*parts, interval_seconds=5, settle_seconds=settle_seconds, **automation)


EVERYTHING = small_settings(
    TRAINED,
    "[near_duplicates]\ncosine = 0.9\n",
    '[encoder]\ncolumn = "vector"\n',
    '[[keep_out]]\nname = "exam"\npath = "target"\n',
    '[perplexity]\nmodel = "small"\n',
    '[filters]\nheuristics = ["gopher", "form"]\n',
    score(),
    score("sound", column=None, model="model", label="good"),
    '[[score]]\nname = "len"\nplugin = "length"\n',
    "[trial_budget]\nshare = 0.5\n",
    '[sampler_trials]\nmodel = "small"\ntarget = "algebra"\n',
    '[evaluation]\ncommand = ["python", "evaluate.py", "{checkpoint}", "{out}"]\n',
    selection("uncrowded", "got-d-debiased", 5, target="algebra"),
    '[mixture]\ntarget = "algebra"\nmodel = "small"\nsources = "topics"\ntrain_tokens = 4_000\n',
    '[tune]\ntarget = "algebra"\nmodels = ["small"]\n',
).replace("[project]\n", f'[project]\ntokenizer = "small"\nplugins = ["{PLUGIN_FILE}"]\n', 1)
"""Settings that use every stage."""
SMALL = small_settings(settle_seconds=1.0)
"""As in a user's project, files that changed within the last second wait."""
GRAPH = settings(
    corpus(path="landing"),
    target(train=8, held_out=4),
    "[density]\nrows = 20\nhashes = 2\ncalibration = 10\n",
    TRANSPORT,
    selection("near", "got-d", 5, target="goal"),
    selection("thin", "density", 5),
)


# Documents and files.

TOPICS = {
    "cooking": "simmer butter garlic onion roast oven flour dough whisk pepper sauce bake spice broth",
    "sailing": "mast rudder harbour tide anchor sail wind compass deck knot voyage current hull storm",
    "algebra": "matrix vector kernel group ring field proof lemma module basis tensor eigenvalue norm",
}
COMMON = "the a of to with and then from under over while until each"


def sentences(topic: str, count: int, seed: int, words: int = 40, common: str = COMMON) -> list[str]:
    """Return generated documents of one topic, all different."""
    draw = random.Random(f"{topic}:{seed}")
    own, others = TOPICS[topic].split(), common.split()
    return [
        " ".join(draw.choice(own if draw.random() < 0.6 else others) for _ in range(words)).capitalize()
        for _ in range(count)
    ]


def texts(topic: str, count: int, seed: int = 1) -> list[str]:
    """Return shorter ones, of 30 words."""
    return sentences(topic, count, seed, 30, "the of with then from under until each")


def lines(documents: Iterable[str]) -> list[str]:
    """Return rows of a jsonl file."""
    return [json.dumps({"text": text}) for text in documents]


def write(path: Path, rows: Iterable[str]) -> None:
    """Write a file of lines, which appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    os.replace(temporary, path)


def write_jsonl(path: Path, documents: Iterable[str]) -> None:
    """Write a jsonl file of documents, which appears whole."""
    write(path, lines(documents))


COOKING, SAILING = texts("cooking", 12), texts("sailing", 12)
REPEATED = COOKING[0]
NEAR = [f"{COOKING[1]} {word}" for word in ("indeed", "perhaps")]
"""Two near-duplicates of a document of the other file."""
BAD_ROWS = ["{no json", '{"body": "no text"}', '{"text": "   "}']

CORPUS = frozenset({"raw_shards", "documents", "near_duplicates"})
SCORED = CORPUS | {"embeddings", "density_sketch", "density_scores"}
CHOSEN = SCORED | {
    "target_examples", "target_embeddings", "contamination", "target_potential", "transport_scores",
    "selected_subset",
}  # fmt: skip
FITTED = CHOSEN - {"selected_subset"}
"""Everything but the choice, whose page and plot take as long as all before it."""
OF_PLACES = {"occurrences", "kept_rows", "quarantine"}
RECORDS = {
    "heads", "attempts", "selection_versions", "failed_steps", "withdrawals", "withdrawn_places",
    "shard_files", "grouped_files", "shared_text", "absent_files", "shrunken_files", "removals",
}  # fmt: skip
WHOLE = {
    "embeddings": "embeddings",
    "scores_density": "density_scores",
    "transport": "transport_scores",
    "decisions": "selected_subset",
    "near_duplicate_bands": "near_duplicates",
}
"""Kinds of tables with a row for each document of the pool, and the stage that writes them."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def key_of(table: str) -> tuple[str, ...]:
    """Return the key columns of a table; () for one of a SQL model."""
    known = declared(table)
    return known.key if known else ()


@dataclass(frozen=True)
class SmallProject:
    """A project folder: how to change it, to run the product on it, and to read what that made.

    `durable`: Dagster's databases are in the home, as those of commands are; else in memory.
    """

    root: Path
    durable: bool = False
    said: list[str] = field(default_factory=list, compare=False)
    cursors: dict[str, str | None] = field(default_factory=dict, compare=False)
    replaced: dict[str, Any] = field(default_factory=dict, compare=False)

    # The folder.

    @property
    def file(self) -> Path:
        return self.root / "tamis.toml"

    @property
    def text(self) -> str:
        """What tamis.toml says."""
        return self.file.read_text()

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def project(self) -> Project:
        """The project as the product opens it now."""
        return open_project(self.root)

    @property
    def home(self) -> Home:
        """The home on this disk, also where the environment names an object store."""
        return Home(self.root / ".tamis")

    @property
    def store(self) -> Store:
        return self.home.store

    @property
    def current(self) -> CurrentValues:
        return heads_of(self.home)

    @property
    def manifests(self) -> ManifestFolder:
        return manifests_of(self.home)

    @property
    def snapshot(self) -> ProjectSnapshot:
        """What the corpora and targets hold now."""
        return scan(self.project)

    def configure(self, text: str) -> None:
        """Write tamis.toml."""
        self.file.write_text(text)

    def reconfigure(self, old: str, new: str) -> None:
        """Replace a part of tamis.toml, which must be there."""
        assert old in self.text
        self.configure(self.text.replace(old, new))

    def partitions(self, asset: str) -> Sequence[str]:
        """Return the partitions that a stage has now; "" where it has none."""
        return self.snapshot.keys(stages()[asset].partitions)

    def forget(self, *entries: tuple[str, str]) -> None:
        """Have (asset, partition) be as if they were never made; their rows stay."""
        forget_current_values(self.store, entries)

    def withdraw(
        self,
        doc_ids: Collection[str],
        shards: Collection[str] = (),
        reason: WithdrawalReason = WithdrawalReason.COPYRIGHT,
    ) -> "Withdrawn":
        """Withdraw documents, and all that files hold."""
        from tamis.withdrawal.asking import Asking
        from tamis.withdrawal.withdrawing import withdraw

        asking = Asking(store=self.store)
        asking.ids(doc_ids)
        for shard in shards:
            asking.shard(shard)
        return withdraw(self.home, asking.done(), reason)

    def copy(self, root: Path) -> "SmallProject":
        """Copy it: a home can be copied, and the files keep their times; a log in memory begins empty."""
        shutil.copytree(self.root, root)
        return SmallProject(root)

    # Commands.

    @property
    def environment(self) -> dict[str, str]:
        plain = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "TAMIS_HOME")}
        return plain | {"TAMIS_PROJECT": str(self.file)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tamis.cli", *arguments]

    def tamis(
        self, *arguments: str, code: int | None = 0, timeout: float = 400, alone: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run it; `alone`: as an interpreter of its own, with a hash seed of its own."""
        if alone:
            done = subprocess.run(
                self.command(*arguments),
                cwd=self.root,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        else:
            done = run_forked(list(arguments), self.root, self.environment, timeout)
        said = f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, said
        return done

    def json(self, *arguments: str, code: int | None = 0) -> Any:
        return json.loads(self.tamis(*arguments, "--json", code=code).stdout)

    # Runs in this process.

    @cached_property
    def instance(self) -> "dg.DagsterInstance":
        import dagster as dg

        from tamis.runtime.instance import open_instance

        return open_instance(self.project) if self.durable else dg.DagsterInstance.ephemeral()

    def close(self) -> None:
        """Give up the instance where one was opened."""
        if "instance" in self.__dict__:
            self.instance.dispose()

    @property
    def resources(self) -> dict[str, "dg.ConfigurableResource"]:
        """The resources of the graph, with those of `replaced` in their place; a store reads tamis.toml."""
        from tamis.platform.definitions import resources_of

        return resources_of(self.file) | self.replaced

    def definitions(self) -> "dg.Definitions":
        """Return what Dagster loads of this project."""
        from tamis.platform.definitions import definitions_of

        return definitions_of(self.project, self.replaced)

    @cached_property
    def job(self) -> "dg.JobDefinition":
        return self.definitions().resolve_implicit_global_asset_job_def()

    def make(self, only: Collection[str] | None = CHOSEN, certified: bool = False) -> "Outcome":
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
        try_again: bool = False,
    ) -> "Outcome":
        """The same where stages may fail, of some partitions alone, or where names are let go that are held
        back or what failed is tried again."""
        from tamis.platform.definitions import definitions_of
        from tamis.runtime.driver import materialize
        from tamis.runtime.running import Wanted

        wanted = Wanted(
            only=None if only is None else frozenset(only),
            partitions=None if partitions is None else frozenset(partitions),
            certified=certified,
            allow_removal=frozenset(allowed),
            try_again=try_again,
        )
        return materialize(
            self.project,
            lambda project: definitions_of(project, self.replaced),
            self.instance,
            self.said.append,
            wanted,
        )

    # The sensors, as the daemon drives them.

    def sense(self, sensor: str, loaded: str | None = None) -> Any:
        """Evaluate a sensor once, from the cursor that it left; returns what it returns.

        `loaded`: the tamis.toml that definitions were loaded with, where it is not that of this moment.
        """
        import dagster as dg

        from tamis.graph.used_stages import LOADED_WITH, used_by

        evaluate = getattr(import_module(f"tamis.platform.sensors.{sensor}"), sensor)
        before = parse_settings(tomllib.loads(loaded or self.text), root=self.root)
        used = used_by(Project(file=self.file, settings=before, home=self.home))
        context = dg.build_sensor_context(
            self.instance,
            cursor=self.cursors.get(sensor),
            resources={"store": self.resources["store"]},
            definitions=dg.Definitions(metadata={LOADED_WITH: used.text}),
        )
        if isinstance(evaluate, dg.RunStatusSensorDefinition):
            found = evaluate.evaluate_tick(context)
            assert not any(one.error for one in found.dagster_run_reactions or ())
            self.cursors[sensor] = found.cursor
            return found
        found = evaluate(context, self.resources["store"])
        self.cursors[sensor] = context.cursor
        return found

    def arrive(self) -> str:
        """Let what arrived be registered and what left be removed; returns what was done."""
        import dagster as dg

        found = self.sense("arrivals")
        if isinstance(found, dg.SkipReason):
            return str(found.skip_message)
        (request,) = found.run_requests
        assert request.job_name == "removal"
        self._remove(request.tags)
        return "removed"

    def let_go(self, name: str) -> None:
        """Remove what is held back under a name, as a person allows it in the UI."""
        from tamis.runtime.runs import ALLOW_REMOVAL_TAG

        self._remove({ALLOW_REMOVAL_TAG: name})

    def _remove(self, tags: Mapping[str, str]) -> None:
        from tamis.platform.assets.removal import removal

        resources = {"store": self.resources["store"]}
        done = removal.execute_in_process(
            instance=self.instance, resources=resources, tags=dict(tags), run_config=QUIET
        )
        assert done.success

    def tick(self, sensor: str = "reselection") -> tuple[list["dg.RunRequest"], str]:
        """Return what a tick requests, and why it requests nothing."""
        import dagster as dg

        found = self.sense(sensor)
        if isinstance(found, dg.SkipReason):
            return [], str(found.skip_message)
        return list(found.run_requests), ""

    def execute(self, request: "dg.RunRequest") -> "dg.ExecuteInProcessResult":
        """Make the run that was requested, as the daemon would launch it."""
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=request.asset_selection,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            run_config=QUIET,
            raise_on_error=False,
        )

    def until_rest(self, most: int = 30) -> list["dg.RunRequest"]:
        """Tick and execute until nothing is requested any more; returns what was executed."""
        done: list[dg.RunRequest] = []
        while len(done) < most:
            self.arrive()
            requests, _reason = self.tick()
            if not requests:
                return done
            for request in requests:
                assert self.execute(request).success, names(request)
                done.append(request)
        raise AssertionError("the sensors never come to rest")

    # What was made.

    def versions(self) -> dict[tuple[str, str], str]:
        """Return the data version of everything that was made."""
        return {entry: value.data_version for entry, value in self.current.items()}

    def rows(self, table: str) -> "pl.DataFrame":
        """Return a table in the order of its key, without columns that no digest covers (clocks, costs)."""
        frame = self.store.read(table)
        return frame.drop(UNHASHED_COLUMNS, strict=False).sort(key_of(table))

    def tables(self) -> dict[str, "pl.DataFrame"]:
        """Return every table of results; what is retained of documents that left is none."""
        others = RECORDS | set(retained_tables(self.store))
        return {name: self.rows(name) for name in self.store.names() if name not in others}

    def state(self) -> dict[str, Any]:
        """Return everything that a run which has nothing to do must leave as it is."""
        everything = (path for path in self.home.root.rglob("*") if path.is_file())
        each_time = {"writer.lock", "listing.json"}  # a lock, and when the sources were listed last
        files = [path for path in everything if "lance" not in path.parts and path.name not in each_time]
        return {
            "runs": self.instance.get_runs_count(),
            "tables": {name: self.store.version(name) for name in self.store.names()},
            "files": sorted(
                (str(path.relative_to(self.home.root)), path.stat().st_mtime_ns) for path in files
            ),
            "heads": self.current,
        }

    def manifest(self, asset: str, partition: str = "") -> Manifest:
        """Return the manifest of what is current."""
        return self.manifests.read(self.current[asset, partition].manifest)

    def events(self) -> "list[LoggedEvent]":
        """Return the materializations of the event log."""
        from tamis.runtime.events import logged_events

        return logged_events(self.instance, self.home)

    def audit(
        self,
        name: str | None = None,
        current: CurrentValues | None = None,
        events: "Sequence[LoggedEvent] | None" = None,
    ) -> "Audit":
        """Audit all, or what leads to `name`, as `tamis audit` does; without an event log that is empty."""
        from tamis.audit.whole import audit_graph

        if events is None:
            events = self.events() or None
        return audit_graph(self.home, self.snapshot, current or self.current, events, name=name)

    def assert_sound(self, of: Collection[str] = CHOSEN, amber: bool = False) -> None:
        """Check that nothing is lost, orphaned, doubled, or begun and left, and that the audit is green.

        `of`: the stages that were made again after the last change; later ones may be out of date.
        `amber`: something is held back, so that the audit calls it not current.
        """
        pool = set(self.store.read("documents", ["doc_id"])["doc_id"])
        assert set(self.store.read("occurrences", ["doc_id"])["doc_id"]) == pool
        for name in self.store.names():
            key = key_of(name)
            if not key:
                continue
            frame = self.store.read(name, list(key))
            assert not frame.is_duplicated().any(), f"doubled rows in {name}"
            if WHOLE.get(kind_of(name)) in of:
                assert set(frame["doc_id"]) == pool, f"{name} is not about the pool"
        assert {asset for asset, _key in unfinished(self.current, read_attempts(self.store))}.isdisjoint(of)
        audit = self.audit()
        bad = {"red"} if amber or of != CHOSEN else {"red", "amber"}
        wrong = [(node.name, node.details) for node in audit.nodes.values() if node.status in bad]
        assert not wrong, wrong

    def logged(self) -> Iterator[str]:
        """Yield every entry of the event log, with its messages, metadata, tags and errors, as JSON."""
        import dagster as dg

        for run in self.instance.get_runs():
            yield json.dumps(dict(run.tags))
            for entry in self.instance.all_logs(run.run_id):
                yield dg.serialize_value(entry)


def names(request: "dg.RunRequest") -> list[str]:
    """Return the names of the assets that a request is about."""
    return [asset.path[-1] for asset in request.asset_selection or ()]


def assets_made(requests: Iterable["dg.RunRequest"]) -> set[str]:
    """Return the names of the assets that requests are about."""
    return {name for request in requests for name in names(request)}


def watched(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallProject]:
    """Yield the project for sensors on a real instance; what opening it does to the environment is undone."""
    monkeypatch.setenv("DAGSTER_HOME", str(project.home.dagster))
    monkeypatch.setenv("TAMIS_PROJECT", str(project.file))
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)
    found = SmallProject(project.root, durable=True)
    yield found
    found.close()


# Builders.


def make_project(root: Path, encoder_cache: Path | None, text: str = SMALL) -> SmallProject:
    """Return a project with three shards of 60 documents and a target of 60 examples; nothing is made yet.

    `encoder_cache`: the static encoder for its home; None where nothing is embedded.
    """
    for topic in TOPICS:
        write_jsonl(root / "landing" / f"{topic}.jsonl", sentences(topic, 60, 1))
    write_jsonl(root / "target" / "algebra.jsonl", sentences("algebra", 60, 2))
    return _project(root, encoder_cache, text)


def make_graph(root: Path, encoder_cache: Path | None, text: str = GRAPH) -> SmallProject:
    """Return one with two files with near-duplicates, a repetition and bad rows, and a target."""
    write(root / "landing" / "cooking.jsonl", lines(COOKING))
    write(root / "landing" / "sailing.jsonl", [*lines([*SAILING, *NEAR, REPEATED]), *BAD_ROWS])
    write(root / "target" / "goal.jsonl", lines(texts("algebra", 14, 2)))
    return _project(root, encoder_cache, text)


def plain_project(root: Path, text: str, files: Mapping[str, str] | None = None) -> SmallProject:
    """Return one with these settings, and files of one document each: one in documents/, one in target/."""
    if files is None:
        files = {"documents/a.jsonl": "documents one", "target/a.jsonl": "target one"}
    for name, document in files.items():
        write_jsonl(root / name, [document])
    return _project(root, None, text)


def _project(root: Path, encoder_cache: Path | None, text: str) -> SmallProject:
    root.mkdir(parents=True, exist_ok=True)
    if PLUGIN_FILE in text and not (root / PLUGIN_FILE).exists():
        (root / PLUGIN_FILE).write_text(LENGTH)
    made = SmallProject(root)
    made.configure(text)
    if encoder_cache is not None:
        shutil.copytree(encoder_cache, made.home.cache)
    return made


# What a run would leave, without a run.


def note_made(project: Project, asset: str, *keys: str, ready: bool = False) -> None:
    """Write the current values that steps leave which succeed now; where an input is missing, of another key.

    `ready`: no input may be missing.
    """
    for key in keys:
        due = due_key(project, asset, key)
        assert due is not None or not ready, f"{asset}[{key}] lacks an input"
        found = due or f"{asset}{key}"
        value = CurrentValue(asset=asset, partition=key, manifest=found, input_key=found, data_version=found)
        write_current_values(project.home.store, [value])


def due_key(project: Project, asset: str, key: str = "") -> str | None:
    """Return the input key that a partition has now; None where an input is missing."""
    return input_key(stages()[asset], key, scan(project), read_current_values(project.home.store))


def heads_of(home: Home) -> CurrentValues:
    """Return what is current in a home."""
    return read_current_values(home.store)


def manifests_of(home: Home) -> ManifestFolder:
    """Return the manifests of a home."""
    return ManifestFolder.of(home)


def rows_of(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows of a table, null where they state nothing."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema_of(table))


def write_rows(home: Home, table: str, scope: str, doc_ids: Sequence[str] = ()) -> str:
    """Write the list of rows that a manifest names; returns its digest."""
    digest, content = stored_rows(home.store, table, scope, doc_ids)
    ManifestFolder(home.manifests).write_rows(digest, content)
    return digest


def manifest_of(asset: str, partition: str = "", inputs: Iterable[Manifest] = (), **stated: Any) -> Manifest:
    """Return a manifest that states what matters to the test; the rest is of no meaning."""
    key = stated.get("input_key", f"{asset}{partition}")
    keys = {"input_key": key, "data_version": key, "digest": ""}
    usual = {"code_version": "1", "config": {}, "seed": 0, "row_count": 1}
    references = tuple(reference(one) for one in inputs)
    return Manifest(asset=asset, partition=partition, inputs=references, **keys | usual | stated)


def record(home: Home, asset: str, partition: str = "", attempt: str = "", **stated: Any) -> Manifest:
    """Write a manifest (`manifest_of`) and its head, as a step leaves them; returns the manifest."""
    manifest = manifest_of(asset, partition, **stated)
    ManifestFolder(home.manifests).write(manifest)
    write_current_values(home.store, [head_of(manifest, attempt=attempt)])
    return manifest


def head_of(manifest: Manifest, **more: Any) -> CurrentValue:
    """Return the head that names a manifest."""
    keys = ("asset", "partition", "input_key", "data_version")
    return CurrentValue(manifest=manifest.id, **{key: getattr(manifest, key) for key in keys}, **more)


def reference(manifest: Manifest) -> InputReference:
    """Return how a manifest names this one among its inputs."""
    keys = ("asset", "partition", "data_version")
    return InputReference(manifest=manifest.id, **{key: getattr(manifest, key) for key in keys})


@dataclass
class Imagined:
    """A project whose stages are made by writing current values: each is the hash of what it depends on."""

    project: Project
    contents: dict[str, str] = field(default_factory=dict)
    current: CurrentValues = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    def snapshot(self) -> ProjectSnapshot:
        shards = {
            key: Shard(corpus="web", name=key, key=key, kind="file", path=Path(key)) for key in self.contents
        }
        targets = {target.name: "1" for target in self.project.settings.target}
        benchmarks = {benchmark.name: "1" for benchmark in self.project.settings.keep_out}
        return ProjectSnapshot(
            self.project,
            shards,
            dict(self.contents),
            targets,
            asked=self.asked,
            benchmark_fingerprints=benchmarks,
            control_fingerprints={control.name: "1" for control in self.project.settings.control},
        )

    def materialize(
        self, wanted: set[tuple[str, str]] | None = None, refit: bool = True
    ) -> list[tuple[str, str]]:
        """Make everything that is due, one group after the other; returns (asset, partition) in order."""
        made = []
        while group := next(next_groups(self.snapshot(), self.current, wanted, refit), None):
            for asset in group.assets:
                made += [(asset, key) for key in self.make(asset, group.partitions_of(asset))]
        return made

    def make(self, asset: str, partitions: tuple[str, ...]) -> list[str]:
        snapshot, stage = self.snapshot(), stages()[asset]
        due = {found.partition for found in due_partitions(stage, snapshot, self.current)}
        for name in [asset, *(other.name for other in stages().values() if other.made_with == asset)]:
            for key in [key for key in partitions if key in due]:
                found = input_key(stages()[name], key, snapshot, self.current)
                assert found is not None, f"{name}[{key}] was started before its inputs were there"
                version = hashlib.sha256(found.encode()).hexdigest()
                self.current[(name, key)] = CurrentValue(
                    asset=name, partition=key, manifest=version, input_key=found, data_version=version
                )
        return sorted(due.intersection(partitions))

    def versions(self) -> dict[tuple[str, str], str]:
        return {entry: value.data_version for entry, value in self.current.items()}
