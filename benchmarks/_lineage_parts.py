"""Parts of the lineage benchmark that ask the platform: the audit of a real graph, and explanations.

`audit`: 1,000 shards, materialized whole; the command with and without --quick, and the speed of hashing
files again. `explain`: one document among the synthetic tables, the query and the command.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks._coverage_data import Report
from benchmarks._incremental_project import CHECKOUT, TARGET_TEXTS, command, make_project, real_texts
from benchmarks._lineage_tables import write_tables
from benchmarks._yardstick import least_rate, most_seconds
from tamis.base.files import file_digest
from tamis.history.explain import explain_document
from tamis.history.versions import note_version
from tamis.records.current_values import CurrentValue, read_current_values, write_current_values
from tamis.records.manifest import Manifest, ManifestFolder
from tamis.store.compaction import compact
from tamis.store.home import Home
from tamis.store.rows_files import stored_rows

SHARDS, DOCUMENTS = 1_000, 20_000
QUICK_SECONDS, MEGABYTES_PER_SECOND = 30.0, 500.0
QUERY_SECONDS, COMMAND_SECONDS = 0.3, 2.5
WEIGHTS, WEIGHT_MEGABYTES = 8, 256
ASKED = 12
SELECTION = "near-law"
PROJECT = '[project]\nname = "explain"\n[[corpus]]\nname = "web"\nkind = "files"\npath = "files"\n'


def audit(folder: Path, documents: int, seed: int, report: Report) -> None:
    """Seconds of `tamis audit` at 1,000 shards, and megabytes a second of files hashed again."""
    make_project(folder, real_texts(TARGET_TEXTS + DOCUMENTS, seed), SHARDS)
    build, _ = command(folder, "materialize")
    quick, said = command(folder, "audit", "--quick", "--json")
    whole, _ = command(folder, "audit")
    found = json.loads(said)
    most = most_seconds(QUICK_SECONDS, "core")
    report.line(
        "audit_quick",
        holds=quick < most.here and found["status"] == "green",
        shards=SHARDS,
        records=len(found["nodes"]),
        status=found["status"],
        seconds=quick,
        whole_seconds=whole,
        build_seconds=build,
        **most.figures(),
    )
    _hashing(folder, report)


def _hashing(folder: Path, report: Report) -> None:
    """Files under the home as large as checkpoints are, by the audit's own threads, next to one thread."""
    from tamis.audit.content import altered_files

    home = Home(folder / ".tamis")
    place = home.checkpoints / "weights"
    place.mkdir(parents=True)
    content = np.random.default_rng(0).bytes(WEIGHT_MEGABYTES << 20)
    for number in range(WEIGHTS):
        (place / f"{number}.safetensors").write_bytes(content)
    one = file_digest(place / "0.safetensors")
    stated = {f"checkpoints/weights/{number}.safetensors": one for number in range(WEIGHTS)}
    manifests = [
        Manifest(
            asset="trials",
            partition=name,
            code_version="",
            config={},
            seed=0,
            input_key="",
            data_version="",
            digest="",
            row_count=0,
            files={name: digest},
        )
        for name, digest in stated.items()
    ]
    began = time.perf_counter()
    assert not any(altered_files(home, manifests))
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    file_digest(place / "0.safetensors")
    alone = WEIGHT_MEGABYTES / (time.perf_counter() - began)
    rate = WEIGHTS * WEIGHT_MEGABYTES / seconds
    least = least_rate(MEGABYTES_PER_SECOND, "core")
    report.line(
        "hashed_again",
        holds=rate >= least.here,
        megabytes=WEIGHTS * WEIGHT_MEGABYTES,
        megabytes_per_second=rate,
        one_thread_alone=alone,
        **least.figures("limit_megabytes_per_second"),
    )


def explain(folder: Path, documents: int, seed: int, report: Report) -> None:
    """Seconds to explain a document of a large home: the query, and the command."""
    home = Home(folder / ".tamis")
    write_tables(home.store, documents, seed)
    home.store.delete("decisions", f"selection != '{SELECTION}'")
    compact(home.store)
    _publish(home)
    (folder / "files").mkdir(exist_ok=True)
    (folder / "tamis.toml").write_text(PROJECT)
    decisions = home.store.count("decisions")
    ids = home.store.open("documents").search().select(["doc_id"]).limit(10_000).to_arrow()["doc_id"]
    asked = ids.to_pylist()[:: 10_000 // ASKED][:ASKED]
    seconds = []
    for doc_id in asked:
        began = time.perf_counter()
        found = explain_document(home.store, doc_id, ManifestFolder(home.manifests))
        seconds.append(time.perf_counter() - began)
    query = float(np.median(seconds))
    commands = [_command(folder, doc_id) for doc_id in asked[:3]]
    limits = most_seconds(QUERY_SECONDS, "core"), most_seconds(COMMAND_SECONDS, "process")
    report.line(
        "explain",
        holds=query < limits[0].here and min(commands) < limits[1].here,
        decisions=decisions,
        documents=home.store.count("documents"),
        scores=len(found["scores"]),
        query_seconds=query,
        command_seconds=min(commands),
        **limits[0].figures("limit_query_seconds"),
        command_limit=limits[1].figures(),
    )


def _publish(home: Home) -> None:
    """Record the decisions in the tables as a run does: readers see what was recorded alone."""
    digest, content = stored_rows(home.store, "decisions", f"selection = '{SELECTION}'")
    folder = ManifestFolder.of(home)
    folder.write_rows(digest, content)
    current = []
    for asset in ("decisions", "selected_subset"):
        manifest = Manifest(
            asset=asset,
            partition=SELECTION,
            code_version="1",
            config={},
            seed=0,
            input_key="1",
            data_version=digest,
            digest=digest,
            row_count=0,
            rows={"decisions": digest} if asset == "decisions" else {},
        )
        name = folder.write(manifest)
        current.append(
            CurrentValue(asset=asset, partition=SELECTION, manifest=name, input_key="1", data_version=digest)
        )
    write_current_values(home.store, current)
    note_version(home, read_current_values(home.store), SELECTION)


def _command(folder: Path, doc_id: str) -> float:
    environment = {**os.environ, "TAMIS_PROJECT": str(folder / "tamis.toml"), "PYTHONPATH": str(CHECKOUT)}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "tamis.cli", "explain", doc_id],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began
