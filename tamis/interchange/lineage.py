"""Lineage of checkpoints, selections or a whole project in the forms that other tools read."""

from tamis.interchange import openlineage, prov
from tamis.interchange.graph import Lineage, manifests_behind
from tamis.lineage.audit import result_stages
from tamis.lineage.heads import read_heads
from tamis.lineage.manifest import ManifestFolder
from tamis.lineage.marts import SQL_FOLDER
from tamis.project import Project
from tamis.sql import column_lineage, load_project


def lineage_behind(project: Project, name: str | None = None) -> Lineage:
    """What leads to the checkpoint or selection `name`, or to everything there is; raises `ManifestError`."""
    heads = read_heads(project.home.store).values()
    results = result_stages()
    roots = [
        head.manifest for head in heads if name is None or (head.asset in results and head.partition == name)
    ]
    manifests = manifests_behind(ManifestFolder.of(project.home), roots)
    return Lineage(project=project.settings.project.name, manifests=manifests)


def openlineage_lines(lineage: Lineage) -> str:
    """The lineage as OpenLineage events, a JSON line each, with the columns of the SQL models."""
    return openlineage.lines(lineage, _columns(lineage))


def prov_json(lineage: Lineage, files: dict[str, tuple[str, str]] | None = None) -> str:
    """The lineage as W3C PROV-JSON; `files`: by SHA-256 their names and the manifests they are made of."""
    return prov.prov_text(lineage, files)


def _columns(lineage: Lineage) -> openlineage.Columns:
    made = {manifest.asset for manifest in lineage.manifests.values()}
    models = load_project(SQL_FOLDER) if any(name.startswith(("mart_", "stg_")) for name in made) else None
    if models is None:
        return {}
    return {name: column_lineage(models, model) for name, model in models.models.items() if name in made}
