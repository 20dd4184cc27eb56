"""A small project by hand: two shards, a selection of three of their six documents, and one SQL table."""

import pyarrow as pa
import pytest

from tamis.exporting import export_selection
from tamis.lineage.heads import Head, read_heads, write_heads
from tamis.lineage.manifest import InputReference, Manifest, ManifestFolder
from tamis.lineage.versions import note_version
from tamis.project import Project, open_project
from tamis.store.records import stored_rows
from tamis.store.schemas import schema_of

SETTINGS = """
[project]
name = "small"

[[corpus]]
name = "web"
kind = "files"
path = "documents"

[[target]]
name = "goal"
kind = "files"
path = "target"

[[selection]]
name = "near"
sampler = "got-d"
target = "goal"
budget = 3
"""
SHARDS = ("web__a.jsonl", "web__b.jsonl")
CONFIG = {"name": "near", "sampler": "got-d", "budget": 3, "filters": {"licences_denied": ["nc*"]}}
DOCUMENTS = [
    {"doc_id": f"d{n:031x}", "text": f"Text {n}." + "ä" * n, "n_chars": 7 + n, "n_bytes": 7 + 2 * n}
    for n in range(6)
]
OCCURRENCES = [
    {
        "doc_id": f"d{n:031x}",
        "shard": SHARDS[n % 2],
        "row": n // 2,
        "source": "a|b" if n == 4 else "posts",
        "licence": "CC0-1.0" if n % 2 else None,
    }
    for n in range(6)
]
DECISIONS = [
    {
        "selection": "near",
        "doc_id": f"d{n:031x}",
        "verdict": "selected" if n in (0, 1, 4) else "rejected",
        "reason": reason,
        "rank": rank,
        "margin": None if rank is None else 3.5 - rank,
        "transport_gradient": n / 4,
        "detail": "gopher_word_count" if reason == "heuristic" else None,
    }
    for n, reason, rank in (
        (0, "within_budget", 1),
        (1, "within_budget", 2),
        (4, "within_budget", 3),
        (2, "over_budget", 4),
        (3, "heuristic", None),
        (5, "near_duplicate", None),
    )
]


def table(name: str, rows: list[dict]) -> pa.Table:
    names = schema_of(name).names
    return pa.Table.from_pylist([dict.fromkeys(names) | row for row in rows], schema=schema_of(name))


class Maker:
    """Writes manifests and heads as a run does."""

    def __init__(self, project: Project) -> None:
        self.project, self.folder = project, ManifestFolder(project.home.manifests)
        self.minute = 0

    def make(self, asset: str, partition: str = "", inputs=(), **more) -> InputReference:
        self.minute += 1
        made = Manifest(
            asset=asset,
            partition=partition,
            code_version="1",
            seed=0,
            input_key=f"key of {asset} {partition}",
            data_version=f"version of {asset} {partition}",
            digest=f"digest of {asset} {partition}",
            inputs=tuple(inputs),
            **{"config": {}, "row_count": 3} | more,
            beside={"made_at": f"2026-01-02T03:{self.minute:02d}:00+00:00"},
        )
        key = self.folder.write(made)
        head = Head(
            asset=asset,
            partition=partition,
            manifest=key,
            input_key=made.input_key,
            data_version=made.data_version,
        )
        write_heads(self.project.home.store, [head])
        return InputReference(asset=asset, partition=partition, data_version=made.data_version, manifest=key)


@pytest.fixture
def project(tmp_path) -> Project:
    """The project with everything in its home."""
    (tmp_path / "tamis.toml").write_text(SETTINGS)
    project = open_project(tmp_path)
    store = project.home.store
    store.append("documents", table("documents", DOCUMENTS))
    store.append("occurrences", table("occurrences", OCCURRENCES))
    store.append("decisions", table("decisions", DECISIONS))
    chosen = [{name: row[name] for name in ("selection", "doc_id", "rank")} for row in DECISIONS[:3]]
    store.append("selected_subset", table("selected_subset", chosen))
    maker = Maker(project)
    raw = [maker.make("raw_shards", shard) for shard in SHARDS]
    documents = [maker.make("documents", shard, [one]) for shard, one in zip(SHARDS, raw, strict=True)]
    maker.make("selected_subset", "near", documents, config=CONFIG)
    digest, content = stored_rows(store, "decisions", "selection = 'near'")
    maker.folder.write_rows(digest, content)
    decided = maker.make("decisions", "near", documents, config=CONFIG, rows={"decisions": digest})
    maker.make("mart_reasons", "", [decided])
    note_version(project.home, read_heads(store), "near")
    return project


@pytest.fixture
def exported(project):
    """The selection written as parquet, with all that describes it."""
    return export_selection(project, "near", "parquet")[0]
