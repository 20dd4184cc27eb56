"""Answers of plug-ins in the store: asked for once, kept by document and code, resumed after a kill."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tamis.plugins.reading import Plugin, plugins_of_files
from tamis.plugins.running import PluginFailedError
from tamis.scores import answers
from tamis.scores.answers import PluginScore, update_plugin_scores
from tamis.store.tables import Store

TEXTS = {f"{number:032x}": "x" * number for number in range(1, 701)}


def plugin_of(folder: Path, version: str = "1") -> Plugin:
    decorator = f'@score(name="length", version="{version}")'
    (folder / "scores.py").write_text(f"from tamis.plugins import score\n\n{decorator}\ndef f(texts): ...\n")
    (plugin,) = plugins_of_files(folder, ["scores.py"]).known
    return plugin


class Asked:
    """A plug-in that counts the texts of each call; `stop`: the call at which the process is interrupted."""

    def __init__(self, answer: Callable[[str], Any] = len, stop: int | None = None) -> None:
        self.answer, self.stop = answer, stop
        self.texts: list[str] = []
        self.calls: list[int] = []

    def __call__(self, texts: list[str]) -> list[Any]:
        self.calls.append(len(texts))
        if len(self.calls) == self.stop:
            raise KeyboardInterrupt
        self.texts += texts
        return [self.answer(text) for text in texts]


def update(store: Store, plugin: Plugin, asked: Asked, *scores: str) -> dict[str, PluginScore]:
    named = dict.fromkeys(scores or ("len",), plugin)
    return update_plugin_scores(store, named, lambda _plugin: contextlib.nullcontext(asked))


def values(store: Store, score: str = "len") -> dict[str, float | None]:
    return dict(store.read("plugin_scores", ["doc_id", "value"], f"score = '{score}'").iter_rows())


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "lance")
    put(store, TEXTS)
    return store


def put(store: Store, texts: dict[str, str]) -> None:
    sizes = [len(text) for text in texts.values()]
    none = [None] * len(texts)
    columns = {"doc_id": [*texts], "text": [*texts.values()], "n_chars": sizes, "n_bytes": sizes}
    store.put("documents", columns | {"language": none, "first_seen": none})


def test_each_document_is_asked_about_once_in_batches(store, tmp_path):
    plugin, asked = plugin_of(tmp_path), Asked()
    assert update(store, plugin, asked) == {"len": PluginScore(asked=700, values=700, set_aside=0)}
    assert values(store) == {doc_id: len(text) for doc_id, text in TEXTS.items()}
    assert asked.calls == [256, 256, 188]
    version = store.version("plugin_scores")
    again = Asked()
    assert update(store, plugin, again) == {"len": PluginScore(asked=0, values=700, set_aside=0)}
    assert not again.calls
    assert store.version("plugin_scores") == version
    put(store, {"f" * 32: "new"})
    assert update(store, plugin, again)["len"].asked == 1
    assert again.texts == ["new"]


def test_an_interrupted_step_asks_only_about_what_was_not_committed(store, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "COMMIT_ROWS", 256)
    plugin, first = plugin_of(tmp_path), Asked(stop=3)
    with pytest.raises(KeyboardInterrupt):
        update(store, plugin, first)
    second = Asked()
    update(store, plugin, second)
    assert sorted(first.texts + second.texts) == sorted(TEXTS.values())
    assert len(first.texts) == 512


def test_slow_answers_are_committed_by_time(store, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "COMMIT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        update(store, plugin_of(tmp_path), Asked(stop=2))
    assert len(values(store)) == 256


def test_answers_of_other_code_are_replaced_and_those_of_lost_scores_leave(store, tmp_path):
    update(store, plugin_of(tmp_path), Asked(), "len", "other")
    assert values(store, "other").keys() == TEXTS.keys()
    update(store, plugin_of(tmp_path, "2"), Asked(lambda text: -len(text)))
    assert values(store) == {doc_id: -len(text) for doc_id, text in TEXTS.items()}
    assert not values(store, "other")
    assert store.read("plugin_scores", ["fingerprint"])["fingerprint"].n_unique() == 1


def test_a_plugin_that_fails_on_all_of_its_first_batch_is_at_fault_itself(store, tmp_path):
    plugin, asked = plugin_of(tmp_path), Asked(lambda text: 1 / 0)
    said = "failed on each of the first 256 documents, on the first with ZeroDivisionError"
    with pytest.raises(PluginFailedError, match=said):
        update(store, plugin, asked)
    assert not store.exists("set_aside") or not store.count("set_aside")
    update(store, plugin, Asked())
    put(store, {"e" * 32: "new", "f" * 32: "newer"})
    found = update(store, plugin, Asked(lambda text: 1 / 0))
    assert found == {"len": PluginScore(asked=2, values=700, set_aside=2)}, "it has answered before"


def test_what_it_fails_on_is_set_aside_for_its_code_alone_and_counted_by_score(store, tmp_path):
    def picky(text: str) -> int:
        return len(text) if len(text) not in (5, 300) else 1 // 0

    plugin = plugin_of(tmp_path)
    found = update(store, plugin, Asked(picky), "a", "b")
    assert found == dict.fromkeys("ab", PluginScore(asked=700, values=698, set_aside=2))
    rows = store.read("set_aside", ["doc_id", "stage", "reason"])
    assert set(rows["stage"]) == {"plugin_scores/a", "plugin_scores/b"}
    assert set(rows["reason"]) == {"plugin_failed"}
    assert store.count("quarantine", f"shard = '{answers.SET_ASIDE_IN}'") == 4
    (not_numbers,) = store.read("plugin_scores", ["not_numbers"])["not_numbers"].unique()
    assert not_numbers == 0, "a failure is no answer that is no number"
    again = Asked(picky)
    update(store, plugin, again, "a")
    assert not again.calls
    assert set(store.read("set_aside", ["stage"])["stage"]) == {"plugin_scores/a"}
    update(store, plugin_of(tmp_path, "2"), Asked(), "a")
    assert not store.count("set_aside")
    assert not store.count("quarantine")
