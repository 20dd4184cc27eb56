"""What commands import: the ones that only read must not wait for Dagster or a model's library."""

import json
import os
import subprocess
import sys

import pytest
from projects import plain_project, settings

HEAVY = ("dagster", "torch", "transformers", "mlflow", "sentence_transformers")
LIBRARIES = (*HEAVY, "polars", "lancedb", "pyarrow", "numpy", "pydantic")
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
    assert loaded(HEAVY, arguments, **places) == []


@pytest.mark.parametrize("arguments", [["--help"], ["nothing"], []], ids=["help", "no such verb", "no verb"])
def test_a_call_without_a_verb_loads_no_library(arguments):
    assert loaded(LIBRARIES, arguments) == []


def loaded(names, arguments, **places) -> list[str]:
    """The packages of these names that a process has imported when its command ends."""
    command = [sys.executable, "-c", SCRIPT.format(heavy=names), *arguments]
    ran = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)[1]
