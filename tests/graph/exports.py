"""A project whose rows have columns of many types, and what its exports hold."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from projects import SmallProject, corpus, selection, settings, texts, write

from tamis.verbs.elsewhere.export import export_selection

MADE = frozenset({"raw_shards", "documents", "near_duplicates", "selected_subset"})
TEXTS = texts("cooking", 9)
LONG = "x" * 70_000


def write_corpora(root: Path) -> None:
    """JSON with nested and mixed values, CSV, and Parquet with types of its own; a text in all."""
    rows = [
        {
            "text": TEXTS[0],
            "id": 7,
            "source": "blog",
            "tags": ["a", "b"],
            "meta": {"by": "Ann", "votes": [1, 2]},
        },
        {"text": TEXTS[1], "id": 8, "source": "news", "tags": [], "meta": {"by": None}, "mixed": 1},
        {"text": TEXTS[2], "id": 9, "mixed": "one", "licence": ["MIT", "CC0-1.0"], "rank": 99, "long": LONG},
    ]
    write(root / "web" / "a.jsonl", [json.dumps(row) for row in rows])
    (root / "tables").mkdir()
    (root / "tables" / "b.csv").write_text(f'body,label,id\n"{TEXTS[3]}",spam,10\n"{TEXTS[0]}",ham,11\n')
    table = {
        "body": pa.array([TEXTS[4], TEXTS[0], TEXTS[5]]),
        "id": pa.array([1, 2, None], pa.int16()),
        "day": pa.array([date(2026, 1, 2), None, date(1969, 7, 20)]),
        "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None, None], pa.timestamp("ms", "UTC")),
        "price": pa.array([Decimal("1.50"), Decimal("2.25"), None]),
        "vector": pa.array([[0.5, 1.0], [2.0, 3.0], None], pa.list_(pa.float32())),
        "raw": pa.array([b"\x00\xff", None, b"ok"]),
    }
    pq.write_table(pa.table(table), root / "tables" / "c.parquet")
    (root / "tables" / "d.txt").write_text(TEXTS[6])


def settings_of(**more) -> str:
    return settings(
        corpus("web", "web", **more),
        corpus("tables", "tables", text_column="body", **more),
        selection("all", "random", 100),
    )


def rows_of(path: Path) -> dict[str, dict]:
    """Return the rows of a file by their text."""
    read = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
    return {row["text"]: row for row in read or pq.read_table(path).to_pylist()}


def exported(project: SmallProject, form: str = "jsonl", **more) -> dict[str, dict]:
    return rows_of(export_selection(project.project, "all", form, **more).path)
