"""Registration of checkpoints that were trained elsewhere on an export, and what then knows of them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import polars as pl
import pytest
from projects import SmallProject, base_model, lines, plain_project, selection, settings, texts, write

from tamis.audit.anchor import judge_anchor, write_anchor
from tamis.base.errors import NotMadeError, UnknownNameError
from tamis.graph.plan import Due
from tamis.history.explain import explain_document, training_documents, training_lines
from tamis.history.versions import UnknownVersionError, VersionLostError
from tamis.interchange import lineage_behind, openlineage_lines, prov_json
from tamis.records.exported import read_exports
from tamis.records.losses import note_tables
from tamis.records.registered import lost_entries, read_registered
from tamis.scan.precheck import registered_lines
from tamis.store.home import HomeLockedError, writing
from tamis.training.tracking import open_tracker
from tamis.verbs.elsewhere import register
from tamis.verbs.elsewhere.export import export_selection
from tamis.verbs.elsewhere.register import (
    CheckpointFolderError,
    CheckpointNameError,
    NotExportedError,
    forget_checkpoint,
    register_folder,
)
from tamis.verbs.plan import checked_plan
from tamis.verbs.status import read_status
from tamis.withdrawal.asking import Asking
from tamis.withdrawal.withdrawing import preview

MADE = {"raw_shards", "documents", "near_duplicates", "selected_subset"}
TEXT = settings(selection("best", "random", 5), selection("other", "random", 2), until="selections")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SmallProject:
    """A project with two selections, of which one was exported."""
    project = plain_project(tmp_path_factory.mktemp("made"), TEXT, {})
    write(project.root / "documents" / "a.jsonl", lines(texts("cooking", 12)))
    project.make(MADE)
    export_selection(project.project, "best", "jsonl")
    project.close()
    return project


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> SmallProject:
    monkeypatch.setattr(register, "_require_tracking", refuse)
    return made.copy(tmp_path / "project")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint as a trainer leaves it."""
    return checkpoint(tmp_path / "prod-1")


def refuse(_project) -> None:
    raise ConnectionError("no tracker in this test")


def checkpoint(folder: Path, weights: bytes = b"weights") -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer" / "vocab.txt").write_text("a\nb\n")
    return folder


def chosen(project: SmallProject, name: str = "best") -> list[str]:
    rows = project.store.read("decisions", ["doc_id", "selection", "verdict"])
    return sorted(rows.filter(selection=name, verdict="selected")["doc_id"])


def seen(project: SmallProject, name: str = "prod-1") -> pl.DataFrame:
    return project.store.read("trained_on").filter(checkpoint=name).sort("doc_id")


def choose_again(project: SmallProject) -> None:
    """Have another document arrive that enters the choice, and choose again."""
    project.reconfigure("budget = 5", "budget = 6")
    project.make(MADE)


def test_what_a_checkpoint_saw_are_the_documents_of_the_export(project, folder):
    done = register_folder(project.project, folder, "best", recipe="3 epochs")
    assert done.was == "new"
    assert seen(project)["doc_id"].to_list() == chosen(project)
    assert set(seen(project)["data"]) == {"best"}
    (entry,) = read_registered(project.store)
    assert (entry.folder, entry.version, entry.recipe) == (str(folder), 1, "3 epochs")
    assert (entry.files, entry.n_bytes, entry.documents) == (3, 7 + 2 + 4, 5)
    assert not list(project.home.root.rglob("*.safetensors")), "no file is copied"


def test_how_often_a_document_was_repeated_is_kept(project, folder, monkeypatch):
    decided = register.decisions_of

    def repeated(home, version):
        first = pl.col("rank") == 1
        return decided(home, version).with_columns(
            training_count=pl.when(first).then(3).cast(pl.Int64), doc_id="doc_id"
        )

    monkeypatch.setattr(register, "decisions_of", repeated)
    register_folder(project.project, folder, "best")
    assert sorted(seen(project)["training_count"].fill_null(1)) == [1, 1, 1, 1, 3]


