"""The files that describe an exported subset, written next to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tamis.base.files import file_digest, write_atomically
from tamis.history.versions import settings_then, version_of
from tamis.interchange.card import data_card
from tamis.interchange.croissant import croissant
from tamis.interchange.facts import Facts, Written, histograms, shares
from tamis.interchange.graph import Lineage, manifests_behind
from tamis.interchange.lineage import openlineage_lines, prov_json
from tamis.interchange.subset_rows import COUNT
from tamis.project import Project
from tamis.records.manifest import ManifestFolder, canonical_json
from tamis.records.published import Published
from tamis.selection.token_sizes import token_sizes, tokens_of
from tamis.store.exports import CARD, CROISSANT, OPENLINEAGE, PROV, description_path


@dataclass(frozen=True, kw_only=True)
class SubsetFiles:
    """The paths of the files that describe a subset."""

    card: Path
    croissant: Path
    openlineage: Path
    prov: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return self.card, self.croissant, self.openlineage, self.prov

    @classmethod
    def of(cls, subset: Path) -> "SubsetFiles":
        """Return the paths next to the file of a subset."""
        return cls(
            card=description_path(subset, CARD),
            croissant=description_path(subset, CROISSANT),
            openlineage=description_path(subset, OPENLINEAGE),
            prov=description_path(subset, PROV),
        )


def describe_subset(
    project: Project, found: Published, decisions: pl.DataFrame, chosen: pl.DataFrame
) -> tuple[Facts, Lineage]:
    """Return the facts and the lineage of a published selection; raises `ManifestError`.

    `decisions`: all that it published. `chosen`: the documents, with doc_id, shard, source, licence and text.
    """
    folder = ManifestFolder.of(project.home)
    made = folder.read(found.subset)
    sized = chosen.with_columns(pl.col("text").str.len_bytes().cast(pl.Int64).alias("n_bytes"))
    reasons = decisions.group_by("reason", "detail").len().sort("reason", "detail", nulls_last=False)
    facts = Facts(
        project=project.settings.project.name,
        selection=found.selection,
        version=version_of(project.home.store, found, made.data_version),
        manifest=found.subset,
        made_at=made.beside["made_at"],
        settings=settings_then(folder, made),
        pool=len(decisions),
        eligible=decisions["rank"].count(),
        documents=len(chosen),
        copies=int(chosen[COUNT].sum()) if COUNT in chosen.columns else len(chosen),
        n_bytes=int(sized["n_bytes"].sum()),
        tokens=tokens_of(token_sizes(project.home.store), chosen),
        reasons=tuple(reasons.iter_rows()),
        licences=shares(sized, "licence"),
        sources=shares(sized, "source"),
        shards=chosen["shard"].n_unique(),
        histograms=histograms(decisions),
    )
    return facts, Lineage(project=facts.project, manifests=manifests_behind(folder, [found.subset]))


def write_descriptions(facts: Facts, lineage: Lineage, subset: Path, columns: pa.Schema) -> SubsetFiles:
    """Write the four files that describe a subset with these columns."""
    files = SubsetFiles.of(subset)
    written = Written(
        name=subset.relative_to(files.card.parent).as_posix(),
        columns=columns,
        form=subset.suffix.removeprefix("."),
        size=subset.stat().st_size,
        sha256=file_digest(subset),
    )
    other_forms = _other_forms(files.prov, facts.manifest, written.name)
    others = [files.croissant.name, files.openlineage.name, files.prov.name]
    texts = {
        files.card: data_card(facts, written, others),
        files.croissant: canonical_json(croissant(facts, written)) + "\n",
        files.openlineage: openlineage_lines(lineage),
        files.prov: prov_json(lineage, {written.sha256: (written.name, facts.manifest)} | other_forms),
    }
    for path, text in texts.items():
        write_atomically(path, text.encode())
    return files


def _other_forms(prov: Path, manifest: str, name: str) -> dict[str, tuple[str, str]]:
    """Return files of the same value that an earlier export wrote next to this one, as its lineage has them.

    So the status tells which of the files of a selection are of its present choice.
    """
    try:
        earlier = json.loads(prov.read_text(encoding="utf-8"))
        labels = {file: earlier["entity"][file]["prov:label"] for file in _derived(earlier, manifest)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # there was none, or it is not ours
    return {
        file.removeprefix("file:"): (label, manifest)
        for file, label in labels.items()
        if label != name and (prov.parent / label).is_file()
    }


def _derived(document: Mapping[str, Any], manifest: str) -> list[str]:
    """Return the entities of files that were made of the value of a manifest."""
    pairs = document["wasDerivedFrom"].values()
    return [one["prov:generatedEntity"] for one in pairs if one["prov:usedEntity"] == f"manifest:{manifest}"]
