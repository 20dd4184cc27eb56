"""What must hold of the home after the soak: nothing lost, the audit green, results those of a rebuild.

Tables are read through lancedb alone, and what they have to hold comes from the files (_soak_project.py).
"""

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import polars as pl
import pyarrow as pa

from benchmarks._soak_processes import Paths
from benchmarks._soak_project import Landing, content_id, marker

SHOWN = 5
COMPARED = {
    "documents": ["doc_id", "text"],
    "occurrences": ["shard", "row", "doc_id"],
    "near_duplicates": ["doc_id", "kept", "jaccard"],
    "target_examples": ["target", "doc_id", "split", "text"],
    "contamination": ["target", "doc_id"],
    "transport_statistics": ["doc_id", "transport_gradient"],
    "scores_density": ["doc_id", "density"],
    "selected_subset": ["selection", "rank", "doc_id"],
    "decisions": ["selection", "doc_id", "verdict", "reason", "rank", "duplicate_of", "margin"],
    "quarantine": ["shard", "row", "reason"],
}
"""Tables and columns in which the home has to equal its rebuild; the first columns name the row."""
FLOATS_WITHIN = 1e-6
Found = tuple[bool, dict[str, Any]]


@dataclass(frozen=True)
class Tables:
    """The tables of a home, read only."""

    home: Path

    @property
    def connection(self) -> Any:
        return lancedb.connect(str(self.home / "lance"))

    def names(self) -> list[str]:
        """Return the names of all tables."""
        return sorted(path.stem for path in (self.home / "lance").glob("*.lance"))

    def read(self, name: str, columns: list[str]) -> pl.DataFrame:
        """Return columns of a table at its latest version."""
        frame = pl.from_arrow(self.connection.open_table(name).to_arrow().select(columns))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def versions(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield every version of every table that can still be read, whole."""
        for name in self.names():
            table = self.connection.open_table(name)
            for entry in table.list_versions():
                table.checkout(int(entry["version"]))
                yield f"{name} version {entry['version']}", table.to_arrow()


def pool(tables: Tables, landing: Landing) -> Found:
    """Every document of every readable file is there, none twice, with its text, and nothing else is."""
    wanted = {
        (f"landing__{name}", row): found
        for name, rows in landing.expected().items()
        for row, found in rows.items()
    }
    places = tables.read("occurrences", ["shard", "row", "doc_id"])
    found = {(shard, row): doc_id for shard, row, doc_id in places.iter_rows()}
    documents = tables.read("documents", ["doc_id", "text"])
    ids = set(documents["doc_id"])
    figures = {
        "documents": len(ids),
        "places": len(found),
        "lost": len(wanted.items() - found.items()),
        "unexpected": len(found.items() - wanted.items()),
        "doubled": len(places) - len(found) + len(documents) - len(ids),
        "without_a_place": len(ids ^ set(found.values())),
        "altered": sum(content_id(text) != doc_id for doc_id, text in documents.iter_rows()),
    }
    wrong = ("lost", "unexpected", "doubled", "without_a_place", "altered")
    examples = sorted(str(place) for place, _ in wanted.items() ^ found.items())[:SHOWN]
    holds = not any(figures[name] for name in wrong)
    return holds, figures | ({} if holds else {"examples": examples})


def quarantine(tables: Tables, landing: Landing) -> Found:
    """Each bad row and each broken file has its entry."""
    entries = tables.read("quarantine", ["shard"])["shard"].to_list()
    wanted = {f"landing__{name}": file.least_quarantined(name) for name, file in landing.files.items()}
    missed = {shard: count for shard, count in wanted.items() if entries.count(shard) < count}
    figures = {"entries": len(entries), "expected_at_least": sum(wanted.values())}
    return not missed, figures | ({"missed": missed} if missed else {})


def decisions(tables: Tables, landing: Landing) -> Found:
    """Each selection has one verdict on every document of the pool, and lists what it chose."""
    ids = sorted(tables.read("documents", ["doc_id"])["doc_id"])
    decided = tables.read("decisions", ["selection", "doc_id", "verdict", "reason"])
    listed = tables.read("selected_subset", ["selection", "doc_id"])
    wrong = []
    for selection, budget in landing.budgets.items():
        rows = decided.filter(pl.col("selection") == selection)
        chosen = sorted(rows.filter(pl.col("verdict") == "selected")["doc_id"])
        if sorted(rows["doc_id"]) != ids or rows["reason"].null_count():
            wrong.append(f"{selection}: {len(rows)} verdicts on {len(ids)} documents")
        if chosen != sorted(listed.filter(pl.col("selection") == selection)["doc_id"]):
            wrong.append(f"{selection}: verdicts and the list of the chosen differ")
        if len(chosen) != budget:
            wrong.append(f"{selection}: {len(chosen)} chosen of a budget of {budget}")
    return not wrong, {"selections": len(landing.budgets), **({"wrong": wrong} if wrong else {})}


def withdrawn(tables: Tables, landing: Landing) -> Found:
    """No byte under the home shows a withdrawn text: files, also unpacked, and tables in all versions."""
    gone = {marker(landing.seed, landing.marked[one]) for one in landing.withdrawn}
    forms = {form for mark in gone for form in (mark, mark[::-1])}
    pool_ids = {found for rows in landing.expected().values() for found in rows.values()}
    kept = {marker(landing.seed, number) for one, number in landing.marked.items() if one in pool_ids}
    shown: set[str] = set()
    seen: set[str] = set()
    for place, text in _texts(tables):
        shown |= {place for form in forms if form in text}
        seen |= {mark for mark in kept if mark in text}
    holds = not shown and seen == kept  # a search that misses what is there would find nothing else either
    figures: dict[str, Any] = {"withdrawn": len(landing.withdrawn), "planted_and_found": len(seen)}
    return holds, figures | ({} if holds else {"shown_in": sorted(shown)[:SHOWN], "missed": len(kept - seen)})


def _texts(tables: Tables) -> Iterator[tuple[str, str]]:
    """Yield everything under a home as text, by place."""
    databases = []
    for path in sorted(one for one in tables.home.rglob("*") if one.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += pl.read_parquet(path).write_json().encode()
        if content.startswith(b"\x1f\x8b"):
            content += gzip.decompress(content)
        if content.startswith(b"SQLite format 3"):
            databases.append(path)
        yield str(path.relative_to(tables.home)), content.decode("latin-1")
    for path in databases:  # opening one may remove its log, which is read by now
        with closing(sqlite3.connect(path)) as database:
            yield str(path.relative_to(tables.home)), "\n".join(database.iterdump())
    for place, rows in tables.versions():
        texts = [field.name for field in rows.schema if _may_hold_text(field.type)]
        yield place, "\n".join(str(value) for name in texts for value in rows[name].to_pylist())


def _may_hold_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_may_hold_text(kind.field(place).type) for place in range(kind.num_fields))
    return not (pa.types.is_primitive(kind) or pa.types.is_null(kind))


def audit(paths: Paths) -> Found:
    """`tamis audit` exits 0 and is green: amber exits 0, too, and says that something is out of date."""
    done = paths.tamis("audit", "--json")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return False, {"exit_code": done.returncode, "said": (done.stderr or done.stdout)[-500:]}
    odd = [
        {name: node[name] for name in ("name", "status", "details") if name in node}
        for node in found["nodes"]
        if node["status"] != "green"
    ]
    figures = {"exit_code": done.returncode, "status": found["status"], "nodes": len(found["nodes"])}
    holds = done.returncode == 0 and found["status"] == "green"
    return holds, figures | ({"not_green": odd[:SHOWN]} if odd else {})


def status(paths: Paths) -> Found:
    """Nothing is due, failed or damaged, and the plan is empty."""
    found = json.loads(paths.tamis("status", "--json").stdout)
    wrong = {
        name: len(found[name]) for name in ("due", "failed", "failed_trials", "failed_checks", "damaged")
    }
    wrong["planned"] = len(json.loads(paths.tamis("plan", "--json").stdout))
    return not any(wrong.values()), {"withdrawn_known": found["withdrawn"], **wrong}


def rebuild(one: Tables, other: Tables) -> Found:
    """The tables say the same as those of a home that was made at once from the same files."""
    differences: dict[str, Any] = {}
    rows = 0
    for name, columns in COMPARED.items():
        homes = {"the home": one, "the rebuild": other}
        if missing := [home for home, tables in homes.items() if name not in tables.names()]:
            differences[name] = f"missing in {' and '.join(missing)}"
            continue
        left, right = (tables.read(name, columns).sort(columns) for tables in (one, other))
        rows += len(left)
        if found := difference(left, right):
            differences[name] = found
    return not differences, {"tables": len(COMPARED), "rows": rows, "differences": differences}


def difference(left: pl.DataFrame, right: pl.DataFrame) -> dict[str, Any]:
    """Return how two frames of sorted rows differ, floats within a tolerance; {} when they do not."""
    exact = [name for name in left.columns if not left.schema[name].is_float()]
    floats = [name for name in left.columns if name not in exact]
    left, right = left.sort(exact, nulls_last=True), right.sort(exact, nulls_last=True)
    only = [
        frame.join(against, on=exact, how="anti", nulls_equal=True).select(exact)
        for frame, against in ((left, right), (right, left))
    ]
    if len(left) != len(right) or any(len(frame) for frame in only):
        examples = [frame.head(SHOWN).rows() for frame in only]
        return {"rows": [len(left), len(right)], "after_the_soak": examples[0], "rebuilt": examples[1]}
    for name in floats:
        one, other = left[name].cast(pl.Float64), right[name].cast(pl.Float64)
        bound = FLOATS_WITHIN * pl.max_horizontal(one.abs(), other.abs())
        far = int(pl.select(((one - other).abs() > bound).fill_null(False).sum()).item())
        far += int((one.is_null() != other.is_null()).sum())
        if far:
            return {name: f"{far} of {len(left)} rows differ by more than {FLOATS_WITHIN:g}"}
    return {}


OF_FILES: dict[str, Callable[[Tables, Landing], Found]] = {
    "pool": pool,
    "quarantine": quarantine,
    "decisions": decisions,
    "withdrawn": withdrawn,
}
