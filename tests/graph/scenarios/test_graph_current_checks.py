"""One answer about staleness: status, the planner and the check `current` of each asset agree."""

import dagster as dg
import pytest
from projects import SmallProject, lines, texts, write

from tamis.graph.plan import out_of_date
from tamis.graph.stages import made_together
from tamis.graph.used_stages import used_by
from tamis.runtime.checks import CURRENT, PROJECT_FILE, log_current_checks
from tamis.verbs.status import read_status


def checks(graph: SmallProject) -> dict[str, str | None]:
    """Return the latest answer of each asset's check: "" where it passed, else the reason; None without."""
    keys = [dg.AssetCheckKey(dg.AssetKey(name), CURRENT) for name in used_by(graph.project).assets]
    found = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    said = {key: record.event.asset_check_evaluation for key, record in found.items()}
    return {
        key.asset_key.path[-1]: None if said.get(key) is None else said[key].description or "" for key in keys
    }


def agreed(graph: SmallProject) -> dict[str, str]:
    """Let the sensor tick, and return the amber checks: those that the status, too, calls due."""
    graph.arrive()
    amber = {name: reason for name, reason in checks(graph).items() if reason != ""}
    due = read_status(graph.project).to_json()["due"]
    assert amber.keys() == {name for one in due for name in made_together(one["asset"])}
    assert amber == out_of_date(graph.snapshot, graph.current)
    return amber


def count(graph: SmallProject) -> int:
    """Return how often the checks were evaluated, in runs and out of them."""
    return sum(
        len(graph.instance.event_log_storage.get_asset_check_execution_history(key, limit=100))
        for key in graph.definitions().resolve_asset_graph().asset_check_keys
        if key.name == CURRENT
    )


def test_status_check_and_planner_agree_on_what_is_not_current(graph):
    graph.make()
    before = agreed(graph)
    assert "selected_subset" not in before
    assert before["mart_documents"].startswith("waits for stg_")

    file = graph.landing / "new.jsonl"
    write(file, lines(texts("algebra", 6, seed=50)))
    found = agreed(graph)
    assert found["raw_shards"] == "1 of 3 shards out of date: web__new.jsonl (not materialized yet)"
    assert found["near_duplicates"] == "waits for documents[web__new.jsonl]"
    assert found["decisions"].startswith("2 of 2 selections out of date: near (waits for ")
    graph.until_rest()
    assert agreed(graph) == before

    graph.reconfigure("budget = 5", "budget = 4")
    assert agreed(graph).keys() - before.keys() == {"selected_subset", "decisions"}
    graph.make()
    assert agreed(graph) == before


@pytest.mark.slow
def test_they_agree_on_a_file_that_changes_and_goes(graph):
    file = graph.landing / "new.jsonl"
    write(file, lines(texts("algebra", 6, seed=50)))
    graph.make()
    before = agreed(graph)
    write(file, lines(texts("algebra", 7, seed=51)))
    assert agreed(graph)["raw_shards"].endswith("web__new.jsonl (code, settings or inputs have changed)")
    graph.until_rest()
    file.unlink()
    assert graph.arrive() == "removed"
    assert {"near_duplicates", "selected_subset"} <= agreed(graph).keys() - before.keys()
    graph.until_rest()
    assert agreed(graph) == before


@pytest.mark.with_pages
def test_a_page_leads_to_all_others_and_says_which_are_out_of_date(graph):
    graph.home.reports.mkdir(exist_ok=True)
    (graph.home.reports / "sql_mart_reasons.html").write_text("<table>")
    graph.make()
    graph.until_rest()
    index = graph.home.reports / "index.html"

    def shown() -> dict[str, str]:
        """Return the state of each page that is linked, by its name."""
        entries = index.read_text().split('<a href="')[1:]
        return {
            one.partition('"')[0]: "out of date" if "out of date" in one else "current" for one in entries
        }

    pages = {page.name for page in graph.home.reports.glob("*.html")} - {"index.html"}
    assert {"selection_near.html", "selection_thin.html"} <= shown().keys() == pages
    assert shown()["selection_near.html"] == "current"
    assert "mart_reasons: Why documents were kept or dropped." in index.read_text()
    written = pages - {"sql_mart_reasons.html"}
    assert all('<a href="index.html">' in (graph.home.reports / page).read_text() for page in written)
    before = index.stat().st_mtime_ns
    graph.arrive()
    assert index.stat().st_mtime_ns == before

    write(graph.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    graph.arrive()
    assert shown()["selection_near.html"] == "out of date"
    graph.until_rest()
    graph.arrive()
    assert shown()["selection_near.html"] == "current"
    text = graph.store.read("documents", ["text"])["text"].to_list()
    assert not [one for one in text if one in index.read_text()]


def test_a_check_is_written_when_its_answer_changes_alone(graph):
    graph.make()
    graph.arrive()
    before, made = checks(graph), count(graph)
    for _ in range(2):
        graph.make()
        graph.arrive()
    assert count(graph) == made
    write(graph.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    for _ in range(2):
        graph.arrive()
    after = checks(graph)
    changed = [name for name in after if after[name] != before[name]]
    assert "near_duplicates" in changed
    assert count(graph) - made == len(changed)


def test_a_run_in_flight_answers_itself_and_one_that_died_leaves_it_to_the_sensor(graph):
    graph.make()
    graph.arrive()
    key = dg.AssetKey("raw_shards")
    run = graph.instance.create_run_for_job(graph.job, asset_selection=frozenset({key}))
    assert run.asset_check_selection is None
    assert checks(graph)["raw_shards"] is None, "planned"
    log = (graph.instance, graph.snapshot, graph.current, ["raw_shards"])
    log_current_checks(*log)
    assert checks(graph)["raw_shards"] is None
    graph.instance.report_run_failed(run)
    log_current_checks(*log)
    assert checks(graph)["raw_shards"] == ""


def said_of_outputs(graph: SmallProject) -> list[str]:
    """Return what Dagster logged of runs whose steps left out what they declare."""
    runs = [run.run_id for run in graph.instance.get_runs()]
    logs = [entry.user_message for run in runs for entry in graph.instance.all_logs(run)]
    return [message for message in logs if "did not yield or return" in message]


def test_no_step_leaves_out_a_check_that_it_declares(graph):
    graph.make()
    write(graph.landing / "new.jsonl", lines(texts("algebra", 6, seed=50)))
    graph.arrive()
    graph.until_rest()
    assert graph.instance.get_runs_count()
    assert said_of_outputs(graph) == []
    key = dg.AssetCheckKey(dg.AssetKey("raw_shards"), PROJECT_FILE)
    found = graph.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
    assert found[key].event.asset_check_evaluation.passed
