"""The wheel in an environment and a folder of its own, without the checkout and the weights of the judge."""

import json
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from projects import CHECKOUT, SMALL, make_project, sentences, write
from wheels import Installed, build, installed

from tamis.embedding.identity import encoder_identity
from tamis.training.gguf_model import INSTALL

FOREIGN = ("assets", "definitions", "resources", "sensors")
BOTH = """
import {0}
import {1}
import definitions, resources, tamis.platform.resources.store
assert definitions.__file__.startswith({2!r}), definitions
assert resources.__file__.startswith({2!r}), resources
print(tamis.platform.resources.store.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, encoder_cache) -> Path:
    return build("wheel", CHECKOUT, tmp_path_factory.mktemp("wheel"), encoder_cache)


@pytest.fixture(scope="module")
def tamis(tmp_path_factory, wheel) -> Installed:
    return installed(tmp_path_factory.mktemp("installed"), wheel)


@pytest.fixture(autouse=True)
def _nothing_is_written_where_it_is_installed(tamis):
    """As where site-packages can be read alone."""
    before = tamis.files()
    yield
    assert tamis.files() == before


def rows(path: Path, texts: list[str]) -> Path:
    write(path, [json.dumps({"text": text, "number": number}) for number, text in enumerate(texts)])
    return path


def test_it_carries_the_encoder_with_digest_and_licence(tamis):
    (folder,) = (tamis.site / "tamis" / "embedding" / "distilled").iterdir()
    assert folder.name == f"static-{encoder_identity('static')}"
    assert {path.name for path in folder.iterdir()} == {
        "LICENSE",
        "SHA256",
        "tokenizer.json",
        "vectors.safetensors",
    }


def test_a_wheel_from_the_sdist_has_the_same_files(wheel, encoder_cache, tmp_path):
    """With neither the repository nor the teacher's weights at hand."""
    with tarfile.open(build("sdist", CHECKOUT, tmp_path / "sdist", encoder_cache)) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("tamis-*")
    again = build("wheel", unpacked, tmp_path / "again", tmp_path / "empty cache", HOME="/nowhere")
    packed = [
        {
            one.filename: one.CRC
            for one in zipfile.ZipFile(file).infolist()
            if ".dist-info/" not in one.filename
        }
        for file in (wheel, again)
    ]
    assert packed[0] == packed[1]
    assert len(packed[0]) > 400


def test_two_files_give_a_third_and_no_encoder_is_distilled(tamis, tmp_path):
    goal = sentences("algebra", 560, 1)
    rows(tmp_path / "goal.jsonl", goal[:500])
    rows(tmp_path / "pool.jsonl", [*sentences("cooking", 540, 1), *goal[500:]])
    options = ("--target", "goal.jsonl", "--budget", "10%", "--output", "chosen.jsonl", "--rules", "none")
    without = (
        "from tamis.embedding import static; static.distil = None; from tamis.cli import console; console()"
    )
    tamis.run("python", "-c", without, "select", "pool.jsonl", *options, folder=tmp_path)
    chosen = [json.loads(line) for line in (tmp_path / "chosen.jsonl").read_text().splitlines()]
    assert [row["tamis_rank"] for row in chosen] == [*range(1, 61)]
    assert {row["number"] for row in chosen} <= {*range(540, 600)}


def test_a_project_is_made_and_its_manifests_name_the_build(tamis, tmp_path):
    """The repository around the project is not asked: its commit says nothing about Tamis."""
    project = make_project(tmp_path / "repository" / "project", None, SMALL)
    for command in (
        ["init", "--quiet"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty"],
    ):
        subprocess.run(["git", *command], cwd=project.root.parent, check=True)
    tamis.run("tamis", "materialize", "--only", "raw_shards", folder=project.root)
    found = [json.loads(path.read_text()) for path in (project.home.root / "manifests").rglob("*.json")]
    facts = [manifest["beside"] for manifest in found if "beside" in manifest]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    ).stdout.strip()
    assert facts
    for fact in facts:
        assert fact["git"].get("commit", "") == commit
        assert (
            fact["libraries"]["tamis"]
            == tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
        )


@pytest.mark.parametrize(
    "order", [("assets", "tamis.platform.definitions"), ("tamis.platform.definitions", "sensors")]
)
def test_packages_of_others_with_the_names_of_our_folders_work_in_the_same_process(tamis, tmp_path, order):
    for name in FOREIGN:
        write(tmp_path / "theirs" / name / "__init__.py", ["THEIRS = True"])
    code = BOTH.format(*order, str(tmp_path / "theirs"))
    said = tamis.run("python", "-c", code, folder=tmp_path / "theirs")
    assert said.strip().endswith(str(tamis.site / "tamis" / "platform" / "resources" / "store.py"))


def test_the_demonstration_is_written_without_what_asks_the_judge(tamis, tmp_path):
    code = "from tamis.verbs.demonstration import demonstration; print(demonstration('mine'))"
    said = tamis.run("python", "-c", code, folder=tmp_path)
    assert INSTALL in said
    written = tomllib.loads((tmp_path / "mine" / "tamis.toml").read_text())
    assert [selection["name"] for selection in written["selection"]] == ["got-d", "random", "density", "knn"]
    assert "judge" not in written
    assert "raw_shards" in tamis.run("tamis", "plan", folder=tmp_path / "mine")


@pytest.mark.slow
def test_the_demonstration_runs(tamis, tmp_path):
    said = tamis.run("tamis", "demo", folder=tmp_path)
    assert "`tamis -C tamis-demo ui` shows the graph and the pages" in said
    again = tamis.run("tamis", "demo", folder=tmp_path / "tamis-demo")
    assert "everything is current" in again
    status = json.loads(tamis.run("tamis", "-C", "tamis-demo", "status", "--json", folder=tmp_path))
    assert (status["due"], status["failed_checks"], status["damaged"]) == ([], [], {})
    audit = json.loads(tamis.run("tamis", "-C", "tamis-demo", "audit", "--json", folder=tmp_path))
    assert audit["status"] == "green"
