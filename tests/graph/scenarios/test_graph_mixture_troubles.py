"""Mixtures where something goes wrong: diverged runs, kill -9, sources without documents, impossible caps."""

import os
import signal
import subprocess
import time

import pytest
from projects import make_project, selection, sentences, write
from test_graph_mixture import CHOSEN, DESIGN, FITTED, FOLLOWING, MIXTURE, TEXT, note_runs

from tamis.mixture import runs as runs_of_mixture
from tamis.report.mixture import PAGE
from tamis.training import DivergedError
from tamis.verbs.mix import lines_of, read_mixture

pytestmark = pytest.mark.slow  # runs are trained, or noted for a law that is fitted
RUNS = 12


@pytest.fixture
def project(tmp_path, encoder_cache, nowhere):
    made = make_project(tmp_path / "project", encoder_cache, TEXT)
    yield made
    made.close()


def test_a_run_that_diverges_is_noted_and_the_others_have_a_law(project, monkeypatch):
    trained, pretrain = [], runs_of_mixture.pretrain

    def diverging(*arguments, **more):
        trained.append(1)
        if len(trained) == 2:
            raise DivergedError(7, 0.1)
        return pretrain(*arguments, **more)

    monkeypatch.setattr(runs_of_mixture, "pretrain", diverging)
    project.make(DESIGN | {"mixture_runs", "mixture_losses", "mixture_law"})
    runs, losses = project.store.read("mixture_runs"), project.store.read("mixture_losses")
    failed = runs.filter(failure="diverged: the training loss is not finite at step 7; try a learning rate "
                                 "below 0.1")  # fmt: skip
    assert len(runs) == len(losses) == len(trained) == RUNS
    assert len(failed) == 1
    assert failed["checkpoint"].null_count() == failed["mlflow_run"].null_count() == 1
    assert losses.filter(run=failed["run"][0])["bits_per_byte"].null_count() == 1
    assert losses["bits_per_byte"].null_count() == 1
    assert project.store.read("mixture_law")["measured"].null_count() == 1
    assert len(note_runs(project, "agreement_runs")) == RUNS - 1, "what diverged validates nothing"
    project.try_making(FITTED)
    agreed = project.manifest("mixture")
    assert agreed.row_count == 3
    if (project.home.reports / PAGE).exists():  # ranks of noted runs may contradict trained ones
        assert f"1 of the {RUNS} runs have no loss" in (project.home.reports / PAGE).read_text()
    assert "mixture_runs" not in project.try_making(CHOSEN - {"agreement_runs"}).made


