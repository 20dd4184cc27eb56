"""Scores of a user's evaluation, by task and example: what its command wrote, checked line by line.

Two forms: lm-eval's `samples_TASK_TIME.jsonl` (`--log_samples`), of which each metric that is a number is a
task of its own, and lines with task, example and score. Texts in these files are never kept.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tamis.base.errors import PermanentError, did_you_mean
from tamis.base.numbers import named

SAMPLES = re.compile(r"^samples_(.+?)_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?$")
NO_FILTER = "none"
LONGEST_NAME = 200
"""Characters of the name of a task or example; a longer one may be a text."""
SHOWN = 10
SCHEMA = {"task": pl.String, "example": pl.String, "score": pl.Float64}


class BadAnswerError(PermanentError):
    """An evaluation wrote no list of scores; names the file and line, and quotes neither."""

    def __init__(self, problem: str, where: str = "") -> None:
        self.problem, self.where = problem, where
        place = f", {where}" if where else ""
        super().__init__(
            f"the answer of the command of [evaluation]{place}: {problem}; nothing of this answer is recorded"
        )


def read_answer(out: Path, metric: str | None = None) -> pl.DataFrame:
    """Return task, example and score of all files below a folder, sorted; higher scores are better.

    Read are `.jsonl` files, or `.json` files where there are none, a line an example. `metric`: the only one
    to read of lm-eval's. Raises `BadAnswerError`.
    """
    files = sorted(path for path in out.rglob("*.jsonl") if path.is_file())
    files = files or sorted(path for path in out.rglob("*.json") if path.is_file())
    if not files:
        raise BadAnswerError(
            "the command wrote no file that ends with .jsonl or .json; it is to write its scores below the "
            "folder {out}, as lm-eval does with --output_path {out} --log_samples"
        )
    found: dict[tuple[str, str], float] = {}
    metrics: dict[str, None] = {}
    for path in files:
        for number, values in _objects(path, out):
            where = f"{path.relative_to(out)}, line {number}"
            for task, example, score in _scores(values, path, where, metric, metrics):
                if (task, example) in found:
                    raise BadAnswerError(f"example {example!r} of task {task!r} occurs twice", where)
                found[task, example] = score
    if not found:
        raise BadAnswerError(_without_scores(len(files), metric, [*metrics]))
    rows = [(task, example, score) for (task, example), score in sorted(found.items())]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _without_scores(files: int, metric: str | None, metrics: list[str]) -> str:
    if metrics and metric is not None:
        return (
            f"no example has a number as metric {metric!r}; metrics of the samples: {named(metrics, SHOWN)}"
            f"{did_you_mean(metric, metrics)}"
        )
    if metrics:
        return f"no example has a metric that is a number; metrics of the samples: {named(metrics, SHOWN)}"
    return f"it contains no example ({files} {'file' if files == 1 else 'files'})"


def _objects(path: Path, out: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the JSON object of each line of a file, with the number of the line."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            where = f"{path.relative_to(out)}, line {number}"
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):  # the library's message quotes the line
                raise BadAnswerError(
                    "the line is no JSON; perhaps the file was not written to its end", where
                ) from None
            if not isinstance(values, dict):
                raise BadAnswerError("the line is no JSON object", where)
            yield number, values


def _scores(
    values: Mapping[str, Any], path: Path, where: str, metric: str | None, metrics: dict[str, None]
) -> Iterator[tuple[str, str, float]]:
    if (name := SAMPLES.match(path.stem)) and "doc_id" in values:
        yield from _of_sample(values, name[1], where, metric, metrics)
        return
    for key in ("task", "example", "score"):
        if key not in values:
            raise BadAnswerError(
                f"{key!r} is missing; a line is an object with task, example and score, or one of lm-eval's "
                "samples_TASK_TIME.jsonl",
                where,
            )
    yield (
        _name(values["task"], "task", where),
        _name(values["example"], "example", where),
        _number(values["score"], "score", where),
    )


def _of_sample(
    values: Mapping[str, Any], task: str, where: str, metric: str | None, metrics: dict[str, None]
) -> Iterator[tuple[str, str, float]]:
    """Yield the scores of one of lm-eval's samples: of each metric that is a number, or of the one named.

    Metrics over a whole task, such as perplexity, have pairs in their place.
    """
    example, listed = _name(values["doc_id"], "doc_id", where), values.get("metrics")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    metrics |= dict.fromkeys(names)
    of_filter = values.get("filter", NO_FILTER)
    end = "" if of_filter == NO_FILTER else f":{_name(of_filter, 'filter', where)}"
    for name in names:
        if metric in (None, name) and isinstance(values.get(name), int | float):
            yield f"{task}:{name}{end}", example, _number(values[name], name, where)


def _name(value: Any, key: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadAnswerError(f"{key!r} is neither a text nor a whole number", where)
    if len(str(value)) > LONGEST_NAME:
        raise BadAnswerError(
            f"{key!r} has over {LONGEST_NAME} characters; it is to name an example, not to quote it", where
        )
    return str(value)


def _number(value: Any, key: str, where: str) -> float:
    if not isinstance(value, bool | int | float):
        kind = "a text" if isinstance(value, str) else "nothing" if value is None else "no number"
        raise BadAnswerError(f"{key!r} is {kind}, where a number belongs", where)
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise BadAnswerError(f"{key!r} is not finite", where)
    return score
