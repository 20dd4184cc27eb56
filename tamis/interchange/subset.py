"""The files that describe an exported subset, written next to it."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from tamis.base.files import file_digest, write_atomically
from tamis.corpus.small_files import group_of_files
from tamis.corpus.sources import stored_sources
from tamis.corpus.stage import OCCURRENCES
from tamis.history.versions import settings_then, version_of
from tamis.interchange.card import data_card
from tamis.interchange.croissant import croissant
from tamis.interchange.facts import Facts, Written, histograms, shares
from tamis.interchange.graph import Lineage, manifests_behind
from tamis.interchange.lineage import openlineage_lines
from tamis.interchange.prov import prov_json
from tamis.interchange.subset_rows import COUNT
from tamis.passages.places import PARENT, read_passages
from tamis.project import Project
from tamis.records.manifest import ManifestFolder, canonical_json
from tamis.records.published import Published
from tamis.selection.pool import token_sizes, tokens_of
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
        """Return the paths next to the file of a subset, or to where it would be."""
        return cls(
            card=description_path(subset, CARD),
            croissant=description_path(subset, CROISSANT),
            openlineage=description_path(subset, OPENLINEAGE),
            prov=description_path(subset, PROV),
        )


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of an export: facts and lineage of the subset, and what its file holds.

    `known`: the columns that are not of the user's rows. `all_documents`: the file has all of the pool.
    `in_training_order`: as of `Written`.
    """

    facts: Facts
    lineage: Lineage
    known: frozenset[str]
    all_documents: bool = False
    in_training_order: bool = False


def describe_subset(
    project: Project, found: Published, decisions: pl.DataFrame, chosen: pl.DataFrame
) -> tuple[Facts, Lineage]:
    """Return the facts and the lineage of a published selection; raises `ManifestError`.

    `decisions`: all that it published. `chosen`: the documents, with doc_id, shard, source, licence and text.
    """
    store, folder = project.home.store, ManifestFolder.of(project.home)
    made = folder.read(found.subset)
    sized = chosen.with_columns(pl.col("text").str.len_bytes().cast(pl.Int64).alias("n_bytes"))
    every = store.read(OCCURRENCES.name, ["doc_id", "shard", "source"])
    sources = stored_sources(store, every, chosen["doc_id"]).select("doc_id", "source")
    sized = sized.drop("source").join(sources, on="doc_id", how="left", maintain_order="left")
    reasons = decisions.group_by("reason", "detail").len().sort("reason", "detail", nulls_last=False)
    groups: dict[str, str] = dict(group_of_files(store).iter_rows())  # small files share a shard
    passages = read_passages(store, ["doc_id"])["doc_id"]
    split = chosen[PARENT].drop_nulls() if PARENT in chosen.columns else pl.Series(dtype=pl.String)
    facts = Facts(
        project=project.settings.project.name,
        selection=found.selection,
        version=version_of(store, found, made.data_version),
        manifest=found.subset,
        made_at=made.beside["made_at"],
        settings=settings_then(folder, made),
        pool=len(decisions),
        eligible=decisions["rank"].count(),
        documents=len(chosen),
        copies=int(chosen[COUNT].sum()) if COUNT in chosen.columns else len(chosen),
        n_bytes=int(sized["n_bytes"].sum()),
        tokens=tokens_of(token_sizes(store), chosen),
        reasons=tuple(reasons.iter_rows()),
        licences=shares(sized, "licence"),
        sources=shares(sized, "source"),
        shards=len({groups.get(file, file) for file in chosen["shard"].unique()}),
        histograms=histograms(decisions),
        in_passages=bool(decisions["doc_id"].is_in(passages.implode()).any()),
        passages=len(split),
        split=split.n_unique(),
    )
    return facts, Lineage(project=facts.project, manifests=manifests_behind(folder, [found.subset]))


def write_descriptions(
    description: Description, subset: Path, columns: pa.Schema, described: Path
) -> SubsetFiles:
    """Write the four files that describe a subset with these columns; they go next to `described`."""
    facts, lineage, files = description.facts, description.lineage, SubsetFiles.of(described)
    folder = files.card.parent
    written = Written(
        name=(subset.relative_to(folder) if subset.is_relative_to(folder) else Path(subset.name)).as_posix(),
        columns=columns,
        form=subset.suffix.removeprefix("."),
        size=subset.stat().st_size,
        sha256=file_digest(subset),
        known=description.known,
        all_documents=description.all_documents,
        in_training_order=description.in_training_order,
    )
    other_forms = _other_forms(files.prov, facts.manifest, written.name)
    texts = {
        files.card: data_card(facts, written, [path.name for path in files.paths[1:]]),
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
        labels = {
            one["prov:generatedEntity"]: earlier["entity"][one["prov:generatedEntity"]]["prov:label"]
            for one in earlier["wasDerivedFrom"].values()
            if one["prov:usedEntity"] == f"manifest:{manifest}"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # there was none, or it is not ours
    return {
        file.removeprefix("file:"): (label, manifest)
        for file, label in labels.items()
        if label != name and (prov.parent / label).is_file()
    }
