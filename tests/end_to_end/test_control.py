"""Control over selections through the real graph: what changed and why, and the way back and forth."""

import pytest
from projects import LANDING, make_project, selection, sentences, settings, write_jsonl

LIGHT = settings(LANDING, selection("best", budget=20), settle_seconds=1.0)


@pytest.fixture(scope="module")
def project(tmp_path_factory, encoder_cache):
    """A selection made three times: a file came, then another one went and the budget shrank."""
    project = make_project(tmp_path_factory.mktemp("control") / "project", encoder_cache, LIGHT)
    project.tamis("materialize")
    write_jsonl(project.root / "landing" / "more.jsonl", sentences("algebra", 200, 7))
    project.tamis("materialize")
    (project.root / "landing" / "cooking.jsonl").unlink()
    project.configure(LIGHT.replace("budget = 20", "budget = 15"))
    project.tamis("materialize")
    return project


def chosen(project) -> list[str]:
    return project.store.read("selected_subset").sort("rank")["doc_id"].to_list()


def places(project) -> dict[str, str]:
    return dict(project.store.read("occurrences", ["doc_id", "shard"]).iter_rows())


def test_what_changed_is_told_with_its_cause(project):
    history = project.json("diff", "best", "--list")
    assert [(row["version"], row["documents"], row["pool"]) for row in history] == [
        (1, 20, 180),
        (2, 20, 380),
        (3, 15, 320),
    ]
    assert [row["current"] for row in history] == [False, False, True]
    first = project.json("diff", "best", "1", "2")
    assert first["counts"]["in"] == first["counts"]["out"] > 0
    assert first["settings"] == {}
    assert set(first["causes"]["out"]) == {"others"}, "who draws keeps its key: new ones overtake"
    assert {row["cause"] for row in first["changes"] if row["change"] == "in"} == {"new_document"}
    last = project.json("diff", "best")
    assert (last["from"]["version"], last["to"]["version"]) == (2, 3)
    assert last["settings"]["budget"] == [20, 15]
    gone = {row["doc_id"] for row in last["changes"] if row["cause"] == "removed_document"}
    assert gone
    assert gone.isdisjoint(places(project))
    assert last["counts"]["kept"] + last["counts"]["in"] == 15
    text = project.tamis("diff", "best", "--limit", "2").stdout
    assert "setting budget: 20, then 15" in text
    assert "more; --limit" in text


def test_calls_that_name_nothing_are_refused(project):
    assert "only versions 1 to 3" in project.tamis("diff", "best", "9", code=2).stderr
    assert "valid: best" in project.tamis("diff", "worst", code=2).stderr
    assert "VERSION or --latest" in project.tamis("restore", "best", code=2).stderr
    assert "only versions 1 to 3" in project.tamis("restore", "best", "7", code=2).stderr


def test_an_earlier_version_comes_back_stays_and_is_let_go_of(project):
    before = chosen(project)
    rows = {row["version"]: row for row in project.json("diff", "best", "--list")}
    said = project.tamis("restore", "best", "2").stdout
    assert "pinned to version 2" in said
    gone = [line.split()[2] for line in said.splitlines() if line.startswith("left out: ")]
    assert gone
    assert len(chosen(project)) + len(gone) == 20
    last = project.json("diff", "best")
    assert last["to"]["pinned_to"] == 2
    assert last["to"]["version"] == 4
    assert last["settings"]["budget"] == [15, 20], "settings are those of the version that is repeated"
    status = project.json("status")
    assert status["selections"][0]["state"].startswith("pinned to version 2 since ")
    assert [due["asset"] for due in status["due"] if due["asset"] == "selected_subset"] == []
    audit = project.json("audit", "best")
    assert audit["status"] in ("green", "amber")
    assert rows[2]["manifest"] in {node["id"] for node in audit["nodes"]}, "the way down leads through it"

    write_jsonl(project.root / "landing" / "later.jsonl", sentences("sailing", 40, 8))
    pinned = chosen(project)
    project.tamis("materialize")
    assert chosen(project) == pinned
    store = project.store
    decisions = store.read("decisions")
    assert len(decisions) == store.count("documents")
    later = decisions.filter(decisions["reason"] == "arrived_later")
    assert {places(project)[doc_id] for doc_id in later["doc_id"]} == {"landing__later.jsonl"}
    assert len(project.json("diff", "best", "--list")) == 4, "the same choice is the same version"

    assert "is no longer pinned" in project.tamis("restore", "best", "--latest").stdout
    (project.root / "landing" / "later.jsonl").unlink()
    project.tamis("materialize")
    assert chosen(project) == before
    assert project.json("audit")["status"] == "green"
    assert "not pinned" in project.tamis("restore", "best", "--latest").stdout
