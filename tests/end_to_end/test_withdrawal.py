"""`tamis withdraw` on a small project: every byte of the home is searched, and all else is as it was.

After the withdrawn text has left the user's files too, the home is that of a project that never held it.
"""

import json

import pytest
from marked_documents import COUNT, add_marked, as_line, marked, marker, shown_in
from projects import NEAR_ALGEBRA, VECTORS, make_project, selection, small_settings, watched, write_jsonl
from soundness import assert_pool, versions

from tamis.corpus import document_id
from tamis.corpus.refusing import WITHHELD
from tamis.store.tables import Store
from tamis.verbs.plan import read_plan

WIDE = small_settings(selections=[NEAR_ALGEBRA, selection("uniform", budget=120)])
OTHERS = [number for number in range(COUNT) if number not in (0, 1)]


def near_copy(number: int) -> str:
    return f"{marked(number)} again"


def twins() -> tuple[str, str]:
    """A marked document that is kept, and the one that repeats it nearly."""
    pair = sorted([document_id(marked(1)), document_id(near_copy(1))])
    return pair[0], pair[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory, encoder_cache):
    """A project with marked documents, one of them cut off in another file, and exports of a selection."""
    project = make_project(tmp_path_factory.mktemp("withdrawn") / "project", encoder_cache, WIDE)
    add_marked(project)
    write_jsonl(project.root / "landing" / "near.jsonl", [near_copy(1)])
    with (project.root / "landing" / "cut.jsonl").open("w") as file:
        file.write(as_line(0)[:100])
    project.tamis("materialize")
    project.tamis("export", "uniform")
    project.tamis("export", "uniform", "--format", "jsonl")
    return project


@pytest.fixture
def project(built, tmp_path):
    return built.copy(tmp_path / "copy")


def bare_files(store: Store, table: str) -> bool:
    """Whether the files of a table hold the rows of its one version and not a row more."""
    (version,) = store.open(table).list_versions()
    counted = {name: int(version["metadata"][f"total_{name}"]) for name in ("data_files", "data_file_rows")}
    files = list((store.folder / f"{table}.lance" / "data").iterdir())
    return counted == {"data_files": len(files), "data_file_rows": store.count(table)}


def test_no_byte_of_it_is_left_at_once(project):
    kept, other = twins()
    chosen = document_id(marked(0))
    assert {"documents", "quarantine"} <= {place.split()[0] for place in shown_in(project.home.root, 0)}
    preview = project.json("withdraw", chosen, kept, "--dry-run")
    assert preview["excerpts"] == 1
    assert [row["doc_id"] for row in preview["near_repeats"]] == [other]
    done = project.json("withdraw", chosen, kept, "--reason", "copyright")
    assert done["withdrawn"] == sorted([chosen, kept])
    assert {place["file"].split("/")[-1] for place in done["still_in_files"]} >= {"marked.jsonl", "cut.jsonl"}
    store = project.store
    assert shown_in(project.home.root, 0) == []
    left = {path.name for path in project.home.exports.iterdir()}
    assert left == {"uniform.parquet", "uniform.jsonl"}, "their descriptions named their hashes"
    assert all(bare_files(store, table) for table in ("documents", VECTORS, "quarantine"))
    assert project.json("audit")["status"] == "amber", "withdrawn, and to be made again"


def test_what_is_made_again_lacks_it_and_all_else_stays(project):
    kept, other = twins()
    chosen, store = document_id(marked(0)), project.store
    assert store.read("near_duplicates", ["doc_id", "kept"]).rows() == [(other, kept)]
    texts = dict(store.read("documents", ["doc_id", "text"]).iter_rows())
    vectors = store.read(VECTORS).sort("doc_id")
    project.tamis("withdraw", chosen, kept)
    project.tamis("materialize")
    assert shown_in(project.home.root, 0) == []
    after = versions(project)
    assert "everything is current" in project.tamis("materialize").stderr
    assert (versions(project), project.json("plan")) == (after, [])
    assert project.json("audit")["status"] == "green", "nothing that is current listed it"
    assert project.json("withdraw", "--verify")["holds"]
    left = dict(store.read("documents", ["doc_id", "text"]).iter_rows())
    assert left == {one: text for one, text in texts.items() if one not in (chosen, kept)}
    same = store.read(VECTORS).sort("doc_id")
    assert same.equals(vectors.join(same, on="doc_id", how="semi").sort("doc_id"))
    assert store.count("near_duplicates") == 0, "the other one is promoted"
    assert_pool(store, project.snapshot)
    assert all(store.count("documents", f"doc_id = '{document_id(marked(n))}'") for n in OTHERS)


