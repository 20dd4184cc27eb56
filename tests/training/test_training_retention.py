"""Superseded checkpoints: what the rule removes, what it never touches, and who says so afterwards."""

import json
import shutil
from datetime import datetime
from typing import Any

import pytest
from projects import (
    CORPUS,
    SmallProject,
    head_of,
    heads_of,
    manifest_of,
    manifests_of,
    plain_project,
    record,
    rows_of,
    settings,
    write_rows,
)

from tamis.history.explain import explain_document, explanation_lines
from tamis.project import open_project, read_project
from tamis.records.manifest import REPLACES, Manifest, ManifestFolder
from tamis.retention.superseded import (
    NOTE,
    remove_earlier_fits,
    remove_superseded,
    remove_superseded_lists,
    removed_by,
)
from tamis.store.digests import NO_ROWS, folder_digests
from tamis.store.home import bring_up_to_date, writing
from tamis.training.tracking import log_trial, open_tracker, register_checkpoint

TRIAL = "law__small__8"


def project_with(root, keep):
    rules = [] if keep is None else [f"[checkpoints]\nkeep_superseded = {keep}\n"]
    return plain_project(root, settings(*rules)).project


def trained(project, number: int, trial: str = TRIAL, **stated: Any) -> Manifest:
    """A trial that was made by some inputs, as a run leaves it."""
    home, key = project.home, f"{number}" * 64
    folder = home.checkpoints / "trials" / trial / key[:16]
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes([number]) * 1_000)
    files = {f"{home.relative(folder)}/{name}": digest for name, digest in folder_digests(folder).items()}
    beside = {"made_at": f"2026-01-0{number}T00:00:00+00:00"}
    manifest = record(home, "trials", trial, input_key=key, files=files, beside=beside, **stated)
    run = log_trial(
        project.tracking_uri,
        "tamis",
        trial,
        input_key=key,
        parameters={},
        metrics={},
        loss_history=[],
        datasets=[],
        checkpoint=home.relative(folder),
    )
    register_checkpoint(project.tracking_uri, "tamis", run, manifest.id)
    return manifest


def weights(project, trial: str = TRIAL) -> set[str]:
    """Keys of the checkpoints that still have weights, by their first digit."""
    return {
        path.parent.name[0] for path in (project.home.checkpoints / "trials" / trial).glob("*/*.safetensors")
    }


def removed_versions(project) -> dict[str, str]:
    found = open_tracker(project.tracking_uri).search_model_versions(f"name = 'tamis.{TRIAL}'")
    return {one.tags["tamis.input_key"][0]: one.tags.get("tamis.removed", "") for one in found}


def run(project) -> list[str]:
    return remove_superseded(project, heads_of(project.home))


def test_the_latest_of_each_trial_stay_and_of_the_others_the_proof(tmp_path):
    project = project_with(tmp_path, 1)
    made = [trained(project, number) for number in (1, 2, 3, 4)]
    trained(project, 5, "law__other__8")
    assert run(project) == [
        f"trial {TRIAL}: 2 superseded checkpoints removed by [checkpoints] keep_superseded = 1"
    ]
    assert weights(project) == {"3", "4"}
    assert weights(project, "law__other__8") == {"5"}
    rule = "[checkpoints] keep_superseded = 1"
    assert removed_versions(project) == {"1": rule, "2": rule, "3": "", "4": ""}
    folder = manifests_of(project.home)
    assert [removed_by(project.home, folder.read(one.id)) for one in made] == [rule, rule, None, None]
    assert run(project) == [], "once is enough"


def test_nothing_goes_without_the_rule(tmp_path):
    project = project_with(tmp_path, None)
    for number in (1, 2, 3):
        trained(project, number)
    assert run(project) == []
    assert weights(project) == {"1", "2", "3"}


def test_a_document_is_explained_with_the_superseded_checkpoints_that_have_their_weights(tmp_path):
    project = project_with(tmp_path, 0)
    home, scope = project.home, f"checkpoint = '{TRIAL}'"
    made = []
    for number, seen in ((1, "ab"), (2, "bc"), (3, "cd")):
        rows = [{"checkpoint": TRIAL, "doc_id": letter * 32, "data": "law"} for letter in seen]
        home.store.replace("trained_on", rows_of("trained_on", rows), scope)
        listed = {"trained_on": write_rows(home, "trained_on", scope)}
        made.append(trained(project, number, rows=listed, scopes={"trained_on": scope}))
    found = {letter: explain_document(home, letter * 32) for letter in "abcd"}
    superseded = {
        letter: [one["manifest"] for one in explained.get("superseded", [])]
        for letter, explained in found.items()
    }
    assert superseded == {"a": [made[0].id], "b": [made[0].id, made[1].id], "c": [made[1].id], "d": []}
    current = {letter: [one["checkpoint"] for one in found[letter]["checkpoints"]] for letter in "abcd"}
    assert current == {"a": [], "b": [], "c": [TRIAL], "d": [TRIAL]}
    (line,) = [line for line in explanation_lines(found["a"]) if "trained" in line]
    assert line.startswith(f"  {TRIAL} (superseded, but kept in checkpoints/trials/{TRIAL}/1111")
    run(project)
    assert "superseded" not in explain_document(home, "a" * 32), "the rule has removed the weights"


