"""What is installed, what imports what, and what no file may hold."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from import_scan import imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tamis.runtime.runs import LOCATION

CHECKOUT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
DAGSTER = {"dagster", "dagster_webserver"}
HEAVY = set(PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"])
NOT_OURS = {
    ".git", ".venv", ".tamis", "__pycache__", "build", "dist", "landing", "test-results", ".env",
    ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis",
}  # fmt: skip


def constraints() -> dict[str, str]:
    """Version by canonical name."""
    lines = (CHECKOUT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def declared() -> list[Requirement]:
    """Every requirement of pyproject.toml, extras included."""
    project = PYPROJECT["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*project["dependencies"], *extras]]


def repository_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(CHECKOUT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(".egg-info")]
        yield from (Path(folder, name) for name in names if name not in NOT_OURS)


@pytest.mark.parametrize("requirement", declared(), ids=lambda requirement: requirement.name)
def test_each_declared_package_is_pinned_within_its_range(requirement):
    pins = constraints()
    name = canonicalize_name(requirement.name)
    assert name in pins
    assert requirement.specifier.contains(pins[name])


def test_constraints_are_exact_public_and_sorted():
    lines = [line for line in (CHECKOUT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)]
    assert wrong == []
    names = [line.partition("==")[0].lower() for line in lines]
    assert names == sorted(names)


def test_the_makefile_installs_the_torch_that_is_pinned():
    makefile = (CHECKOUT / "Makefile").read_text()
    assert f"torch=={constraints()['torch']}\n" in makefile
    assert constraints()["torch"] == "2.13.0"


def test_no_table_silently_overrides_workspace_yaml():
    assert {"dg", "dagster"}.isdisjoint(PYPROJECT["tool"])


def test_workspace_loads_the_definitions_by_their_import_name():
    from yaml import safe_load

    workspace = safe_load((CHECKOUT / "workspace.yaml").read_text())
    entry = {"module_name": "tamis.platform.definitions", "location_name": LOCATION}
    assert workspace == {"load_from": [{"python_module": entry}]}


def test_all_kinds_of_files_are_packaged():
    assert PYPROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["tamis*"]
    data = PYPROJECT["tool"]["setuptools"]["package-data"]["tamis"]
    others = {path.suffix for path in (CHECKOUT / "tamis").rglob("*.*") if path.suffix not in {".py", ".pyc"}}
    assert {suffix for suffix in others if not any(pattern.endswith(suffix) for pattern in data)} <= {
        ".typed"
    }
    assert "py.typed" in data


HERE = [folder for folder in (CHECKOUT, Path(sys.prefix).parent) if len(folder.parts) > 2]
FORBIDDEN = {  # written so that they do not match themselves
    "a home folder": r"/(?:home|Users)/[a-z][\w.-]*/|(?<![\w.])[/]root/",
    "a folder of this machine": "|".join(re.escape(f"{folder}/") for folder in HERE) or r"(?!)",
    "a package index": r"(?:index|find)-(?:url|links)\b|https?://\S+/simple\b|trusted[-]host",
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_no_file_holds(kind):
    pattern = re.compile(FORBIDDEN[kind])
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{path.relative_to(CHECKOUT)}: {match[0]}" for match in pattern.finditer(text)]
    assert found == []


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (CHECKOUT / folder).rglob("*.py") if not path.is_symlink())


def test_the_methods_know_nothing_of_dagster():
    for path in modules("tamis"):
        if path.relative_to(CHECKOUT / "tamis").parts[0] in ("runtime", "cli"):
            continue
        for name, _inside in imports(ast.parse(path.read_text())):
            assert name not in DAGSTER, f"{path} imports {name}"


@pytest.mark.parametrize("folder", ["tamis", "assets", "resources", "sensors"])
def test_heavy_packages_are_imported_inside_functions(folder):
    assert len(HEAVY) >= 8
    for path in modules(folder):
        for name, inside in imports(ast.parse(path.read_text())):
            assert name not in HEAVY or inside, f"{path} imports {name} when it is imported"


def test_the_scan_of_imports_sees_what_it_should():
    source = """
import torch.nn
if TYPE_CHECKING:
    import mlflow
class A:
    from ot import emd
    def f(self):
        import dagster as dg
try:
    from transformers import pipeline
except ImportError:
    pass
