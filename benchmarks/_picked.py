"""What a selection holds, by the truth of the pool: right domains, noise, boilerplate, near-duplicates."""

import polars as pl

from benchmarks._real_graph import Study
from benchmarks._real_tasks import Task


def picked_shares(study: Study) -> list[dict[str, object]]:
    """A row a task and sampler: shares of the documents and of the bytes picked."""
    truth = study.truth
    sizes = study.store.read("documents", ["doc_id", "n_bytes"])
    pool = truth.join(sizes, on="doc_id")
    rows = [{"task": task.name, "sampler": "the pool", **_shares(pool, task)} for task in study.tasks]
    for task in study.tasks:
        for sampler in study.samplers:
            chosen = pl.DataFrame({"doc_id": study.chosen(task, sampler, 0)}, schema={"doc_id": pl.String})
            found = chosen.join(pool, on="doc_id", how="left")
            rows.append({"task": task.name, "sampler": sampler, **_shares(found, task)})
    return rows


def _shares(rows: pl.DataFrame, task: Task) -> dict[str, object]:
    planted = pl.col("planted")
    right = pl.col("domain").is_in(list(task.domains)) & planted.is_in(["", "near-duplicate"])
    noise, n_bytes = planted.str.starts_with("noise"), pl.col("n_bytes")
    shares = rows.select(
        documents=pl.len(),
        right_domain=right.mean(),
        right_domain_bytes=n_bytes.filter(right).sum() / n_bytes.sum(),
        noise=noise.mean(),
        noise_bytes=n_bytes.filter(noise).sum() / n_bytes.sum(),
        boilerplate=(planted == "boilerplate").mean(),
        # Both of a pair picked: of a near-duplicate and its original one alone is no loss.
        repeated=((planted == "near-duplicate") & pl.col("of").is_in(pl.col("id").implode())).mean(),
        mean_bytes=n_bytes.mean(),
    ).row(0, named=True)
    found = {name: value if value is not None and value == value else 0.0 for name, value in shares.items()}
    unknown = {} if task.domains else {"right_domain": None, "right_domain_bytes": None}
    return found | unknown
