"""Abandoned trainings: notes of a trial that never ended are removed with it, those of others are kept."""

import pytest
from projects import record, write_rows

from tamis.audit.content import judge_content
from tamis.audit.records import Records
from tamis.audit.verdicts import Node
from tamis.records.attempts import begin
from tamis.records.current_values import read_current_values
from tamis.records.manifest import ManifestFolder
from tamis.retention.reconciled import forget_gone
from tamis.training.storing import record_training_documents

KEPT, GONE, FAILED = "law__small__5", "law__old__5", "law__short__5"


@pytest.fixture
def project(imagined):
    """A trial of the project, one of a model that left it since, and one that left it and never ended."""
    home = imagined.project.home
    token = begin(home.store, [("trials", name) for name in (KEPT, GONE, FAILED)])
    for name in (KEPT, GONE, FAILED):
        record_training_documents(home.store, name, {"goal": ["0" * 32, "1" * 32]})
    for name in (KEPT, GONE):
        trained(home, name, token)
    return imagined


def trained(home, name: str, token: str) -> None:
    scope = f"checkpoint = '{name}'"
    rows = {"trained_on": write_rows(home, "trained_on", scope)}
    record(home, "trials", name, token, row_count=2, rows=rows, scopes={"trained_on": scope})


def checkpoints(imagined) -> set[str]:
    return set(imagined.project.home.store.read("trained_on", ["checkpoint"])["checkpoint"])


def audited(imagined) -> dict[str, tuple[str, list[str]]]:
    home, snapshot = imagined.project.home, imagined.snapshot()
    current, records = read_current_values(home.store), Records(home.manifests)
    nodes = {
        value.manifest: Node(manifest=value.manifest, asset=value.asset, partition=value.partition)
        for value in current.values()
    }
    judge_content(home, records, snapshot, current, nodes, whole=True, advance=lambda count: None)
    return {node.name: (node.status, node.details) for node in nodes.values()}


def test_notes_of_a_training_that_never_ended_are_removed_with_its_trial(project):
    home = project.project.home
    said = (
        "table trained_on contains rows of this checkpoint that no manifest lists: "
        "a training of this checkpoint did not finish"
    )
    assert audited(project)[f"trials[{FAILED}]"] == ("amber", [said])
    assert audited(project)[f"trials[{KEPT}]"] == ("green", [])
    gone = forget_gone(home.store, project.snapshot(), read_current_values(home.store))
    assert {partition for _asset, partition in gone} == {GONE, FAILED}
    assert checkpoints(project) == {KEPT, GONE}, "what a recorded checkpoint saw is evidence"
    assert audited(project) == {f"trials[{KEPT}]": ("green", [])}


@pytest.mark.parametrize("lost", ["head", "folder", "readable"])
def test_notes_that_may_be_evidence_stay(project, lost):
    home = project.project.home
    if lost == "head":  # of a damaged value: its manifest is there
        home.store.delete("heads", f"partition = '{GONE}'")
    elif lost == "folder":  # weights that were not recorded before the process died
        (home.checkpoints / "trials" / FAILED / "0123").mkdir(parents=True)
    else:
        name = read_current_values(home.store)["trials", GONE].manifest
        ManifestFolder.of(home).path(name).write_text("{}")
    forget_gone(home.store, project.snapshot(), read_current_values(home.store))
    assert checkpoints(project) == {KEPT, GONE} | (set() if lost == "head" else {FAILED})


def test_rows_of_a_checkpoint_that_is_gone_are_evidence_only_as_its_manifest_lists_them(project):
    home = project.project.home
    record_training_documents(home.store, GONE, {"goal": ["2" * 32]})
    forget_gone(home.store, project.snapshot(), read_current_values(home.store))
    assert checkpoints(project) == {KEPT, GONE}
    assert audited(project)[f"trials[{GONE}]"][0] == "amber"
