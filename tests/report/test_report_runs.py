"""The page of all runs: each in the state and with the figures that tables, plans and notes give."""

import re
from collections import Counter
from datetime import datetime

import pytest
from projects import (
    SmallProject,
    base_model,
    corpus,
    due_key,
    manifest_of,
    note_made,
    plain_project,
    record,
    rows_of,
    selection,
    settings,
    target,
)

from tamis.comparison.runs import planned_runs
from tamis.graph.plan import full_plan
from tamis.mixture.planned import write_swarm
from tamis.mixture.swarm import PlannedRun, Swarm
from tamis.report.index import write_index
from tamis.report.runs.page import PAGE, RUNS_SHOWN, write_runs
from tamis.store.table_errors import DamagedTableError
from tamis.training.failures import note_failure

LAWS = '[scaling]\ntarget = "goal"\nmodels = ["small"]\nsizes = [4, 8, 16, 32]\n'
ON_REQUEST = (
    '[comparison]\nmodel = "small"\nselections = ["best"]\n'
    'on_request = { models = ["small"], selections = ["random"] }\n'
)
COMPARED = (
    '[sampler_trials]\nmodel = "small"\ntarget = "goal"\nsamplers = ["knn"]\nbudgets = ["10%"]\n'
    "data_seeds = 1\ntraining_seeds = 2\n"
)
MIXTURE = (
    corpus()
    + corpus("law", "law")
    + '[mixture]\ntarget = "goal"\nmodel = "llama-0.3m"\ntrain_tokens = 4_000\n'
)
PLAIN = (target(), selection("best", "got-d", 1, target="goal"), selection("random", budget=1))
LOST = "sampler_trials_left"


@pytest.fixture
def new(tmp_path):
    def make(*parts: str) -> SmallProject:
        return plain_project(tmp_path / "project", settings(*PLAIN, base_model(), *parts))

    return make


def wrote(project: SmallProject) -> bool:
    """Write the page as the end of a run does; return whether it was written or removed."""
    snapshot, current = project.snapshot, project.current
    return write_runs(snapshot, current, full_plan(snapshot, current))


def page(project: SmallProject) -> str:
    return (project.home.reports / PAGE).read_text()


def rows_shown(project: SmallProject) -> list[dict[str, str]]:
    """Write the page, and return the rows of its last table by column; `why`: what follows the state."""
    wrote(project)
    text = page(project)
    table = text[text.rindex("<thead>") : text.rindex("</tbody>")]
    names = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", table)
    found = []
    for row in re.findall(r"<tr>(<td.*?)</tr>", table, re.DOTALL):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        cells = [" ".join(re.sub(r"<(?!br)[^>]*>", "", cell).split()) for cell in cells]
        shown = dict(zip(names, cells, strict=True))
        shown["state"], _, shown["why"] = shown["state"].partition("<br>")
        found.append(shown)
    return found


def shown(project: SmallProject) -> dict[str, dict[str, str]]:
    """Return the rows by the name of the run."""
    rows = rows_shown(project)
    by_name = {row.pop("run"): row for row in rows}
    assert len(by_name) == len(rows)
    return by_name


def states(project: SmallProject) -> dict[str, tuple[str, str]]:
    """Return the state of each run, and why it is in it."""
    return {name: (row["state"], row["why"]) for name, row in shown(project).items()}


def expected(**columns: str) -> dict[str, str]:
    """Return a row with a dash in each column of figures that is not stated."""
    figures = dict.fromkeys(("loss", "seeds", "documents", "tokens", "FLOP", "time"), "–")
    named = {name.replace("_", " "): value for name, value in columns.items()}
    return {"state": "made", "why": "", "model": "small", "measured on": "goal"} | figures | named


def add_trial(project: SmallProject, name: str, **stated: object) -> None:
    """Write the row of a trial."""
    usual = {"trial": name, "kind": "law", "model": "small", "data": "goal", "size": 4, "seed": 0, "seeds": 2}
    project.store.append("trials", rows_of("trials", [usual | stated]))


def add_compared(project: SmallProject, run: str, table: str = "sampler_trials", **stated: object) -> None:
    seeds = {"data_seed": 0, "training_seed": 0}
    usual = {"run": run, "sampler": "knn", "budget": "10%", "documents": 3, "tokens": 100, "seconds": 60.0}
    project.store.append(table, rows_of(table, [usual | seeds | stated]))


def swarm(*names: str) -> Swarm:
    """Return planned runs of two sources: a plan before this one has the first."""
    runs = {
        name: PlannedRun(
            name=name,
            generation=min(place, 1),
            preset="llama-0.3m",
            tokens=1_000,
            weights={"web": 0.25, "law": 0.75},
            parts={"web": 0.25, "law": 0.75},
            documents={"web": "w", "law": "l"},
        )
        for place, name in enumerate(names)
    }
    ratios = {name: {name: 1.0} for name in ("web", "law")}
    return Swarm(generation=1, parts=ratios, recipe="r", repetition=1.0, proxies=runs)


