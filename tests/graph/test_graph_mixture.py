"""The mixture in the graph: a swarm of tiny runs, made, killed, reused, and followed by a selection."""

import pytest
from projects import TRANSPORT, corpus, make_project, selection, settings, target

LAW = frozenset({"mixture_runs", "mixture_losses", "mixture_law"})
OF_MIXTURE = LAW | {"mixture_design", "agreement_runs", "agreement_losses", "mixture"}
CHOSEN = OF_MIXTURE | {
    "raw_shards", "documents", "near_duplicates", "embeddings", "target_examples", "target_embeddings",
    "contamination", "tokenizer", "selected_subset",
}  # fmt: skip
TINY = """
[pretraining]
vocabulary = 512
sequence_length = 32
"""
MIXTURE = """
[mixture]
target = "algebra"
model = "llama-0.3m"
run_tokens = 1_000
train_tokens = 4_000
"""
CORPORA = tuple(
    corpus(name, "landing", include=[f"{name}.jsonl"]) for name in ("algebra", "cooking", "sailing")
)
FOLLOWING = selection("mixed", budget="4ktok", mixture=True)
TEXT = settings(
    *CORPORA, target("algebra", train=30, held_out=15), TRANSPORT, TINY, MIXTURE, FOLLOWING,
    '[density]\nrows = 20\nhashes = 2\ncalibration = 10\n',
)  # fmt: skip


@pytest.fixture
def project(tmp_path, encoder_cache, nowhere):
    made = make_project(tmp_path / "project", encoder_cache, TEXT)
    yield made
    made.close()


def test_a_swarm_is_planned_run_fitted_and_followed(project):
    project.make(CHOSEN)
    print("\n".join(project.said))
    print(project.rows("mixture"))
    print(project.rows("mixture_controls"))
    print(project.rows("mixture_law"))
    print(project.rows("mixture_sources"))
    print(project.rows("decisions").group_by("reason", "budget_group").len())
    print(project.rows("mixture_runs"))
