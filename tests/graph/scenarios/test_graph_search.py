"""Search under a budget: its next trials follow from the losses in the store, and from nothing else."""

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import (
    SmallProject,
    base_model,
    due_key,
    note_made,
    plain_project,
    record,
    rows_of,
    settings,
    target,
)

from tamis.base.errors import PermanentError, TransientError
from tamis.graph.automation import trial_work
from tamis.runtime.driver import _tried_again
from tamis.runtime.running import Wanted
from tamis.scaling.searched import CLEAR, SPENT, TOO_SMALL, UNKNOWN, Search, sentences
from tamis.scaling.stage import law_trials
from tamis.training.failures import failure_noted, failures_of, forget_failures, note_failure
from tamis.verbs.status import read_status

SEARCHED = """
[[base_model]]
name = "middle"
preset = "llama-2.5m"
[[base_model]]
name = "large"
preset = "llama-6m"
[scaling]
target = "goal"
models = ["small", "middle", "large"]
sizes = [10, 20, 40, 80, 160]
[trial_budget]
share = SHARE
"""
PLAIN = {"small": 2.0, "middle": 1.9, "large": 1.8}


def loss(model: str, size: int) -> float:
    """Curves that stay ordered, with ever less to gain."""
    return PLAIN[model] * (1 + 1 / size**0.5)


class Trials(SmallProject):
    """A project whose base models and target are noted as made."""

    @property
    def search(self) -> Search:
        return self.snapshot.searches["goal"]

    def made(self, asset: str, *keys: str) -> None:
        note_made(self.project, asset, *keys)

    def finish(self, trial: str, curve: Callable[[str, int], float] = loss) -> None:
        """Store the loss and the current value of a trial that succeeds."""
        _law, model, size, *others = trial.split("__")
        row = {
            "trial": trial,
            "model": model,
            "kind": "law",
            "data": "".join(others) or "goal",
            "size": int(size),
            "held_out_bits_per_byte": curve(model, int(size)),
        }
        self.store.merge("trials", rows_of("trials", [row]))
        self.made("trials", trial)

    def run_to_the_end(self, curve: Callable[[str, int], float] = loss, first: int = 0) -> Search:
        while opened := self.search.open:
            self.finish(opened[first % len(opened)], curve)
        return self.search


def new_trials(root: Path, share: str = "0.5") -> Trials:
    text = settings(target(), base_model(), SEARCHED.replace("SHARE", share))
    made = Trials(plain_project(root, text).root)
    for asset, keys in (("tokenizer", [""]), ("base_models", PLAIN), ("target_examples", ["goal"])):
        made.made(asset, *keys)
    return made


@pytest.fixture
def trials(tmp_path, nowhere) -> Trials:
    return new_trials(tmp_path)


@pytest.fixture(scope="module")
def whole_search(tmp_path_factory) -> Trials:
    """A search that has ended."""
    made = new_trials(tmp_path_factory.mktemp("ended"))
    made.run_to_the_end()
    return made


@pytest.fixture
def ended_trials(tmp_path, whole_search, nowhere) -> Trials:
    """A copy of it that a test may change."""
    return Trials(whole_search.copy(tmp_path / "ended").root)


def test_without_a_budget_every_trial_is_asked_for(tmp_path, nowhere):
    made = new_trials(tmp_path)
    made.configure(made.text.split("[trial_budget]")[0])
    assert made.snapshot.searches == {}
    assert read_status(made.project).failed_trials == []
    name, store = "law__small__10", made.store
    for key in ("of other inputs", str(due_key(made.project, "trials", name))):
        note_failure(store, name, key, PermanentError("it does not fit"), permanent=True)
    # No search says so there, and a materialization shows the last error alone.
    assert (
        f"trial {name} failed once: PermanentError: it does not fit" in read_status(made.project).problems()
    )
    forget_failures(store)
    assert read_status(made.project).failed_trials == []
    assert not any(made.snapshot.waits_for_request("trials", name) for name in made.snapshot.trials)
    assert len(law_trials(made.snapshot, "")) == 15