def test_a_text_that_arrives_again_is_refused_and_leaves_everything_as_it_was(project):
    project.tamis("withdraw", document_id(marked(0)))
    project.tamis("materialize")
    before = versions(project)
    write_jsonl(project.root / "landing" / "again.jsonl", [f"  {marked(0)}\r\n"])
    project.tamis("materialize")
    after = versions(project)
    changed = {entry[0] for entry in before if after[entry] != before[entry]}
    assert "selected_subset" not in changed
    assert shown_in(project.home.root, 0) == []
    assert read_plan(project.project) == []
    held = {place["shard"] for place in project.json("status")["still_in_files"]}
    assert held == {"landing__marked.jsonl", "landing__again.jsonl", "landing__cut.jsonl"}


def test_without_it_in_the_files_the_home_is_one_that_never_had_it(project, tmp_path, encoder_cache):
    (project.root / "landing" / "cut.jsonl").unlink()
    (project.root / "landing" / "near.jsonl").unlink()
    project.tamis("withdraw", document_id(marked(0)), document_id(marked(1)))
    project.tamis("materialize")
    add_marked(project, leave_out=(0, 1))
    project.tamis("materialize")
    never = make_project(tmp_path / "never", encoder_cache, WIDE)
    add_marked(never, leave_out=(0, 1))
    never.tamis("materialize", alone=True)
    assert without_audit(versions(project)) == without_audit(versions(never))
    assert project.json("status")["still_in_files"] == []


def without_audit(found: dict) -> dict:
    """All but what is about the home itself: its audit, and what reads the list of what was withdrawn."""
    about_home = ("lineage_audit", "stg_withdrawals", "mart_withdrawals", "stg_training_documents")
    return {entry: version for entry, version in found.items() if entry[0] not in about_home}


def test_sensors_make_the_selections_again(project, monkeypatch):
    for platform in watched(project, monkeypatch):
        platform.until_rest()
        before = versions(project)
        chosen = set(platform.store.read("selected_subset", ["doc_id"], "selection = 'uniform'")["doc_id"])
        number = next(n for n in OTHERS if document_id(marked(n)) in chosen)
        project.tamis("withdraw", document_id(marked(number)))
        platform.until_rest()
        assert platform.tick() == ([], "every selection is current")
        assert versions(project)["selected_subset", "uniform"] != before["selected_subset", "uniform"]
        assert shown_in(project.home.root, number) == []


def test_an_example_of_a_target_is_refused_there_too(project):
    path = project.root / "target" / "algebra.jsonl"
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    write_jsonl(path, [*texts, f"{marker(99)} an example {marker(99)[::-1]}"])
    cut = project.root / "target" / "cut.jsonl"
    cut.write_text('{"text": "' + f"{marker(99)} an example {marker(99)[::-1]}"[:90])
    project.tamis("materialize")
    example = document_id(f"{marker(99)} an example {marker(99)[::-1]}")
    assert shown_in(project.home.root, 99)
    (project.root / "example.txt").write_text(f"{marker(99)} an example {marker(99)[::-1]}\n")
    project.tamis("withdraw", "--text", str(project.root / "example.txt"), "--materialize")
    assert shown_in(project.home.root, 99) == []
    assert project.store.count("quarantine", f"starts_with(shard, 'target/') AND detail = '{WITHHELD}'") == 1
    project.tamis("materialize")
    assert shown_in(project.home.root, 99) == []
    assert project.store.count("target_examples", f"doc_id = '{example}'") == 0
    assert project.store.count("target_examples") == len(texts)
    assert read_plan(project.project) == []
    assert project.json("audit")["status"] == "green"
