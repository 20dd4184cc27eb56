"""Names that allow a removal: a name fits one loss, or its kind has to be said."""

from dataclasses import replace

import pytest
from projects import CORPUS, plain_project, record, selection, settings

from tamis.retention.held_back import held_back, losses_by_name
from tamis.retention.losses import FILE, AmbiguousRemovalError, allows, allows_trial, to_print, with_kinds
from tamis.runtime.running import run_removal
from tamis.runtime.runs import REMOVAL
from tamis.training.failures import failures_of, note_failure

GROUP = "selection:thin"
"""The key of a group of small files in the folder thin of a corpus called selection."""
LOSSES = {
    "web": {("corpus", "web"), ("selection", "web")},
    "web__a": {("file", "web__a")},
    "a.jsonl": {("file", "web__a"), ("file", "notes__a")},
    "all": {("selection", "all")},
    "trials": {("target", "trials")},
    "small": {("model", "small"), ("model", "small.twin")},
    "web:folder:3f": {("file", "web:folder:3f")},
    GROUP: {("file", GROUP)},
}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("web__a", {"file:web__a"}),
        ("a.jsonl", {"file:web__a", "file:notes__a"}),
        ("small", {"model:small", "model:small.twin"}),
        ("web:folder:3f", {"file:web:folder:3f"}),
        ("file:web:folder:3f", {"file:web:folder:3f"}),
        ("corpus:web", {"corpus:web"}),
        ("selection:web", {"selection:web"}),
        ("selection:all", {"selection:all"}),
        ("all", {"all"}),
        ("trials", {"trials"}),
        ("agreement_runs", {"agreement_runs"}),
        (GROUP, {f"file:{GROUP}"}),
        ("unknown", {"unknown"}),
        ("target:web", {"target:web"}),
    ],
)
def test_a_name_that_was_given_is_that_of_a_loss_of_one_kind(given, meant):
    assert with_kinds({given}, LOSSES) == meant


def test_a_name_that_fits_losses_of_two_kinds_is_refused():
    with pytest.raises(AmbiguousRemovalError) as caught:
        with_kinds({"web__a", "web"}, LOSSES)
    assert caught.value.names == ["corpus:web", "selection:web"]
    with pytest.raises(AmbiguousRemovalError, match="--allow-removal file:selection:thin"):
        with_kinds({GROUP}, LOSSES | {"thin": {("selection", "thin")}})
    assert with_kinds({"web", "all"}, LOSSES) == {"all"}


@pytest.mark.parametrize(
    ("kind", "name", "printed"),
    [
        ("corpus", "web", "corpus:web"),
        ("selection", "all", "selection:all"),
        ("target", "trials", "target:trials"),
        ("selection", "mixture_runs", "selection:mixture_runs"),
        ("model", "small", "small"),
        ("file", "web__a", "web__a"),
        ("file", "web:folder:3f", "web:folder:3f"),
        ("file", GROUP, f"file:{GROUP}"),
    ],
)
def test_a_kind_is_printed_where_the_name_alone_would_not_do(kind, name, printed):
    assert to_print(kind, name, LOSSES) == printed


def test_reserved_words_and_other_kinds_allow_no_name():
    assert not allows({"all", "trials"}, "selection", "all", "trials")
    assert not allows({"corpus:web"}, "selection", "web")
    assert not allows({GROUP}, FILE, GROUP), "this is the selection thin"
    assert allows({"web"}, "corpus", "web")
    assert allows({"selection:all"}, "selection", "all")


@pytest.mark.parametrize(
    ("allowed", "trial", "goes"),
    [
        ("small", "law__small__8", True),
        ("model:small", "law__small__8", True),
        ("model:small", "warm-up__large__small", False),
        ("selection:near", "warm-up__small__near", True),
        ("selection:near", "two-stage__small__near", True),
        ("target:near", "warm-up__small__near", False),
        ("target:goal", "law__small__8__goal", True),
        ("selection:goal", "direct__small__goal", False),
        ("corpus:near", "warm-up__small__near", False),
        ("trials", "warm-up__small__near", True),
    ],
)
def test_a_trial_goes_with_its_model_target_or_selection(allowed, trial, goes):
    assert allows_trial({allowed}, trial) is goes


def test_a_loss_is_printed_with_its_kind_where_another_one_has_its_name(imagined):
    lost = replace(imagined.snapshot(), absent={"old__a": "old"}, kept={"selections": frozenset({"all"})})
    assert [one.allow for one in held_back(lost, {})] == ["old", "selection:all"]
    lost = replace(lost, kept={"selections": frozenset({"old"}), "targets": frozenset({"gone"})})
    lines = [one.line for one in held_back(lost, {})]
    assert [line.rpartition(" ")[2] for line in lines] == ["corpus:old`", "gone`", "selection:old`"]
    assert losses_by_name(lost, {})["old__a"] == {("file", "old__a")}


def with_two_losses(root):
    """A project that lost all files of a corpus, and a selection of the same name."""
    graph = plain_project(root, settings(selection("web")))
    graph.make(CORPUS)
    record(graph.home, "selected_subset", "web")
    graph.configure(settings())
    (root / "documents" / "a.jsonl").unlink()
    return graph


def test_a_selection_and_a_corpus_of_one_name_are_let_go_one_at_a_time(tmp_path):
    graph = with_two_losses(tmp_path)
    with pytest.raises(AmbiguousRemovalError, match="corpus:web` or `--allow-removal selection:web"):
        graph.try_making(CORPUS, allowed=["web"])
    removal = graph.definitions().resolve_job_def(REMOVAL)
    assert "selection:web" in run_removal(graph.instance, graph.project, removal, frozenset({"web"}))
    assert (graph.store.count("documents"), ("selected_subset", "web") in graph.current) == (1, True)
    outcome = graph.try_making(CORPUS, allowed=["selection:web"])
    assert outcome.removed == ["selected_subset[web]"]
    assert graph.store.count("documents") == 1
    outcome = graph.try_making(CORPUS, allowed=["web"])
    assert "documents[web__a.jsonl]" in outcome.removed, "now the name fits one loss"


def test_a_refused_name_forgets_no_failure(tmp_path):
    graph = with_two_losses(tmp_path)
    note_failure(graph.store, "law__small__8", "key", "it broke", permanent=True)
    with pytest.raises(AmbiguousRemovalError):
        graph.try_making(CORPUS, allowed=["web"], try_again=True)
    assert [one.permanent for one in failures_of(graph.store)] == [True]
    graph.try_making(CORPUS, allowed=["selection:web"], try_again=True)
    assert [one.permanent for one in failures_of(graph.store)] == [False]


def test_a_selection_called_all_goes_alone(tmp_path):
    graph = plain_project(tmp_path, settings(selection("all")))
    graph.make(CORPUS)
    record(graph.home, "selected_subset", "all")
    graph.configure(settings())
    (tmp_path / "documents" / "a.jsonl").unlink()
    outcome = graph.try_making(CORPUS, allowed=["selection:all"])
    assert outcome.removed == ["selected_subset[all]"]
    assert graph.store.count("documents") == 1
    assert "documents[web__a.jsonl]" in graph.try_making(CORPUS, allowed=["all"]).removed