def test_the_search_spends_its_share_and_no_more(ended_trials):
    ended = ended_trials.search
    assert ended.ended == SPENT
    assert ended.choice == "large"
    assert 0.3 < ended.spent_share <= 0.5
    assert 3 <= len(ended.measured) < 15
    assert law_trials(ended_trials.snapshot, "") == ended.measured


def test_the_order_in_which_trials_end_changes_nothing(trials, whole_search):
    assert trials.run_to_the_end(first=-1) == whole_search.search, "the last was first, not the first"


def test_a_trial_of_another_recipe_does_not_count(ended_trials):
    ended = ended_trials.search
    before = ended_trials.text
    ended_trials.configure(before + "\n[fine_tuning]\nepochs = 7\n")
    assert ended_trials.search.measured == ()
    assert set(ended_trials.search.open) <= set(ended.measured)
    ended_trials.configure(before)
    assert ended_trials.search == ended


def test_a_clear_choice_ends_the_search_before_the_budget(tmp_path, nowhere):
    spent = []
    for name, curve in (("near", PLAIN), ("far", {"small": 9.0, "middle": 8.0, "large": 1.0})):
        (tmp_path / name).mkdir()
        made = new_trials(tmp_path / name, share="0.9")
        ended = made.run_to_the_end(lambda model, size, curve=curve: curve[model] * (1 + 1 / size**0.5))
        spent.append(ended.spent_share)
        assert ended.choice == "large"
    assert ended.ended == CLEAR
    assert spent[1] < spent[0]


def test_a_trial_that_fails_is_left_out_after_its_attempts_and_the_search_goes_on(trials):
    opened, store = trials.search.open, trials.store
    key = due_key(trials.project, "trials", opened[0])
    assert key is not None
    for attempt in range(3):
        assert opened[0] in trials.search.open, attempt
        with pytest.raises(RuntimeError), failure_noted(store, opened[0], key):
            raise RuntimeError("out of\nmemory")
    assert dict(trials.search.left_out) == {opened[0]: "RuntimeError: out of memory"}
    assert opened[0] not in trials.search.open
    assert "was left out: RuntimeError: out of memory" in trials.search.notices[0]
    ended = trials.run_to_the_end()
    assert ended.ended == SPENT
    assert opened[0] not in ended.measured
    assert len(forget_failures(store)) == 1
    assert not trials.search.left_out


def test_what_cannot_succeed_is_left_out_at_once_and_what_is_not_its_fault_never_is(trials):
    opened, store = trials.search.open, trials.store
    key = due_key(trials.project, "trials", opened[0])
    passing = (TransientError("the server is away"), http.client.IncompleteRead(b""))
    for error in (OSError(28, "No space left on device"), *passing):
        with pytest.raises(type(error)), failure_noted(store, opened[0], str(key)):
            raise error
    assert failures_of(store) == []
    with pytest.raises(PermanentError), failure_noted(store, opened[0], str(key)):
        raise PermanentError("there is no such model")
    assert list(trials.search.left_out) == [opened[0]]


def test_what_failing_cost_is_kept_when_it_is_tried_again(trials):
    opened, store = trials.search.open, trials.store
    key = str(due_key(trials.project, "trials", opened[0]))
    note_failure(store, opened[0], key, "it broke", permanent=True, seconds=2.0)
    assert len(forget_failures(store)) == 1
    assert trials.search.open == opened
    (kept,) = failures_of(store)
    assert (kept.attempts, kept.permanent, kept.spent_seconds) == (0, False, 2.0)
    assert len(forget_failures(store)) == 0
    again = note_failure(store, opened[0], key, "it broke", permanent=False, seconds=3.0)
    assert (again.attempts, again.spent_seconds) == (1, 5.0)
    other = note_failure(store, opened[0], "another key", "it broke", permanent=False, seconds=1.0)
    assert (other.attempts, other.spent_seconds) == (1, 1.0)