def test_a_registered_checkpoint_is_explained_from_both_sides(project, folder):
    register_folder(project.project, folder, "best@1", recipe="3 epochs")
    found = training_documents(project.home, "prod-1", set())
    assert [row["doc_id"] for row in found["stages"][0]["documents"]] == chosen(project)
    said = training_lines(found)
    assert said[1] == f"  trained elsewhere on the export of best@1; files in {folder}"
    assert said[2] == "  recipe: 3 epochs"
    assert said[3] == "  prod-1 was fine-tuned on 5 documents of best"
    document = explain_document(project.home, chosen(project)[0])
    assert document["checkpoints"] == [{"checkpoint": "prod-1", "data": "best", "training_count": 1}]
    assert read_status(project.project).to_json()["registered_checkpoints"][0]["checkpoint"] == "prod-1"
    assert "1 registered checkpoint: prod-1" in read_status(project.project).lines()


def test_without_a_version_it_is_that_of_the_newest_export(project, folder):
    choose_again(project)
    assert register_folder(project.project, folder, "best").entry.version == 1
    export_selection(project.project, "best", "jsonl")
    other = checkpoint(folder.with_name("prod-2"))
    assert register_folder(project.project, other, "best").entry.version == 2
    assert (len(seen(project)), len(seen(project, "prod-2"))) == (5, 6)


def test_an_earlier_version_that_was_exported_can_be_named(project, folder):
    before = chosen(project)
    choose_again(project)
    export_selection(project.project, "best", "jsonl")
    register_folder(project.project, folder, "best@1")
    assert seen(project)["doc_id"].to_list() == before != chosen(project)


def test_each_export_is_recorded_with_its_version_file_and_digest(project):
    export_selection(project.project, "best", "hf")
    first, second = read_exports(project.home, "best")
    assert (first.version, first.file, second.version, second.file) == (1, "best.jsonl", 1, "best.hf")
    assert first.choice == second.choice == project.current["selected_subset", "best"].data_version
    assert not read_exports(project.home, "other")


@pytest.mark.parametrize(
    ("trained_on", "error", "said"),
    [
        ("bets", UnknownNameError, "unknown selection 'bets'; valid: best, other; did you mean 'best'?"),
        ("best@x", UnknownNameError, "valid: best, other"),
        ("best@", UnknownNameError, "valid: best, other"),
        ("best@7", UnknownVersionError, "no version 7, only version 1"),
        ("best@0", UnknownVersionError, "no version 0, only version 1"),
        ("other", NotExportedError, "no export of 'other' version 1 is recorded"),
        ("other@1", NotExportedError, "`tamis export other` writes"),
    ],
)
def test_what_was_never_exported_is_refused(project, folder, trained_on, error, said):
    with pytest.raises(error, match=said.replace("?", r"\?")):
        register_folder(project.project, folder, trained_on)
    assert not read_registered(project.store)
    assert seen(project).is_empty()


def test_a_version_that_was_not_exported_names_those_that_were(project, folder):
    choose_again(project)
    with pytest.raises(NotExportedError, match=r"best.* version 2 .*exported: version 1;"):
        register_folder(project.project, folder, "best@2")


def test_a_selection_that_was_never_made_is_refused(tmp_path, folder):
    bare = plain_project(tmp_path / "bare", TEXT)
    with pytest.raises(NotMadeError, match="run `tamis materialize`"):
        register_folder(bare.project, folder, "best")


def test_a_version_whose_decisions_are_gone_is_refused(project, folder):
    choose_again(project)
    (project.manifests.kept_path(version_rows(project, 1))).unlink()
    with pytest.raises(VersionLostError, match="no longer kept"):
        register_folder(project.project, folder, "best@1")
    assert not read_registered(project.store)


def version_rows(project: SmallProject, number: int) -> str:
    rows = project.store.read("selection_versions").filter(selection="best", version=number)
    return rows["rows"][0]