def test_a_killed_process_loses_no_finished_run_and_repeats_none(project):
    stages = sorted(DESIGN | {"mixture_runs"})
    process = subprocess.Popen(
        project.command("materialize", "--only", *stages),
        cwd=project.root,
        env=project.environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def finished():
        made = {entry: value for entry, value in project.current.items() if entry[0] == "mixture_runs"}
        return {entry: value for entry, value in made.items() if value.finished}

    until = time.monotonic() + 300
    while len(finished()) < 3 and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = finished()
    assert 3 <= len(before) < RUNS, "it was killed within a run"
    made = project.make(DESIGN | {"mixture_runs"}).made["mixture_runs"]
    assert made == RUNS - len(before)
    after = finished()
    assert len(after) == RUNS
    assert {entry: after[entry] for entry in before} == before
    runs = project.store.read("mixture_runs")
    assert len(runs) == runs["run"].n_unique() == RUNS
    assert runs["failure"].null_count() == RUNS
    seen = project.store.read("trained_on", ["checkpoint", "doc_id"])
    assert len(seen) == seen.n_unique()
    project.assert_sound(DESIGN | {"mixture_runs"})


@pytest.fixture
def by_rows(project):
    """A project whose rows name their source: those on algebra one, the others another."""
    for file in sorted(project.landing.glob("*.jsonl")):
        texts = sentences(file.stem, 60, 1) if file.stem in ("algebra", "cooking", "sailing") else []
        name = "algebra" if file.stem == "algebra" else "forums"
        write(file, [f'{{"text": "{text}", "source": "{name}"}}' for text in texts])
    project.reconfigure("[mixture]\n", '[mixture]\nsources = "source"\n')
    project.make(DESIGN)
    return project


def test_equal_losses_recommend_nothing_and_say_why(by_rows, capsys, monkeypatch):
    monkeypatch.setattr("test_graph_mixture.LOSS_OF", {})
    note_runs(by_rows)
    by_rows.make({"mixture_law"})
    assert by_rows.store.read("mixture_methods")["method"].to_list() == ["constant"]
    note_runs(by_rows, "agreement_runs")
    by_rows.try_making(FITTED)
    assert not by_rows.store.count("mixture")
    said = "the mixture is not recommended: the small runs of 12 mixtures have equal losses, so the ranking"
    assert said in capsys.readouterr().err
    shown = lines_of(by_rows.project, read_mixture(by_rows.project))
    assert "these runs recommend no mixture, and there is no earlier mixture" in shown[-1]
    assert not [line for line in shown if "trains these runs" in line]


@pytest.mark.with_pages
def test_sources_are_those_that_rows_name(by_rows):
    project = by_rows
    assert set(project.rows("mixture_sources")["source"]) == {"algebra", "forums"}
    assert set(project.store.read("mixture_plan")["source"]) == {"algebra", "forums"}
    note_runs(project)
    project.make({"mixture_law"})
    note_runs(project, "agreement_runs")
    project.make(FITTED)
    weights = dict(project.rows("mixture").select("source", "weight").iter_rows())
    assert sum(weights.values()) == pytest.approx(1)
    decisions = project.rows("decisions")
    assert set(decisions["budget_group"]) == {"algebra", "forums"}
    assert decisions["reason"].null_count() == 0
    page = (project.home.reports / "selection_mixed.html").read_text()
    table = page.split("The budget by source")[1].split("</table>")[0]
    for said in ("natural share", "wanted share", "realised share", "tokens, estimated", "passes"):
        assert said in table
    for weight in weights.values():
        assert table.count(f"{100 * weight:.1f} %") >= 1


def test_a_source_without_usable_documents_is_left_out_and_one_source_is_too_few(project):
    project.configure(TEXT + '\n[filters]\nsources_denied = ["cooking*"]\n')
    project.make(DESIGN)
    assert set(project.rows("mixture_sources")["source"]) == {"algebra", "sailing"}
    project.configure(TEXT + '\n[filters]\nsources_denied = ["cooking*", "sailing*"]\n')
    said = project.try_making(DESIGN).failed["mixture_design"]
    assert "[mixture] needs at least two sources with documents that may be selected" in said
    assert "Traceback" not in said


@pytest.mark.with_pages
def test_a_budget_beyond_all_passes_is_an_error_of_the_mixture_and_a_shortfall_of_a_selection(project):
    project.reconfigure("train_tokens = 4_000", "train_tokens = 400_000_000")
    said = project.try_making(DESIGN).failed["mixture_design"]
    assert "[mixture] train_tokens = 400,000,000 needs" in said
    assert "max_repetition = 4; lower train_tokens to" in said
    project.configure(TEXT.replace(FOLLOWING, selection("mixed", budget="400Mtok", mixture=True)))
    project.make(DESIGN)
    note_runs(project)
    project.make({"mixture_law"})
    note_runs(project, "agreement_runs")
    project.make(FITTED)
    decisions = project.rows("decisions")
    assert decisions.filter(verdict="selected")["training_count"].max() == 4
    page = (project.home.reports / "selection_mixed.html").read_text()
    assert "the budget is 400,000,000 tokens, but with passes over each group limited to 4 there" in page


def test_fewer_runs_than_sources_need_are_refused_before_any_is_trained(project):
    project.reconfigure(MIXTURE, MIXTURE + 'sources = "source"\nruns = 3\n')
    said = project.try_making(DESIGN).failed["mixture_design"]
    assert "[mixture] runs = 3 is too few for" in said
    assert "the default of 12" in said
