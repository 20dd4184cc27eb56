"""What commands import: the ones that only read must not wait for Dagster or a model's library."""

import os
import subprocess
import sys

import pytest
from projects import plain_project, settings

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
    return plain_project(tmp_path_factory.mktemp("start-up"), settings())


@pytest.mark.parametrize(
    "arguments", [["plan"], ["status"], ["explain", "0" * 32]], ids=lambda given: given[0]
)
def test_a_command_that_reads_imports_neither_dagster_nor_models(project, arguments):
    places = {"TAMIS_PROJECT": str(project.file), "TAMIS_HOME": str(project.root / "home")}
    command = [sys.executable, "-c", SCRIPT.format(heavy=HEAVY), *arguments]
    ran = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    assert ran.stdout.strip().endswith(", []]"), ran.stdout + ran.stderr
