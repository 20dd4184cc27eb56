"""Pages of a selection of a large pool: time, memory, size; what a layout by neighbours takes. JSON lines.

    python -m benchmarks.map [--documents 1000000] [--layout]

Texts are sentences of the shared pool files (`_scale_million.py`), vectors are drawn around 200 centres, and
decisions are those of a budget of a tenth; the pages are made in a process of its own, as by the asset.
`--layout`: 20,000 points by neighbours, and how many of the nearest points stay nearest, next to components.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks._flags import at_least, begin
from benchmarks._scale_million import sentences_of_pool
from benchmarks._yardstick import most_seconds
from tamis.embedding.layout import neighbour_layout, neighbours_kept, principal_components
from tamis.report.mix import mix_page
from tamis.report.seen import SHOWN_COLUMNS, Seen, Subject, look_at, page_links
from tamis.report.selection_map import axes_in_words, browse_page, map_page
from tamis.settings.sections import FiltersSection
from tamis.store.schemas import schema_of
from tamis.store.tables import Store, vector_column

LIMIT_SECONDS, LIMIT_GIGABYTES, LIMIT_MEGABYTES, LIMIT_LAYOUT_SECONDS = 30.0, 1.5, 1.5, 120.0
BLOCK, DIMENSION, CENTRES, TABLE = 50_000, 384, 200, "embeddings_drawn"


def write_pool(store: Store, documents: int) -> None:
    """Write the tables that the pages read, a block of documents at a time."""
    sentences, rng = sentences_of_pool(), np.random.default_rng(0)
    center_cd = rng.normal(size=(CENTRES, DIMENSION))
    for start in range(0, documents, BLOCK):
        rows = min(BLOCK, documents - start)
        drawn = sentences.gather(rng.integers(len(sentences), size=3 * rows)).to_numpy().reshape(3, rows)
        texts = [f"{start + row} {' '.join(parts)}" for row, parts in enumerate(drawn.T)]
        ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
        sizes = np.array([len(text) for text in texts])
        place_n = np.arange(rows)
        _append(store, "documents", doc_id=ids, text=texts, n_chars=sizes, n_bytes=sizes)
        source_n = [f"site-{one}.example" for one in rng.integers(40, size=rows)]
        licence_n = [("CC-BY-4.0", "MIT", None)[one] for one in rng.integers(3, size=rows)]
        shard = [f"web__{start:09d}.jsonl"] * rows
        _append(
            store, "occurrences", doc_id=ids, shard=shard, row=place_n, source=source_n, licence=licence_n
        )
        vectors_nd = center_cd[rng.integers(CENTRES, size=rows)] + rng.normal(size=(rows, DIMENSION))
        schema = schema_of(TABLE, DIMENSION)
        columns = [pa.array(ids), vector_column(vectors_nd), pa.array(["drawn"] * rows)]
        store.append(TABLE, pa.table(columns, schema=schema))
        rank_n = rng.permutation(rows) + start + 1
        margin_n, chosen_n = 0.1 - (rank_n / documents), rank_n <= documents / 10
        verdict = np.where(chosen_n, "selected", "rejected")
        reason = np.where(chosen_n, "within_budget", np.where(rank_n % 20, "over_budget", "near_duplicate"))
        _append(
            store,
            "decisions",
            selection=["large"] * rows,
            doc_id=ids,
            verdict=verdict,
            reason=reason,
            rank=rank_n,
            margin=margin_n,
            transport_gradient=-margin_n,
        )


def _append(store: Store, table: str, **columns: object) -> None:
    schema = schema_of(table)
    known = pl.DataFrame(columns).to_arrow()
    arrays = [
        known[field.name].cast(field.type) if field.name in columns else pa.nulls(len(known), field.type)
        for field in schema
    ]
    store.append(table, pa.table(arrays, schema=schema))


def write_pages(folder: Path) -> None:
    """Make the pages of the pool in a folder, and print one line: seconds, gigabytes, bytes of each page."""
    began, store = time.perf_counter(), Store(folder / "lance")
    decisions = store.read("decisions", [*SHOWN_COLUMNS, "transport_gradient"], "selection = 'large'")
    known = {"name": "large", "target": None, "pool_table": TABLE, "target_table": "none"}
    seen, links = look_at(store, Subject(decisions=decisions, **known)), page_links("large")
    del decisions
    pages = _pages(store, seen, links)
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        seconds,
        peak / 1e6,
        *(len(page.encode()) for page in pages),
        hashlib.sha256("".join(pages).encode()).hexdigest(),
    )
    for (name, _what), page in zip(links[1:], pages, strict=True):
        (folder / name).write_text(page)


def _pages(store: Store, seen: Seen, links: list[tuple[str, str]]) -> list[str]:
    return [
        map_page(seen, seen.point_nk[:, :2], axes_in_words(seen), links),
        browse_page(store, seen, FiltersSection(), links),
        mix_page(seen, None, links),
    ]


def line(measure: str, **figures: object) -> None:
    """Print one figure."""
    print(json.dumps({"benchmark": "map", "measure": measure} | figures), flush=True)


def main() -> int:
    """Print the figures; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=at_least(1), default=1_000_000)
    parser.add_argument("--layout", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = begin(parser)
    if given.worker:
        write_pages(given.worker)
        return 0
    with tempfile.TemporaryDirectory() as name:
        write_pool(Store(Path(name) / "lance"), given.documents)
        runs = []
        for _run in range(2):
            command = [sys.executable, "-m", "benchmarks.map", "--worker", name]
            runs.append(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split())
    seconds, peak = min(float(run[0]) for run in runs), max(float(run[1]) for run in runs)
    most = most_seconds(LIMIT_SECONDS, "core")
    largest = max(map(int, runs[0][2:5])) / 1e6
    same = runs[0][5] == runs[1][5]
    holds = seconds < most.here and peak < LIMIT_GIGABYTES and largest < LIMIT_MEGABYTES and same
    line(
        "map_pages",
        documents=given.documents,
        seconds=seconds,
        peak_gigabytes=peak,
        largest_megabytes=largest,
        equal_bytes=same,
        holds=holds,
        **most.figures(),
    )
    if given.layout:
        rng = np.random.default_rng(0)
        vector_nd = rng.normal(size=(CENTRES, DIMENSION))[rng.integers(CENTRES, size=20_000)]
        point_nk = (found := principal_components(vector_nd + rng.normal(size=vector_nd.shape))).of(vector_nd)
        began = time.perf_counter()
        place_n2 = neighbour_layout(point_nk)
        seconds, most = time.perf_counter() - began, most_seconds(LIMIT_LAYOUT_SECONDS, "core")
        kept = {
            "kept": neighbours_kept(point_nk, place_n2),
            "kept_by_components": neighbours_kept(point_nk, point_nk[:, :2]),
        }
        line("map_layout", points=20_000, seconds=seconds, **kept, axes=len(found.share_k), **most.figures())
        holds &= seconds < most.here
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
