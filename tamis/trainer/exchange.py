"""The files between Tamis and a trainer: the spec and the rows that it is given, the result that it writes.

docs/how-to/train-with-your-own-trainer.md describes them for whoever writes a trainer.
"""

import json
import math
import os
import re
import stat
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from tamis.base.errors import TamisError
from tamis.base.files import replace_folder, whole_file, write_atomically
from tamis.base.numbers import named
from tamis.readers.text import normalised_id
from tamis.training.chats import Chat
from tamis.training.examples import Example, Labelled, Pair, text_of
from tamis.training.models import without_bars
from tamis.training.shapes import ModelShape, new_model
from tamis.training.tokenizer import load_tokenizer

SPEC, TRAIN, EVALUATE, OUTPUT, RESULT = "spec.json", "train.jsonl", "evaluate.jsonl", "output", "result.json"
MOST_RESULT_BYTES = 1 << 30
MOST_COUNT, MOST_NATS, MOST_SECONDS, MOST_FLOP = 10**15, 1e12, 1e10, 1e35
"""Above these, a figure of a result is a mistake, and sums over examples and seeds could overflow."""
_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
"""JSON escapes the others."""
_NAME = re.compile(r"[\w.-]{1,80}")
_HEADER_BYTES = 8
"""Of a safetensors file: the length of its JSON header, little-endian, before the header."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One run of a trainer; paths are relative to the folder of the spec.

    `run`: names the run in its result. `model`: a folder, or an id as tamis.toml has it. `train`, `evaluate`:
    JSON lines. `tokens`, `steps`: of the whole training; 0 steps: measure the model as it is. `output`:
    folder for a checkpoint. `result`: file to write. `time_limit`: seconds.
    """

    run: str
    model: str
    seed: int
    tokens: int
    steps: int
    learning_rate: float
    time_limit: float
    train: str = TRAIN
    evaluate: str = EVALUATE
    output: str = OUTPUT
    result: str = RESULT


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class EvaluationRow(_Strict):
    """Loss on one held-out example: nats over `tokens` tokens, which are `bytes` bytes of UTF-8."""

    id: str
    nats: FiniteFloat = Field(ge=0, le=MOST_NATS)
    tokens: int = Field(ge=0, le=MOST_COUNT)
    bytes: int = Field(ge=0, le=MOST_COUNT)


class Result(_Strict):
    """Answer of a trainer; keys that are not among these are not kept."""

    run: str
    seed: int
    seconds: FiniteFloat = Field(ge=0, le=MOST_SECONDS)
    tokens: int = Field(ge=0, le=MOST_COUNT)
    flop: FiniteFloat | None = Field(None, ge=0, le=MOST_FLOP)
    checkpoint: str | None = None
    evaluations: list[EvaluationRow]

    @property
    def bits_per_byte(self) -> float:
        """Loss over all held-out examples, bits per UTF-8 byte."""
        nats = math.fsum(row.nats for row in self.evaluations)
        return nats / math.log(2) / sum(row.bytes for row in self.evaluations)


class RefusedResultError(TamisError):
    """The result of a trainer is not that of its run; says why, and where the file is."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"the result of the trainer, {file}, is refused: {problem}")


def write_run(folder: Path, spec: Spec, train: Iterable[Example], evaluate: Iterable[Example]) -> None:
    """Write the rows of a run and then its spec, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_rows(folder / TRAIN, train)
    _write_rows(folder / EVALUATE, evaluate)
    write_spec(folder / SPEC, spec)


def _write_rows(path: Path, examples: Iterable[Example]) -> None:
    with whole_file(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.writelines(f"{_in_a_line(row_of(example))}\n" for example in examples)


def _in_a_line(row: Mapping[str, Any]) -> str:
    """Return a row as JSON without the characters that `str.splitlines`, too, takes for the end of a line."""
    return _LINE_ENDS.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(row, ensure_ascii=False))


def row_of(example: Example) -> dict[str, Any]:
    """Return an example as a row of JSON lines; its id is that of its document."""
    assert not isinstance(example, Labelled), "tamis.toml with [trainer] and labels is refused"
    row: dict[str, Any] = {"id": normalised_id(text_of(example))}
    if isinstance(example, Pair):
        return row | {"prompt": example.prompt, "response": example.response}
    if isinstance(example, Chat):
        return row | {"messages": [{"role": role, "content": text} for role, text in example.turns]}
    return row | {"text": example}


def learnt_bytes(example: Example) -> int:
    """Return the UTF-8 bytes that a trainer measures its loss on: a text, a response, or all answers."""
    match example:
        case Pair():
            return len(example.response.encode())
        case Chat():
            return sum(len(answer.encode()) for answer in example.answers)
        case Labelled():
            return len(example.label.encode())
    return len(example.encode())


def write_spec(path: Path, spec: Spec) -> None:
    """Write a spec, whole or not at all."""
    write_atomically(path, json.dumps(asdict(spec), indent=1).encode())


def read_spec(path: Path) -> Spec:
    """Return the spec in a file."""
    return Spec(**json.loads(path.read_bytes()))


