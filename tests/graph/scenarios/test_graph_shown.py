"""What Dagster's pages show of runs and of a selection."""

import dagster as dg
from projects import lines, texts, write

from tamis.report.address import page_url
from tamis.runtime.runs import CERTIFIED_TAG, COMMAND_LINE, DRIVER_TAG, HOME_TAG, SENSOR
from tamis.store.home import home_id


def test_runs_of_the_command_line_are_in_the_timeline_and_hashes_are_hidden(graph):
    """Dagster's Timeline shows runs of a code location alone; of tags it hides those of one prefix."""
    file = graph.landing / "new.jsonl"
    write(file, lines(texts("algebra", 6, seed=50)))
    graph.arrive()
    assert graph.execute(graph.tick()[0][0]).success
    write(graph.landing / "other.jsonl", lines(texts("algebra", 6, seed=51)))
    file.unlink()
    graph.make({"raw_shards", "documents"})
    runs = graph.instance.get_runs()
    ours = [run for run in runs if run.tags[DRIVER_TAG] == COMMAND_LINE]
    assert {run.job_name for run in ours} == {"removal", "__ASSET_JOB"}
    assert {run.remote_job_origin.repository_origin.get_label() for run in ours} == {
        "__repository__@definitions.py"
    }
    assert all(run.remote_job_origin.job_name == run.job_name for run in ours)
    assert len(ours) < len(runs)
    every = [tag for run in runs for tag in run.tags.items()]
    tags = [tag for tag in every if not tag[0].startswith((".dagster/", "dagster/"))]
    assert {name for name, _value in tags} == {DRIVER_TAG, CERTIFIED_TAG, HOME_TAG}
    home = home_id(graph.home)
    assert home.startswith("small-"), "it names the project"
    assert {value for _name, value in tags} == {"yes", SENSOR, COMMAND_LINE, home}


def test_a_selection_is_shown_in_numbers_and_ids(graph):
    graph.reconfigure("budget = 5", "budget = 4")
    graph.make()
    event = graph.instance.get_latest_materialization_event(dg.AssetKey("selected_subset"))
    shown, name = event.asset_materialization.metadata, event.asset_materialization.partition
    decided = graph.store.read("decisions", ["doc_id", "verdict", "rank"], f"selection = '{name}'")
    best = decided.filter(decided["verdict"] == "selected").sort("rank")["doc_id"].head(3)
    assert shown["best_documents"].value == ", ".join(best)
    rows = [record.data for record in shown["sources"].records]
    assert sum(row["selected"] for row in rows) == 4
    assert sum(row["selected"] + row["rejected"] for row in rows) == len(decided)
    assert shown["token_count"].value > 4
    assert shown["tokens"].value == f"about {shown['token_count'].value} tokens, estimated as bytes / 4"
    assert shown["page"] == dg.MetadataValue.url(page_url(graph.home, f"selection_{name}.html"))
    said = dg.serialize_value(event)
    assert not [text for text in graph.store.read("documents", ["text"])["text"] if text[:40] in said]
