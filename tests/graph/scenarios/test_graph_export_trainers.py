"""Exports for trainers: rows in their shape and order, configurations that the trainers themselves read."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import yaml
from projects import SmallProject, record
from projects import rows_of as answers_of
from trainer_projects import COUNT, LORA, MADE, TEMPLATE, rows_of, trainer_project, write_model

from tamis.base.errors import UnknownNameError
from tamis.cli import main
from tamis.interchange.export_paths import ExportPathError
from tamis.interchange.trainers import TRAINERS
from tamis.interchange.training_rows import UnfitRowsError, training_rows
from tamis.verbs.elsewhere.export import read_subset
from tamis.verbs.elsewhere.for_trainers import Training, UnfitModelError, export_for_trainer
from tamis.verbs.status import read_status

KINDS = {
    "text": ("text",),
    "pairs": ("alpaca",),
    "talks": ("messages", "alpaca"),
    "mixed": ("text", "alpaca"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[dict[str, SmallProject]]:
    """A project of each kind of rows, everything of it made; that of pairs has an adapter in its recipe."""
    projects = {}
    for kind, forms in KINDS.items():
        more = LORA if kind == "pairs" else {}
        projects[kind] = trainer_project(tmp_path_factory.mktemp(kind) / "project", *forms, **more)
        projects[kind].make(MADE)
    yield projects
    for project in projects.values():
        project.close()


@pytest.fixture
def project(made, tmp_path, nowhere, request) -> Iterator[SmallProject]:
    """A copy of one of them that a test may change."""
    copied = made[getattr(request, "param", "text")].copy(tmp_path / "project")
    yield copied
    copied.close()


of_each = pytest.mark.parametrize("project", ["text", "pairs", "talks"], indirect=True)


def exported(project: SmallProject, trainer: str, **more) -> tuple[Path, list[dict]]:
    done = export_for_trainer(project.project, "all", Training(trainer=trainer, **more))
    return done.path, [json.loads(line) for line in (done.path / "train.jsonl").read_text().splitlines()]


def test_texts_are_in_the_order_of_training(project):
    texts = {row["text"] for row in rows_of("text")}
    _path, rows = exported(project, "trl")
    assert {row["text"] for row in rows} == texts
    assert [list(row) for row in rows] == [["doc_id", "text"]] * COUNT
    ranked = project.store.read("decisions", ["doc_id", "rank"]).sort("rank")["doc_id"].to_list()
    order = [row["doc_id"] for row in rows]
    assert sorted(order) == sorted(ranked)
    assert order != ranked, "it is shuffled"
    assert [row["doc_id"] for row in exported(project, "axolotl")[1]] == order
    project.reconfigure("[project]\n", "[project]\nseed = 5\n")
    assert [row["doc_id"] for row in exported(project, "trl")[1]] != order, "by the project's seed"


def test_the_answer_of_tune_gives_model_and_learning_rate_of_what_is_to_be_trained(project):
    """It gives those of random documents if choosing does not pay; other selections have their own."""

    def configuration() -> tuple[float, str]:
        path, _rows = exported(project, "axolotl")
        (file,) = path.glob("*.y*ml")
        text = file.read_text()
        return float(yaml.safe_load(text)["learning_rate"]), " ".join(text.replace("#", " ").split())

    (before, said), section = configuration(), project.project.settings.selection[0]
    assert "[tune]" not in said
    assert section.sampler == "random"
    answer = {"target": section.target or "goal", "share": str(section.budget), "reference": "random"}
    answer |= {
        "model": project.project.settings.base_model[0].name,
        "learning_rate": 0.5,
    }  # of [fine_tuning]: 1e-3
    record(project.home, "recipe")
    for sampler, kind, rate in (
        ("random", "use", 500 * before),
        ("knn", "use", before),
        ("knn", "no gain", 500 * before),
    ):
        stated = {"sampler": sampler, "shipped": kind == "use", "kind": kind, "sentence": "Use it."}
        project.store.overwrite("tune_answers", answers_of("tune_answers", [answer | stated]))
        found, said = configuration()
        assert found == pytest.approx(rate)
        assert ("but this selection chooses otherwise" in said) == (rate == before)
        assert "Use it." in said
    project.reconfigure('name = "all"', 'name = "all"\nwhere = "source = \'web\'"')
    found, said = configuration()
    assert found == pytest.approx(before), "what a condition leaves was not tested"
    assert "but this selection chooses otherwise" in said


@pytest.mark.parametrize("project", ["pairs"], indirect=True)
def test_instructions_are_prompts_and_completions(project):
    expected = {
        row["output"]: "\n\n".join(filter(None, (row["instruction"], row["input"])))
        for row in rows_of("alpaca")
    }
    for trainer, end in {"trl": "\n\n", "hf": "\n\n", "axolotl": "", "llama-factory": ""}.items():
        rows = exported(project, trainer)[1]
        assert {row["completion"]: row["prompt"] for row in rows} == {
            answer: question + end for answer, question in expected.items()
        }
    rows = exported(project, "trl", as_text=True)[1]
    assert {row["text"] for row in rows} == {
        f"{question}\n\n{answer}" for answer, question in expected.items()
    }


@pytest.mark.parametrize("project", ["talks"], indirect=True)
def test_conversations_have_the_turns_of_their_rows(project):
    rows = [row["messages"] for row in exported(project, "trl")[1]]
    for row in rows_of("messages"):
        assert row["messages"] in rows
    for row in rows_of("alpaca"):
        question = "\n\n".join(filter(None, (row["instruction"], row["input"])))
        assert [
            {"role": "user", "content": question},
            {"role": "assistant", "content": row["output"]},
        ] in rows
    assert len(rows) == 2 * COUNT


def test_repetitions_are_rows_or_a_column(project):
    chosen = read_subset(project.project, "all").chosen
    counts = {doc_id: 1 + at % 3 for at, doc_id in enumerate(chosen["doc_id"])}
    chosen = chosen.with_columns(training_count=pl.Series(list(counts.values())))
    as_rows, as_column = (
        training_rows(project.project, "all", "trl", chosen, as_text=False, counted=counted)
        for counted in (False, True)
    )
    rows = [row["doc_id"] for row in as_rows.objects()]
    assert Counter(rows) == counts
    assert all(one != other for one, other in pairwise(rows)), "no copies follow each other"
    assert [(row["doc_id"], row["repetitions"]) for row in as_column.objects()] == [
        (doc_id, counts[doc_id]) for doc_id in dict.fromkeys(rows)
    ]
    path, rows = exported(project, "trl", counted=True)
    assert {row["repetitions"] for row in rows} == {1}
    assert "does not read the column repetitions" in (path / "trl.yaml").read_text()
    script = (exported(project, "hf", counted=True)[0] / "train.py").read_text()
    assert "Each row is read as often as its column repetitions says." in " ".join(script.split())


@of_each
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_configuration_names_the_model_and_the_recipe(project, trainer):
    path, _rows = exported(project, trainer)
    lora = "lora_rank" in project.text
    # The width is 16: (256 / 16)^.75 = 8 times the rate.
    rate, rank = (1.6e-4, 2) if lora else (8e-3, None)
    if trainer == "hf":
        found = json.loads((path / "training_arguments.json").read_text())
        recipe = json.loads((path / "recipe.json").read_text())
        assert recipe["model"] == str(project.root / "model")
        assert recipe["sequence_length"] == 48
        assert (recipe["lora"] or {}).get("r") == rank
        said = (path / "train.py").read_text()
    else:
        (file,) = path.glob("*.yaml")
        found, said = yaml.safe_load(file.read_text()), file.read_text()
        names = {"trl": ("model_name_or_path", "max_length", "lora_r")}
        names |= {"axolotl": ("base_model", "sequence_len", "lora_r")}
        names |= {"llama-factory": ("model_name_or_path", "cutoff_len", "lora_rank")}
        model, length, of_rank = (found.get(name) for name in names[trainer])
        assert (model, length, of_rank) == (str(project.root / "model"), 48, rank)
        assert found.get("lora_dropout") == (0.25 if lora else None)
        assert found.get("lora_alpha") == (4 if lora else None)
    rows = "micro_batch_size" if trainer == "axolotl" else "per_device_train_batch_size"
    epochs = "num_epochs" if trainer == "axolotl" else "num_train_epochs"
    assert found["learning_rate"] == pytest.approx(rate)
    assert isinstance(found["learning_rate"], float), "1e-05 would be text"
    assert (found[rows], found["gradient_accumulation_steps"], found[epochs], found["seed"]) == (2, 2, 2, 0)
    assert found["bf16"] is False
    assert "A step is 4 rows on one device" in " ".join(said.replace("#", " ").split())


def test_what_a_trainer_cannot_take_is_refused_with_a_sentence(made, tmp_path):
    project, text = made["mixed"].project, made["text"]
    with pytest.raises(
        UnfitRowsError, match="documents of text are plain texts, those of alpaca conversations"
    ):
        export_for_trainer(project, "all", Training(trainer="trl"))
    path, rows = exported(made["mixed"], "trl", as_text=True)
    assert len(rows) == 2 * COUNT
    shutil.rmtree(path)
    with pytest.raises(UnknownNameError, match=r"unknown selection 'some'; valid: all"):
        export_for_trainer(text.project, "some", Training(trainer="trl"))
    with pytest.raises(UnknownNameError, match=r"unknown base model 'large'; valid: small"):
        export_for_trainer(text.project, "all", Training(trainer="trl", model="large"))
    assert not any(text.home.exports.glob("*"))


def test_a_project_without_a_causal_model_is_refused(project):
    config = project.root / "model" / "config.json"
    config.write_text(json.dumps({"architectures": ["BertForMaskedLM"], "hidden_size": 16}))
    with pytest.raises(UnfitModelError, match="BertForMaskedLM"):
        exported(project, "trl")
    project.configure(project.text[: project.text.index("[[base_model]]")])
    with pytest.raises(UnfitModelError, match=r"tamis.toml has no \[\[base_model\]\]"):
        exported(project, "trl")


@pytest.mark.parametrize("project", ["talks"], indirect=True)
def test_conversations_need_a_template_and_stored_turns(project):
    shutil.rmtree(project.root / "model")
    write_model(project.root / "model", template=None)
    with pytest.raises(
        UnfitRowsError, match="'small' has no chat template, by which axolotl would read them"
    ):
        exported(project, "axolotl")
    exported(project, "llama-factory")
    write_model(project.root / "model", TEMPLATE)
    rows = project.root / "messages" / "rows.jsonl"
    turns = [json.loads(line) for line in rows.read_text().splitlines()]
    for row in turns[:3]:
        row["messages"].insert(2, {"role": "tool", "content": "A tool's answer."})
    rows.write_text("".join(f"{json.dumps(row)}\n" for row in turns))
    project.make(MADE)
    with pytest.raises(UnfitRowsError, match="would skip 3 of the 24 chosen"):
        exported(project, "llama-factory")
    assert (
        sum(any(turn["role"] == "tool" for turn in row["messages"]) for row in exported(project, "trl")[1])
        == 3
    )
    project.reconfigure('format = "messages"\n', 'format = "messages"\nkeep_columns = false\n')
    project.make(MADE)
    with pytest.raises(UnfitRowsError, match="the turns of 12 documents of messages are not stored"):
        exported(project, "trl")


def test_the_command_writes_a_folder_and_replaces_only_its_own(project, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(project.root)
    folder = tmp_path / "elsewhere"
    assert main(["export", "all", "--for", "trl", "--output", str(folder)]) == 0
    printed = capsys.readouterr()
    assert f"{folder}: {COUNT} documents" in printed.out
    assert f"{COUNT} rows: text, for the base model small" in printed.err
    assert "is outside the folder of exports" in printed.err
    described = {f"train.{end}" for end in ("card.md", "croissant.json", "openlineage.jsonl", "prov.json")}
    assert {path.name for path in folder.iterdir()} == described | {"train.jsonl", "trl.yaml"}
    assert main(["export", "all", "--for", "trl", "--output", str(folder)]) == 0, "it replaces its own"
    (folder / "notes.txt").touch()
    with pytest.raises(ExportPathError, match=r"contains notes.txt, which was not written by an export"):
        export_for_trainer(project.project, "all", Training(trainer="trl"), folder)
    for words in (
        ["--model", "small"],
        ["--for", "trl", "--format", "hf"],
        ["--for", "trl", "--columns", "a"],
    ):
        assert main(["export", "all", *words]) == 2
        assert "--for" in capsys.readouterr().err


def test_an_export_of_an_earlier_choice_is_named_and_a_withdrawal_reaches_it(project):
    path, rows = exported(project, "trl")
    assert not [line for line in read_status(project.project).warnings if "out of date" in line]
    gone = rows[0]["doc_id"]
    project.withdraw([gone])
    left = [json.loads(line)["doc_id"] for line in (path / "train.jsonl").read_text().splitlines()]
    assert left == [row["doc_id"] for row in rows[1:]]
    assert not (path / "train.card.md").exists(), "it states the hash of what was there"
    exported(project, "hf")
    project.reconfigure("budget = 1000", "budget = 3")
    project.make(MADE)
    (line,) = [line for line in read_status(project.project).warnings if "out of date" in line]
    assert "all.for-hf" in line
    assert "run `tamis export all --for hf`" in line


def run(folder: Path, *words: str) -> str:
    """Run a command in a folder for one step on this machine's processor, and return what it printed."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder.parent / "datasets")}
    environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


@pytest.mark.slow
@of_each
def test_transformers_trains_a_step_on_it(project, tmp_path):
    path, _rows = exported(project, "hf")
    arguments = json.loads((path / "training_arguments.json").read_text())
    assert "max_steps" not in arguments
    (path / "training_arguments.json").write_text(json.dumps(arguments | {"max_steps": 1, "use_cpu": True}))
    run(path, sys.executable, "train.py")
    weights = "adapter_model.safetensors" if "lora_rank" in project.text else "model.safetensors"
    assert (path / "output" / weights).is_file()
    assert not list((path / "output").glob("**/*.nan"))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
@of_each
def test_trl_trains_a_step_on_it(project):
    path, _rows = exported(project, "trl")
    command = str(Path(sys.executable).with_name("trl"))
    run(path, command, "sft", "--config", "trl.yaml", "--max_steps", "1", "--use_cpu")
    weights = "adapter_model.safetensors" if "lora_rank" in project.text else "model.safetensors"
    assert (path / "output" / weights).is_file()