def emptied(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def without_weights(folder: Path) -> Path:
    (folder / "model.safetensors").rename(folder / "training_args.bin")
    return folder


def in_parts(folder: Path) -> Path:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def broken_link(folder: Path) -> Path:
    (folder / "generation.json").symlink_to(folder / "nowhere.json")
    return folder


def linked_folder(folder: Path) -> Path:
    (folder / "adapter").symlink_to(folder / "tokenizer")
    return folder


def removed(folder: Path) -> Path:
    shutil.rmtree(folder)
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (removed, "does not exist"),
        (emptied, "contains no files"),
        (
            without_weights,
            r"no weights, only .*expected is a file that ends in .safetensors, .bin, .gguf, .pt",
        ),
        (in_parts, r"is incomplete: .*\(model-00002-of-00002.safetensors\)"),
        (broken_link, "generation.json: No such file"),
        (linked_folder, "adapter: Is a directory"),
        (lambda folder: folder / "model.safetensors", "is a file; name the folder"),
        (lambda folder: folder.parent, "contains the folder of results"),
    ],
)
def test_a_folder_that_is_no_checkpoint_is_refused(project, folder, change, said):
    with pytest.raises(CheckpointFolderError, match=said):
        register_folder(project.project, change(folder), "best", "prod-1")
    assert not read_registered(project.store)


def test_a_folder_of_the_home_is_refused(project):
    inside = checkpoint(project.home.checkpoints / "prod-1")
    with pytest.raises(CheckpointFolderError, match="is inside the folder of results"):
        register_folder(project.project, inside, "best")


def test_a_file_that_changes_while_it_is_hashed_is_refused(project, folder, monkeypatch):
    hashing = register.hash_files

    def hashed(place, names, advance):
        files = hashing(place, names, advance)
        (place / "model.safetensors").write_bytes(b"more weights")
        return files

    monkeypatch.setattr(register, "hash_files", hashed)
    with pytest.raises(CheckpointFolderError, match="changed while its files were hashed"):
        register_folder(project.project, folder, "best")


@pytest.mark.parametrize(("name", "said"), [("best", "a selection has this name"), ("Prod 1", "a-z, 0-9")])
def test_a_name_that_cannot_be_its_own_is_refused(project, folder, name, said):
    with pytest.raises(CheckpointNameError, match=said):
        register_folder(project.project, folder, "best", name)


def test_the_name_of_a_model_of_the_project_is_refused(project, folder):
    model = '[[base_model]]\nname = "prod-1"\npreset = "llama-0.8m"\n'
    project.configure(f"{project.text}{model}")
    with pytest.raises(CheckpointNameError, match="a checkpoint of the graph has this name"):
        register_folder(project.project, folder, "best")


def test_a_later_model_of_its_name_is_not_trained_over_it(project, folder):
    register_folder(project.project, folder, "best", name="small")
    before = seen(project, "small")
    project.configure(
        f"{project.text}\n{base_model(preset='llama-0.3m')}\n"
        "[pretraining]\ntokens = 1_000\nvocabulary = 512\nsequence_length = 32\n"
    )
    trained = MADE | {"tokenizer", "base_models"}
    foreseen = "base_models[small]: a registered checkpoint has the name 'small', too, so nothing is trained"
    assert any(foreseen in line for line in checked_plan(project.project, True)[1].lines)
    failed = project.try_making(trained).failed
    assert "a registered checkpoint has the name 'small', too, so nothing is trained" in failed["base_models"]
    assert "`tamis register --forget small`" in failed["base_models"]
    assert seen(project, "small").equals(before)
    due = [Due(asset="base_models", partition=name, reason="") for name in ("small", "other")]
    (line,) = registered_lines(project.snapshot, due)
    assert line.startswith(foreseen)
    forget_checkpoint(project.project, "small")
    project.make(trained)
    assert set(seen(project, "small")["data"]) == {"pool"}


def test_a_repeated_registration_changes_nothing(project, folder):
    first = register_folder(project.project, folder, "best", recipe="3 epochs")
    export_selection(project.project, "best", "jsonl")
    version = project.store.version("registered_checkpoints")
    again = register_folder(project.project, folder, "best")
    assert again.was == "known"
    assert again.entry == first.entry
    assert project.store.version("registered_checkpoints") == version


