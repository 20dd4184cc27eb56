"""What each stage costs, and how that grows in documents, target size and shards: a small grid.

Each of the three is quadrupled twice (documents doubled, with as many a shard as before) while the others
stay. The encoder is distilled once before, so that no stage holds that constant.
"""

import shutil
import time
from pathlib import Path

from benchmarks._scale_million import materialized, write_documents
from benchmarks._scale_stages import Line, Measured, Point, figures, fitted_cost
from tamis.embedding import load_encoder

SHARDS, TARGET = 8, 500
GROWING = {"documents": (1, 2, 4), "target": (1, 4, 16), "shards": (1, 4, 16)}


def costs_and_growth(folder: Path, documents: int, line: Line) -> None:
    """Lines of points, stages and tables; nothing is claimed, so nothing can be missed."""
    encoder = _encoder(folder, line)
    runs: dict[Point, Measured] = {}
    for point in dict.fromkeys(point for points in grid(documents).values() for point in points):
        runs[point] = _measured(folder, encoder, point)
        _point_line(line, point, runs[point])
    _stage_lines(line, documents, runs)
    _disk_line(line, *max(runs.items(), key=lambda entry: entry[0].documents))


def grid(documents: int) -> dict[str, list[Point]]:
    """The points in which one thing grows, by what grows; the first is the same everywhere."""
    base = Point(documents=documents, target=TARGET, shards=SHARDS)
    found = {}
    for name, factors in GROWING.items():
        found[name] = [
            Point(
                documents=base.documents * (factor if name == "documents" else 1),
                target=base.target * (factor if name == "target" else 1),
                shards=base.shards * (1 if name == "target" else factor),
            )
            for factor in factors
        ]
    return found


def _encoder(folder: Path, line: Line) -> Path:
    """The cache with the static encoder, distilled."""
    began = time.perf_counter()
    load_encoder("static", cache=folder / "cache")
    line("capacity_encoder", seconds=time.perf_counter() - began)
    return folder / "cache"


def _measured(folder: Path, encoder: Path, point: Point) -> Measured:
    """What a project of this size took; its folder is removed, so that the disk need not hold all."""
    project = folder / "project"
    in_a_shard = -(-point.documents // point.shards)
    write_documents(project, point.documents, target=point.target, in_a_file=in_a_shard)
    shutil.copytree(encoder, project / ".tamis" / "cache")
    try:
        return materialized(project)
    finally:
        shutil.rmtree(project)


def _point_line(line: Line, point: Point, run: Measured) -> None:
    folders: dict[str, int] = {}
    for name, size in run.disk.items():
        top = name.split("/")[0]
        folders[top] = folders.get(top, 0) + size
    each = {
        name: round(size / point.documents, 1) for name, size in folders.items() if size > point.documents
    }
    memory = {"seconds": run.seconds, "peak_gigabytes": run.peak_gigabytes}
    peaks = {name: round(peak, 2) for name, peak in run.peaks.items()}
    line("capacity_point", **vars(point), **memory, disk_bytes_a_document=each, peaks=peaks)


def _stage_lines(line: Line, documents: int, runs: dict[Point, Measured]) -> None:
    for stage in dict.fromkeys(name for run in runs.values() for name in run.stages):
        grown = {}
        for name, points in grid(documents).items():
            seconds = [runs[point].stages.get(stage, 0.0) for point in points]
            grown[name] = figures("sizes", [getattr(point, name) for point in points], seconds)
        cost = fitted_cost(list(runs), [run.stages.get(stage, 0.0) for run in runs.values()])
        line("capacity_stage", stage=stage, **grown, cost=cost)


def _disk_line(line: Line, point: Point, run: Measured) -> None:
    each = {
        name.removeprefix("lance/"): round(size / point.documents, 1)
        for name, size in run.disk.items()
        if name.startswith("lance/") and size >= point.documents
    }
    line("capacity_tables", **vars(point), bytes_a_document=each)
