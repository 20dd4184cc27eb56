"""The folder run by real dbt-core with its DuckDB adapter: same tables, same verdicts, same increments.

dbt lives in an environment of its own, since it caps packages that the platform uses. dbt-core is kept under
1.12, whose parser is downloaded from GitHub when it is installed (dbt-labs/dbt-core issue 15670).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from tamis.sql import run_model

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "dbt_like_sql"
PACKAGES = ("dbt-core>=1.11.16,<1.12", "dbt-duckdb>=1.11.1,<1.12", f"duckdb=={duckdb.__version__}")
PROFILE = "tamis: {{target: dev, outputs: {{dev: {{type: duckdb, path: '{path}', threads: 2}}}}}}\n"
FILL = """
import sys, pathlib, duckdb
database = duckdb.connect(sys.argv[1])
database.execute("create schema if not exists lake")
for file in pathlib.Path(sys.argv[2]).glob("*.parquet"):
    database.execute(f'create or replace table lake."{file.stem}" as from "{file}"')
"""
READ = """
import sys, pathlib, duckdb
database = duckdb.connect(sys.argv[1])
for name in sys.argv[3:]:
    database.execute(f"copy (select * from main.{name}) to '{sys.argv[2]}/{name}.parquet' (format parquet)")
"""


@pytest.fixture(scope="session")
def dbt_python(tmp_path_factory) -> Path:
    """Python of an environment that holds dbt alone."""
    folder = tmp_path_factory.mktemp("dbt") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"real dbt cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


class Dbt:
    """A copy of the folder with a database of its own."""

    def __init__(self, python: Path, root: Path) -> None:
        self.python, self.root, self.database = python, root, root / "dbt.duckdb"
        shutil.copytree(FOLDER, root / "project")
        (root / "profiles.yml").write_text(PROFILE.format(path=self.database))

    def fill(self, tables: dict[str, pa.Table]) -> None:
        """Make these the tables of the lake."""
        folder = self.root / "lake"
        folder.mkdir(exist_ok=True)
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet")
        self.execute(FILL, str(self.database), str(folder))

    def execute(self, script: str, *arguments: str) -> None:
        subprocess.run([self.python, "-c", script, *arguments], check=True)

    def dbt(self, verb: str) -> list[dict]:
        """Run `dbt run` or `dbt test`; its results."""
        done = subprocess.run(
            [self.python.parent / "dbt", verb, "--profiles-dir", str(self.root)],
            cwd=self.root / "project",
            env={**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
            capture_output=True,
            text=True,
        )
        # 1: a test failed; 2: dbt itself did.
        assert done.returncode <= (verb == "test"), done.stdout + done.stderr
        return json.loads((self.root / "project/target/run_results.json").read_text())["results"]

    def tables(self, names) -> dict[str, pl.DataFrame]:
        folder = self.root / "made"
        folder.mkdir(exist_ok=True)
        self.execute(READ, str(self.database), str(folder), *names)
        return {name: pl.read_parquet(folder / f"{name}.parquet") for name in names}

    def verdicts(self) -> dict[tuple, list[tuple]]:
        """Of each test (kind, model, column) or (name,): whether it passed, and how many rows break it."""
        nodes = json.loads((self.root / "project/target/manifest.json").read_text())["nodes"]
        found: dict[tuple, list[tuple]] = {}
        for result in self.dbt("test"):
            node = nodes[result["unique_id"]]
            model = (node.get("attached_node") or "").rpartition(".")[2]
            generic = node.get("test_metadata")
            key = (generic["name"], model, node["column_name"]) if generic else (node["name"],)
            assert result["status"] in ("pass", "fail", "warn"), result
            found.setdefault(key, []).append((result["status"], result["failures"]))
        return {key: sorted(values) for key, values in found.items()}


@pytest.fixture
def dbt(dbt_python, tmp_path) -> Dbt:
    return Dbt(dbt_python, tmp_path)


def ours(world, project, increment=False) -> tuple[dict[str, pl.DataFrame], dict[tuple, list[tuple]]]:
    """Every table and verdict, published whatever its tests say, since `dbt run` asks none."""
    tables, verdicts = {}, {}
    for model in project.ordered():
        previous = world.tables.get(model.name) if increment else None
        result = run_model(project, model.name, world.read, previous=previous)
        world.tables[model.name] = result.table
        tables[model.name] = pl.DataFrame(pl.from_arrow(result.table))
        for test in result.tests:
            key = (test.name,) if test.kind == "singular" else (test.kind, model.name, test.column)
            failed = "fail" if test.severity == "error" else "warn"
            verdicts.setdefault(key, []).append(("pass" if test.passed else failed, test.failures))
    return tables, {key: sorted(values) for key, values in verdicts.items()}


def assert_same_tables(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    assert found.keys() == expected.keys()
    for name, frame in expected.items():
        assert_frame_equal(
            found[name].sort(frame.columns), frame.sort(frame.columns), rel_tol=1e-12, abs_tol=1e-12
        )


def sources(world, project) -> dict[str, pa.Table]:
    return {name: world.tables[name] for name in project.sources}


def test_tables_and_verdicts_are_those_of_dbt(dbt, project, world):
    dbt.fill(sources(world, project))
    dbt.dbt("run")
    tables, verdicts = ours(world, project)
    assert_same_tables(dbt.tables(project.models), tables)
    assert dbt.verdicts() == verdicts
    assert {status for values in verdicts.values() for status, _ in values} == {"pass"}
    assert len(verdicts) > 60


def test_verdicts_on_broken_data_are_those_of_dbt(dbt, project, world, to_arrow, rows):
    broken = {
        "documents": [{"doc_id": "d1", "n_bytes": 1}, {"doc_id": "late", "n_bytes": 5}],
        "near_duplicates": [{"doc_id": "d1", "kept": "gone"}],
        "occurrences": [
            {"doc_id": "gone", "shard": "s", "row": 0},
            {"doc_id": "gone", "shard": "s", "row": 1},
        ],
        "decisions": [
            {"selection": "core", "doc_id": "d1", "verdict": "maybe", "reason": "x"},
            {"selection": "core", "doc_id": "w1", "verdict": "selected", "reason": "x"},
        ],
        "density_scores": [{"doc_id": "late", "density": float("nan")}],
        "transport_scores": [{"target": "law", "doc_id": "d1", "transport_gradient": 0.0}],
        "trials": [
            {"trial": "t1", "kind": "other", "size": 1, "data": "none"},
            {"trial": "t8", "kind": "warm_up", "size": 1, "data": "none", "held_out_bits_per_byte": 9.0},
        ],
        "withdrawals": [{"doc_id": "d2", "receipt": None, "reason": "x", "withdrawn_at": 0}],
    }
    for name, more in broken.items():
        world.tables[name] = to_arrow(name, rows[name] + more)
    dbt.fill(sources(world, project))
    dbt.dbt("run")
    tables, verdicts = ours(world, project)
    assert_same_tables(dbt.tables(project.models), tables)
    assert dbt.verdicts() == verdicts
    failing = {key for key, values in verdicts.items() if any(status == "fail" for status, _ in values)}
    assert len(failing) > 10
    assert ("warn", 1) in verdicts["relationships", "mart_trials", "data"]


def test_increments_are_those_of_dbt(dbt, project, world, to_arrow, rows):
    later = [row for row in rows["occurrences"] if row["shard"] == "web/b"]
    world.tables["occurrences"] = to_arrow("occurrences", [r for r in rows["occurrences"] if r not in later])
    dbt.fill(sources(world, project))
    dbt.dbt("run")
    ours(world, project)
    # A row that no full refresh would give: who adds keeps it.
    change = (
        "import sys, duckdb; duckdb.connect(sys.argv[1]).execute('update main.mart_intake set places = 99')"
    )
    dbt.execute(change, str(dbt.database))
    kept = world.tables["mart_intake"]
    place = kept.schema.get_field_index("places")
    world.tables["mart_intake"] = kept.set_column(place, kept.schema.field(place), pa.array([99]))
    world.tables["occurrences"] = to_arrow("occurrences", rows["occurrences"])
    dbt.fill(sources(world, project))
    dbt.dbt("run")
    tables, _ = ours(world, project, increment=True)
    assert tables["mart_intake"]["places"].to_list() == [99, 4]
    assert_same_tables(dbt.tables(project.models), tables)
