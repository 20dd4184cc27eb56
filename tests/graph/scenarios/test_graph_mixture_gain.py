"""The test of a mixture in the graph: by Tamis or a command, killed, withdrawn and out of date."""

import json

import polars as pl
import pytest
from fake_trainer import FAKE, until
from projects import make_project, sentences, settings, target, write_jsonl
from test_graph_mixture import CORPORA, DESIGN, MIXTURE, TINY, TRANSPORT, note_runs

from tamis.graph.submissions import Submissions
from tamis.report.mixture import GAIN_PAGE, PAGE
from tamis.scan.sources import value_due
from tamis.trainer import batches
from tamis.trainer.runs import run_folders, under_way
from tamis.verbs.mix import lines_of, read_mixture

pytestmark = pytest.mark.slow  # a law is fitted to noted runs, and the mixture made of it

RECOMMENDED = frozenset({"mixture_law", "mixture"})
WANTED = DESIGN | RECOMMENDED | {"mixture_gain"}
TRAINER = '\n[trainer]\ncommand = ["python", "train.py", "{spec}"]\nat_once = 2\n'
SURFACE = FAKE.replace(
    '    return (2.0 + (spec["seed"] % 7) / 100) / (1 + math.log1p(spec["steps"] * len(rows)))',
    "    useful = sum('matrix' in other['text'].lower() for other in rows) / len(rows)\n"
    "    return 2.0 + (spec['seed'] % 7) / 100 - useful",
)
GOAL = target("algebra", train=30, held_out=24)


