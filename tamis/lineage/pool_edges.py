"""The pool as an input: what a selection, or a comparison of samplers, chooses from."""

from tamis.lineage.choosers import when_copies, when_flags_exclude
from tamis.lineage.stage import Edge, edge, every, only


def pool_edges() -> tuple[Edge, ...]:
    """The documents, and what says which of them may be chosen."""
    return (
        edge("documents", every("shards")),
        edge("near_duplicates"),
        edge("near_copies", when_copies(only)),
        edge("target_examples", every("targets")),
        edge("contamination", every("targets")),
        edge("document_flags", when_flags_exclude(every("shards"))),
    )
