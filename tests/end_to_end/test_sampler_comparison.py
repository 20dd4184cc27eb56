"""Samplers compared by training on what they choose, from tamis.toml to the page, and after a change."""

import polars as pl
import pytest
from projects import SMALL, sentences, write_jsonl

TRIALS = """
[[base_model]]
name = "small"
preset = "llama-0.8m"
checkpoints = [0.5]

[[selection]]
name = "likely"
sampler = "perplexity:small@0.5"
budget = 20

[pretraining]
tokens = 1_000
vocabulary = 512
sequence_length = 32

[sampler_trials]
model = "small"
target = "algebra"
samplers = ["got-d", "semdedup", "perplexity:small@0.5"]
budgets = ["20%"]
data_seeds = 2
training_seeds = 1
tokens = 6_000
evaluations = 3
held_out = 10
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory, materialized):
    project = materialized(tmp_path_factory.mktemp("compared") / "project", SMALL + TRIALS)
    project.tamis("materialize")
    return project


def runs_of(project) -> pl.DataFrame:
    return project.store.read("sampler_trials").sort("run")


def test_every_sampler_meets_the_same_seeds_and_the_page_says_what_is_proven(compared):
    runs = runs_of(compared)
    assert len(runs) == 2 * 5
    assert set(runs["sampler"]) == {"full", "random", "got-d", "semdedup", "perplexity:small@0.5"}
    assert runs["failure"].null_count() == 10
    tokens = runs["tokens"].to_numpy()
    assert tokens.min() >= 6_000
    assert tokens.max() - tokens.min() <= 128
    chosen = runs.filter(pl.col("sampler") != "full")
    assert chosen.group_by("data_seed").agg(pl.col("documents").n_unique())["documents"].to_list() == [1, 1]
    page = (compared.home.reports / "sampler_comparison.html").read_text()
    assert "What models learn from each choice" in page
    said = compared.tamis("compare").stdout
    (head,) = [line.split() for line in said.splitlines() if "Kendall" in line]
    assert len(set(head)) == len(head), "no two columns of one name"
    assert "target loss" in said
    assert "got-d" in said
    # A target of one of three topics: what GOT-D chooses teaches it better than a random draw.
    mean = dict(runs.group_by("sampler").agg(pl.col("target_bits_per_byte").mean()).iter_rows())
    assert mean["got-d"] < mean["random"]


def test_a_selection_by_a_model_at_half_of_its_training_asks_it_once_about_each_document(compared):
    store = compared.store
    decided = store.read("decisions").filter(pl.col("selection") == "likely")
    assert (decided["verdict"] == "selected").sum() == 20
    scored = store.read("scores_by_model")
    assert scored["fingerprint"].n_unique() == 1
    assert set(scored["doc_id"]) >= set(decided.drop_nulls("rank")["doc_id"])
    folder = compared.home.checkpoints / "base_models"
    assert len(list(folder.glob("small*/*/checkpoints/0.5/model.safetensors"))) == 2  # the model and its twin


def test_unchanged_nothing_is_trained_again_and_a_changed_pool_trains_what_it_changes(compared):
    before = runs_of(compared)
    assert "everything is current" in compared.tamis("materialize").stderr
    write_jsonl(compared.root / "landing" / "more.jsonl", sentences("sailing", 40, 3))
    compared.tamis("materialize")
    after = runs_of(compared)
    assert len(after) == len(before)
    assert set(after["run"]) != set(before["run"])
    (compared.root / "landing" / "more.jsonl").unlink()
    compared.tamis("materialize")
    back = runs_of(compared)
    assert back.equals(before)  # seconds too: these rows are the first ones, nothing was trained again


def test_settings_that_are_changed_back_train_nothing_again(compared):
    before, settings = runs_of(compared), compared.text
    try:
        compared.configure(settings.replace("tokens = 6_000", "tokens = 3_000"))
        compared.tamis("materialize")
        assert not set(runs_of(compared)["run"]) & set(before["run"])
    finally:
        compared.configure(settings)
    compared.tamis("materialize")
    assert runs_of(compared).equals(before)
    assert compared.json("audit")["status"] == "green"


def test_what_an_earlier_run_found_is_not_shown_when_the_new_one_fails(compared):
    settings = compared.text
    try:
        # More than the pool holds; the first key of this name is the target's.
        head, _, tail = settings.rpartition("held_out = 10")
        compared.configure(f"{head}held_out = 150{tail}")
        said = compared.tamis("compare", code=2)
        assert "target loss" not in said.stdout
        assert "holds out 150 documents of the pool" in said.stderr
        assert "sampler_trials is out of date" in said.stderr
        assert "is not shown" in said.stderr
    finally:
        compared.configure(settings)
    assert "target loss" in compared.tamis("compare").stdout


def test_what_cannot_be_compared_is_said(compared):
    settings = compared.text
    try:
        for wrong, said in (
            ('samplers = ["got-d-contrast"]', "[sampler_trials] samplers"),
            ('samplers = ["perplexity"]', "perplexity.model"),
            ("held_out = 150", "holds out 150 documents of the pool"),
        ):
            key = wrong.split(" = ")[0]
            lines = settings.split("\n")
            changed = "\n".join(wrong if line.startswith(f"{key} = ") else line for line in lines)
            if key == "held_out":  # of the target, a key of the same name
                changed = changed.replace("held_out = 150", "held_out = 15", 1)
            compared.configure(changed)
            assert said in compared.tamis("materialize", code=None).stderr
    finally:
        compared.configure(settings)