def made_mixture(root, encoder_cache, *more):
    """Make the project up to the mixture, whose runs are noted."""
    assert "useful" in SURFACE
    made = make_project(root, encoder_cache, settings(*CORPORA, GOAL, TRANSPORT, TINY, MIXTURE, *more))
    write_jsonl(made.root / "target" / "a.jsonl", sentences("algebra", 90, 2))
    (made.root / "train.py").write_text(SURFACE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TAMIS_TRUST", "1")
        patched.setattr("tamis.mixture.analysis.RESAMPLED", 0)
        made.make(DESIGN)
        note_runs(made)
        made.make({"mixture_law"})
        note_runs(made, "agreement_runs")
        made.make({"mixture"})
    made.close()
    return made


@pytest.fixture(scope="module")
def begun(tmp_path_factory, encoder_cache):
    return made_mixture(tmp_path_factory.mktemp("gain") / "project", encoder_cache, TRAINER)


@pytest.fixture
def project(begun, tmp_path, nowhere, monkeypatch):
    monkeypatch.setenv("TAMIS_TRUST", "1")
    made = begun.copy(tmp_path / "project")
    yield made
    made.close()


def calls(project):
    path = project.root / "calls.txt"
    return path.read_text().split() if path.exists() else []


def gain_of(project):
    (answer,) = project.store.read("mixture_gain").to_dicts()
    return answer


def said(project):
    return "\n".join(lines_of(project.project, read_mixture(project.project)))


def test_a_gain_is_measured_on_the_command_and_said_everywhere(project):
    page = (project.home.reports / PAGE).read_text()
    assert "This page has the prediction of the law" in page
    assert "tamis materialize --only mixture_gain" in page
    assert "not tested against the natural shares; `tamis materialize --only mixture_gain`" in said(project)
    assert not project.make(WANTED).failed
    answer, rows = gain_of(project), project.store.read("mixture_gain_runs")
    assert len(calls(project)) == len(set(calls(project))) == len(rows) == 6
    assert rows["failure"].null_count() == 6
    means = {name: rows.filter(mixture=name)["bits_per_byte"].mean() for name in ("chosen", "natural")}
    assert answer["difference"] == pytest.approx(means["chosen"] - means["natural"])
    assert answer["difference"] < 0
    assert (answer["kind"], answer["pairs"], answer["examples"]) == ("better", 3, 24)
    assert answer["sentence"] in (project.home.reports / GAIN_PAGE).read_text()
    assert answer["sentence"] in said(project)
    assert (project.home.reports / PAGE).read_text() == page, "the page of the mixture is a file of another"
    assert project.audit().status == "green"
    assert list((project.home.cache / "trainer").glob("*")) == []
    assert "mixture_gain" not in project.make(WANTED).made, "nothing is due"
    assert project.store.count("trained_on") == 0, "its runs leave no checkpoint"


def test_new_documents_make_it_out_of_date_and_the_runs_stay_where_the_mixtures_do(project):
    project.make(WANTED)
    write_jsonl(project.landing / "cooking2.jsonl", sentences("cooking", 3, 7))
    project.make(DESIGN - {"mixture_design"})
    due = value_due(project.project, "mixture_gain", "")
    assert due is not None
    assert due.reason
    assert "This test is out of date" in said(project)
    every = Submissions(project=project.project, snapshot=project.snapshot, current=project.current)
    assert every.begun() == set()


def test_a_person_goes_on_after_failures(project):
    (project.root / "mode.txt").write_text("exit")
    failed = project.try_making(WANTED).failed
    assert list(failed) == ["mixture_gain"]
    assert "ended with exit code 3" in failed["mixture_gain"]
    assert project.store.count("mixture_gain") == 0
    (project.root / "mode.txt").unlink()
    assert not project.make(WANTED).failed
    assert gain_of(project)["pairs"] == 3


class LeftError(Exception):
    """Somebody stops waiting."""


@pytest.fixture
def left(project, monkeypatch):
    """The project with two runs of the test in training that nobody waits for."""
    hold = project.root / "hold"
    hold.touch()

    def leave(*_):
        until(lambda: len(calls(project)) == 2, "two runs start")
        raise LeftError

    with monkeypatch.context() as patched:
        patched.setattr("tamis.runtime.driver.wait_for_trainer", leave)
        with pytest.raises(LeftError):
            project.make(WANTED)
    assert len(under_way(project.home)) == 2
    return project


def test_runs_that_somebody_left_are_found_again_and_trained_once(left):
    before = calls(left)
    (left.root / "hold").unlink()
    assert not left.make(WANTED).failed
    assert calls(left)[:2] == before
    assert len(calls(left)) == len(set(calls(left))) == left.store.count("mixture_gain_runs") == 6


def test_a_withdrawal_ends_the_runs_that_saw_the_document(left):
    folders = run_folders(left.home)
    rows = [json.loads(line) for line in (folders[0] / "train.jsonl").read_text().splitlines()]
    withdrawn = next(row for row in rows if "matrix" in row["text"].lower())
    saw = [folder for folder in folders if withdrawn["id"] in (folder / "train.jsonl").read_text()]
    left.withdraw([withdrawn["id"]])
    assert not any(folder.exists() for folder in saw)
    (left.root / "hold").unlink()
    assert not left.make(WANTED - RECOMMENDED - {"mixture_gain", "mixture_design"}).failed
    assert value_due(left.project, "mixture_gain", "") is not None


def test_the_step_is_killed_between_recording_and_planning(project, monkeypatch):
    def killed(self):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr("tamis.trainer.batches.SubmittedBatch.erase", killed)
        assert "RuntimeError" in project.try_making(WANTED).failed["mixture_gain"]
    assert not project.make(WANTED).failed
    assert len(calls(project)) == len(set(calls(project))) == 6


def test_tamis_trains_the_pairs_and_a_kill_between_two_runs_repeats_none(
    tmp_path, encoder_cache, nowhere, monkeypatch
):
    project = made_mixture(tmp_path / "made", encoder_cache).copy(tmp_path / "project")
    trained, train = [], batches.train_measured

    def killed(*arguments, **more):
        trained.append(arguments[2].seed)
        if len(trained) == 3:
            raise RuntimeError("killed")
        return train(*arguments, **more)

    monkeypatch.setattr(batches, "train_measured", killed)
    assert "RuntimeError" in project.try_making(WANTED).failed["mixture_gain"]
    assert project.store.count("mixture_gain_runs") == 2
    assert not project.make(WANTED).failed
    assert len(trained) == 7, "the third run is trained again"
    rows = project.store.read("mixture_gain_runs").sort("pair", "mixture")
    assert rows["failure"].null_count() == 6
    assert rows.group_by("pair").agg(pl.col("seed").n_unique())["seed"].to_list() == [1, 1, 1]
    assert rows["seed"].n_unique() == 3
    answer = gain_of(project)
    assert answer["low"] <= answer["difference"] <= answer["high"]
    assert answer["proven"] == (answer["kind"] == "better")
    assert project.audit().status == "green"
    project.close()