"""
    found = [("torch", False), ("ot", False), ("dagster", True), ("transformers", False)]
    assert list(imports(ast.parse(source))) == found


@pytest.mark.parametrize(
    "module", ["tamis.cli.making", "tamis.cli.tracing", "tamis.graph.stages", "tamis.verbs.status"]
)
def test_importing_loads_neither_the_platform_nor_anything_heavy(module):
    # The scan above sees our own imports; this sees those of the packages we import.
    code = f"import {module}, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    loaded = set(run.stdout.split())
    assert loaded & (HEAVY | DAGSTER | {"tamis.platform", "tamis.runtime"}) == set()
    assert "tamis" in loaded


def skip_check(folder: Path, **skips: str) -> subprocess.CompletedProcess[str]:
    """Run the check on two reports of a passed test each, one with these skips (name and reason)."""
    cases = [
        f'<testcase classname="a" name="{name}"><skipped message="{why}"/></testcase>'
        for name, why in skips.items()
    ]
    reports = [folder / "passed.xml", folder / "report.xml"]
    for report, found in zip(reports, ([], cases), strict=True):
        report.write_text(
            "<testsuite><testcase classname='a' name='passed'/>" + "".join(found) + "</testsuite>"
        )
    command = [sys.executable, CHECKOUT / ".ci" / "check_skips.py", *reports]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_a_skip_that_is_not_on_the_list_fails_the_ci(tmp_path):
    run = skip_check(tmp_path, lazy="no time")
    assert run.returncode == 1
    assert "skipped, not allowed: a::lazy: no time" in run.stdout
    assert skip_check(tmp_path).returncode == 0


def test_benchmark_data_may_be_missed_only_where_there_is_none(tmp_path):
    reason = "benchmark data is absent"
    assert f'"{reason}' in (CHECKOUT / "tests" / "conftest.py").read_text()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    allowed = skip_check(checkout, speed=reason)
    assert (allowed.returncode, "skipped, allowed: a::speed" in allowed.stdout) == (0, True)
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert skip_check(checkout, speed=reason).returncode == 1


def test_the_ci_ends_what_tests_leave_running():
    server = "subprocess.Popen(['sleep', '60'], start_new_session=True)"
    code = f"import subprocess; print({server}.pid); raise SystemExit(7)"
    command = [sys.executable, CHECKOUT / ".ci" / "without_leftovers.py", sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    process = run.stdout.strip()
    assert run.returncode == 7
    assert f"left behind, ended: {process} sleep 60" in run.stderr
    assert not Path("/proc", process).exists()


def test_long_files_of_tests_exist():
    from long_files import SECONDS

    assert [name for name in SECONDS if not (CHECKOUT / "tests" / name).is_file()] == []


@pytest.fixture(scope="module")
def editable(tmp_path_factory) -> tuple[Path, Path]:
    """Return a clone named tamis, with little in it, and the folder of what its editable install adds."""
    clone = tmp_path_factory.mktemp("work") / "tamis"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, clone)
    for name in ("tamis/__init__.py", "tamis/base/__init__.py", "tamis/base/errors.py"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, clone / name)
    code = "from setuptools import build_meta; print(build_meta.build_editable('wheel'))"
    made = subprocess.run([sys.executable, "-c", code], cwd=clone, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    added = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(clone / "wheel" / made.stdout.split()[-1]) as wheel:
        wheel.extractall(added)
    return clone, added


@pytest.mark.parametrize("started_in", [".", "..", "tamis", "elsewhere"])
@pytest.mark.parametrize("isolated", [[], ["-P"]], ids=["cwd first", "cwd not searched"])
def test_the_package_is_found_wherever_python_is_started(editable, started_in, isolated):
    clone, added = editable
    folder = clone / started_in if started_in != "elsewhere" else added.parent
    # As a virtual environment reads its own: after what is installed, from files that end in .pth.
    code = (
        "import site, sys; sys.path = [one for one in sys.path if 'site-packages' not in one];"
        "sys.meta_path = [one for one in sys.meta_path if 'editable' not in getattr(one, '__module__', '')];"
        f"site.addsitedir({str(added)!r}); import tamis, tamis.base.errors; print(tamis.__file__)"
    )
    run = subprocess.run(
        [sys.executable, "-S", *isolated, "-c", code],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == str(clone / "tamis" / "__init__.py"), run.stderr