def test_another_recipe_is_kept_instead(project, folder):
    first = register_folder(project.project, folder, "best", recipe="3 epochs")
    again = register_folder(project.project, folder, "best", recipe="4 epochs")
    assert (again.entry.recipe, again.entry.made_at) == ("4 epochs", first.entry.made_at)
    assert project.audit("prod-1").status == "green"


def test_a_folder_that_moved_moves_the_entry(project, folder):
    first = register_folder(project.project, folder, "best")
    moved = folder.rename(folder.with_name("elsewhere"))
    assert project.audit("prod-1").status == "amber"
    again = register_folder(project.project, moved, "best", "prod-1")
    assert again.was == "moved"
    assert again.entry.manifest == first.entry.manifest
    assert [entry.folder for entry in read_registered(project.store)] == [str(moved)]
    assert project.audit("prod-1").status == "green"


@pytest.mark.parametrize("name", ["prod-1", "prod-2"])
def test_other_content_in_a_registered_folder_is_refused(project, folder, name):
    register_folder(project.project, folder, "best")
    (folder / "model.safetensors").write_bytes(b"others")
    with pytest.raises(CheckpointFolderError, match=r"'prod-1'.* in 1 file \(model.safetensors\)"):
        register_folder(project.project, folder, "best", name)


def test_a_registered_name_stays_with_its_version(project, folder):
    register_folder(project.project, folder, "best")
    choose_again(project)
    export_selection(project.project, "best", "jsonl")
    with pytest.raises(CheckpointNameError, match="trained on best@1, not on best@2"):
        register_folder(project.project, folder, "best@2")


def test_a_forgotten_checkpoint_leaves_nothing_that_counts(project, folder):
    register_folder(project.project, folder, "best")
    forget_checkpoint(project.project, "prod-1")
    assert not read_registered(project.store)
    assert seen(project).is_empty()
    assert (folder / "model.safetensors").exists()
    assert project.audit().status == "green"
    with pytest.raises(UnknownNameError, match="unknown registered checkpoint 'prod-1'; valid: none"):
        forget_checkpoint(project.project, "prod-1")
    assert not project.withdraw(chosen(project)[:1]).tainted
    assert register_folder(project.project, folder, "best").was == "new"


def test_a_writer_at_work_is_waited_for(project, folder, monkeypatch):
    monkeypatch.setattr(register, "PATIENCE_SECONDS", 0.1)
    with pytest.raises(HomeLockedError), locked_elsewhere(project):
        register_folder(project.project, folder, "best")
    assert register_folder(project.project, folder, "best").was == "new"


@contextmanager
def locked_elsewhere(project: SmallProject) -> Iterator[None]:
    """Hold the writer's lock in another thread."""
    begun, done = Event(), Event()

    def hold() -> None:
        with writing(project.home, "tamis materialize"):
            begun.set()
            done.wait()

    thread = Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def problems(audit) -> dict[str, list[str]]:
    return {node.name: node.details for node in audit.nodes.values() if node.status != "green"}


def test_the_audit_leads_from_the_checkpoint_to_raw_files(project, folder):
    register_folder(project.project, folder, "best")
    audit = project.audit("prod-1")
    assert audit.status == "green", problems(audit)
    assert [audit.nodes[root].name for root in audit.roots] == ["registered_checkpoints[prod-1]"]
    names = {node.name for node in audit.nodes.values()}
    assert {"exports[best]", "selected_subset[best]", "decisions[best]", "raw_shards[web__a.jsonl]"} <= names
    whole = project.audit()
    assert whole.status == "green", problems(whole)
    assert "registered_checkpoints[prod-1]" in {whole.nodes[root].name for root in whole.roots}
    assert "registered_checkpoints[prod-1]" not in {
        node.name for node in project.audit("other").nodes.values()
    }


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (lambda folder: (folder / "config.json").write_text("[]"), "red", "was altered: config.json"),
        (lambda folder: (folder / "config.json").unlink(), "red", "is missing: config.json"),
        (removed, "amber", "its files are not there"),
        (emptied, "amber", "its files are not there"),
        (lambda folder: (folder / "eval.json").write_text("{}"), "amber", "without registration: eval.json"),
        (lambda folder: (folder / ".DS_Store").write_text("{}"), "green", ""),
    ],
)
def test_the_audit_says_what_became_of_the_files(project, folder, change, status, said):
    register_folder(project.project, folder, "best")
    change(folder)
    audit = project.audit("prod-1")
    assert audit.status == status
    assert said in "".join(problems(audit).get("registered_checkpoints[prod-1]", []))


