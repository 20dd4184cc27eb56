"""Facts about [tune] that the graph knows: what identifies its runs, and how long choosing has taken."""

from collections.abc import Collection

from tamis.graph.plan import input_key, upstream
from tamis.graph.snapshot import ProjectSnapshot
from tamis.project import Project
from tamis.records.current_values import CurrentValues
from tamis.records.manifest import ManifestError, ManifestFolder
from tamis.selection.stage import pool_edges
from tamis.settings.samplers import SCORE, weighs_quality
from tamis.stage import Edge
from tamis.tuning.recipes import TrainingRecipe
from tamis.tuning.stage import ranking_inputs, run_stage

Entry = tuple[str, str]


def key_of_runs(
    snapshot: ProjectSnapshot, current: CurrentValues, recipe: TrainingRecipe, quality: str | None
) -> str:
    """Return the digest of the inputs and settings of a recipe's runs, whichever others are searched.

    `quality`: score that a recipe with a weight of quality reads.
    """
    samplers: tuple[str, ...] = () if recipe.sampler is None else (recipe.sampler,)
    if quality is not None and recipe.quality_weight is not None:
        samplers += (f"{SCORE}:{quality}",)
    key = input_key(run_stage(samplers, recipe.model), "", snapshot, current)
    assert key is not None, "an input of the recipe is missing"
    return key


def seconds_of_choosing(
    project: Project, snapshot: ProjectSnapshot, current: CurrentValues, samplers: Collection[str]
) -> float:
    """Return how long the steps took that samplers need, and a random choice does not."""
    tune = project.settings.tune
    weighed = tune is not None and tune.quality is not None and any(map(weighs_quality, samplers))
    ranked_by = (*samplers, *((f"{SCORE}:{tune.quality}",) if tune and weighed else ()))
    entries = _with_inputs(ranking_inputs(lambda _: ranked_by), snapshot) - _with_inputs(
        pool_edges(), snapshot
    )
    folder, seconds = ManifestFolder.of(project.home), 0.0
    for entry in sorted(entries):
        value = current.get(entry)
        try:
            manifest = folder.read(value.manifest) if value else None
        except ManifestError:
            continue
        seconds += float(manifest.beside.get("partition_seconds", 0.0)) if manifest else 0.0
    return seconds


def _with_inputs(edges: tuple[Edge, ...], snapshot: ProjectSnapshot) -> set[Entry]:
    entries: set[Entry] = set()
    for edge in edges:
        for key in edge.partitions(snapshot, ""):
            entries |= {(edge.asset, key)} | upstream(snapshot, (edge.asset, key))
    return entries
