"""SQL models in a real project: published when their tests pass, increments, a new file, columns told."""

import json
import shutil
import subprocess
import sys

import pytest
from small_project import CHECKOUT, sentences, write_jsonl

from tamis.lineage.heads import forget_heads, read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.store.tables import Store

PLATFORM = ("assets", "dbt_like_sql", "definitions.py", "resources", "sensors", "tamis")
NEW_MODEL = """
{{ config(materialized='table') }}

select
    language,
    count(*) as documents
from {{ ref('stg_documents') }}
group by language
order by language
"""
LIST = """
import json
from definitions import defs
asset = defs.get_assets_def("mart_languages")
print(json.dumps(sorted(key.to_user_string() for key in asset.asset_deps[asset.key])))
"""


def made(project, asset: str):
    """The latest manifest of a model."""
    head = read_heads(Store(project.home / "lance"))[asset, ""]
    return ManifestFolder(project.home / "manifests").read(head.manifest)


@pytest.mark.slow
def test_a_model_that_fails_its_tests_does_not_replace_its_table(project):
    store = Store(project.home / "lance")
    before = store.read("mart_reasons")
    store.open("decisions").update(where="selection = 'uniform'", values={"verdict": "maybe"})
    forget_heads(store, [("mart_reasons", "")])
    done = project.tamis("materialize", "--only", "mart_reasons", code=1)
    assert "check failed: mart_reasons" in done.stderr
    assert store.read("mart_reasons").equals(before)
    page = (project.home / "reports" / "sql_mart_reasons.html").read_text()
    assert "The table before stays in place" in page
    assert "accepted_values_mart_reasons_verdict" in page


@pytest.mark.slow
def test_increments_of_a_certified_run_equal_the_full_refresh_that_settles_them(project):
    first = made(project, "mart_intake")
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 5, 7))
    project.tamis("materialize", "--certified")
    added = made(project, "mart_intake")
    assert (added.settled, added.row_count) == (False, 4)
    assert (added.asset, "", first.data_version) in {
        (entry.asset, entry.partition, entry.data_version) for entry in added.inputs
    }
    project.tamis("materialize")
    settled = made(project, "mart_intake")
    assert settled.settled
    assert settled.data_version == added.data_version != first.data_version
    # A changed file is no growth: the certified run computes all rows anew.
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 6, 8))
    project.tamis("materialize", "--certified")
    assert made(project, "mart_intake").settled
    assert project.json("audit", "--quick")["status"] != "red"


def test_adding_a_model_is_adding_one_file(tmp_path):
    for name in PLATFORM:
        source = CHECKOUT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    (tmp_path / "dbt_like_sql" / "marts" / "mart_languages.sql").write_text(NEW_MODEL)
    (tmp_path / "tamis.toml").write_text((CHECKOUT / "tamis.toml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", LIST],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["documents", "near_duplicates", "stg_documents"]
