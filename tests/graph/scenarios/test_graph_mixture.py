"""The mixture in the graph: planned, fitted to runs, refused or followed by a selection, and reused.

Most tests note what runs would leave: training two dozen models takes most of a minute. One trains them.
"""

import json

import polars as pl
import pytest
from projects import (
    TRANSPORT,
    SmallProject,
    corpus,
    due_key,
    make_project,
    record,
    rows_of,
    selection,
    sentences,
    settings,
    target,
    write_jsonl,
)

from tamis.graph.plan import full_plan
from tamis.graph.stages import stages
from tamis.history.explain import explain_document, explanation_lines
from tamis.report.mixture import PAGE
from tamis.stage import Automation
from tamis.verbs.mix import lines_of, plan_lines, read_mixture

pytestmark = pytest.mark.slow  # the swarm alone takes a minute

POOL = frozenset(
    {
        "raw_shards", "documents", "near_duplicates", "embeddings", "target_examples", "target_embeddings",
        "contamination", "tokenizer",
    }
)  # fmt: skip
DESIGN = POOL | {"mixture_design"}
FITTED = frozenset({"mixture_law", "mixture", "selected_subset"})
CHOSEN = DESIGN | FITTED | {"mixture_runs", "mixture_losses", "agreement_runs", "agreement_losses"}
LOSS_OF = {"algebra": 1.0, "sailing": 0.1}
"""How much the noted loss falls with the root of the share of a source."""
OF_RUNS = {"mixture_runs": "mixture_losses", "agreement_runs": "agreement_losses"}
TINY = "[pretraining]\nvocabulary = 512\nsequence_length = 32\n"
MIXTURE = """
[mixture]
target = "algebra"
model = "llama-0.3m"
run_tokens = 1_000
train_tokens = 4_000
"""
CORPORA = tuple(
    corpus(name, "landing", include=[f"{name}*.jsonl"]) for name in ("algebra", "cooking", "sailing")
)
GOAL = target("algebra", train=30, held_out=15)
FOLLOWING = selection("mixed", budget="4ktok", mixture=True)
TEXT = settings(*CORPORA, GOAL, TRANSPORT, TINY, MIXTURE, FOLLOWING)


@pytest.fixture
def project(tmp_path, encoder_cache, nowhere):
    """A project with nothing made yet."""
    made = make_project(tmp_path / "project", encoder_cache, TEXT)
    yield made
    made.close()


@pytest.fixture(scope="module")
def noted(tmp_path_factory, encoder_cache):
    """A project whose runs are noted and whose law is fitted, to be copied."""
    made = make_project(tmp_path_factory.mktemp("noted") / "project", encoder_cache, TEXT)
    assert "12 runs of llama-0.3m to train (0 of 12 are done): 12,000 tokens" in plan_lines(made.project)[0]
    assert "two CPU cores" in plan_lines(made.project)[1]
    made.make(DESIGN)
    due = [one.partition for one in full_plan(made.snapshot, made.current) if one.asset == "mixture_runs"]
    assert len(due) == 12
    assert sorted(note_runs(made)) == sorted(due)
    made.make({"mixture_law"})
    yield made
    made.close()


@pytest.fixture
def fitted(noted, tmp_path, nowhere):
    copied = noted.copy(tmp_path / "copied")
    yield copied
    copied.close()


def note_runs(project: SmallProject, runs: str = "mixture_runs", worse: int = 1) -> list[str]:
    """Note the runs that are planned, and losses that fall with the share of algebra, or rise with it."""
    swarm = project.snapshot.swarm
    assert swarm is not None
    planned = swarm.proxies if runs == "mixture_runs" else swarm.larger
    done = set(project.store.read("mixture_runs", ["run"])["run"])
    wanted = [run for run in planned.values() if swarm.wants(run.name) and run.name not in done]
    for run in wanted:
        gained = sum(worth * run.weights.get(name, 0.0) ** 0.5 for name, worth in LOSS_OF.items())
        loss = 2.0 - worse * gained
        row = {"run": run.name, "preset": run.preset, "tokens": run.tokens, "seconds": 2.0}
        project.store.merge("mixture_runs", rows_of("mixture_runs", [row]))
        row = {"run": run.name, "target": "algebra", "bits_per_byte": loss, "examples": 15}
        project.store.merge("mixture_losses", rows_of("mixture_losses", [row]))
        for asset in (runs, OF_RUNS[runs]):
            key = due_key(project.project, asset, run.name)
            assert key is not None
            record(project.home, asset, run.name, input_key=key, data_version=key)
    return [run.name for run in wanted]


