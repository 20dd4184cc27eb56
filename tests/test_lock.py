"""tamis.lock is written on request; what differs is refused, and a new home takes its precision."""

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
from projects import CHECKOUT, SmallProject, plain_project, selection, settings, write_jsonl

from tamis.base.precision import BFLOAT16, FLOAT32, Speeds
from tamis.cli import main
from tamis.project import chosen_precision, open_project
from tamis.records.manifest import LIBRARIES
from tamis.scan import lock
from tamis.scan.lock import RESULTS, differences, present
from tamis.settings.lock import LOCK_FILE, Lock, UnreadableLockError, read_lock

UNTIL_LAST_DIGITS = {"dagster", "mlflow"}
"""Packages that manifests name, and that compute nothing."""


def made(root: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    project = plain_project(root, text, {})
    write_jsonl(project.root / "documents" / "a.jsonl", ["a text that is long enough"])
    monkeypatch.chdir(project.root)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    return project


@pytest.fixture
def project(tmp_path, monkeypatch, nowhere) -> SmallProject:
    text = settings(selection("uniform")).replace("[project]", '[project]\ntokenizer = "smollm2-135m"')
    return made(tmp_path / "project", text, monkeypatch)


def change(project: SmallProject, table: str, key: str, value: str | None) -> None:
    """Write another value of a lock, or none; `table` "": of its first lines."""
    path = project.root / LOCK_FILE
    stated = tomllib.loads(path.read_text())
    values = stated[table] if table else stated
    if value is None:
        del values[key]
    else:
        values[key] = value
    Lock.model_validate(stated).write(path)


def said_by(capsys, *call: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main([*call]) == code
    return capsys.readouterr().err


def test_a_lock_states_what_is_here_and_equal_states_give_equal_bytes(project, capsys):
    assert main(["lock"]) == 0
    path = project.root / LOCK_FILE
    first, stated = path.read_bytes(), read_lock(project.root)
    assert stated == present(open_project(project.root))
    assert stated.precision == FLOAT32
    assert stated.models.keys() == {"encoder", "tokenizer"}
    assert stated.versions["torch"] == importlib.metadata.version("torch").partition("+")[0]
    assert differences(open_project(project.root)) == []
    assert said_by(capsys, "lock") == ""
    assert path.read_bytes() == first
    assert said_by(capsys, "status") == ""


@pytest.mark.parametrize(
    ("table", "key", "value", "line"),
    [
        ("versions", "torch", "1.0", "pip install torch==1.0"),
        ("versions", "scipy", None, "pip uninstall scipy"),
        ("versions", "never-heard-of", "3", "never-heard-of: 3 in tamis.lock, absent here; pip install"),
        ("versions", "python", "2.7", "run Tamis with Python 2.7"),
        ("models", "encoder", "static 0123", "encoder: static 0123 in tamis.lock, static "),
        ("models", "encoder", "minilm 0123", "restore tamis.toml"),
        ("models", "judge", "smollm2-135m 0123", "judge: smollm2-135m 0123 in tamis.lock, absent here"),
        ("", "precision", "bfloat16", 'set precision = "bfloat16" in [project]'),
    ],
)
def test_a_difference_is_refused_with_both_values_and_the_way_out(project, capsys, table, key, value, line):
    assert main(["lock"]) == 0
    change(project, table, key, value)
    said = said_by(capsys, "materialize", "--locked", code=2)
    assert line in said
    assert "differ in 1 value" in said
    assert "nothing was materialized" in said
    assert not list(project.home.manifests.glob("??/*.json"))
    for verb in ("plan", "status"):
        (warned,) = [one for one in said_by(capsys, verb).splitlines() if LOCK_FILE in one]
        assert line in warned
    assert main(["lock"]) == 0
    assert key in capsys.readouterr().out
    assert differences(open_project(project.root)) == []


def test_without_a_lock_nothing_can_be_held_to_it(project, capsys):
    assert "`tamis lock` writes it" in said_by(capsys, "materialize", "--locked", code=2)
    assert LOCK_FILE not in said_by(capsys, "plan")


def test_a_folder_of_its_name_is_said_with_what_to_do(project, capsys):
    (project.root / LOCK_FILE).mkdir()
    said = said_by(capsys, "lock", code=2)
    assert f"{LOCK_FILE} cannot be read: it is a folder; move it away" in said
    assert ".tmp" not in said


@pytest.mark.parametrize("text", ["", "precision = 1", "no toml", 'precision = "float32"\nmodels = {}'])
def test_a_damaged_lock_is_said_and_can_be_written_again(project, capsys, text):
    (project.root / LOCK_FILE).write_text(text)
    with pytest.raises(UnreadableLockError, match=r"cannot be read: .*write it again with `tamis lock`"):
        read_lock(project.root)
    assert "cannot be read" in said_by(capsys, "status", code=2)
    assert main(["lock"]) == 0
    assert differences(open_project(project.root)) == []


def test_a_new_home_takes_the_precision_of_the_lock(tmp_path, monkeypatch, nowhere, capsys):
    project = made(tmp_path / "open", settings(selection("uniform"), precision="auto"), monkeypatch)
    assert "is not chosen yet" in said_by(capsys, "lock", code=2)
    faster = Speeds(device="cpu", float32_ms=1.0, bfloat16_ms=2.0)
    monkeypatch.setattr("tamis.store.precision_choice.measure_precisions", lambda: faster)
    Lock(precision=BFLOAT16, models={}, versions={}).write(project.root / LOCK_FILE)
    opened, said = open_project(project.root), []
    assert "precision" not in {one.name for one in differences(opened)}
    assert chosen_precision(opened, said.append) == BFLOAT16
    assert said == [f"models run in bfloat16, as {LOCK_FILE} says: {faster.sentence}"]
    assert open_project(project.root).precision == BFLOAT16
    assert chosen_precision(opened, said.append, again=True) == FLOAT32
    assert "precision" in {one.name for one in differences(opened)}


def test_packages_of_manifests_and_of_what_users_install_are_locked():
    stated = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    optional = [line for extra in stated["optional-dependencies"].values() for line in extra]
    known = {line.partition(">")[0] for line in (*stated["dependencies"], *optional)}
    assert {*RESULTS} - {"tamis"} <= known
    assert {*LIBRARIES} - UNTIL_LAST_DIGITS <= {*RESULTS}
    assert list(RESULTS) == sorted(RESULTS)


def test_marks_of_a_build_do_not_count(monkeypatch, project):
    before = present(open_project(project.root))
    real = importlib.metadata.version
    monkeypatch.setattr(lock, "version", lambda name: f"{real(name).partition('+')[0]}+cu128")
    assert present(open_project(project.root)) == before
