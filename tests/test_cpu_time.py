"""The plugin that fails a run whose files take too much CPU time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cpu_time import over_budget

TESTS = Path(__file__).resolve().parent
WORK = """
import time

def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""
ITSELF_AND_ITS_PROCESS = """
import subprocess, sys
from work import work

def test_own():
    work(0.3)

def test_child():
    subprocess.run([sys.executable, "-c", "from work import work; work(0.3)"], check=True)
"""
SLOW_AND_SHARED = """
import pytest
from work import work

@pytest.fixture(scope="session")
def made():
    work(0.6)

def test_uses(made):
    pass

@pytest.mark.slow
def test_long():
    work(0.6)
"""


def test_a_file_may_take_what_all_may_or_what_it_is_allowed():
    seconds = {"a.py": 21.0, "b.py": 19.0, "c.py": 40.0, "d.py": 61.0}
    assert over_budget(seconds, {"c.py": 60.0, "d.py": 60.0}) == [
        "d.py: 61 s of CPU time, 60 allowed",
        "a.py: 21 s of CPU time, 20 allowed",
    ]
    assert over_budget(seconds, {"c.py": 60.0, "d.py": 60.0}, slower=1.05) == []


@pytest.fixture
def suite(tmp_path):
    """Run these files as a suite of their own, in which a file may take half a second."""

    def run(*options: str, **files: str) -> subprocess.CompletedProcess[str]:
        plugin = (TESTS / "cpu_time.py").read_text()
        assert "MOST_CPU_SECONDS = 20.0" in plugin
        plugin = plugin.replace("MOST_CPU_SECONDS = 20.0", "MOST_CPU_SECONDS = 0.5")
        plugin = plugin.replace("REFERENCE_SECONDS = 0.030", "REFERENCE_SECONDS = 30.0")
        files |= {"cpu_time": plugin, "work": WORK}
        files |= {"long_files": "ALLOWED_CPU_SECONDS = {}\n", "conftest": 'pytest_plugins = ["cpu_time"]\n'}
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(tmp_path)]
        alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=alone)

    return run


@pytest.mark.parametrize(
    "options", [(), ("-p", "xdist", "-n", "2", "--dist", "loadfile")], ids=["one process", "workers"]
)
@pytest.mark.parametrize(("limits", "code"), [((), 0), (("--cpu-limits", "fail"), 1)])
def test_a_file_that_computes_too_long_is_named_its_processes_included(suite, options, limits, code):
    ran = suite(*options, *limits, test_quick="def test_quick(): pass\n", test_busy=ITSELF_AND_ITS_PROCESS)
    assert ran.returncode == code, ran.stdout
    assert "3 passed" in ran.stdout
    assert "too slow: test_busy.py: 1 s of CPU time, 0 allowed" in ran.stdout
    assert "too slow: test_quick.py" not in ran.stdout


def test_slow_tests_and_fixtures_of_the_session_are_not_counted(suite):
    ran = suite("--cpu-limits", "fail", test_one=SLOW_AND_SHARED)
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout
    ran = suite("--cpu-limits", "fail", "-m", "not slow", test_one=SLOW_AND_SHARED)
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout


def test_where_slow_tests_run_no_file_is_judged(suite):
    ran = suite("--cpu-limits", "fail", test_busy=ITSELF_AND_ITS_PROCESS, test_one=SLOW_AND_SHARED)
    assert ran.returncode == 0, ran.stdout
    assert "too slow" not in ran.stdout