def test_a_project_without_a_run_has_neither_page_nor_link(new, read_page):
    project = new()
    (project.home.reports / "sql_mart_trials.html").parent.mkdir(parents=True, exist_ok=True)
    (project.home.reports / "sql_mart_trials.html").write_text("<table>")
    assert not wrote(project)
    assert write_index(project.snapshot, project.current, [])
    assert PAGE not in (project.home.reports / "index.html").read_text()

    project.configure(project.text + LAWS)
    assert write_index(project.snapshot, project.current, [])
    index = (project.home.reports / "index.html").read_text()
    assert f'<a href="{PAGE}">every run: planned, in training, made or failed, and what it cost</a>' in index
    read_page(page(project))

    project.reconfigure(LAWS, "")
    assert write_index(project.snapshot, project.current, [])
    assert not (project.home.reports / PAGE).exists()
    assert PAGE not in (project.home.reports / "index.html").read_text()
    assert not wrote(project)


def test_the_page_is_written_when_what_it_says_changes_and_not_again(new):
    project = new(LAWS)
    assert wrote(project)
    assert not wrote(project)
    add_trial(project, "law__small__4", tokens=10)
    assert wrote(project)
    assert not wrote(project)
    note_failure(project.store, "law__small__8", "another key", "out of disk", permanent=False)
    assert wrote(project), "what a failed attempt has cost is on the page"
    assert not wrote(project)
    project.reconfigure("sizes = [4, 8, 16, 32]", "sizes = [4, 8, 16]")
    assert wrote(project)


def test_trials_are_planned_wait_fail_are_made_and_out_of_date(new):
    project = new(LAWS, ON_REQUEST)
    found = states(project)
    assert Counter(state for state, _ in found.values()) == {"planned": 5, "waiting": 1}
    request = "made by tamis materialize --on-request"
    assert found["warm-up__small__random"] == ("waiting", request)
    assert found["law__small__4"][1].startswith("waits for ")

    record(
        project.home,
        "trials",
        "law__small__4",
        inputs=[manifest_of("target_examples", "goal")],
        input_key="of before",
    )
    usual = {"kind": "law", "model": "small", "data": "goal", "size": 4, "seed": 0, "seeds": 3}
    figures = {"tokens": 1_234, "flops": 5e9, "seconds": 90.0, "held_out_bits_per_byte": 1.25}
    gone = usual | {"trial": "law__gone__4", "model": "gone", "held_out_bits_per_byte": float("nan")}
    rows = [usual | figures | {"trial": "law__small__4"}, gone]
    project.store.append("trials", rows_of("trials", rows))
    found = shown(project)
    row = found["law__small__4"]
    assert row["why"].startswith("out of date: ")
    assert row == expected(
        kind="law",
        trained_on="goal",
        seeds="3",
        documents="4",
        tokens="1,234",
        FLOP="5e+09",
        time="90 seconds",
        loss="1.2500",
        why=row["why"],
    )
    row = found["law__gone__4"]
    assert (row["state"], row["loss"], row["why"]) == ("made", "–", "no longer planned")


def test_a_failed_trial_has_its_reason_as_long_as_it_would_fail_again(new, hostile, read_page):
    project = new(target("labels", path="target"), LAWS)
    inputs = [("base_models", "small"), ("target_examples", "goal")]
    for asset, partition in inputs:
        note_made(project.project, asset, partition)
    key = due_key(project.project, "trials", "law__small__4")
    assert key
    note_failure(project.store, "law__small__4", key, hostile, permanent=False, seconds=30.0)
    note_failure(project.store, "law__small__8", key + "0", "of other inputs", permanent=True, seconds=60.0)
    note_failure(
        project.store,
        "law__small__16",
        due_key(project.project, "trials", "law__small__16") or "",
        "no memory",
        permanent=True,
    )
    found = states(project)
    state, why = found["law__small__4"]
    assert state == "failed"
    assert why.startswith("1 attempt: &lt;script&gt;alert")
    assert found["law__small__16"] == ("failed", "1 attempt, not tried again: no memory")
    assert found["law__small__8"][0] == "planned"
    assert "failed attempts of trials 90 seconds" in read_page(page(project))

    add_trial(project, "law__small__4")
    note_made(project.project, "trials", "law__small__4")
    assert states(project)["law__small__4"] == ("made", ""), "it succeeded since"


