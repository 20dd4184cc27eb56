"""The planned runs as they are stored: a row for each run and source."""

import json
from collections.abc import Iterable

import polars as pl

from tamis.mixture.swarm import PlannedRun, Swarm
from tamis.project import Project
from tamis.store.tables import Store

PLAN, LARGER = "mixture_plan", "agreement_plan"


def read_swarm(project: Project) -> Swarm | None:
    """Return the runs that are planned; None without [mixture], or before its runs are planned."""
    if project.settings.mixture is None:
        return None
    return stored_swarm(project.home.store)


def stored_swarm(store: Store) -> Swarm | None:
    """Return the runs in the tables, None where there are none."""
    rows = store.read(PLAN)
    if not len(rows):
        return None
    proxies = _runs(rows)
    larger = store.read(LARGER)
    first = max(proxies.values(), key=lambda run: run.generation)  # of the latest plan
    stated = rows.filter(pl.col("run") == first.name).row(0, named=True)
    return Swarm(
        generation=first.generation,
        parts=json.loads(stated["ratios"]),
        recipe=stated["recipe"],
        repetition=stated["repetition"],
        proxies=proxies,
        larger=_runs(larger),
        larger_wanted=frozenset(larger.filter("wanted")["run"]),
    )


def _runs(rows: pl.DataFrame) -> dict[str, PlannedRun]:
    found = {}
    for _place, group in rows.sort("generation", "place", "source").group_by("run", maintain_order=True):
        first = group.row(0, named=True)
        found[first["run"]] = PlannedRun(
            name=first["run"],
            generation=first["generation"],
            preset=first["preset"],
            tokens=first["tokens"],
            weights=dict(group.select("source", "weight").iter_rows()),
            parts=json.loads(first["parts"]),
            documents=dict(group.select("source", "documents_digest").iter_rows()),
        )
    return found


def write_swarm(store: Store, swarm: Swarm) -> None:
    """Write the runs, in one commit."""
    store.overwrite_values(PLAN, _rows(swarm.proxies.values(), swarm))


def write_larger(store: Store, swarm: Swarm) -> None:
    """Write the runs at the larger preset, in one commit."""
    rows = _rows(swarm.larger.values(), swarm)
    store.overwrite_values(LARGER, [row | {"wanted": row["run"] in swarm.larger_wanted} for row in rows])


def _rows(runs: Iterable[PlannedRun], swarm: Swarm) -> list[dict[str, object]]:
    return [
        {
            "run": run.name,
            "source": source,
            "weight": weight,
            "documents_digest": run.documents[source],
            "generation": run.generation,
            "place": place,
            "preset": run.preset,
            "tokens": run.tokens,
            "parts": json.dumps(dict(run.parts)),
            "ratios": json.dumps({name: dict(ratio) for name, ratio in swarm.parts.items()}),
            "recipe": swarm.recipe,
            "repetition": swarm.repetition,
        }
        for place, run in enumerate(runs)
        for source, weight in run.weights.items()
    ]