def test_it_is_fitted_validated_and_followed(fitted):
    project = fitted
    assert len(note_runs(project, "agreement_runs")) == 12
    project.make(FITTED)
    shares = {row["source"]: row for row in project.rows("mixture").iter_rows(named=True)}
    assert sum(row["weight"] for row in shares.values()) == pytest.approx(1)
    assert shares["algebra"]["weight"] > 0.6 > shares["algebra"]["natural"]
    assert all(row["low"] <= row["weight"] <= row["high"] for row in shares.values())
    assert all(row["repetition"] <= 4 for row in shares.values())
    controls = {row["name"]: row for row in project.rows("mixture_controls").iter_rows(named=True)}
    assert set(controls) == {"chosen", "natural", "uniform", "unimax", "transport", "best run"}
    assert controls["natural"]["difference_high"] < 0
    decisions = project.rows("decisions")
    assert len(decisions) == len(project.rows("documents"))
    assert decisions["reason"].null_count() == 0
    chosen = decisions.filter(verdict="selected")
    counts = chosen.join(project.store.read("mixture_documents"), on="doc_id")
    tokens = counts["training_count"].fill_null(1) * counts["n_tokens"]
    by_source = dict(
        counts.with_columns(taken=tokens).group_by("source").agg(pl.col("taken").sum()).iter_rows()
    )
    for source, taken in by_source.items():
        assert abs(taken - 4_000 * shares[source]["weight"]) <= counts["n_tokens"].max()
    left_out = decisions.filter(reason="over_source_budget")["doc_id"][0]
    explained = explain_document(project.home, left_out)
    assert "of the mixture" in explained["decisions"][0]["detail"]
    assert any("of the mixture" in line for line in explanation_lines(explained))
    page = (project.home.reports / PAGE).read_text()
    for said in (
        "natural share",
        "UniMax",
        "by transport distance",
        "held out",
        "with the larger model have a rank correlation of 1.000",
    ):
        assert said in page
    found = read_mixture(project.project)
    assert json.loads(json.dumps(found))["agreement"]["correlation"] == pytest.approx(1)
    assert any("algebra: " in line for line in lines_of(project.project, found))
    again = project.make(DESIGN | FITTED)
    assert not again.made


def test_what_larger_runs_contradict_is_not_recommended_and_what_passed_stays(fitted, monkeypatch):
    monkeypatch.setattr("tamis.mixture.analysis.RESAMPLED", 0)
    note_runs(fitted, "agreement_runs", worse=-1)
    fitted.try_making(FITTED)
    assert not fitted.store.count("mixture")
    assert not (fitted.home.reports / PAGE).exists()
    assert fitted.current["mixture", ""].passed is False
    assert ("selected_subset", "mixed") not in fitted.current