def test_what_is_current_being_made_or_has_an_alias_is_never_touched(tmp_path):
    project = project_with(tmp_path, 0)
    for number in (1, 2, 3):
        trained(project, number)
    client = open_tracker(project.tracking_uri)
    (first,) = [
        one for one in client.search_model_versions(f"name = 'tamis.{TRIAL}'")
        if one.tags["tamis.input_key"][0] == "1"
    ]  # fmt: skip
    client.set_registered_model_alias(f"tamis.{TRIAL}", "champion", first.version)
    unrecorded = project.home.checkpoints / "trials" / TRIAL / ("9" * 16)
    unrecorded.mkdir()
    (unrecorded / "model.safetensors").write_bytes(b"just trained")
    run(project)
    assert weights(project) == {"1", "3", "9"}


def let_go(project, begun_at: datetime) -> None:
    """Note that a person let the trial go, and forget its current value, as a removal does."""
    note = {"removal": "r", "entries": f'["trials[{TRIAL}]"]', "documents": 0, "allowed": "[]"}
    project.home.store.merge_values("removals", [note | {"begun_at": begun_at, "ended_at": begun_at}])
    project.home.store.delete("heads", "true")


def test_of_a_trial_that_is_gone_the_checkpoints_are_superseded(tmp_path):
    project = project_with(tmp_path, 0)
    trained(project, 1)
    let_go(project, datetime(2026, 1, 2))
    run(project)
    assert weights(project) == set()


def test_of_a_trial_whose_current_value_is_lost_the_checkpoints_stay(tmp_path):
    project = project_with(tmp_path, 0)
    for number in (1, 3):
        trained(project, number)
    project.home.store.delete("heads", "true")
    assert run(project) == []
    let_go(project, datetime(2026, 1, 2))
    run(project)
    assert weights(project) == {"3"}, "it was made again after it was let go"


def test_a_run_that_has_lost_the_index_of_current_values_removes_no_weights(tmp_path):
    project = project_with(tmp_path, 0)
    trained(project, 1)
    let_go(project, datetime(2026, 1, 2))
    project.home.store.drop("heads")
    graph = SmallProject(tmp_path)
    graph.make(CORPUS)
    assert weights(project) == {"1"}
    graph.make(CORPUS)
    assert weights(project) == set()


@pytest.mark.parametrize("alias", [True, False])
def test_an_alias_holds_a_checkpoint_under_the_earlier_name_of_the_experiment(tmp_path, alias):
    project = project_with(tmp_path, 0)
    for number in (1, 2):
        trained(project, number)
    if alias:
        client = open_tracker(project.tracking_uri)
        client.set_registered_model_alias(f"tamis.{TRIAL}", "champion", "1")
    file = tmp_path / "tamis.toml"
    file.write_text(f'{file.read_text()}\n[tracking]\nexperiment = "second"\n')
    run(open_project(tmp_path))
    assert weights(project) == ({"1", "2"} if alias else {"2"})
    assert bool(removed_versions(project)["1"]) is not alias


def test_a_checkpoint_that_this_mlflow_does_not_know_stays(tmp_path, monkeypatch):
    project = project_with(tmp_path, 0)
    for number in (1, 2):
        trained(project, number)
    monkeypatch.setenv("TAMIS_MLFLOW_URL", f"sqlite:///{tmp_path / 'another.db'}")
    assert run(open_project(tmp_path)) == []
    assert weights(project) == {"1", "2"}


def test_what_is_trained_again_after_its_removal_is_a_checkpoint_like_any_other(tmp_path):
    project = project_with(tmp_path, 0)
    for number in (1, 2):
        trained(project, number)
    run(project)
    shutil.rmtree(project.home.checkpoints / "trials" / TRIAL / ("1" * 16))  # as the new one takes its place
    again = trained(project, 1)
    assert removed_by(project.home, again) is None
    assert removed_versions(project)["1"] == ""
    run(project)
    assert weights(project) == {"1"}