def read_result(folder: Path, spec: Spec, bytes_by_id: Mapping[str, int], shown: str) -> Result:
    """Return the result of a run once it has ended; raises `RefusedResultError` for any other.

    `bytes_by_id`: what may at most be measured of each held-out example. `shown`: the file in messages.
    """
    path = folder / spec.result
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise RefusedResultError(shown, "it is not a file")
        if state.st_size > MOST_RESULT_BYTES:
            raise RefusedResultError(shown, f"it has over {MOST_RESULT_BYTES >> 30} GiB")
        content = path.read_bytes()
    except FileNotFoundError:
        raise RefusedResultError(shown, "the command ended without writing it") from None
    except OSError as error:
        raise RefusedResultError(shown, error.strerror or type(error).__name__) from error
    try:
        result = Result.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise RefusedResultError(shown, f"{place}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise RefusedResultError(shown, "it is not JSON in UTF-8") from None
    if problem := _problem(result, spec, bytes_by_id) or checkpoint_problem(folder, result):
        raise RefusedResultError(shown, problem)
    return result


def _problem(result: Result, spec: Spec, bytes_by_id: Mapping[str, int]) -> str:
    """Return why a result does not answer a spec, "" where it does."""
    if result.run != spec.run:
        # Anything may be there, the text of a document too; what is not like a name is not repeated.
        its = repr(result.run) if _NAME.fullmatch(result.run) else "another"
        return f"its run is {its}, expected {spec.run!r}"
    if result.seed != spec.seed:
        return f"its seed is {result.seed}, expected {spec.seed}"
    ids = [row.id for row in result.evaluations]
    if len(set(ids)) < len(ids):
        return f"{len(ids) - len(set(ids))} ids occur more than once in its evaluations"
    if missing := sorted(bytes_by_id.keys() - set(ids)):
        return f"{len(missing)} of {len(bytes_by_id)} ids are missing in its evaluations: {named(missing, 3)}"
    if more := len(set(ids) - bytes_by_id.keys()):
        return f"{more} ids in its evaluations are not in {spec.evaluate}"
    if over := sorted(row.id for row in result.evaluations if row.bytes > bytes_by_id[row.id]):
        return f"bytes of {named(over, 3)}: more than the example has"
    if empty := sorted(row.id for row in result.evaluations if row.bytes and not row.tokens):
        return f"tokens of {named(empty, 3)}: 0, but bytes is not"
    if not any(row.bytes for row in result.evaluations):
        return "its evaluations measure no byte"
    return ""


def checkpoint_problem(folder: Path, result: Result) -> str:
    """Return why the checkpoint that a result names is no whole one, "" where it is, or none is named."""
    if result.checkpoint is None:
        return ""
    shown = f"its checkpoint {result.checkpoint[:80]!r}"
    try:
        problem = _problem_of_folder(folder.resolve(), folder / result.checkpoint)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name with a null character
        problem = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return f"{shown} {problem}" if problem else ""


def _problem_of_folder(root: Path, path: Path) -> str:
    inside = path.resolve()
    if not inside.is_relative_to(root) or inside == root:
        return "is not below the folder of the spec"
    files = []
    for place, folders, names in os.walk(path, onerror=_refuse):
        for entry in (Path(place, name) for name in sorted([*folders, *names])):
            shown, mode = entry.relative_to(path), entry.stat().st_mode
            if entry.is_symlink() and (stat.S_ISDIR(mode) or not entry.resolve().is_relative_to(inside)):
                return f"links to files elsewhere ({shown})"
            if not stat.S_ISDIR(mode) and not (stat.S_ISREG(mode) and os.access(entry, os.R_OK)):
                return f"has something that cannot be read as a file ({shown})"
            if stat.S_ISREG(mode):
                files.append(entry)
    if not files:
        return "is not a folder with files"
    if cut := [file for file in files if file.suffix == ".safetensors" and not _is_whole(file)]:
        return f"is not complete: {cut[0].name} is cut off"
    for index in path.glob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_bytes())["weight_map"].values())
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return f"is not complete: {index.name} cannot be read"
        if missing := sorted(str(name) for name in shards if not (path / str(name)).is_file()):
            return f"is not complete: {named(missing, 3)} missing"
    return ""


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _is_whole(path: Path) -> bool:
    """Return whether a safetensors file has the length that its header states."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
        if len(start) < _HEADER_BYTES:
            return False
        (length,) = struct.unpack("<Q", start)
        if _HEADER_BYTES + length > size:
            return False
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return bool(size == _HEADER_BYTES + length + max(ends, default=0))
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return False


def relative_model(model: str | Path, folder: Path) -> str:
    """Return a base model as a spec has it: a folder relative to that of the spec, an id as it is."""
    return os.path.relpath(model, folder) if Path(model).is_dir() else str(model)


def write_fresh_model(shape: ModelShape, seed: int, tokenizer: Path, folder: Path) -> None:
    """Write a model with weights drawn by `seed` and its tokenizer, from the folder `tokenizer`."""
    loaded = load_tokenizer(tokenizer)
    with replace_folder(folder) as draft, without_bars():
        new_model(shape, seed, loaded).save_pretrained(draft)
        loaded.save_pretrained(draft)


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples as rows, each once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_rows(path, dict.fromkeys(examples))


def examples_of(path: Path) -> list[Example]:
    """Return the examples in a file of rows, in order; raises `RefusedResultError` where it was changed."""
    try:
        with path.open(encoding="utf-8") as lines:
            return [_example(json.loads(line)) for line in lines]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RefusedResultError(
            f"{path.parent.name}/{RESULT}", f"{path.name} was changed or erased"
        ) from error


def _example(row: Mapping[str, Any]) -> Example:
    if "prompt" in row:
        return Pair(prompt=row["prompt"], response=row["response"])
    if "messages" in row:
        return Chat(turns=tuple((message["role"], message["content"]) for message in row["messages"]))
    return str(row["text"])


def ids_of(path: Path) -> Sequence[str]:
    """Return the ids in a file of rows that `write_run` has written; none where there is no such file.

    A program that was given the file may have changed it: what is no row has no id.
    """
    import polars as pl

    if not path.exists() or not path.stat().st_size:
        return []
    ids = pl.scan_ndjson(path, schema={"id": pl.String}, ignore_errors=True).select("id").collect()
    return ids["id"].drop_nulls().to_list()
