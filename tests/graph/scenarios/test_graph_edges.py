"""Edges of the graph: from every result they lead down to the raw shards that it depends on."""

from dataclasses import replace

import pyarrow as pa
import pytest
from projects import CHOSEN, CORPUS, GRAPH, base_model
from reads import makes, noted_reads, undeclared

from tamis.base.declared import declaring_modules
from tamis.graph.plan import upstream
from tamis.graph.stages import ancestors, in_order, stages
from tamis.stage import Stage, edge
from tamis.store.columns import BadDeclarationError, Table, column

SHARDS = ("web__a", "web__b")
FROM_THE_POOL = ("selected_subset", "decisions", "base_models", "density_scores", "transport_scores")


@pytest.mark.parametrize("asset", FROM_THE_POOL)
def test_a_stage_that_reads_the_pool_leads_to_every_raw_shard(imagined, asset):
    snapshot = imagined.snapshot()
    for partition in snapshot.keys(stages()[asset].partitions):
        found = upstream(snapshot, (asset, partition))
        for key in SHARDS:
            assert {("raw_shards", key), ("documents", key)} <= found, f"{asset}[{partition}]"


def test_a_checkpoint_leads_to_its_selection_its_examples_and_its_base_model(imagined):
    snapshot = imagined.snapshot()
    found = upstream(snapshot, ("trials", "warm-up__small__near"))
    raw = {("raw_shards", key) for key in SHARDS}
    of_the_target = {("target_examples", "goal"), ("transport_scores", "goal")}
    assert raw | of_the_target | {("selected_subset", "near"), ("base_models", "small")} <= found
    assert ("selected_subset", "thin") not in found
    assert ("near_duplicates", "") in found
    law = upstream(snapshot, ("trials", "law__small__5"))
    assert {("base_models", "small"), ("target_examples", "goal")} <= law
    assert raw <= law, "its base model was trained on the pool"


def test_the_documents_that_a_base_model_must_not_see_are_among_its_inputs(imagined):
    found = upstream(imagined.snapshot(), ("base_models", "small"))
    assert {("target_examples", "goal"), ("contamination", "goal"), ("target_examples", "other")} <= found


def test_no_edge_leads_to_a_stage_that_comes_later(imagined):
    order = list(stages())
    for place, stage in enumerate(stages().values()):
        assert {edge.asset for edge in stage.edges} <= set(order[:place]), stage.name


ROWS = Table(name="made_up", key=("n",), text=(), columns=(column("n", pa.int64(), "number"),))
A, B = (
    Stage(name=name, group="made_up", code_version="1", edges=(edge(read),))
    for name, read in (("a", "b"), ("b", "a"))
)
OF_TARGETS = Stage(name="c", group="made_up", code_version="1", partitions="targets", tables=(ROWS,))


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ((replace(A, edges=()), replace(A, edges=())), "two stages have this name"),
        ((A,), "the stage reads 'b', which is not a stage; valid: a"),
        ((A, B), "the inputs of these stages form a cycle: a, b"),
        ((OF_TARGETS,), "the rows of table made_up identify neither a partition nor a document"),
    ],
)
def test_stages_that_could_not_be_made_or_removed_are_refused(declared, problem):
    with pytest.raises(BadDeclarationError) as raised:
        in_order(declared)
    assert raised.value.problem == problem


def test_a_stage_that_needs_no_model_comes_first_in_any_order_of_declaration():
    names = [name for name in stages() if not name.startswith(("stg_", "mart_"))]
    declared = [stage for module in declaring_modules() for stage in module.STAGES]
    assert [stage.name for stage in in_order(declared)] == names[:-1]
    order = [stage.name for stage in in_order(declared[::-1])]
    assert set(order[: order.index("judge_sample")]) >= {"embeddings", "density_scores", "transport_scores"}


SCORED = CHOSEN | {
    "near_copies", "topics", "document_flags", "form_model", "form_scores", "target_gaps",
    "served_examples", "selection_pages",
}  # fmt: skip
SCORING = (
    '[near_duplicates]\ncosine = 0.9\n[topics]\ncount = 2\n[filters]\nlanguages = ["en"]\n'
    'heuristics = ["form"]\n'
    '[mixture]\ntarget = "goal"\nmodel = "llama-0.3m"\nsources = "topics"\ntrain_tokens = 4_000\n'
)
TRAINED = {
    "tokenizer", "base_models", "token_counts", "perplexity_scores", "sampler_comparison",
    "trials", "loss_curves", "scaling_law_report", "model_choice",
}  # fmt: skip
TRAINING = (
    f"{base_model()}[pretraining]\ntokens = 1_000\nvocabulary = 512\nsequence_length = 32\n"
    '[scaling]\ntarget = "goal"\nmodels = ["small"]\nsizes = [5]\n[perplexity]\nmodel = "small"\n'
)
FURTHER = {
    # Texts of documents and examples, under ids that an input names.
    "target_potential": {"occurrences", "target_examples"},
    "transport_scores": {"target_examples"},
    "served_examples": {"documents", "occurrences", "target_examples"},
    "selection_pages": {"target_examples"},
    # How clear a document is of the cut, by the potential that its score comes from.
    "selected_subset": {"target_potential"},
    # The costs of the trials whose losses are the input.
    "scaling_law_report": {"trials"},
    "model_choice": {"trials"},
}
"""What a stage reads of its inputs' inputs: these changed only if the input did."""


@pytest.mark.parametrize(
    ("made", "more", "tokenizer"),
    [
        pytest.param(SCORED, SCORING, "", id="scored"),
        pytest.param(
            TRAINED | SCORED, SCORING + TRAINING, 'tokenizer = "small"', marks=pytest.mark.slow, id="trained"
        ),
    ],
)
def test_a_step_reads_what_its_stage_declares(new_graph, made, more, tokenizer):
    project = new_graph("read", f"{GRAPH}{more}".replace("[project]", f"[project]\n{tokenizer}", 1))
    with noted_reads() as found:
        project.make(made)
    assert found.keys() == made - {"raw_shards"}
    unknown = {(stage, one) for stage, read in undeclared(found).items() for one in read}
    assert unknown <= {(stage, one) for stage, read in FURTHER.items() for one in read}
    for stage, read in FURTHER.items():
        assert read <= makes(ancestors(stage)), stage


def test_a_read_that_no_declaration_names_is_found(new_graph, monkeypatch):
    project = new_graph("read")
    monkeypatch.setitem(stages(), "density_scores", replace(stages()["density_scores"], edges=()))
    with noted_reads() as found:
        project.make(CORPUS | {"embeddings", "density_sketch", "density_scores"})
    assert undeclared(found) == {"density_scores": {"density_sketch", "embeddings"}}