@pytest.mark.slow
def test_only_what_a_change_touches_is_planned_again(fitted):
    first = set(fitted.snapshot.swarm.proxies)
    note_runs(fitted, "agreement_runs")
    fitted.make(FITTED - {"selected_subset"})
    write_jsonl(fitted.landing / "cooking2.jsonl", sentences("cooking", 60, 7))
    fitted.make(DESIGN)
    changes = dict(fitted.rows("mixture_sources").select("source", "change").iter_rows())
    assert changes == {"algebra": "unchanged", "cooking": "grown", "sailing": "unchanged"}
    assert note_runs(fitted) == []
    fitted.make(FITTED - {"selected_subset"})
    write_jsonl(fitted.root / "more" / "a.jsonl", sentences("sailing", 40, 9, common="one two three four"))
    fitted.reconfigure("[[target]]", corpus("more", "more") + "\n[[target]]")
    assert "9 runs of llama-0.3m to train" in plan_lines(fitted.project)[0]
    fitted.make(DESIGN)
    added = note_runs(fitted)
    assert len(added) == 9
    assert first.isdisjoint(added)
    due = {(one.asset, one.partition) for one in full_plan(fitted.snapshot, fitted.current)}
    assert not any(asset == "agreement_runs" for asset, _key in due)
    fitted.make(FITTED - {"selected_subset"})
    assert set(fitted.rows("mixture")["source"]) == {"algebra", "cooking", "more", "sailing"}
    kept = "The shares of algebra, cooking, sailing keep the ratio of the previous mixture"
    assert kept in (fitted.home.reports / PAGE).read_text()


def test_without_the_section_nothing_of_it_is_there_and_nothing_makes_runs_by_itself(project):
    of_mixture = {name for name, stage in stages().items() if stage.group == "mixture"}
    assert len(of_mixture) == 8
    assert {stages()[name].automation for name in of_mixture} == {Automation.BY_HAND}
    project.configure(settings(*CORPORA, GOAL, TRANSPORT, TINY, selection("mixed", budget="4ktok")))
    assert not of_mixture & {due.asset for due in full_plan(project.snapshot, project.current)}
    keys = {key.path[-1] for key in project.definitions().resolve_all_asset_keys()}
    assert not of_mixture & keys


@pytest.mark.slow
def test_runs_stay_while_the_section_is_gone_and_leave_when_that_is_allowed(fitted):
    runs = {entry: value for entry, value in fitted.current.items() if entry[0] == "mixture_runs"}
    fitted.reconfigure(MIXTURE, "")
    fitted.reconfigure(FOLLOWING, "")
    fitted.try_making(POOL, allowed={"mixed"})
    assert len(fitted.snapshot.kept["mixture_runs"]) == 12
    assert fitted.store.count("mixture_runs") == 12
    fitted.configure(TEXT)
    fitted.make(DESIGN)
    due = {one.asset for one in full_plan(fitted.snapshot, fitted.current)}
    assert "mixture_runs" not in due, "they are named by what they train on"
    assert {entry: value for entry, value in fitted.current.items() if entry[0] == "mixture_runs"} == runs
    fitted.reconfigure(MIXTURE, "")
    fitted.reconfigure(FOLLOWING, "")
    fitted.try_making(POOL, allowed={"all"})
    assert fitted.store.count("mixture_runs") == 0


@pytest.mark.slow
def test_runs_are_trained_recorded_and_sound(project):
    project.make(CHOSEN)
    runs = project.store.read("mixture_runs")
    assert len(runs) == 24
    assert runs["failure"].null_count() == 24
    assert runs["mlflow_run"].null_count() == 0
    for row in runs.iter_rows(named=True):
        assert (project.home.root / row["checkpoint"] / "model.safetensors").is_file()
    seen = project.store.read("trained_on")
    assert set(runs["run"]) <= set(seen["checkpoint"])
    held_out = project.store.read("target_examples", ["doc_id"], "split = 'held_out'")["doc_id"]
    assert set(seen["doc_id"]).isdisjoint(held_out)
    project.assert_sound(CHOSEN)
    state = project.versions()
    project.forget(("mixture_runs", runs["run"][0]))
    project.make(CHOSEN)
    assert project.versions() == state, "a run that is made again is the same"
    project.reconfigure('target = "algebra"', 'target = ["algebra", "other"]')
    project.reconfigure("[transport]", target("other", train=20, held_out=12) + "\n[transport]")
    again = project.make(CHOSEN)
    assert "mixture_runs" not in again.made
    assert set(project.store.read("mixture_losses")["target"]) == {"algebra", "other"}
