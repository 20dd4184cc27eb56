"""A user's evaluation of a checkpoint: its command is run to its end, and what it wrote is read.

The command has a folder of its own under the home's cache, which is erased once its scores are recorded: it
may quote documents. One whose Tamis was killed is waited for, not started again.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tamis.base.errors import TransientError
from tamis.base.files import write_atomically
from tamis.base.numbers import named
from tamis.base.own_command import CommandFailedError, fill, poll, run_to_end, stop
from tamis.evaluation.answers import SCHEMA, BadAnswerError, read_answer
from tamis.plugins.commands import command_files
from tamis.project import Project
from tamis.store.digests import canonical_digest

KEY = "[evaluation]"
FOLDER, OUT, REFUSED = "evaluations", "out", "refused"
ONCE = "evaluated"
"""Folder of the cache with scores of models before training, by their key: names and numbers alone."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A checkpoint to evaluate: a folder or the id of a model on a hub, and what identifies its scores.

    `name`: of the trial or base model; it has one evaluation at a time. `files`: digests of the project's
    files that the command names, for which the scores count.
    """

    name: str
    checkpoint: str
    key: str
    files: Mapping[str, str]


class EvaluationChangedError(TransientError):
    """A file that the command names is not what it was when the step began."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"the command of {KEY}: {named(names)} changed while the run went on; run it again")


def evaluation_key(config: dict[str, object], version: str) -> str:
    """Return what identifies the scores of a model of this data version under these settings."""
    return canonical_digest(json.dumps([config, version], sort_keys=True))


def evaluate_checkpoint(project: Project, asked: Evaluated) -> pl.DataFrame:
    """Run the command on a checkpoint and return task, example and score.

    What it wrote stays until `forget_evaluation`, so a retry after a kill repeats nothing. Raises
    `CommandFailedError` where it fails or takes too long, `UnknownProgramError`, `BadAnswerError`, and
    `EvaluationChangedError` where a file that the command names changed before its end.
    """
    section, folder = project.settings.evaluation, _folder(project, asked)
    _require_same(project, asked)
    for other in folder.parent.glob("*"):
        if other != folder:  # of an earlier command or checkpoint
            _end(other)
    ended = poll(folder)
    if ended is not None and (not ended.succeeded or (folder / REFUSED).exists()):
        shutil.rmtree(folder, ignore_errors=True)
    out = folder / OUT
    out.mkdir(parents=True, exist_ok=True)
    command = fill(section.command, {"checkpoint": asked.checkpoint, "out": out})
    ended = run_to_end(command, cwd=project.root, folder=folder, time_limit=section.time_limit)
    if not ended.succeeded:
        raise CommandFailedError(KEY, ended.in_words(section.time_limit), folder)
    try:
        _require_same(project, asked)
        return read_answer(out, section.metric)
    except (BadAnswerError, EvaluationChangedError):
        (folder / REFUSED).touch()  # the next attempt begins from nothing; until then a person can look
        raise


def forget_evaluation(project: Project, asked: Evaluated) -> None:
    """Erase what a command wrote."""
    shutil.rmtree(_folder(project, asked).parent, ignore_errors=True)


def evaluate_once(project: Project, asked: Evaluated) -> pl.DataFrame:
    """Return the scores of a model that many trials start from: run once, then from the cache."""
    path = project.home.cache / ONCE / f"{asked.key[:32]}.json"
    if path.is_file():
        return pl.DataFrame(json.loads(path.read_text()), schema=SCHEMA)
    scores = evaluate_checkpoint(project, asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(scores.to_dict(as_series=False)).encode())
    forget_evaluation(project, asked)
    return scores


def _require_same(project: Project, asked: Evaluated) -> None:
    now = command_files(project.settings.evaluation.command, project.root)
    changed = {name for name, _digest in {*now.items()} ^ {*asked.files.items()}}
    if changed:
        raise EvaluationChangedError(sorted(changed))


def _folder(project: Project, asked: Evaluated) -> Path:
    return project.home.cache / FOLDER / asked.name / asked.key[:16]


def _end(folder: Path) -> None:
    """Stop a command that may still run, and erase its folder."""
    if poll(folder) is None:
        stop(folder)
    shutil.rmtree(folder, ignore_errors=True)
