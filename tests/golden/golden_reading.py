"""Read what a home holds into the tables of a golden, by the names that content.py maps."""

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from content import (
    ANSWERS,
    BLOCK_TOKENS,
    CHECKPOINT_FILES,
    CHOICE_FILES,
    DECISIONS,
    DIGITS,
    DOCUMENTS,
    ENCODER_FILES,
    EXPLAINED,
    EXPORTED,
    EXPORTS,
    FIELDS_NOT_READ,
    LEFT_OUT,
    MAPPING,
    NAMED_BY,
    NUMBERS,
    POTENTIAL_ARRAYS,
    POTENTIAL_FILES,
    PROJECTION_SEED,
    RANK_FIELDS,
    SAMPLED_ROWS,
    TABLES,
    VARYING,
    Content,
    Table,
)


def read_content(home: Path, ask: Callable[[list[list[str]]], list[dict[str, Any]]]) -> Content:
    """Everything that a golden holds, by table.

    `ask` runs the command line with each list of arguments, and returns exit codes (`code`) and stdouts
    (`output`).
    """
    content = dict(tables_of(home))
    decisions = content[DECISIONS]
    chosen = sorted(decisions["selection"].unique())
    commands = _questions(decisions, content["trained_on"], chosen)
    answers = ask([*commands, *(["export", name] for name in chosen)])
    content[ANSWERS] = _answers(commands, answers, home)
    content["exported"] = _exported(home, chosen)
    content |= {"checkpoints": _checkpoints(home), "encoder": _encoder(home), "potential": _potential(home)}
    return shortened({name: frame for name, frame in content.items() if len(frame.columns)})


def unread(home: Path) -> list[str]:
    """Tables of a home, and fields of its tables, that the mapping does not name."""
    import lancedb

    store, found = lancedb.connect(home / "lance"), []
    for stored in _names(store):
        names = [name for name, table in TABLES.items() if fnmatch.fnmatchcase(stored, table.store)]
        if not names:
            found.append(stored)
        for name in names:
            known = {there for _, _, there in TABLES[name].fields()}
            known |= {*FIELDS_NOT_READ["*"].split(), *FIELDS_NOT_READ.get(name, "").split()}
            found += [
                f"{stored}.{field}" for field in store.open_table(stored).schema.names if field not in known
            ]
    return found


def _names(store: Any) -> list[str]:
    page = store.list_tables(limit=100)
    there = list(page.tables)
    while page.page_token:
        page = store.list_tables(limit=100, page_token=page.page_token)
        there += page.tables
    return sorted(there)


def tables_of(home: Path) -> Iterator[tuple[str, pl.DataFrame]]:
    """The tables of the mapping that a home holds; exits where one is missing that each home has."""
    import lancedb

    store = lancedb.connect(home / "lance")
    there = _names(store)
    for name, table in TABLES.items():
        found = [other for other in there if fnmatch.fnmatchcase(other, table.store)]
        if not found and not table.optional:
            raise SystemExit(f"{home} has no table {table.store}: {MAPPING}")
        frames = [pl.DataFrame(pl.from_arrow(store.open_table(one).to_arrow())) for one in found]
        if frames:
            yield name, taken(pl.concat(frames), table)