def test_only_trials_that_are_due_count_as_tried_again(trials):
    """Not those of models that left the project, nor what failed under other settings or is current now."""
    opened, store = trials.search.open, trials.store
    key = str(due_key(trials.project, "trials", opened[0]))
    current = str(due_key(trials.project, "trials", opened[2]))
    for name, made_from in (
        (opened[0], key),
        (opened[1], "another key"),
        (opened[2], current),
        ("law__old__10", "k"),
    ):
        note_failure(store, name, made_from, "it broke", permanent=True)
    trials.finish(opened[2])
    forgotten = forget_failures(store)
    assert len(forgotten) == 4
    for wanted, count in (
        (Wanted(), 1),
        (Wanted(only=frozenset({"trials"})), 1),
        (Wanted(only=frozenset()), 0),
    ):
        assert _tried_again(trials.snapshot, trials.current, forgotten, wanted) == count


def test_a_trial_that_failed_is_charged_in_full_and_once(trials):
    asked, store = trials.search, trials.store
    for name in asked.open:
        key = str(due_key(trials.project, "trials", name))
        note_failure(store, name, key, "it broke", permanent=True)
    later = trials.search
    assert set(later.left_out) == set(asked.open)
    assert later.spent_share == pytest.approx(asked.spent_share)


def test_a_share_too_small_says_which_would_buy_the_first_round(tmp_path, nowhere):
    made = new_trials(tmp_path, share="0.001")
    assert (made.search.ended, made.search.open) == (TOO_SMALL, ())
    (notice,) = made.search.notices
    assert "share = 0.001 is too small for a trial of large, middle, small" in notice
    assert "to run every model at the smallest size, set share to 0.0625 or more" in notice
    made.reconfigure("share = 0.001", "share = 0.0625")
    assert {name.split("__")[1] for name in made.search.open} == set(PLAIN)
    assert made.search.notices == []
    made.reconfigure("share = 0.0625", "share = 0.03")
    assert made.search.untried == ("large",)
    made.run_to_the_end()
    assert "is too small for a trial of large;" in made.search.notices[0]


def test_a_share_that_is_raised_goes_on(ended_trials):
    ended = ended_trials.search
    ended_trials.reconfigure("share = 0.5", "share = 0.9")
    assert ended_trials.search.open
    assert set(ended_trials.search.measured) == set(ended.measured)
    more = ended_trials.run_to_the_end()
    assert 0.5 < more.spent_share <= 0.9
    assert more.notices == [], "a larger share may buy more"


def test_a_share_of_1_that_comes_too_late_says_what_it_does_not_pay_for(trials):
    """All runs are charged, so what was run before may leave too little for the largest size."""
    for model in PLAIN:
        for size in (10, 20, 40):
            trials.finish(f"law__{model}__{size}")
    trials.reconfigure("share = 0.5", "share = 1.0")
    assert trials.search.notices == []
    for model in PLAIN:
        trials.finish(f"law__{model}__80")
    ended = trials.run_to_the_end(lambda model, size: 2.0 + 0.001 * PLAIN[model] / size)
    assert ended.ended == SPENT
    assert ended.spent_share <= 1.0
    at_largest = {name.split("__")[1] for name in ended.measured if name.endswith("__160")}
    assert ended.unpaid == tuple(sorted(set(PLAIN) - at_largest))
    assert ended.notices == [
        f"no share of the trial budget (now 1) can cover trials of {', '.join(ended.unpaid)} at the largest "
        "size (160) in addition to those already run; remove the [trial_budget] section to run every trial"
    ]


def test_a_share_of_1_from_the_beginning_pays_for_every_model_at_the_largest_size(tmp_path, nowhere):
    ended = new_trials(tmp_path, share="1.0").run_to_the_end()
    assert {name for name in ended.measured if name.endswith("__160")} == {
        f"law__{model}__160" for model in PLAIN
    }
    assert (ended.unpaid, ended.notices) == ((), [])


