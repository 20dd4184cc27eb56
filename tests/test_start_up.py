"""What commands import: the ones that only read must not wait for Dagster or a model's library."""

import os
import subprocess
import sys

import pytest

HEAVY = ("dagster", "torch", "transformers", "mlflow", "sentence_transformers")
SCRIPT = """
import contextlib, io, json, sys
from tamis.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
print(json.dumps([code, sorted(set({heavy!r}) & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project in which nothing has been made yet."""
    folder = tmp_path_factory.mktemp("start-up")
    (folder / "landing").mkdir()
    (folder / "landing" / "one.jsonl").write_text('{"text": "a document"}\n')
    (folder / "tamis.toml").write_text(
        '[project]\nprecision = "float32"\n\n[automation]\nsettle_seconds = 0.0\n\n'
        '[[corpus]]\nname = "web"\nkind = "files"\npath = "landing"\n'
    )
    return folder


@pytest.mark.parametrize(
    "arguments", [["plan"], ["status"], ["explain", "0" * 32]], ids=lambda given: given[0]
)
def test_a_command_that_reads_imports_neither_dagster_nor_models(project, arguments):
    places = {"TAMIS_PROJECT": str(project / "tamis.toml"), "TAMIS_HOME": str(project / "home")}
    command = [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *arguments]
    ran = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    assert ran.stdout.strip().endswith(", []]"), ran.stdout + ran.stderr
