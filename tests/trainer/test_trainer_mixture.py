"""Runs of a mixture on a command of the user's: from fresh weights, and measured on later targets."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_trainer import FAKE
from projects import (
    TRANSPORT,
    SmallProject,
    corpus,
    make_project,
    sentences,
    settings,
    target,
    write_jsonl,
)

DESIGN = frozenset(
    {
        *("raw_shards", "documents", "near_duplicates", "embeddings", "target_examples", "target_embeddings"),
        *("contamination", "token_counts", "tokenizer", "mixture_design"),
    }
)
WANTED = DESIGN | {"mixture_runs", "mixture_losses"}
RUNS = 4
MIXTURE = f"""
[pretraining]
vocabulary = 512
sequence_length = 32

[mixture]
target = "algebra"
model = "llama-0.3m"
run_tokens = 1_000
train_tokens = 4_000
runs = {RUNS}

[trainer]
command = ["python", "train.py", "{{spec}}"]
at_once = 4
"""
TEXT = settings(
    corpus("cooking", "landing", include=["cooking*.jsonl"]),
    corpus("sailing", "landing", include=["sailing*.jsonl"]),
    target("algebra", path="algebra", train=20, held_out=8),
    TRANSPORT,
    MIXTURE,
)
REAL = """
checked = json.loads((folder / spec["model"] / "config.json").read_text())
assert checked["model_type"] == "llama" and (folder / spec["model"] / "tokenizer.json").exists()
assert (folder / spec["model"] / "model.safetensors").stat().st_size > 100_000
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory, encoder_cache) -> SmallProject:
    return make_designed(tmp_path_factory.mktemp("mixture") / "project", encoder_cache)


def make_designed(root: Path, encoder_cache: Path) -> SmallProject:
    """Make the project up to the design of its mixtures, in an empty folder."""
    made = make_project(root, encoder_cache, TEXT)
    for place, name in enumerate(("cooking", "sailing")):
        write_jsonl(root / "landing" / f"{name}.jsonl", sentences(name, 40, place))
    for place, name in enumerate(("algebra", "other")):
        write_jsonl(root / name / "a.jsonl", sentences("algebra", 30, 7 + place))
    # Fresh weights are there for a training; the later runs begin with the fake's own checkpoint.
    (root / "train.py").write_text(
        FAKE.replace("def learnt", "if spec['steps']:" + indented(REAL) + "\n\ndef learnt")
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAMIS_TRUST", "1")
        made.make(DESIGN)
    made.close()
    return made


def indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.split("\n"))


@pytest.fixture
def project(begun, tmp_path, nowhere, monkeypatch) -> Iterator[SmallProject]:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    made = begun.copy(tmp_path / "project")
    yield made
    made.close()


def calls(project: SmallProject) -> list[str]:
    path = project.root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def test_runs_are_trained_by_the_command_and_a_later_target_is_measured_on_their_checkpoints(project):
    assert not project.make(WANTED).failed
    rows = project.store.read("mixture_runs")
    assert len(rows) == RUNS == len(calls(project))
    assert rows["failure"].null_count() == RUNS
    assert rows["parameters"].min() > 100_000
    losses = project.store.read("mixture_losses")
    assert losses["target"].to_list() == ["algebra"] * RUNS
    for run, checkpoint in rows.select("run", "checkpoint").iter_rows():
        (record,) = json.loads((project.home.root / checkpoint / "trainer.json").read_text())["runs"]
        own = record["result"]["evaluations"]
        bits = sum(row["nats"] for row in own) / 0.6931471805599453 / sum(row["bytes"] for row in own)
        assert losses.filter(run=run)["bits_per_byte"].item() == pytest.approx(bits)
        assert record["spec"]["steps"] > 0
    assert list((project.home.cache / "trainer").glob("*")) == []
    assert not project.make(WANTED).made, "nothing is due"

    project.reconfigure('target = "algebra"\nmodel', 'target = ["algebra", "other"]\nmodel')
    project.configure(project.text + target("other", path="other", train=20, held_out=8))
    assert not project.make(WANTED | {"mixture_design"}).failed
    later = project.store.read("mixture_losses")
    kept = later.filter(later["run"].is_in(rows["run"].implode()))
    assert sorted(kept["target"]) == ["algebra"] * RUNS + ["other"] * RUNS
    assert kept["bits_per_byte"].null_count() == 0
    trained = [row for row in project.store.read("mixture_runs")["run"] if row in rows["run"].to_list()]
    assert sorted(trained) == sorted(rows["run"])


def test_a_run_that_fails_is_submitted_again_and_no_other_is(project):
    (project.root / "mode.txt").write_text("exit")
    failed = project.try_making(WANTED).failed
    assert "the command of [trainer] ended with exit code 3" in failed["mixture_runs"]
    assert project.store.read("mixture_runs").is_empty()
    (project.root / "mode.txt").write_text("")
    assert not project.make(WANTED).failed
    assert len(project.store.read("mixture_losses")) == RUNS
    assert len(calls(project)) == 2 * RUNS


def test_a_later_target_needs_a_checkpoint(project):
    (project.root / "mode.txt").write_text("no checkpoint")
    text = (project.root / "train.py").read_text()
    (project.root / "train.py").write_text(text.replace('"checkpoint": spec["output"]', '"checkpoint": None'))
    assert not project.make(WANTED).failed
    project.reconfigure('target = "algebra"\nmodel', 'target = ["algebra", "other"]\nmodel')
    project.configure(project.text + target("other", path="other", train=20, held_out=8))
    failed = project.try_making(WANTED).failed
    assert (
        "8 held-out examples, which came after it, and its trainer left no checkpoint"
        in failed["mixture_losses"]
    )