def test_compared_runs_are_planned_made_failed_and_set_aside(new, read_page):
    project = new(COMPARED)
    grid = [run.label for run in planned_runs(["knn"], ["10%"], 1, 2)]
    assert {name: row["state"] for name, row in shown(project).items()} == dict.fromkeys(grid, "planned")

    add_compared(project, "a", target_bits_per_byte=1.5)
    add_compared(project, "b", training_seed=1, failure="the loss is not finite")
    add_compared(project, "c", budget="5%", target_bits_per_byte=2.0)
    left = datetime(2026, 11, 3)
    add_compared(project, "d", LOST, sampler="density", target_bits_per_byte=1.75, left_at=left)
    found = shown(project)
    assert found["knn 10%, data 0, training 0"] == expected(
        kind="sampler",
        trained_on="knn 10%",
        seeds="1",
        documents="3",
        tokens="100",
        time="60 seconds",
        loss="1.5000",
    )
    failed = found["knn 10%, data 0, training 1"]
    assert (failed["state"], failed["loss"], failed["why"]) == ("failed", "–", "the loss is not finite")
    assert found["knn 5%, data 0, training 0"]["why"] == "no longer planned"
    aside = found["density 10%, data 0, training 0"]
    assert (aside["state"], aside["loss"]) == ("set aside", "1.7500")
    assert aside["why"].startswith("not planned since 2026-11-03")
    planned = {name for name, row in found.items() if row["state"] == "planned"}
    assert planned == {name for name in grid if not name.startswith("knn")}
    # Four runs of a minute each are paid for, whatever became of them.
    assert "sampler 1 4 2 1 400 – 4.0 minutes" in read_page(page(project))


def test_runs_of_recipes_are_made_failed_and_set_aside_as_their_search_plans(new):
    project = new(LAWS)
    usual = {"target": "goal", "recipe": "knn 10%", "model": "small", "documents": 3, "tokens": 100}
    usual |= {"flop": 6e9, "seconds": 60.0, "portion": 1.0, "look": 0, "seed": 0, "part": "search"}
    rows = [
        usual | {"run": "a", "bits_per_byte": 1.5, "portion": 0.25},
        usual | {"run": "b", "part": "guard", "look": 2, "seed": 1, "failure": "the loss is not finite"},
    ]
    project.store.append("tune_runs", rows_of("tune_runs", rows))
    left = usual | {"run": "c", "bits_per_byte": 1.75, "portion": 0.25, "left_at": datetime(2026, 11, 3)}
    project.store.append("tune_runs_left", rows_of("tune_runs_left", [left | {"recipe": "got-d 5%"}]))
    runs = shown(project)
    figures = {"seeds": "1", "documents": "3", "tokens": "100", "FLOP": "6e+09", "time": "60 seconds"}
    searched = expected(kind="recipe", trained_on="knn 10%, search at 25 %", loss="1.5000", **figures)
    assert runs["knn 10%, search at 25 %, seed 0"] == searched | {"measured on": "goal, validation"}
    failed = runs["knn 10%, guard of look 2, seed 1"]
    assert (failed["state"], failed["why"]) == ("failed", "the loss is not finite")
    assert failed["measured on"] == "goal"
    aside = runs["got-d 5%, search at 25 %, seed 0"]
    assert (aside["state"], aside["loss"], aside["measured on"]) == (
        "set aside",
        "1.7500",
        "goal, validation",
    )
    assert aside["why"].startswith("not planned since 2026-11-03")


def test_runs_that_test_a_mixture_are_made_or_failed(new):
    project = new(LAWS)
    usual = {"preset": "llama-0.3m", "target": "goal", "documents": 5, "tokens": 900, "flop": 1e9}
    usual |= {"seconds": 2.0, "pair": 1}
    rows = [
        usual | {"run": "a", "mixture": "chosen", "bits_per_byte": 1.5},
        usual | {"run": "b", "mixture": "natural", "failure": "diverged"},
    ]
    project.store.append("mixture_gain_runs", rows_of("mixture_gain_runs", rows))
    runs = shown(project)
    figures = {"seeds": "1", "documents": "5", "tokens": "900", "FLOP": "1e+09", "time": "2 seconds"}
    names = {"kind": "test of the mixture", "model": "llama-0.3m", "trained_on": "recommended mixture"}
    assert runs["recommended mixture, pair 1"] == expected(**names, **figures, loss="1.5000")
    failed = runs["natural shares, pair 1"]
    assert (failed["state"], failed["why"]) == ("failed", "diverged")


