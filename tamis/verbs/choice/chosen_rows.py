"""Files that `tamis select` writes: chosen rows with all their columns, and a verdict on every row."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from tamis.base.files import whole_file
from tamis.base.numbers import counted
from tamis.corpus.quarantine import QUARANTINE
from tamis.corpus.stage import OCCURRENCES
from tamis.graph.snapshot import ProjectSnapshot
from tamis.interchange.joined import joined_documents
from tamis.interchange.json_lines import json_lines, json_texts
from tamis.interchange.own_columns import OwnRows, Place, own_table, read_own_rows
from tamis.passages.places import COUNT, GAP, NUMBER, PARENT
from tamis.readers.arrow_values import FAR
from tamis.readers.rows import WHOLE_SHARD
from tamis.selection.pool import with_texts
from tamis.settings.samplers import DEFAULT_OPTIONS, complete_options, find_sampler
from tamis.settings.sections import SelectionSection
from tamis.verbs.choice.data_types import REPEATED

RANK, SCORE = "tamis_rank", "tamis_score"
TEXT = "text"
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".parquet")
_CODECS = {".gz": "gzip", ".zst": "zstd"}


def ending_of(path: Path) -> str | None:
    """Return the ending that says the format of a file, None for another one."""
    return next((one for one in reversed(ENDINGS) if path.name.lower().endswith(one)), None)


def scored(decided: pl.DataFrame, section: SelectionSection) -> pl.DataFrame:
    """Return decisions with `score`: that of the sampler, null where it ranks without one."""
    sampler, options = find_sampler(section.sampler), section.model_dump(include={*DEFAULT_OPTIONS})
    found = sampler.score(complete_options(options)) if sampler.score_columns else pl.lit(None)
    return decided.with_columns(score=found.cast(pl.Float64))


def places_of(snapshot: ProjectSnapshot) -> pl.DataFrame:
    """Return every place in which a document stands, in order.

    Columns: doc_id, shard, row and, where documents were split, those of passages.
    """
    columns = ["doc_id", "shard", "row", PARENT, NUMBER, COUNT, GAP]
    places = snapshot.project.home.store.read(OCCURRENCES.name, columns)
    if not len(places[PARENT].drop_nulls()):
        places = places.drop(PARENT, NUMBER, COUNT, GAP)
    at = [name for name in ("shard", "row", NUMBER) if name in places.columns]
    return places.with_columns(row=pl.col("row").cast(pl.Int64)).sort(at)


def write_chosen(
    snapshot: ProjectSnapshot, decided: pl.DataFrame, places: pl.DataFrame, path: Path
) -> list[str]:
    """Write the chosen rows, best first, and return what to know of their columns, a line each.

    Of a text that stands in several rows it is the first. A row has the columns of its file, then rank and
    score; columns of these names are called `original_...`. The chosen passages of a document are one row.
    """
    chosen = decided.filter(pl.col("verdict") == "selected").sort("rank")
    first = places.unique("doc_id", keep="first", maintain_order=True)
    rows = with_texts(snapshot.project.home.store, chosen.select("doc_id", "rank", "score"))
    rows, _places = joined_documents(rows.join(first, on="doc_id", maintain_order="left"), places)
    own = read_own_rows(snapshot.project, rows.select("doc_id", "shard", "row"))
    placed = [((shard, row), text) for shard, row, text in rows.select("shard", "row", TEXT).iter_rows()]
    _add_texts(own, placed, snapshot)
    made = own_table(placed, own)
    columns: dict[str, pa.ChunkedArray] = {}
    printed: dict[str, list[Any]] = {}
    notes = []
    for name, values in made.columns.items():
        called = name
        while called in (RANK, SCORE) or called in columns:
            called = f"original_{called}"
        if called != name:
            notes.append(f"column {name} of the pool is called {called} in {path.name}")
        columns[called], printed[called] = values, made.printed[name]
    columns[RANK] = rows["rank"].cast(pl.Int64).to_arrow()
    columns[SCORE] = rows["score"].to_arrow()
    printed[RANK], printed[SCORE] = rows["rank"].to_list(), rows["score"].to_list()
    ending = ending_of(path)
    assert ending is not None
    if ending.startswith(".jsonl"):
        _write_lines(path, printed)
    else:
        _write_table(path, pa.table(columns), ending)
        notes += [
            f"column {name}: {mixed.why}, so its values are {'text' if mixed.all_texts else 'JSON text'}"
            for name, mixed in made.as_text.items()
        ]
        notes += [
            f"column {name}: {counted(count, 'value')} {FAR}, so null" for name, count in made.nulled.items()
        ]
    return notes


def _add_texts(own: OwnRows, placed: Sequence[tuple[Place, str]], snapshot: ProjectSnapshot) -> None:
    """Give rows their texts where kept rows lack them: of a column `text`, and of files without columns."""
    chats = {one.name for one in snapshot.project.settings.corpus if one.format != "text"}
    for place, text in placed:
        heading = own.headings.get(place[0])
        named_text = heading is None or heading.text_column == TEXT
        if named_text and snapshot.files[place[0]].corpus not in chats:
            own.values[place] = {TEXT: text} | own.values.get(place, {})


def write_decisions(
    snapshot: ProjectSnapshot,
    decided: pl.DataFrame,
    places: pl.DataFrame,
    path: Path,
    streams: Mapping[str, Path],
) -> None:
    """Write a verdict and a reason for every row of the pool, in the order of files and rows.

    `streams`: by argument, the files that standard input and pipes were saved to.
    """
    ending = ending_of(path)
    assert ending is not None
    arguments = {saved: argument for argument, saved in streams.items()}
    names = {key: arguments.get(shard.path, str(shard.path)) for key, shard in snapshot.files.items()}
    known = [name for name in ("duplicate_of", "detail") if name in decided.columns]
    first = pl.col("doc_id").is_first_distinct()
    rows = places.with_columns(first=first).join(
        decided.select("doc_id", "verdict", "reason", "rank", "score", *known),
        on="doc_id",
        maintain_order="left",
    )
    rows = rows.with_columns(
        verdict=pl.when("first").then("verdict").otherwise(pl.lit("rejected")),
        reason=pl.when("first").then("reason").otherwise(pl.lit(REPEATED)),
        rank=pl.when("first").then("rank"),
        score=pl.when("first").then("score"),
    )
    read = snapshot.project.home.store.read(QUARANTINE, ["shard", "row", "reason", "detail"])
    bad = read.filter(pl.col("shard").is_in([*snapshot.files])).select(
        "shard",
        pl.col("row").cast(pl.Int64),
        "reason",
        "detail",
        verdict=pl.lit("rejected"),
    )
    table = (
        pl.concat([rows, bad], how="diagonal")
        .sort("shard", "row", *(name for name in (NUMBER,) if name in places.columns))
        .select(
            pl.col("shard").replace(names).alias("file"),
            pl.when(pl.col("row") != WHOLE_SHARD).then("row").alias("row"),
            *(name for name in (NUMBER,) if name in places.columns),
            "doc_id",
            "verdict",
            "reason",
            *(name for name in ("detail", "duplicate_of") if name in known or name == "detail"),
            "rank",
            "score",
        )
    )
    if ending.startswith(".jsonl"):
        _write_lines(path, {name: table[name].to_list() for name in table.columns})
    else:
        _write_table(path, table.to_arrow(compat_level=pl.CompatLevel.oldest()), ending)


def _write_lines(path: Path, columns: Mapping[str, list[Any]]) -> None:
    names = [*columns]
    objects = (dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True))
    with _draft(path) as stream:
        for line in json_lines(objects):
            stream.write(f"{line}\n".encode())


def _write_table(path: Path, table: pa.Table, ending: str) -> None:
    if ending == ".parquet":
        with whole_file(path) as draft:
            pq.write_table(table, draft, compression="zstd")
        return
    for number, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            texts = json_texts(json.loads(json.dumps(table[number].to_pylist(), default=str)))
            table = table.set_column(number, field.name, pa.array(texts, pa.string()))
    with _draft(path) as stream:
        pc.write_csv(table, stream)


@contextmanager
def _draft(path: Path) -> Iterator[pa.NativeFile]:
    """Yield a stream, compressed as the name says, to a draft that takes the place of the file when done."""
    with whole_file(path) as draft:
        codec = _CODECS.get(path.suffix.lower())
        with pa.OSFile(str(draft), "wb") as file:
            if codec is None:
                yield file
            else:
                with pa.CompressedOutputStream(file, codec) as stream:
                    yield stream
