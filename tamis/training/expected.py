"""How many tokens training on examples reads, before any model is loaded: the total of its progress."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis.training.examples import Example, Labelled, Pair, text_of
from tamis.training.tokenizer import boundary_tokens, count_tokens, load_tokenizer


def tokens_per_epoch(tokenizer_folder: Path, examples: Sequence[Example], sequence_length: int) -> int:
    """Tokens read in an epoch over examples of one kind.

    Exact for plain text, and for labelled text but for special tokens that the model's own code adds. Of
    pairs too long for a row the prompt is cut, and then there are fewer.
    """
    if not examples:
        return 0
    tokenizer = load_tokenizer(tokenizer_folder)
    counts = count_tokens(tokenizer_folder, [text_of(example) for example in examples]).astype(np.int64)
    if isinstance(examples[0], Labelled):
        special = tokenizer.num_special_tokens_to_add(pair=False)
        return int(np.clip(counts + special, 1, sequence_length).sum())
    begin, end = boundary_tokens(tokenizer)
    if isinstance(examples[0], Pair):
        return int(counts.sum()) + len(counts)  # <bos> and <eos> of each, and the last token is not read
    borders = 1 if begin == end else 2
    return max(int((counts + borders)[counts > 0].sum()) - 1, 0)  # the last token of all is not read
