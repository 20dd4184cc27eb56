"""Files that make up a command: those that it names, and the modules of the project that these import."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tamis.plugins.commands import command_files, run_consent


def test_the_files_of_a_command_are_those_below_the_project(tmp_path):
    root, other = tmp_path / "project", tmp_path / "other.py"
    (root / "code").mkdir(parents=True)
    for path in (root / "train.py", root / "code" / "settings.yaml", other):
        path.write_text(path.name)
    command = [
        "python",
        "train.py",
        "--config=code/settings.yaml",
        str(other),
        "../other.py",
        "code",
        "{spec}",
    ]
    digests = command_files(command, root)
    assert list(digests) == ["code/settings.yaml", "train.py"]
    asked = run_consent("[trainer]", root / "tamis.toml", command, root)
    assert "runs `python train.py --config=code/settings.yaml" in asked.effect
    assert f"train.py (SHA-256 {digests['train.py'][:16]})" in asked.effect
    again = run_consent("[trainer]", root / "tamis.toml", command, root)
    (root / "train.py").write_text("changed")
    changed = run_consent("[trainer]", root / "tamis.toml", command, root)
    other_command = run_consent("[trainer]", root / "tamis.toml", [*command, "-v"], root)
    assert again == asked
    assert len({asked.digest, changed.digest, other_command.digest}) == 3


def test_a_link_to_a_file_elsewhere_counts_with_its_content(tmp_path):
    root, other = tmp_path / "project", tmp_path / "other"
    write(root, {"train.py": "import losses", "real.py": ""})
    write(other, {"run.py": "import beside", "beside.py": "", "losses.py": "", "deep/eval.py": ""})
    for name in ("run.py", "losses.py", "deep"):
        (root / name).symlink_to(other / name)
    (root / "near.py").symlink_to("real.py")
    command = ["python", "run.py", "train.py", "deep/eval.py", "near.py", "deep/../../other/run.py"]
    before = command_files(command, root)
    assert list(before) == ["deep/eval.py", "losses.py", "real.py", "run.py", "train.py"]
    assert "run.py (SHA-256" in run_consent("[trainer]", root / "tamis.toml", command, root).effect
    for name in ("run.py", "losses.py", "deep/eval.py"):
        (other / name).write_text("changed = 1")
    after = command_files(command, root)
    assert {name for name in before if before[name] != after[name]} == {"run.py", "losses.py", "deep/eval.py"}


def write(root: Path, files: dict[str, str]) -> None:
    for name, code in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code)


SOURCES = {
    "train.py": "import json, losses\nfrom pack.inner import part as other\n",
    "losses.py": "def f():\n    import deep",
    "deep.py": "import missing, train",
    "pack/__init__.py": "",
    "pack/inner/part.py": "from .. import sibling\nfrom . import near",
    "pack/inner/near.py": "",
    "pack/sibling.py": "import broken",
    "broken.py": "def (",
    "json.py": "",
    "unused.py": "",
    "data/losses.py": "",
}
IMPORTED = {
    *("train.py", "losses.py", "deep.py", "pack/__init__.py", "pack/inner/part.py", "pack/inner/near.py"),
    *("pack/sibling.py", "broken.py"),
}


def test_what_a_script_imports_from_the_project_is_followed(tmp_path):
    write(tmp_path, SOURCES)
    assert set(command_files(["python", "train.py", "{spec}"], tmp_path)) == IMPORTED
    assert set(command_files(["accelerate", "launch", "--config=train.py"], tmp_path)) == IMPORTED


@pytest.mark.parametrize("module", ["train", "pack.inner.part"])
def test_a_module_that_python_runs_by_its_name_is_followed(tmp_path, module):
    write(tmp_path, SOURCES)
    files = set(command_files(["torchrun", "-m", module, "{spec}"], tmp_path))
    assert files == (
        IMPORTED if module == "train" else {one for one in IMPORTED if "pack" in one} | {"broken.py"}
    )


def test_a_package_that_python_runs_is_its_main_module(tmp_path):
    write(tmp_path, {"pack/__init__.py": "", "pack/__main__.py": "import helper", "helper.py": ""})
    files = command_files(["python", "-m", "pack", "{spec}"], tmp_path)
    assert set(files) == {"pack/__init__.py", "pack/__main__.py", "helper.py"}


def test_another_content_of_an_imported_module_asks_again(tmp_path):
    write(tmp_path, SOURCES)
    file, command = tmp_path / "tamis.toml", ["python", "train.py", "{spec}"]
    before = run_consent("[trainer]", file, command, tmp_path)
    assert "losses.py (SHA-256 " in before.effect
    write(tmp_path, {"deep.py": "x = 1"})
    assert run_consent("[trainer]", file, command, tmp_path).digest != before.digest
    asked = run_consent("[trainer]", file, command, tmp_path)
    write(tmp_path, {"unused.py": "x = 1"})
    assert run_consent("[trainer]", file, command, tmp_path) == asked


@pytest.mark.parametrize("seed", range(3))
def test_python_imports_what_is_followed(tmp_path, seed):
    draw = random.Random(seed)
    names = [f"m{number}" for number in range(8)]
    imports = {name: draw.sample(names, draw.randint(0, 2)) for name in names}
    code = {name: "".join(f"import {other}\n" for other in others) for name, others in imports.items()}
    write(tmp_path, {f"code/{name}.py": lines for name, lines in code.items()})
    program = "import runpy, sys; sys.path[0] = 'code'; runpy.run_path('code/m0.py'); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    imported = {f"code/{name}.py" for name in names if name in done.stdout.split()} | {"code/m0.py"}
    assert set(command_files(["python", "code/m0.py"], tmp_path)) == imported
