"""Lineage of checkpoints, selections or a whole project in the forms that other tools read."""

from tamis.audit.whole import result_stages
from tamis.graph.stages import SQL_FOLDER
from tamis.interchange import openlineage
from tamis.interchange.graph import Lineage, manifests_behind
from tamis.project import Project
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.records.registered import read_registered
from tamis.sql import column_lineage, load_project


def lineage_behind(project: Project, name: str | None = None) -> Lineage:
    """What leads to the checkpoint or selection `name`, or to everything there is; raises `ManifestError`."""
    results, store = result_stages(), project.home.store
    roots = [
        value.manifest
        for value in read_current_values(store).values()
        if name is None or (value.asset in results and value.partition == name)
    ]
    roots += [entry.manifest for entry in read_registered(store) if name in (None, entry.checkpoint)]
    manifests = manifests_behind(ManifestFolder.of(project.home), roots)
    return Lineage(project=project.settings.project.name, manifests=manifests)


def openlineage_lines(lineage: Lineage) -> str:
    """The lineage as OpenLineage events, a JSON line each, with the columns of the SQL models."""
    made = {manifest.asset for manifest in lineage.manifests.values()}
    if not any(name.startswith(("mart_", "stg_")) for name in made):
        return openlineage.lines(lineage, {})
    models = load_project(SQL_FOLDER)
    traced = {name: column_lineage(models, model) for name, model in models.models.items() if name in made}
    return openlineage.lines(lineage, traced)
