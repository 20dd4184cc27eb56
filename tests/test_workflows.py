"""Workflows of GitHub: commands that they run are there, permissions are few, and actions have versions."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
VERSIONED = re.compile(r"[\w./-]+@v\d+|docker://[\w./-]+:\d+\.\d+\.\d+")


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text())


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_only_the_job_that_adds_files_to_a_release_may_write(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more in ({}, {"attach": {"contents": "write"}})
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120


def test_actions_have_versions_and_leave_no_token_in_the_checkout(workflow):
    for step in steps(workflow):
        if "uses" in step:
            assert VERSIONED.fullmatch(step["uses"]), step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_targets_and_files_that_they_run_exist(workflow):
    commands = "\n".join(step.get("run", "") for step in steps(workflow))
    matrix = [job["strategy"]["matrix"]["include"] for job in workflow["jobs"].values() if "strategy" in job]
    targets = set(re.findall(r"^([\w-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"\bmake (\S+)", commands.replace("${{ matrix.versions }}", "*")):
        names = {target.replace("*", row["versions"]) for rows in matrix for row in rows} or {target}
        assert names <= targets
    for script in re.findall(r"\b(?:bash|sh|python) (\.?[\w/]+[./]\S+)", commands):
        assert (CHECKOUT / script).is_file(), script


def test_pull_requests_run_the_whole_check():
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "check.yml").read_text())
    assert "pull_request" in workflow[True]  # YAML 1.1 reads the key `on` so
    assert "bash .ci/run" in [step.get("run") for step in steps(workflow)]


def test_actionlint_finds_nothing():
    """Skipped where actionlint is not installed; a job of check.yml runs it for each pull request."""
    actionlint = shutil.which("actionlint")
    if actionlint is None:
        pytest.skip("actionlint is not installed")
    done = subprocess.run([actionlint, *WORKFLOWS], capture_output=True, text=True, cwd=CHECKOUT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