def test_the_audit_is_red_where_what_it_saw_was_altered(project, folder):
    entry = register_folder(project.project, folder, "best").entry
    project.store.delete("trained_on", f"doc_id = '{chosen(project)[0]}'")
    assert "table trained_on: rows that differ" in str(problems(project.audit("prod-1")))
    register_folder(project.project, folder, "best")
    assert project.audit("prod-1").status == "green"
    project.manifests.path(entry.manifest).write_text("{}")
    assert project.audit("prod-1").status == "red"


def test_the_audit_misses_an_entry_that_is_gone(project, folder):
    entry = register_folder(project.project, folder, "best").entry
    register_folder(project.project, checkpoint(folder.with_name("prod-2")), "best")
    project.store.delete("registered_checkpoints", entry.scope)
    found = problems(project.audit())
    assert list(found) == ["registered_checkpoints[prod-1]"]
    assert "its entry is missing" in str(found)


def test_entries_that_are_lost_with_their_table_are_said_and_written_again(project, folder):
    assert not lost_entries(project.home, [])
    register_folder(project.project, folder, "best")
    assert not lost_entries(project.home, [])
    project.store.drop("registered_checkpoints")
    assert not lost_entries(project.home, ["prod-1"]), "as of a checkpoint of the graph"
    (line,) = [one for one in read_status(project.project).warnings if "registered checkpoint" in one]
    assert line.startswith("registered checkpoint prod-1: its entry is lost with the table")
    assert "--name prod-1` writes it again" in line
    register_folder(project.project, folder, "best")
    assert not [one for one in read_status(project.project).warnings if "registered checkpoint" in one]
    assert project.audit("prod-1").status == "green"
    forget_checkpoint(project.project, "prod-1")
    assert not lost_entries(project.home, [])


def test_a_lost_table_is_held_back_until_each_entry_is_written_again(project, folder):
    other = checkpoint(folder.with_name("prod-2"))
    (other / "more.txt").write_text("other")
    for one in (folder, other):
        register_folder(project.project, one, "best")
    note_tables(project.home)
    project.store.drop("registered_checkpoints")
    note_tables(project.home)
    assert "is gone from the home" in str(read_status(project.project).problems())
    register_folder(project.project, folder, "best")
    note_tables(project.home)
    status = read_status(project.project)
    assert "was lost, and begun from nothing" in str(status.problems())
    assert "registered checkpoint prod-2: its entry is lost" in str(status.warnings)
    register_folder(project.project, other, "best")
    note_tables(project.home)
    assert "registered_checkpoints" not in str(read_status(project.project).problems())


def test_the_folder_of_an_entry_has_no_steps_up(project, folder):
    (folder.parent / "elsewhere" / "deep").mkdir(parents=True)
    (folder.parent / "link").symlink_to("elsewhere/deep")
    (folder.parent / "elsewhere" / "it").symlink_to(folder)
    entry = register_folder(project.project, folder / ".." / folder.name, "best").entry
    assert entry.folder == str(folder)
    moved = register_folder(project.project, folder.parent / "link" / ".." / "it", "best", "prod-1").entry
    assert moved.folder == str(folder), "what is above a link is above the folder that it leads to"


