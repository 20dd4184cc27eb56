"""The page of all runs is current after `tamis materialize` and after a tick, while a trainer trains too."""

import re
from collections.abc import Iterator

import pytest
from projects import SmallProject
from test_trainer_runs import until
from test_trainer_trials import TRIALS, WANTED, project_of, submitted_by_hand

from tamis.report.runs import PAGE
from tamis.trainer.runs import under_way


@pytest.fixture
def project(tmp_path, nowhere, monkeypatch) -> Iterator[SmallProject]:
    monkeypatch.setenv("TAMIS_TRUST", "1")
    # A run that ends changes no file and no value: a tick of the next minute notices, here at once.
    monkeypatch.setattr("tamis.platform.sensors.unchanged.BELIEVED_SECONDS", 0)
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)
    made = project_of(tmp_path / "project")
    yield made
    made.close()


def states(project: SmallProject) -> dict[str, str]:
    """Return the state of each run on the page, with what follows the figures."""
    text = (project.home.reports / PAGE).read_text()
    rows = re.findall(r"<tr><td>(law__[^<]*)</td><td>(.*?)</td>", text, re.DOTALL)
    return {name: " ".join(re.sub("<[^>]*>", " ", state).split()) for name, state in rows}


def test_the_page_follows_trials_from_the_plan_to_the_record(project):
    project.make(WANTED - {"trials"})
    assert states(project) == dict.fromkeys(TRIALS, "planned")

    (project.root / "hold").touch()
    submitted_by_hand(project)
    project.arrive()
    assert states(project) == dict.fromkeys(TRIALS, "in training 1 run of [trainer] now")
    (project.root / "hold").unlink()
    until(lambda: not under_way(project.home), "they run on")
    project.arrive()
    assert set(states(project).values()) == {"in training the next step submits or records it"}

    project.make(WANTED)
    assert states(project) == dict.fromkeys(TRIALS, "made")
    before = (project.home.reports / PAGE).stat().st_mtime_ns
    project.arrive()
    assert (project.home.reports / PAGE).stat().st_mtime_ns == before
    assert f'<a href="{PAGE}">' in (project.home.reports / "index.html").read_text()
    assert project.audit().status == "green", "no record has the page, and none misses it"


def test_a_run_that_failed_is_on_the_page_with_its_reason_and_without_its_output(project):
    (project.root / "mode.txt").write_text("exit")
    assert project.try_making(WANTED).failed
    shown = states(project)
    assert {line.partition(":")[0] for line in shown.values()} == {"failed 1 attempt"}
    assert all("the command of [trainer] ended with exit code 3" in line for line in shown.values())
    text = (project.home.reports / PAGE).read_text()
    documents = project.store.read("documents", ["text"])["text"].to_list()
    assert documents
    assert not [document for document in documents if document[:40] in text]
    assert str(project.root) not in text

    (project.root / "mode.txt").write_text("")
    project.make(WANTED)
    assert states(project) == dict.fromkeys(TRIALS, "made")