def taken(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The fields of a table under the golden's names, ordered by its key."""
    columns = []
    keys = [name for kind, name, _ in table.fields() if kind == "key"]
    for kind, name, there in table.fields():
        if there not in frame.columns:
            raise SystemExit(f"table {table.store} has no field {there}: {MAPPING}")
        if kind == "digest":
            columns.append(pl.Series(name, [_digest(text) for text in frame[there]], dtype=pl.String))
        elif kind == "vector":
            columns += _vectors(frame[there], frame[keys[-1]], name)
        elif kind in NUMBERS:
            columns.append(frame[there].cast(pl.Float64).alias(name))
        else:
            columns.append(frame[there].alias(name))
    return pl.DataFrame(columns).sort(keys, nulls_last=False, maintain_order=True)


def _vectors(vectors: pl.Series, ids: pl.Series, name: str) -> list[pl.Series]:
    """The projection of every vector on signs, and the whole vectors of the rows with the smallest hashes."""
    values = np.array(vectors.to_list(), dtype=np.float64).reshape(len(vectors), -1)
    drawn = np.random.default_rng(PROJECTION_SEED).integers(0, 2, values.shape[1]) * 2.0 - 1.0
    order = sorted(range(len(ids)), key=lambda row: _digest(str(ids[row])))[:SAMPLED_ROWS]
    sampled: list[list[float] | None] = [None] * len(ids)
    for row in order:
        sampled[row] = values[row].tolist()
    # One addition after the other: a sum of another order would differ between processors.
    projected = np.add.accumulate(values * drawn, axis=1)[:, -1] if len(values) else np.zeros(0)
    return [
        pl.Series(f"{name}_projected", projected, dtype=pl.Float64),
        pl.Series(name, sampled, dtype=pl.List(pl.Float32)),
    ]


def _digest(value: str | pl.Series | None) -> str | None:
    """A digest of a text, or of the JSON of a list."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value.to_list())
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:DIGITS]


def _questions(decisions: pl.DataFrame, trained_on: pl.DataFrame, selections: list[str]) -> list[list[str]]:
    """The JSON commands that are asked of a home."""
    smallest = decisions.sort("doc_id").group_by("selection", "reason", maintain_order=True).head(EXPLAINED)
    explained = sorted(set(smallest["doc_id"]))
    checkpoints = sorted(set(trained_on["checkpoint"]))
    return [
        ["status", "--json"],
        ["plan", "--json"],
        ["audit", "--json"],
        *(["diff", name, *more, "--json"] for name in selections for more in ([], ["--list"])),
        *(["explain", doc_id, "--json"] for doc_id in explained),
        *(["explain", "--checkpoint", name, "--json"] for name in checkpoints),
    ]


def _answers(commands: list[list[str]], answers: list[dict[str, Any]], home: Path) -> pl.DataFrame:
    """A row for each leaf of each JSON answer: its text, or its number; and the exit code of each command."""
    rows: list[tuple[str, str, str | None, float | None]] = []
    for command, found in zip(commands, answers, strict=False):
        question = " ".join(part for part in command if part != "--json")
        rows.append((question, "exit code", str(found["code"]), None))
        try:
            output = found["output"].replace(str(home.parent), "PROJECT")
            answer = json.loads(output) if output.strip() else None
        except ValueError as error:
            raise SystemExit(f"`tamis {' '.join(command)}` answered no JSON: {error}") from error
        if command[0] == "audit":
            answer = _nodes_by_name(answer)
        rows += [(question, *leaf) for leaf in _leaves(answer, "")]
    exported = sorted(path.name for path in (home / EXPORTS).glob("*") if path.is_file())
    rows += [("files exported", name, None, None) for name in exported]
    schema = {"question": pl.String, "path": pl.String, "text": pl.String, "number": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("question", "path", "text", nulls_last=False)


def _nodes_by_name(answer: dict[str, Any]) -> dict[str, Any]:
    """An audit whose nodes know each other by name; several of one name are numbered by what they say."""
    names = {node["id"]: node["name"] for node in answer["nodes"]}
    for node in answer["nodes"]:
        node["inputs"] = sorted(names.get(one, "?") for one in node["inputs"])
    nodes = sorted(answer["nodes"], key=lambda node: json.dumps(_kept(node), sort_keys=True))
    seen: dict[str, int] = {}
    for node in nodes:
        seen[node["name"]] = seen.get(node["name"], 0) + 1
        node["name"] += f" #{seen[node['name']]}" if seen[node["name"]] > 1 else ""
    named = {key: sorted(names.get(one, "?") for one in answer[key]) for key in ("roots", "lowest_broken")}
    return answer | named | {"nodes": nodes}


def _kept(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in LEFT_OUT}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str | None, float | None]]:
    """Path, text and number of each leaf: a text is compared exactly, a number as what it measures."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in LEFT_OUT:
                yield from _leaves(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        known_by = NAMED_BY.get(path.rpartition(".")[2], "")
        for position, inner in enumerate(value):
            name = inner.get(known_by, position) if isinstance(inner, dict) else position
            yield from _leaves(inner, f"{path}[{name}]")
        yield f"{path} length", str(len(value)), None
    elif isinstance(value, float) or (
        isinstance(value, int) and path.rpartition(".")[2] in RANK_FIELDS and not isinstance(value, bool)
    ):
        yield path, None, float(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield path, VARYING.sub("#", text), None


def _exported(home: Path, selections: list[str]) -> pl.DataFrame:
    frames = []
    for name in selections:
        frame = pl.read_parquet(home / EXPORTS / f"{name}.parquet")
        frames.append(taken(frame.with_columns(pl.lit(name).alias("selection")), EXPORTED))
    return pl.concat(frames) if frames else pl.DataFrame()


def _checkpoints(home: Path) -> pl.DataFrame:
    """Name and shape of every tensor of every checkpoint; what they learnt is compared by held-out losses."""
    from safetensors import safe_open

    rows = []
    for path in sorted(home.glob(CHECKPOINT_FILES)):
        name = path.relative_to(home).parent.parent.as_posix()
        with safe_open(path, framework="numpy") as file:
            for tensor in sorted(file.keys()):
                part = file.get_slice(tensor)
                rows.append((name, tensor, str(part.get_shape()), str(part.get_dtype())))
    schema = dict.fromkeys(("checkpoint", "tensor", "shape", "dtype"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row").unique(maintain_order=True)


def _encoder(home: Path) -> pl.DataFrame:
    """The vectors of the static encoder: the mean over each block of tokens, projected on signs."""
    from safetensors.numpy import load_file

    rows = []
    for path in sorted(home.glob(ENCODER_FILES)):
        vectors = load_file(path)["vectors"].astype(np.float64)
        drawn = np.random.default_rng(PROJECTION_SEED).integers(0, 2, vectors.shape) * 2.0 - 1.0
        projected = np.add.accumulate(vectors * drawn, axis=1)[:, -1]
        for start in range(0, len(projected), BLOCK_TOKENS):
            block = np.add.accumulate(projected[start : start + BLOCK_TOKENS])[-1]
            rows.append((start, len(vectors), vectors.shape[1], block / BLOCK_TOKENS))
    schema = {"block": pl.Int64, "tokens": pl.Int64, "dimension": pl.Int64, "projected": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _potential(home: Path) -> pl.DataFrame:
    """The numbers of every target's potential, and what the choice of a model predicts."""
    rows: list[tuple[str, str, int, float]] = []
    for path in sorted(home.glob(POTENTIAL_FILES)):
        with np.load(path) as stored:
            for name in POTENTIAL_ARRAYS.split():
                numbers = np.atleast_1d(stored[name]).astype(np.float64)
                rows += [(path.parent.parent.name, name, place, float(x)) for place, x in enumerate(numbers)]
    for path in sorted(home.glob(CHOICE_FILES)):
        for name, text, number in _leaves(json.loads(path.read_text()), ""):
            if number is not None or text:
                rows.append(
                    (path.stem, f"{name} {text or ''}".strip(), 0, number if number is not None else 0.0)
                )
    schema = {"of": pl.String, "name": pl.String, "place": pl.Int64, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def shortened(content: Content) -> Content:
    """The same with document ids cut to their first digits, but in the table of documents."""
    ids = {"doc_id", "example_id", "kept", "duplicate_of", "text_digest"}
    for name, frame in content.items():
        if name != DOCUMENTS:
            short = [pl.col(column).str.slice(0, DIGITS) for column in frame.columns if column in ids]
            content[name] = frame.with_columns(short)
    return content
