"""Certified and settled: sensors keep what is right within its certificate, a person gets what is exact."""

from projects import sentences, write_jsonl


def head(project, asset: str) -> dict:
    heads = project.store.read("heads", where=f"asset = '{asset}'")
    return heads.sort("partition").row(0, named=True)


def state(project) -> str:
    return next(s["state"] for s in project.json("status")["selections"] if s["selection"] == "near-algebra")


def test_a_small_shard_joins_within_the_certificate_and_is_settled_later(project):
    before = head(project, "target_potential")
    write_jsonl(project.root / "landing" / "few.jsonl", sentences("sailing", 3, seed=77))
    project.tamis("materialize", "--certified")
    kept = head(project, "target_potential")
    assert kept["settled"] is False
    assert kept["data_version"] == before["data_version"], "an accepted potential keeps its version"
    assert kept["input_key"] != before["input_key"]
    assert state(project) == "certified"
    assert "everything is current" in project.tamis("materialize", "--certified").stderr
    scores = project.store.read("transport_algebra")
    assert scores["fingerprint"].n_unique() == 1
    project.tamis("materialize")
    assert head(project, "target_potential")["settled"] is True
    assert state(project) == "settled"
    assert project.json("audit")["status"] in ("green", "amber")


def test_a_shard_that_changes_everything_is_solved_warm_and_settling_gives_what_nothing_gives(project, built):
    rows = sentences("algebra", 200, seed=5)
    write_jsonl(project.root / "landing" / "flood.jsonl", rows)
    project.tamis("materialize", "--certified")
    joined = head(project, "target_potential")
    assert joined["settled"] is False
    assert joined["data_version"] != head(built, "target_potential")["data_version"]
    project.tamis("materialize")
    (project.root / "landing" / "flood.jsonl").unlink()
    project.tamis("materialize", "--certified", "--allow-removal", "landing")  # half of the documents
    project.tamis("materialize")
    for asset in ("target_potential", "transport_scores", "selected_subset"):
        assert head(project, asset)["data_version"] == head(built, asset)["data_version"]
