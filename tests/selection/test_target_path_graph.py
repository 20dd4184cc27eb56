"""A selection by target-path in the graph, and what tamis.toml may not ask of it."""

import tomllib

import pytest
from projects import (
    COOKING,
    NEAR,
    base_model,
    corpus,
    due_key,
    make_graph,
    selection,
    settings,
    target,
    texts,
    write_jsonl,
)

from tamis.base.errors import ConfigurationError
from tamis.settings.config import parse_settings

SAMPLER = "target-path:small"
CHOICE = selection("near", SAMPLER, 8, target="goal")
PRETRAINING = "[pretraining]\ntokens = 1_000\nvocabulary = 512\nsequence_length = 32\n"
TEXT = settings(
    corpus(path="landing"),
    target(train=20, held_out=10),
    base_model(preset="llama-0.3m"),
    PRETRAINING,
    "[perplexity]\nmax_tokens = 48\n",
    CHOICE,
)
SCORED = {
    "raw_shards", "documents", "near_duplicates", "target_examples", "contamination", "tokenizer",
    "base_models",
}  # fmt: skip
CHOSEN = SCORED | {"selected_subset", "decisions"}


def is_current(project) -> bool:
    made_with = project.current[("selected_subset", "near")].input_key
    return due_key(project.project, "selected_subset", "near") == made_with


def test_a_selection_is_made_stays_current_and_is_due_when_the_target_or_the_tokens_change(tmp_path):
    project = make_graph(tmp_path, None, TEXT)
    file = tmp_path / "target" / "goal.jsonl"
    write_jsonl(file, texts("cooking", 30, 5))
    project.make(CHOSEN)
    scored = project.store.read("scores_by_model")
    decided = project.store.read("decisions").drop_nulls("rank").sort("rank")
    assert set(scored["doc_id"]) == set(decided["doc_id"])
    assert scored["fingerprint"].n_unique() == 1
    assert decided["method_score"].is_sorted()
    documents = dict(project.store.read("documents", ["doc_id", "text"]).iter_rows())
    best = [documents[doc_id] for doc_id in decided["doc_id"].head(8)]
    assert sum(text in {*COOKING, *NEAR} for text in best) >= 6, "documents of the target's topic"
    assert {"small", "small-twin"} <= {key for asset, key in project.current if asset == "base_models"}
    assert not list((project.home.cache / "training").glob("*target-path*")), "no weights are left"

    assert not project.make(CHOSEN).made
    assert is_current(project)
    project.reconfigure("max_tokens = 48", "max_tokens = 40")
    assert not is_current(project)
    project.reconfigure("max_tokens = 40", "max_tokens = 48")
    assert is_current(project)
    write_jsonl(file, texts("sailing", 30, 6))
    project.make(SCORED)
    assert not is_current(project)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('target = "goal"\n', "", ["selection", "near", "target", "needs a target"]),
        (SAMPLER, "target-path:smal", ["target-path:MODEL, where MODEL is one of: small", "did you mean"]),
        (SAMPLER, "target-path:small@0.5", ["target-path:MODEL, where MODEL is one of: small"]),
        ('preset = "llama-0.3m"', 'preset = "llama-0.3m"\nlora_rank = 4', ["target-path:small", "lora_rank"]),
    ],
    ids=["no target", "no such model", "a checkpoint", "a model with an adapter"],
)
def test_what_cannot_be_made_is_refused_where_tamis_toml_is_read(old, new, parts):
    text = TEXT.replace(old, new) if "target =" not in old else TEXT.replace(CHOICE, CHOICE.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(tomllib.loads(text))
    assert [part for part in parts if part not in str(caught.value)] == []
