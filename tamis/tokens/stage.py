"""The stage of token counts: each document once, by the tokenizer that the project names."""

from typing import Any

from tamis.settings.tokenizer import counting_tokenizer
from tamis.stage import Snapshot, Stage, edge, only, same, when
from tamis.store.columns import DOC_ID, FINGERPRINT, Table, integer
from tamis.tokens import CODE_VERSION

TOKEN_COUNTS = Table(
    name="token_counts",
    key=("doc_id",),
    text=(),
    per_document=True,
    emptied=True,
    columns=(
        DOC_ID,
        integer(
            "n_tokens",
            "number of tokens in the text, excluding special tokens; null if the tokenizer failed on it",
        ),
        FINGERPRINT,
    ),
)


def tokens_counted(snapshot: Snapshot) -> bool:
    """Whether the project has a tokenizer that counts."""
    return counting_tokenizer(snapshot.project.settings) is not None


def _by_presets(snapshot: Snapshot) -> bool:
    """Whether it is the one that the graph trains on the pool."""
    found = counting_tokenizer(snapshot.project.settings)
    return found is not None and found.path is None


def _settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    return {} if _by_presets(snapshot) else {"tokenizer": snapshot.tokenizer_identity}


TOKEN_COUNTS_STAGE = Stage(
    name="token_counts",
    group="corpus",
    partitions="shards",
    step="shards",
    code_version=CODE_VERSION,
    by_content=True,
    active=tokens_counted,
    edges=(edge("documents", same), edge("tokenizer", when(_by_presets, only))),
    settings=_settings,
    tables=(TOKEN_COUNTS,),
)
STAGES = (TOKEN_COUNTS_STAGE,)
