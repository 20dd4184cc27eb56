"""A new file in dbt_like_sql/ is a new asset; no list of models has to be changed."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
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
from tamis.platform.definitions import defs
asset = defs().get_assets_def("mart_languages")
print(json.dumps(sorted(key.to_user_string() for key in asset.asset_deps[asset.key])))
"""


def test_adding_a_model_is_adding_one_file(tmp_path):
    for name in PLATFORM:
        source = CHECKOUT / name
        copy = partial(shutil.copytree, symlinks=True) if source.is_dir() else shutil.copy
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
