"""Selections as runs leave them: rows, manifests and heads, without a run."""

import pyarrow as pa

from tamis.lineage.heads import Head, Heads, read_heads, write_heads
from tamis.lineage.manifest import Manifest, ManifestFolder
from tamis.store.home import Home
from tamis.store.records import stored_rows
from tamis.store.schemas import schema_of

SCOPE = "selection = 'best'"


def doc(number: int) -> str:
    return f"{number:032x}"


def made(home: Home, chosen: list[int], rejected: list[int] = (), inputs: str = "") -> Heads:
    """The selection as a run leaves it: rows, manifests and heads."""
    rows = [
        {"selection": "best", "doc_id": doc(number), "verdict": verdict, "reason": reason, "rank": rank}
        for numbers, verdict, reason in (
            (chosen, "selected", "within_budget"),
            (rejected, "rejected", "over_budget"),
        )
        for rank, number in enumerate(numbers, 1)
    ]
    home.store.replace("decisions", pa.Table.from_pylist(rows, schema=schema_of("decisions")), SCOPE)
    digest, content = stored_rows(home.store, "decisions", SCOPE)
    folder = ManifestFolder(home.manifests)
    folder.write_rows(digest, content)
    for asset, version in (("decisions", digest), ("selected_subset", str(chosen))):
        manifest = Manifest(
            asset=asset,
            partition="best",
            code_version="1",
            config={"inputs": inputs},
            seed=0,
            input_key=inputs,
            data_version=version,
            digest=version,
            row_count=len(rows) if asset == "decisions" else len(chosen),
            rows={"decisions": digest} if asset == "decisions" else {},
        )
        head = Head(
            asset=asset,
            partition="best",
            manifest=folder.write(manifest),
            input_key=inputs,
            data_version=version,
        )
        write_heads(home.store, [head])
    return read_heads(home.store)
