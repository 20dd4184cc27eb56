"""Which rows a value holds: those of the tables that its stage declares, unless its asset says others."""

import pytest

from tamis.graph.stages import stages
from tamis.runtime.record import Output, Rows, rows_of
from tamis.store.columns import BadDeclarationError

ASIDE = Rows(table="quarantine", where="shard = 'a'")


@pytest.mark.parametrize(
    ("stage", "made", "rows"),
    [
        ("density_sketch", Output(), []),
        ("density_scores", Output(), [Rows(table="scores_density")]),
        (
            "mixture_design",
            Output(),
            [Rows(table=name) for name in ("mixture_sources", "mixture_plan", "mixture_documents")],
        ),
        ("target_gaps", Output(), [Rows(table="target_gaps")]),
        ("decisions", Output(partition="it's"), [Rows(table="decisions", where="selection = 'it''s'")]),
        (
            "token_counts",
            Output(partition="a", doc_ids=["1"], aside=[ASIDE]),
            [Rows(table="token_counts", doc_ids=["1"]), ASIDE],
        ),
        ("document_flags", Output(partition="a", doc_ids=[]), [Rows(table="document_flags", doc_ids=[])]),
        ("base_models", Output(partition="a", rows=()), []),
        (
            "embeddings",
            Output(partition="a", rows=[Rows(table="e")], aside=[ASIDE]),
            [Rows(table="e"), ASIDE],
        ),
    ],
)
def test_rows_follow_from_the_declaration_unless_the_asset_lists_them(stage, made, rows):
    assert rows_of(stages()[stage], made) == rows


@pytest.mark.parametrize("stage", ["document_flags", "trials", "transport_scores"])
def test_rows_that_the_declaration_does_not_tell_apart_are_to_be_listed(stage):
    with pytest.raises(BadDeclarationError, match="which rows of table"):
        rows_of(stages()[stage], Output(partition="a"))