@pytest.mark.parametrize("cut", ["mark_removed", "replace_folder"])
def test_a_removal_that_is_cut_short_is_completed(tmp_path, monkeypatch, cut):
    from tamis.retention import superseded as retention

    project = project_with(tmp_path, 0)
    for number in (1, 2):
        trained(project, number)

    def die(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(retention, cut, die)
        with pytest.raises(KeyboardInterrupt):
            run(project)
    assert weights(project) == {"1", "2"}
    run(project)
    assert weights(project) == {"2"}
    assert removed_versions(project)["1"]


def test_an_audit_calls_it_removed_by_the_rule_and_never_altered(tmp_path):
    project = project_with(tmp_path, 0)
    first = trained(project, 1)
    trained(project, 2)
    record(project.home, "loss_curves", inputs=[first])
    run(project)
    note = json.loads((project.home.checkpoints / "trials" / TRIAL / ("1" * 16) / NOTE).read_text())
    assert note["manifest"] == first.id
    node = SmallProject(project.root).audit().nodes[first.id]
    assert node.status == "amber"
    assert (
        "the checkpoint was removed by the retention rule [checkpoints] keep_superseded = 0" in node.details
    )


def test_in_a_store_it_is_removed_from_another_home_that_shares_mlflow(
    tmp_path, storage, storage_url, monkeypatch
):
    monkeypatch.setenv("TAMIS_STORAGE_URL", storage_url)
    monkeypatch.setenv("TAMIS_MLFLOW_URL", f"sqlite:///{tmp_path / 'shared.db'}")
    here = project_with(tmp_path, 0)
    with writing(here.home, "training"):
        first = trained(here, 1)
        trained(here, 2)
    monkeypatch.setenv("TAMIS_HOME", str(tmp_path / "another"))
    there = read_project(tmp_path)
    # A database of its own does not know the aliases of the shared one.
    own = f"sqlite:///{tmp_path / 'own.db'}"
    for uri, left in (
        (own, {"1", "2"}),
        (here.tracking_uri, {"2"}),
    ):  # aliases of the first are not in the second
        monkeypatch.setenv("TAMIS_MLFLOW_URL", uri)
        with writing(there.home, "the rule"):
            run(there)
        assert stored_weights(storage, storage_url) == left
    with there.home.as_stored("manifests") as audited:
        assert removed_by(audited, first) == "[checkpoints] keep_superseded = 0"
    bring_up_to_date(here.home)
    assert weights(here) == {"2"}


def stored_weights(storage, url: str) -> set[str]:
    names = storage.objects(url.split("/", 3)[3])
    return {name.split("/")[-2][0] for name in names if name.endswith(".safetensors")}


@pytest.mark.parametrize(
    ("last_passed", "damaged", "left"), [(None, False, "45"), (2, False, "245"), (2, True, "12345")]
)
def test_of_fits_the_current_one_the_one_before_and_the_last_that_passed_stay(
    tmp_path, last_passed, damaged, left
):
    home = project_with(tmp_path, None).home
    fits = home.fitted / "density_sketch" / "all"
    made = {}
    for number in range(1, 6):
        key = f"{number}" * 64
        (fits / key[:16]).mkdir(parents=True)
        (fits / key[:16] / "sketch.npz").write_bytes(bytes([number]))
        made[number] = manifest_of("density_sketch", input_key=key)
        ManifestFolder(home.manifests).write(made[number])
    (fits / "notes.txt").write_text("a stray file")
    passed = made[last_passed].id if last_passed else None
    before = {("density_sketch", ""): head_of(made[4])}
    current = {("density_sketch", ""): head_of(made[5], passed=not passed, last_passed=passed)}
    if damaged:
        ManifestFolder(home.manifests).path(made[2].id).write_text("{")
    remove_earlier_fits(home, "density_sketch", [""], before, current)
    assert "".join(sorted(folder.name[0] for folder in fits.iterdir() if folder.is_dir())) == left
    assert len(ManifestFolder(home.manifests).ids()) == 5


def scored(home, number: int, replaced: Manifest | None = None) -> Manifest:
    """Return the manifest of density scores whose list of rows is a file of its own."""
    digest, folder = f"{number}" * 64, ManifestFolder(home.manifests)
    folder.write_rows(digest, b"")
    facts = {REPLACES: replaced.id} if replaced else {}
    made = manifest_of("density_scores", input_key=digest, rows={"scores_density": digest}, beside=facts)
    folder.write(made)
    return made


@pytest.mark.parametrize(
    ("case", "left"),
    [
        ("replaced", "23"),
        ("it is current for another target", "123"),
        ("it last passed", "123"),
        ("the present one is damaged", "123"),
        ("no fact says what was replaced", "123"),
        ("the last step changed nothing", "123"),
    ],
)
def test_the_list_of_rows_of_a_value_that_two_later_ones_replaced_goes(tmp_path, case, left):
    home = project_with(tmp_path, None).home
    first = scored(home, 1)
    second = scored(home, 2, None if case == "no fact says what was replaced" else first)
    third = scored(home, 3, second)
    passed = first.id if case == "it last passed" else None
    before = {("density_scores", ""): head_of(second)}
    current = {("density_scores", ""): head_of(third, last_passed=passed)}
    if case == "it is current for another target":
        current["density_scores", "other"] = head_of(first)
    if case == "the present one is damaged":
        ManifestFolder(home.manifests).path(third.id).write_text("{")
    if case == "the last step changed nothing":
        current = before
    remove_superseded_lists(home, "density_scores", [""], before, current)
    assert "".join(sorted(path.stem[0] for path in ManifestFolder(home.manifests).lists())) == left


def test_the_list_of_no_rows_stays(tmp_path):
    folder = ManifestFolder(project_with(tmp_path, None).home.manifests)
    folder.write_rows(NO_ROWS, b"")
    folder.remove_list(NO_ROWS)
    assert [path.stem for path in folder.lists()] == [NO_ROWS]
