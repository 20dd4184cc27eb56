"""Preference pairs and problems in the graph: their documents, exports of all columns, trainers' files."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import yaml
from projects import SmallProject, write
from trainer_projects import MADE, rows_of, trainer_project

from tamis.interchange.training_rows import UnfitRowsError
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.elsewhere.for_trainers import Training, export_for_trainer

KINDS = {"preference": ("preference",), "problem": ("problem",), "both": ("preference", "alpaca")}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[dict[str, SmallProject]]:
    projects = {}
    for kind, forms in KINDS.items():
        projects[kind] = trainer_project(tmp_path_factory.mktemp(kind) / "project", *forms)
        projects[kind].make(MADE)
    yield projects
    for project in projects.values():
        project.close()


def exported(project: SmallProject, trainer: str, **more) -> tuple[Path, list[dict]]:
    done = export_for_trainer(project.project, "all", Training(trainer=trainer, **more))
    return done.path, [json.loads(line) for line in (done.path / "train.jsonl").read_text().splitlines()]


def test_a_pair_is_its_prompt_and_chosen_answer_and_leaves_as_a_pair(made):
    project, rows = made["preference"], rows_of("preference")
    texts = set(project.store.read("documents")["text"])
    assert texts == {f"{row['prompt']}\n\n{row['chosen']}" for row in rows}
    path, pairs = exported(project, "trl")
    assert {tuple(row[name] for name in ("prompt", "chosen", "rejected")) for row in pairs} == {
        (f"{row['prompt']}\n\n", row["chosen"], row["rejected"]) for row in rows
    }
    head = (path / "trl.yaml").read_text()
    assert "trl dpo --config trl.yaml" in head
    assert yaml.safe_load(head)["datasets"] == [{"path": "json", "data_files": "train.jsonl"}]
    done = export_selection(project.project, "all", "parquet")
    kept = pl.read_parquet(done.path).select("prompt", "chosen", "rejected", "gap")
    assert sorted(kept.to_dicts(), key=str) == sorted(rows, key=str)


@pytest.mark.parametrize("trainer", ["hf", "axolotl", "llama-factory"])
def test_a_trainer_that_is_not_configured_for_pairs_is_a_sentence(made, trainer):
    with pytest.raises(UnfitRowsError, match=f"preference pairs, for which Tamis writes no .* {trainer}"):
        exported(made["preference"], trainer)
    _path, rows = exported(made["preference"], trainer, as_text=True)
    assert {row["text"] for row in rows} == {
        f"{row['prompt']}\n\n{row['chosen']}" for row in rows_of("preference")
    }


def test_pairs_and_other_rows_are_no_file_of_one_kind(made):
    with pytest.raises(
        UnfitRowsError, match="those of alpaca are not, and a trainer's file has rows of one kind"
    ):
        exported(made["both"], "trl")


def test_a_problem_is_a_prompt_and_its_answer_a_completion(made):
    rows = exported(made["problem"], "trl")[1]
    assert {row["completion"]: row["prompt"] for row in rows} == {
        row["answer"]: f"{row['question']}\n\n" for row in rows_of("problem")
    }


def test_pairs_of_turns_leave_as_turns(tmp_path, nowhere):
    project = trainer_project(tmp_path / "project", "preference")
    rows = [
        {
            name: [
                {"role": "system", "content": "Be short."},
                {"role": "user", "content": f"Ask {at}"},
                {"role": "assistant", "content": f"{answer} {at}"},
            ]
            for name, answer in (("chosen", "Yes"), ("rejected", "No"))
        }
        for at in range(3)
    ]
    write(project.root / "preference" / "rows.jsonl", map(json.dumps, rows))
    project.make(MADE)
    found = {
        json.dumps({name: row[name] for name in ("prompt", "chosen", "rejected")})
        for row in exported(project, "trl")[1]
    }
    assert found == {
        json.dumps(
            {"prompt": row["chosen"][:2], "chosen": row["chosen"][2:], "rejected": row["rejected"][2:]}
        )
        for row in rows
    }
    project.close()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
def test_trl_learns_a_step_of_preferences(made):
    path, _rows = exported(made["preference"], "trl")
    command = [
        str(Path(sys.executable).with_name("trl")),
        "dpo",
        "--config",
        "trl.yaml",
        "--max_steps",
        "1",
        "--use_cpu",
    ]
    done = subprocess.run(command, cwd=path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2_000:]