def test_a_later_version_makes_the_audit_amber_and_not_red(project, folder):
    register_folder(project.project, folder, "best")
    choose_again(project)
    found = problems(project.audit("prod-1"))
    assert found["selected_subset[best]"] == ["superseded by a later materialization"]
    assert project.audit("prod-1").status == "amber"


def test_a_withdrawal_names_the_checkpoint_and_the_audit_says_it(project, folder):
    register_folder(project.project, folder, "best")
    gone = chosen(project)[0]
    asking = Asking(store=project.store)
    asking.ids([gone])
    expected = "registered_checkpoints[prod-1]: fine-tuned on it"
    assert expected in [one.line for one in preview(project.home, asking.done()).tainted]
    done = project.withdraw([gone])
    assert expected in [one.line for one in done.tainted]
    audit = project.audit("prod-1")
    assert "withdrawn: 1 of the documents that it lists" in str(problems(audit))
    assert audit.status == "amber"
    assert f"tainted: {expected}" in read_status(project.project).lines()
    assert gone in seen(project)["doc_id"], "what it saw stays as evidence"
    assert register_folder(project.project, folder, "best").entry.documents == 5


def test_a_checkpoint_registered_after_a_withdrawal_is_tainted(project, folder):
    gone = chosen(project)[0]
    project.withdraw([gone])
    done = register_folder(project.project, folder, "best")
    assert done.withdrawn == 1
    assert "tainted: 1 document that it was trained on was withdrawn" in "\n".join(done.lines)
    assert gone in seen(project)["doc_id"]
    assert "withdrawn: 1 of the documents that it lists" in str(problems(project.audit("prod-1")))
    expected = "tainted: registered_checkpoints[prod-1]: fine-tuned on it"
    assert expected in read_status(project.project).lines()


def test_its_lineage_leads_to_the_export_and_the_selection(project, folder):
    entry = register_folder(project.project, folder, "best").entry
    lineage = lineage_behind(project.project, "prod-1")
    assert entry.manifest in lineage.manifests
    for written in (prov_json(lineage), openlineage_lines(lineage)):
        for name in ("registered_checkpoints[prod-1]", "exports[best]", "selected_subset[best]"):
            assert name in written


def test_an_anchor_misses_a_registered_checkpoint(project, folder, tmp_path):
    entry = register_folder(project.project, folder, "best").entry
    anchor = tmp_path / "anchor.json"
    write_anchor(anchor, project.current, read_registered(project.store))
    audit, whole, named = judge_anchor(project.audit(), project.home.manifests, anchor)
    assert (audit.status, whole) == ("green", named)
    project.manifests.path(entry.manifest).unlink()
    audit, _whole, _named = judge_anchor(project.audit("other"), project.home.manifests, anchor)
    assert audit.nodes[entry.manifest].status == "red"


def test_a_tracker_that_fails_leaves_the_registration(project, folder):
    done = register_folder(project.project, folder, "best")
    assert done.entry.run is None
    assert done.untracked == "ConnectionError: no tracker in this test"
    assert "MLflow does not know it" in done.lines[-1]


def test_mlflow_knows_the_checkpoint(made, tmp_path, folder):
    project = made.copy(tmp_path / "project")
    done = register_folder(project.project, folder, "best", recipe="3 epochs")
    assert not done.untracked
    client = open_tracker(project.project.tracking_uri)
    run = client.get_run(done.entry.run)
    assert run.data.tags["tamis.registered"] == "prod-1"
    assert run.data.tags["tamis.manifest"] == done.entry.manifest
    assert run.data.tags["tamis.content"] == done.entry.content
    assert run.data.params["recipe"] == "3 epochs"
    assert run.data.metrics["documents"] == 5
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "best@1"
    moved = folder.rename(folder.with_name("elsewhere"))
    again = register_folder(project.project, moved, "best", "prod-1")
    assert again.entry.run == done.entry.run
    assert forget_checkpoint(project.project, "prod-1") == (again.entry, "")
    assert client.get_run(done.entry.run).data.tags["tamis.removed"] == "tamis register --forget"
