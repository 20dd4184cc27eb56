"""A new file in dbt_like_sql/ is a new asset; no list of models has to be changed."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PLATFORM = ("assets", "dbt_like_sql", "definitions.py", "resources", "sensors", "tamis")
MODELS = {
    "mart_languages": """
{{ config(materialized='table') }}

select
    language,
    count(*) as documents
from {{ ref('stg_documents') }}
group by language
order by language
""",
    "mart_training_cost": """
{{ config(materialized='table') }}

select kind, count(*) as trained, sum(seconds order by seconds) as seconds
from {{ ref('runs') }}
group by kind
order by kind
""",
}
READ = {
    "mart_languages": ["documents", "near_duplicates", "stg_documents"],
    # Of what the view reads, since the view is no asset: what a project without a comparison or mixture has.
    "mart_training_cost": ["stg_trials", "trials"],
}
LIST = """
import json, sys
from tamis.platform.definitions import defs
assets = {name: defs().get_assets_def(name) for name in sys.argv[1:]}
deps = {name: sorted(key.to_user_string() for key in one.asset_deps[one.key]) for name, one in assets.items()}
print(json.dumps(deps))
"""


def test_adding_a_model_is_adding_one_file(tmp_path):
    for name in PLATFORM:
        source = CHECKOUT / name
        copy = partial(shutil.copytree, symlinks=True) if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    for name, model in MODELS.items():
        (tmp_path / "dbt_like_sql" / "marts" / f"{name}.sql").write_text(model)
    (tmp_path / "tamis.toml").write_text((CHECKOUT / "tamis.toml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", LIST, *MODELS],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == READ
