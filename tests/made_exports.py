"""A small project by hand: two shards, a selection of three of their six documents, and one SQL table."""

import itertools
from collections.abc import Sequence
from typing import Any

from projects import heads_of, plain_project, record, rows_of, selection, settings, target, write_rows

from tamis.history.versions import note_version
from tamis.project import Project
from tamis.records.manifest import Manifest

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


def project_of(tmp_path, decisions: list[dict[str, Any]]) -> Project:
    """Return the project with these decisions, and everything in its home."""
    near = selection("near", "got-d", 3, target="goal")
    text = settings(target(), near)
    project = plain_project(tmp_path, text, {}).project
    home, store = project.home, project.home.store
    chosen = [{name: row[name] for name in ("selection", "doc_id", "rank")} for row in DECISIONS[:3]]
    of_tables = {"documents": DOCUMENTS, "occurrences": OCCURRENCES, "decisions": decisions}
    for name, rows in (of_tables | {"selected_subset": chosen}).items():
        store.append(name, rows_of(name, rows))
    minute = itertools.count(1)

    def made(asset: str, partition: str = "", inputs: Sequence[Manifest] = (), **more: Any) -> Manifest:
        keys = ("input_key", "data_version", "digest")
        stated = {key: f"{key} of {asset} {partition}" for key in keys} | {"row_count": 3} | more
        beside = {"made_at": f"2026-01-02T03:{next(minute):02d}:00+00:00"}
        return record(home, asset, partition, inputs=inputs, beside=beside, **stated)

    raw = [made("raw_shards", shard) for shard in SHARDS]
    documents = [made("documents", shard, [one]) for shard, one in zip(SHARDS, raw, strict=True)]
    made("selected_subset", "near", documents, config=CONFIG)
    listed = {"decisions": write_rows(home, "decisions", "selection = 'near'")}
    decided = made("decisions", "near", documents, config=CONFIG, rows=listed)
    made("mart_reasons", "", [decided])
    note_version(home, heads_of(home), "near")
    return project
