"""Maps on request: laid out by nearest neighbours, and the points of a map as a table for other tools."""

import hashlib
import io
from pathlib import Path

import numpy as np
import polars as pl

from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.base.files import write_atomically
from tamis.base.numbers import percent
from tamis.base.progress import Progress
from tamis.embedding.layout import NEIGHBOURS, PASSES, Floats, nearest, neighbour_layout, neighbours_kept
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.published import find_published, read_decisions
from tamis.report.seen import EXAMPLE, GAP, Seen, look_at, page_links, subject_of
from tamis.report.selection_map import map_page
from tamis.selection.decide import used_score_columns
from tamis.settings.config import SelectionSection
from tamis.settings.references import named
from tamis.store.home import writing
from tamis.withdrawal.since import WithdrawnSince

LAYOUTS = ("components", "neighbours")
LAYOUT_VERSION = "1"
PATIENCE_SECONDS = 30.0


def current_map(project: Project, selection: str) -> Path:
    """Return the map that `tamis materialize` makes. Raises `UnknownNameError`, `NotMadeError`."""
    page = project.home.reports / page_links(_section(project, selection).name)[1][0]
    if not page.is_file():
        raise NotMadeError(page.name)
    return page


def map_by_neighbours(project: Project, selection: str) -> Path:
    """Write a map laid out by nearest neighbours next to the other one, and return its path.

    Raises `WithdrawnSinceError` and `UnfinishedWithdrawalError`.
    """
    since, seen = WithdrawnSince(project.home), _seen(project, selection)
    place_n2 = _neighbour_places(project, seen)
    kept = [percent(neighbours_kept(seen.point_nk, found), 0) for found in (place_n2, seen.point_nk[:, :2])]
    axes = (
        f"Laid out to keep near neighbours together: {kept[0]} of the {NEIGHBOURS} nearest neighbours of a "
        f"point by meaning are also among the {NEIGHBOURS} points nearest to it on this map, compared with "
        f"{kept[1]} on the map by principal components. Distances between groups have no meaning. "
        "The map was made on request, and is not updated when the selection changes."
    )
    page = project.home.reports / f"neighbours_{selection}.html"
    content = map_page(seen, place_n2, axes, page_links(selection))
    return _published(project, since, page, content.encode())


def write_points(project: Project, selection: str, by_neighbours: bool) -> Path:
    """Write the points of a map as parquet into the folder of exports, and return its path.

    `neighbors` holds numbers of rows and distances, as Embedding Atlas reads them. Raises
    `WithdrawnSinceError` and `UnfinishedWithdrawalError`.
    """
    since, seen = WithdrawnSince(project.home), _seen(project, selection)
    place_n2 = _neighbour_places(project, seen) if by_neighbours else seen.point_nk[:, :2]
    count, asked_n = min(NEIGHBOURS, max(len(place_n2) - 1, 0)), np.arange(len(place_n2))
    near_nc = nearest(seen.point_nk, asked_n, count) if count else np.zeros((len(place_n2), 0), np.int64)
    far_nc = (
        np.stack([np.linalg.norm(seen.point_nk - seen.point_nk[near_n], axis=1) for near_n in near_nc.T], 1)
        if count
        else near_nc
    )
    columns = ["doc_id", "verdict", "reason", "rank", "margin", "source", "licence", "language"]
    facts = seen.decisions.with_columns(pl.col(pl.Categorical).cast(pl.String)).select(
        *columns, *used_score_columns(seen.decisions)
    )
    is_target = pl.col("kind").is_in([EXAMPLE, GAP])
    neighbours = pl.DataFrame({"ids": near_nc.tolist(), "distances": far_nc.tolist()})
    rows = seen.points.join(facts, on="doc_id", how="left", maintain_order="left").select(
        pl.int_range(pl.len()).alias("row_id"),
        pl.col("doc_id"),
        "text",
        pl.Series("x", place_n2[:, 0], dtype=pl.Float32),
        pl.Series("y", place_n2[:, 1], dtype=pl.Float32),
        neighbours.to_struct("neighbors"),
        is_target.alias("is_target"),
        (pl.col("kind") == GAP).alias("is_gap"),
        pl.col("topic").replace_strict(dict(enumerate(seen.topic_ids)), return_dtype=pl.String),
        *facts.columns[1:],
    )
    path, stream = project.home.exports / f"{selection}.map.parquet", io.BytesIO()
    rows.write_parquet(stream)
    return _published(project, since, path, stream.getvalue())


def _published(project: Project, since: WithdrawnSince, path: Path, content: bytes) -> Path:
    """Write a file of the home unless documents were withdrawn since it was begun, and return its path."""
    with writing(project.home, "tamis map", PATIENCE_SECONDS):
        since.require_none(path.name)
        write_atomically(path, content)
        project.home.publish([path])
    return path


def _seen(project: Project, selection: str) -> Seen:
    """Return what there is to see of the published decisions. Raises as `find_published`."""
    store, folder = project.home.store, ManifestFolder.of(project.home)
    names = [section.name for section in project.settings.selection]
    found = find_published(read_current_values(store), folder, selection, names)
    decisions = pl.DataFrame(pl.from_arrow(read_decisions(store, folder, found)))
    return look_at(store, subject_of(project, _section(project, selection), decisions))


def _section(project: Project, selection: str) -> SelectionSection:
    """Return a selection of tamis.toml; raises `UnknownNameError`."""
    names = [section.name for section in project.settings.selection]
    if selection not in names:
        raise UnknownNameError("selection", selection, names)
    return named(project.settings.selection, selection)


def _neighbour_places(project: Project, seen: Seen) -> Floats:
    """Return the places [n, 2] of the layout by neighbours, from the cache where these vectors are in it."""
    stated = f"{LAYOUT_VERSION} {seen.vector_nd.dtype} {seen.vector_nd.shape}".encode()
    digest = hashlib.sha256(stated + np.ascontiguousarray(seen.vector_nd).tobytes()).hexdigest()
    path = project.home.cache / "layouts" / f"{digest[:32]}.npy"
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False))
    with Progress("layout by neighbours", len(seen.point_nk) * (PASSES + 1), "steps") as progress:
        place_n2 = neighbour_layout(seen.point_nk, progress.advance)
    stream = io.BytesIO()
    np.save(stream, place_n2)
    write_atomically(path, stream.getvalue())
    return place_n2
