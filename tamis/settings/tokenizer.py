"""Which tokenizer counts the tokens of documents, as tamis.toml says; nothing is read."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tamis.settings.config import Settings

BYTES_PER_TOKEN = 4
"""Estimate for texts that no tokenizer has counted."""


@dataclass(frozen=True, kw_only=True)
class CountingTokenizer:
    """`name`: as people know it. `path`: folder, hub id or embedded name; None: that of the presets."""

    name: str
    path: str | None


def counting_tokenizer(settings: "Settings") -> CountingTokenizer | None:
    """Return the tokenizer of `[project] tokenizer`, else of the first base model that has files, else None.

    `[project] tokenizer` may name a base model. That of presets is trained on the pool, by a stage that only
    a person starts; so it counts only where it is asked for by name.
    """
    asked = settings.project.tokenizer
    for model in settings.base_model:
        if model.path is not None if asked is None else model.name == asked:
            return CountingTokenizer(name=model.name, path=model.path)
    return CountingTokenizer(name=asked, path=asked) if asked else None
