"""The sensors on a real instance: what is requested, what waits, what is tried again, and nothing lost."""

import json
from types import SimpleNamespace

import dagster as dg
import pytest
from projects import SmallProject, names, note_made, plain_project, selection, settings, target, write_jsonl

from tamis.base.trust import TRUST, accept
from tamis.cli import main
from tamis.graph.stages import stages
from tamis.platform.sensors.requests import BACK_OFF_SECONDS
from tamis.runtime.runs import CERTIFIED_TAG, WORK_TAG, tags_of
from tamis.trust import plugins_asked
from tamis.verbs.status import read_status

PLUGIN = (
    'from tamis.plugins import score\n\n\n@score(name="length", version="1")\n'
    "def length(texts):\n    return [len(text) for text in texts]\n"
)
SELECTED = dg.RunRequest(
    asset_selection=[dg.AssetKey("selected_subset"), dg.AssetKey("decisions")], partition_key="near"
)


class Ticks(SmallProject):
    """A project whose runs are noted, not made, and the two sensors as the daemon calls them."""

    def write(self, name: str, text: str) -> None:
        write_jsonl(self.root / name, [text])

    def run(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """A run of that request as the daemon would note it."""
        run = dg.DagsterRun(job_name="__ASSET_JOB", tags=dict(request.tags), status=status)
        return self.instance.add_run(run)

    def succeed(self, request: dg.RunRequest) -> None:
        """What a run that succeeds leaves behind: heads with the keys of this moment."""
        for name in names(request):
            one = request.partition_key if stages()[name].partitions else ""
            keys = self.partitions(name) if one is None else [one]
            note_made(self.project, name, *keys, ready=True)


@pytest.fixture
def ticks(tmp_path, monkeypatch) -> Ticks:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("TAMIS_HOME", raising=False)
    monkeypatch.setattr("tamis.platform.sensors.requests.SETTLED_SECONDS", 0)
    text = settings(target(), selection("near", "got-d", target="goal"))
    return Ticks(plain_project(tmp_path, text).root)


def test_a_new_file_is_registered_before_anything_is_requested(ticks):
    assert ticks.tick() == ([], "new shards are being registered")
    assert ticks.arrive() == "registered 1 shard, 1 target, 1 selection"
    (examples,), _ = ticks.tick()
    assert names(examples)[0] == "target_examples"
    ticks.succeed(examples)
    requests, _ = ticks.tick()
    assert names(requests[0])[0] == "raw_shards"
    assert requests[0].partition_key == "web__a.jsonl"
    assert requests[0].tags[CERTIFIED_TAG] == "yes"


def test_a_new_project_waits_for_documents_and_for_examples(ticks):
    documents, examples = (ticks.root / name / "a.jsonl" for name in ("documents", "target"))
    texts = {path: path.read_text() for path in (documents, examples)}
    for path in texts:
        path.unlink()
    ticks.arrive()
    requests, said = ticks.tick()
    assert requests == []
    assert said.startswith("no corpus contains a file yet")
    documents.write_text(texts[documents])
    assert "registered 1 shard" in ticks.arrive()
    requested = []
    while requests := ticks.tick()[0]:
        requested += names(requests[0])
        ticks.succeed(requests[0])
    assert "embeddings" in requested
    assert not any("target" in name or "transport" in name for name in requested)
    assert ticks.tick()[1].startswith("no file with examples yet: goal;")
    examples.write_text(texts[examples])
    ticks.arrive()
    assert names(ticks.tick()[0][0])[0] == "target_examples"


def test_a_selection_that_can_be_made_is_named_although_a_target_has_no_file(ticks):
    with (ticks.root / "tamis.toml").open("a") as file:
        file.write("\n" + selection("any", "random"))
    (ticks.root / "target" / "a.jsonl").unlink()
    ticks.arrive()
    while requests := ticks.tick()[0]:
        ticks.succeed(requests[0])
    said = ticks.tick()[1]
    assert said.startswith("no file with examples yet: goal; the sensor waits for files of targets; ")
    assert "not materialized yet: any; run `tamis materialize`" in said


def test_nothing_is_requested_while_a_run_is_active_and_what_landed_meanwhile_afterwards(ticks):
    ticks.arrive()
    ticks.succeed(ticks.tick()[0][0])
    (first,), _ = ticks.tick()
    active = ticks.run(first, dg.DagsterRunStatus.STARTED)
    ticks.write("documents/a.jsonl", "two")  # lands after the request, while the run is in flight
    assert "in progress" in ticks.tick()[1]
    ticks.instance.delete_run(active.run_id)
    (second,), _ = ticks.tick()
    assert second.tags[WORK_TAG] != first.tags[WORK_TAG]


def test_a_step_waits_until_its_plugin_is_accepted_and_other_work_goes_on(ticks, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(ticks.root / "state"))
    monkeypatch.setenv(TRUST, "1")
    (ticks.root / "scores.py").write_text(PLUGIN)
    ticks.reconfigure("[project]", '[project]\nplugins = ["scores.py"]')
    with (ticks.root / "tamis.toml").open("a") as file:
        file.write('\n[[score]]\nname = "len"\nplugin = "length"\n' + selection("long", "score:len"))
    ticks.arrive()
    while requests := ticks.tick()[0]:
        ticks.succeed(requests[0])
    note_made(ticks.project, "plugin_scores", "", ready=True)
    for name in ("near", "long"):
        note_made(ticks.project, "selected_subset", name, ready=True)
    monkeypatch.delenv(TRUST)
    (ticks.root / "scores.py").write_text(f"{PLUGIN}# other code\n")
    ticks.write("documents/a.jsonl", "two")
    asked: list[str] = []
    while requests := ticks.tick()[0]:
        asked += names(requests[0])
        ticks.succeed(requests[0])
    assert "embeddings" in asked
    assert "plugin_scores" not in asked
    said = ticks.tick()[1]
    assert said.startswith("not requested: plugin_scores")
    assert "scores.py is Python that runs on this machine as you" in said
    assert "take it out of plugins in [project]" in said
    accept(plugins_asked(ticks.project))
    (request,), _ = ticks.tick()
    assert names(request)[0] == "plugin_scores"


def at(monkeypatch, seconds: float) -> None:
    """Let the sensor read this time from the clock."""
    monkeypatch.setattr("tamis.platform.sensors.reselection.time", SimpleNamespace(time=lambda: seconds))


def test_a_failed_run_is_tried_again_later_and_three_times_at_most(ticks, monkeypatch):
    ticks.arrive()
    (request,), _ = ticks.tick()
    at(monkeypatch, 3e9)
    for attempt in range(1, 4):
        assert work(ticks) == request.tags[WORK_TAG], f"attempt {attempt} is due"
        ticks.run(request, dg.DagsterRunStatus.FAILURE)
    assert work(ticks) != request.tags[WORK_TAG], "given up; other work goes on"
    ticks.write("documents/a.jsonl", "two")
    assert names(ticks.tick()[0][0])[0] == "raw_shards", "other inputs are other work: the count begins again"


def test_a_run_that_was_cancelled_is_tried_again_later_and_never_counted(ticks, monkeypatch):
    ticks.arrive()
    (request,), _ = ticks.tick()
    for attempt in range(1, 5):
        ticks.run(request, dg.DagsterRunStatus.CANCELED)
        at(monkeypatch, BACK_OFF_SECONDS * 2**attempt - 1)
        assert work(ticks) != request.tags[WORK_TAG], "who cancels it has a moment"
        at(monkeypatch, 3e9)
        assert work(ticks) == request.tags[WORK_TAG], f"attempt {attempt} is not counted"
    for _ in range(3):
        ticks.run(request, dg.DagsterRunStatus.FAILURE)
    assert work(ticks) != request.tags[WORK_TAG], "those that failed are"


def test_a_selection_waits_for_approval_and_the_reason_says_how_to_give_it(ticks, monkeypatch, capsys):
    ticks.reconfigure("settle_seconds", "approve_selections = true\nsettle_seconds")
    ticks.arrive()
    follow(ticks)
    ticks.succeed(SELECTED)
    ticks.write("documents/b.jsonl", "two")
    ticks.arrive()
    made = follow(ticks, "waits for approval: selection near (since")
    assert "transport_scores" in made
    assert "selected_subset" not in made
    assert "`tamis approve near`" in ticks.tick()[1]
    noted = ticks.store.version("approvals")
    ticks.tick()
    assert ticks.store.version("approvals") == noted
    (held,) = read_status(ticks.project).to_json()["waiting_for_approval"]
    assert (held["selection"], held["approved"]) == ("near", False)
    monkeypatch.setenv("TAMIS_PROJECT", str(ticks.file))
    assert main(["approve"]) == 0
    assert "waits for approval: selection near (since" in capsys.readouterr().out
    assert main(["approve", "far"]) == 2
    assert main(["approve", "near", "--json"]) == 0
    (given,) = json.loads(capsys.readouterr().out)
    assert (given["input_key"], given["approved"]) == (held["input_key"], True)
    assert follow(ticks) == ["selected_subset", "decisions"]


def work(ticks: Ticks) -> str:
    return ticks.tick()[0][0].tags[WORK_TAG]


def test_the_back_off_grows(ticks, monkeypatch):
    ticks.arrive()
    (request,), _ = ticks.tick()
    ticks.run(request, dg.DagsterRunStatus.FAILURE)
    at(monkeypatch, BACK_OFF_SECONDS)
    assert work(ticks) != request.tags[WORK_TAG]
    at(monkeypatch, 2 * BACK_OFF_SECONDS)
    assert work(ticks) == request.tags[WORK_TAG]
    ticks.run(request, dg.DagsterRunStatus.FAILURE)
    assert work(ticks) != request.tags[WORK_TAG]
    at(monkeypatch, 4 * BACK_OFF_SECONDS)
    assert work(ticks) == request.tags[WORK_TAG]


def test_everything_cheap_is_made_and_a_selection_only_after_it_was_made_once(ticks):
    ticks.arrive()
    made = follow(ticks)
    assert "transport_scores" in made
    assert "selected_subset" not in made
    select = dg.RunRequest(
        asset_selection=[dg.AssetKey(n) for n in ("selected_subset", "decisions")], partition_key="near"
    )
    ticks.succeed(select)
    ticks.write("documents/b.jsonl", "new")
    ticks.arrive()
    assert "selected_subset" in follow(ticks)


NEVER_MADE = "not materialized yet: near; run `tamis materialize` or materialize selected_subset"


def follow(ticks: Ticks, until: str = "") -> list[str]:
    """Let every request succeed until none is left, for this reason; the assets made.

    Without one it is that selections are current, or that the one that nobody made yet is left to a person.
    """
    made = []
    for _ in range(30):
        requests, reason = ticks.tick()
        if not requests:
            was_made = ("selected_subset", "near") in ticks.current
            assert reason.startswith(until or ("every selection is current" if was_made else NEVER_MADE))
            return made
        for request in requests:
            ticks.succeed(request)
            made += names(request)
    pytest.fail("the sensor never comes to rest")


def test_a_shard_set_that_shrinks_calls_for_a_new_selection(ticks):
    ticks.write("documents/b.jsonl", "two")
    ticks.arrive()
    follow(ticks)
    ticks.succeed(SELECTED)
    (ticks.root / "documents" / "b.jsonl").unlink()
    assert ticks.arrive() == "removed"
    assert "selected_subset" in follow(ticks)


def test_a_partition_is_not_pulled_from_under_a_run_that_waits_in_the_queue(ticks):
    ticks.write("documents/b.jsonl", "two")
    ticks.arrive()
    tags = {"dagster/partition": "web__b.jsonl", **tags_of(ticks.home)}
    queued = ticks.run(dg.RunRequest(tags=tags), dg.DagsterRunStatus.STARTING)
    (ticks.root / "documents" / "b.jsonl").unlink()
    ticks.arrive()
    assert "web__b.jsonl" in ticks.instance.get_dynamic_partitions("shards")
    ticks.instance.report_run_canceled(queued)
    assert ticks.arrive() == "removed"
    assert "web__b.jsonl" not in ticks.instance.get_dynamic_partitions("shards")


def rest(ticks) -> None:
    """Let everything be made that the sensors ask for."""
    ticks.arrive()
    while requests := ticks.tick()[0]:
        for request in requests:
            ticks.succeed(request)


def test_a_tick_that_sees_what_the_last_one_saw_asks_dagster_nothing(ticks, monkeypatch):
    rest(ticks)
    assert ticks.arrive() == "no changes"
    asked = []
    read = type(ticks.instance).get_dynamic_partitions
    monkeypatch.setattr(
        type(ticks.instance),
        "get_dynamic_partitions",
        lambda self, name: asked.append(name) or read(self, name),
    )
    assert ticks.arrive() == "no changes"
    assert ticks.tick()[1].startswith(NEVER_MADE)
    assert asked == []
    ticks.write("documents/b.jsonl", "another")
    assert ticks.arrive() == "registered 1 shard"
    assert ticks.tick()[0]


def test_what_somebody_deletes_in_dagster_is_seen_within_a_minute(ticks, monkeypatch):
    rest(ticks)
    assert ticks.arrive() == "no changes"
    ticks.instance.delete_dynamic_partition("shards", "web__a.jsonl")
    assert ticks.arrive() == "no changes"
    monkeypatch.setattr("tamis.platform.sensors.unchanged.BELIEVED_SECONDS", 0.0)
    assert ticks.tick()[1] == "new shards are being registered"
    assert ticks.arrive() == "registered 1 shard"
