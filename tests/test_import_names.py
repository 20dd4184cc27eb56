"""The folders at the top of the repository are packages of tamis.platform; lint sees through the links."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDERS = ("assets", "resources", "sensors", "dbt_like_sql")
LINKED = (*FOLDERS, "definitions.py", "tamis.toml", "workspace.yaml", "deploy/dagster.yaml")
BARE = ("assets", "definitions", "resources", "sensors")
BIN = Path(sys.executable).parent


def run(*command: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )


def copied(folder: Path, *names: str) -> Path:
    """Copy files and folders of the checkout with their links."""
    left_out = shutil.ignore_patterns("__pycache__")
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (CHECKOUT / name).is_dir() and not (CHECKOUT / name).is_symlink():
            shutil.copytree(CHECKOUT / name, folder / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy2(CHECKOUT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture(scope="module")
def product(tmp_path_factory) -> Path:
    """Return a copy of the product and of what it is built from."""
    build = ("pyproject.toml", "README.md", "LICENSE", "deploy/dagster.yaml")
    product = (*FOLDERS, "tamis", "tamis.toml", "definitions.py", "workspace.yaml")
    return copied(tmp_path_factory.mktemp("product"), *build, *product)


@pytest.mark.parametrize("name", LINKED)
def test_the_platform_is_linked_by_relative_links(name):
    link = CHECKOUT / "tamis" / "platform" / name
    assert link.is_symlink()
    assert not Path(os.readlink(link)).is_absolute()
    assert link.resolve() == CHECKOUT / name


def test_a_wheel_has_the_files_of_the_platform(product, tmp_path):
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    built = run(sys.executable, "-c", code, folder=product)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = [path.relative_to(product) for name in FOLDERS for path in (product / name).rglob("*")]
    files += [Path(name) for name in LINKED if name not in FOLDERS]
    wanted = {f"tamis/platform/{path}" for path in files if path.suffix and path.suffix != ".md"}
    assert wanted - packed == set()
    assert len(wanted) > 60
    assert {name.partition("/")[0] for name in packed if ".dist-info/" not in name} == {"tamis"}


def test_an_sdist_has_what_a_wheel_is_built_from(product, tmp_path):
    """A wheel from it, in a folder without links, has what one from the checkout has, and works elsewhere."""
    code = "from setuptools import build_meta; build_meta.build_{0}({1!r})"
    wheels = []
    for folder, kind in ((product, "sdist"), (product, "wheel"), (tmp_path / "unpacked", "wheel")):
        made = tmp_path / f"{kind}{len(wheels)}"
        built = run(sys.executable, "-c", code.format(kind, str(made)), folder=folder)
        assert built.returncode == 0, built.stderr
        (packed,) = made.iterdir()
        if kind == "sdist":
            with tarfile.open(packed) as archive:
                assert not [one.name for one in archive if one.issym() or one.islnk()]
                archive.extractall(tmp_path, filter="data")
            (tmp_path / packed.name.removesuffix(".tar.gz")).rename(tmp_path / "unpacked")
        else:
            wheels.append(packed)
    first, second = (set(zipfile.ZipFile(wheel).namelist()) for wheel in wheels)
    assert first == second
    zipfile.ZipFile(wheels[1]).extractall(tmp_path / "installed")
    for name in BARE:  # as the folders of somebody's project may be called
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
    check = "import tamis.platform.definitions as found; print(found.__file__)"
    done = run(
        sys.executable, "-c", check, folder=tmp_path / "elsewhere", PYTHONPATH=str(tmp_path / "installed")
    )
    assert done.stdout.strip() == str(tmp_path / "installed" / "tamis" / "platform" / "definitions.py"), (
        done.stderr
    )


def test_a_copy_that_lost_its_links_says_so(product, tmp_path):
    """As git writes them where it may make no links: files that hold the address."""
    copy = tmp_path / "copy"
    shutil.copytree(product / "tamis", copy / "tamis", symlinks=True)
    for link in [path for path in (copy / "tamis" / "platform").rglob("*") if path.is_symlink()]:
        address = os.readlink(link)
        link.unlink()
        link.write_text(address)
    done = run(
        sys.executable, "-c", "import tamis.platform.definitions", folder=tmp_path, PYTHONPATH=str(copy)
    )
    assert done.returncode == 1
    assert "ImportError: the links in " in done.stderr
    assert "install Tamis as a wheel" in done.stderr


@pytest.mark.parametrize("first", ["foreign", "ours"])
def test_packages_of_the_same_bare_names_and_ours_work_in_a_process(first, tmp_path):
    for name in BARE:
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    foreign = "import " + ", ".join(BARE)
    ours = "import tamis.platform.definitions"
    lines = [foreign, ours] if first == "foreign" else [ours, foreign]
    check = f"print(all(one.MINE for one in ({', '.join(BARE)},)), callable(tamis.platform.definitions.defs))"
    done = run(
        sys.executable, "-c", "\n".join([*lines, check]), folder=tmp_path, PYTHONPATH=f"{tmp_path}:{CHECKOUT}"
    )
    assert done.stdout.split() == ["True", "True"], done.stderr


PLANTED = {
    "from a method to the runtime": ("tamis/store/planted.py", "import tamis.runtime.step\n"),
    "from the runtime to a resource": (
        "tamis/runtime/planted.py",
        "def f():\n    from tamis.platform.resources import store\n",
    ),
    "from a resource": (
        "resources/planted.py",
        "def f():\n    from tamis.platform.sensors import arrivals\n",
    ),
    "between assets and sensors": ("assets/planted.py", "from tamis.platform.sensors import arrivals\n"),
}


@pytest.mark.parametrize("place", PLANTED)
def test_an_upward_import_fails(product, place):
    file, text = PLANTED[place]
    (product / file).write_text(text)
    try:
        broken = run(BIN / "lint-imports", "--no-cache", folder=product)
    finally:
        (product / file).unlink()
    assert broken.returncode == 1, broken.stdout
    assert "planted" in broken.stdout
    kept = run(BIN / "lint-imports", "--no-cache", folder=product)
    assert kept.returncode == 0, kept.stdout


def test_a_type_error_between_the_platform_and_the_methods_fails(tmp_path):
    """In a small checkout: all of it takes a minute."""
    folder = copied(tmp_path / "small", "pyproject.toml", "tamis/platform", "resources/__init__.py")
    (folder / "tamis" / "platform" / "definitions.py").unlink()
    (folder / "tamis" / "__init__.py").touch()
    (folder / "tamis" / "counting.py").write_text("def count() -> int:\n    return 1\n")
    planted = folder / "resources" / "planted.py"
    planted.write_text("from tamis.counting import count\n\nNAME: int = count()\n")
    sound = run(BIN / "mypy", folder=folder)
    assert sound.returncode == 0, sound.stdout
    planted.write_text(planted.read_text().replace("int", "list[str]"))  # of another size: mypy looks at that
    broken = run(BIN / "mypy", folder=folder)
    assert broken.returncode == 1
    assert "planted.py:3: error: Incompatible types" in broken.stdout


@pytest.mark.parametrize("name", BARE)
@pytest.mark.parametrize("folder", ["tamis/base", "assets", "tests", "benchmarks"])
def test_a_bare_import_fails(name, folder, tmp_path):
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    planted = tmp_path / folder / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(f"import {name}\n\nprint({name})\n")
    done = run(BIN / "ruff", "check", "--no-cache", ".", folder=tmp_path)
    assert done.returncode == 1
    assert f"its import name is tamis.platform.{name}" in done.stdout