def test_each_target_has_a_search_and_a_budget_of_its_own(ended_trials):
    alone = ended_trials.search
    ended_trials.reconfigure('target = "goal"', 'target = ["goal", "side"]')
    ended_trials.configure(ended_trials.text + target("side", train=50))
    ended_trials.made("target_examples", "side")
    found = ended_trials.snapshot.searches
    assert found["goal"] == alone, "another target makes no trial again"
    assert found["side"].measured == ()
    assert {name.split("__")[2] for name in ended_trials.snapshot.trials if name.endswith("__side")} == {
        "10",
        "20",
        "40",
    }
    groups, _missing = trial_work(ended_trials.snapshot, ended_trials.current)
    asked = [group.partitions[0] for group in groups if group.assets[0] == "trials"]
    assert asked == list(found["side"].open)
    for name in asked:
        ended_trials.finish(name)
    assert set(law_trials(ended_trials.snapshot, "")) == {*alone.measured, *asked}
    assert ended_trials.snapshot.searches["goal"] == alone
    lines = sentences(ended_trials.snapshot.searches)
    assert lines[0].startswith("trial budget on goal: ")
    assert any(line.startswith("trial budget on side: ") for line in lines)


def test_failures_under_other_settings_do_not_count(trials):
    opened = trials.search.open
    note_failure(trials.store, opened[0], "another key", "it broke", permanent=True)
    assert trials.search.open == opened


def test_models_of_unknown_size_are_waited_for(tmp_path, nowhere):
    made = new_trials(tmp_path)
    made.reconfigure('preset = "llama-6m"', 'path = "weights"')
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    assert made.search.ended == f"{UNKNOWN}: large"
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"cut off")
    assert made.search.ended == f"{UNKNOWN}: large"
    record(made.home, "base_models", "large", input_key="k", beside={"parameters": 5_000_000})
    assert made.search.open


def test_work_for_the_sensor_is_one_trial_at_a_time_and_then_the_report(trials):
    for asset in ("tokenizer", "base_models"):
        trials.made(asset, *([""] if asset == "tokenizer" else PLAIN))
    groups, missing = trial_work(trials.snapshot, trials.current)
    assert not missing
    asked = [group for group in groups if group.assets[0] == "trials"]
    assert [group.partitions for group in asked] == [(name,) for name in trials.search.open]
    trials.run_to_the_end()
    groups, _missing = trial_work(trials.snapshot, trials.current)
    assert groups[0].assets[0] == "loss_curves"


def test_a_base_model_that_is_missing_is_named(trials):
    trials.forget(("base_models", "middle"))
    assert trial_work(trials.snapshot, trials.current) == ([], "base_models[middle]")


def test_a_spent_share_says_which_would_buy_the_next_round(ended_trials):
    ended = ended_trials.search
    assert ended.ended == SPENT
    assert ended.next_share is not None
    assert ended.next_share > 0.5
    assert f"{SPENT}; to pay for another trial, set share = {ended.next_share:g} in" in ended.sentence
    before = ended_trials.text
    below = f"{ended.next_share * 0.99:g}"
    for share, more in ((below, False), (f"{ended.next_share:g}", True)):
        ended_trials.configure(before.replace("share = 0.5", f"share = {share}"))
        assert bool(ended_trials.search.open) is more
    assert ended_trials.search.next_share is None
    assert "to pay for another" not in ended_trials.search.sentence


def test_once_the_whole_grid_is_measured_no_share_buys_more(tmp_path, nowhere):
    made = new_trials(tmp_path, share="1")
    for name in list(made.snapshot.trials):
        made.finish(name)
    assert (made.search.open, made.search.next_share) == ((), None)
    assert "to pay for another" not in made.search.sentence