def test_runs_of_mixtures_name_their_shares_and_earlier_plans(new):
    project = new(MIXTURE)
    (project.root / "law").mkdir()
    assert not wrote(project), "none is planned yet"
    write_swarm(project.store, swarm("m-before", "m-now", "m-failed", "m-later"))
    assert states(project).keys() == {"m-now", "m-failed", "m-later"}
    rows = [
        {"run": name, "preset": "llama-0.3m", "documents": 5, "tokens": 900, "flops": 1e9, "seconds": 2.0}
        for name in ("m-before", "m-now", "m-failed")
    ]
    project.store.append("mixture_runs", rows_of("mixture_runs", [*rows[:2], rows[2] | {"failure": "NaN"}]))
    losses = [{"run": "m-now", "target": "goal", "bits_per_byte": 1.5, "examples": 2}]
    project.store.append("mixture_losses", rows_of("mixture_losses", losses))
    for asset in ("mixture_runs", "mixture_losses"):
        note_made(project.project, asset, "m-now")
    found = shown(project)
    of_both = {"kind": "mixture", "model": "llama-0.3m", "trained on": "law 75 %, web 25 %"}
    figures = {"documents": "5", "tokens": "900", "FLOP": "1e+09", "time": "2 seconds", "loss": "1.5000"}
    due = "losses are due: waits for target_examples[goal]"
    assert found["m-now"] == expected(seeds="1", **of_both, **figures, why=due)
    assert found["m-before"]["why"] == "no longer planned"
    assert (found["m-failed"]["state"], found["m-failed"]["why"]) == ("failed", "NaN")
    later = found["m-later"]
    assert later == expected(**of_both, state="planned", why=later["why"])


def test_totals_are_sums_over_a_kind_and_the_first_words_count_all_states(new, read_page):
    project = new(LAWS, COMPARED)
    for size, flops in ((4, 1e9), (8, 2.5e9)):
        add_trial(project, f"law__small__{size}", tokens=size, flops=flops, seconds=60.0)
    add_compared(project, "a", seconds=3_600.0)
    wrote(project)
    text = read_page(page(project))
    assert "7 planned, 3 made." in text
    assert "law 2 2 12 3.5e+09 120 seconds" in text or "law 2 2 12 3.5e+09 2.0 minutes" in text
    assert "sampler 5 1 100 – 1.0 hours" in text
    costs = text[text.index("What the runs have cost") : text.index("The runs run")]
    assert "mixture" not in costs, "a kind without a run has no line"


def test_loss_against_compute_is_drawn_where_runs_differ(new):
    project = new(LAWS)
    losses = {4: (1e9, 2.0), 8: (1e10, 1.5)}
    for size, (flops, loss) in losses.items():
        name = f"law__small__{size}"
        add_trial(project, name, flops=flops, held_out_bits_per_byte=loss)
    wrote(project)
    assert "<svg" not in page(project), "two points say nothing"
    add_trial(project, "law__small__16", flops=1e11, held_out_bits_per_byte=1.0)
    wrote(project)
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)".*?<title>(\S+): ', page(project))
    by_name = {name: (float(x), float(y)) for x, y, name in points}
    (x4, y4), (x8, y8), (x16, y16) = (by_name[f"law__small__{size}"] for size in (4, 8, 16))
    assert x4 < x8 < x16
    assert y4 < y8 < y16, "a smaller loss is lower, so further down"
    assert x8 - x4 == pytest.approx(x16 - x8, abs=0.2), "equal factors are equal steps"
    assert y8 - y4 == pytest.approx(y16 - y8, abs=0.2)


def test_a_thousand_runs_are_shown_and_the_others_counted(new):
    project = new(LAWS)
    rows = [
        {"run": f"r{at}", "sampler": "knn", "budget": str(at), "data_seed": 0, "training_seed": 0}
        | {"left_at": datetime(2026, 1, 1)}
        for at in range(RUNS_SHOWN)
    ]
    project.store.append(LOST, rows_of(LOST, rows))
    rows = rows_shown(project)
    assert len(rows) == RUNS_SHOWN
    assert f"The first {RUNS_SHOWN:,} of {RUNS_SHOWN + 4:,} runs" in page(project)
    assert Counter(row["state"] for row in rows)["planned"] == 4, "set aside come last"


def test_a_row_in_two_tables_is_said_on_the_page(new):
    project = new(COMPARED)
    add_trial(project, "twice")
    add_compared(project, "twice")
    wrote(project)
    assert "the view runs fails its test unique_runs_name: " in page(project)


def test_a_damaged_table_leaves_the_last_page(new, monkeypatch):
    project = new(LAWS)
    wrote(project)
    before = page(project)

    def damaged(*_: object) -> int:
        raise DamagedTableError("trials", "a part is missing")

    snapshot, current = project.snapshot, project.current
    due = full_plan(snapshot, current)
    monkeypatch.setattr(type(project.store), "version", damaged)
    assert not write_runs(snapshot, current, due)
    assert page(project) == before
