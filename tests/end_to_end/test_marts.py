"""SQL models in a real project: published when tests pass, increments, a new file, described columns."""

import polars as pl
from projects import sentences, write_jsonl


def made(project, asset: str):
    """The latest manifest of a model."""
    return project.manifest(asset)


def test_a_model_that_fails_its_tests_does_not_replace_its_table(project):
    store = project.store
    before = store.read("mart_reasons")
    published = project.manifests.kept_path(project.manifest("decisions", "uniform").rows["decisions"])
    pl.read_parquet(published).with_columns(verdict=pl.lit("maybe")).write_parquet(published)
    project.forget(("mart_reasons", ""))
    done = project.tamis("materialize", "--only", "mart_reasons", code=1)
    assert "check failed: mart_reasons" in done.stderr
    assert store.read("mart_reasons").equals(before)
    page = (project.home.reports / "sql_mart_reasons.html").read_text()
    assert "The previous table is kept" in page
    assert "accepted_values_mart_reasons_verdict" in page


def test_increments_of_a_certified_run_equal_the_full_refresh_that_settles_them(project):
    first = made(project, "mart_intake")
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 5, 7))
    project.tamis("materialize", "--certified")
    added = made(project, "mart_intake")
    assert (added.settled, added.row_count) == (False, 4)
    assert (added.asset, "", first.data_version) in {
        (entry.asset, entry.partition, entry.data_version) for entry in added.inputs
    }
    project.tamis("materialize")
    settled = made(project, "mart_intake")
    assert settled.settled
    assert settled.data_version == added.data_version != first.data_version
    # A changed file is no growth: the certified run computes all rows again.
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("sailing", 6, 8))
    project.tamis("materialize", "--certified")
    assert made(project, "mart_intake").settled
    assert project.json("audit", "--quick")["status"] != "red"
