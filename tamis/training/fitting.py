"""Check before a training that a model, its tokenizer and the rows that it is to read fit each other.

What does not fit is otherwise an index outside a table, somewhere inside a forward pass, or a tokenizer
without words that turns every text into nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.training.errors import (
    NoTokenizerError,
    TooFewPositionsError,
    UnfitTokenizerError,
    UnknownModelError,
)
from tamis.training.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

USUAL_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
POSITION_TABLES = ("wpe", "embed_positions", "position_embedding", "position_embeddings")


def tokenizer_in(name: str, folder: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, in a folder or of a hub id; `NoTokenizerError` where the folder has none.

    transformers makes one without words then, and says nothing.
    """
    root = Path(folder)
    local = root.is_dir()
    try:
        found = load_tokenizer(root if local else folder)
    except Exception as error:  # of a file in another form the tokenizers library raises a plain one
        if not (local and (root / "config.json").is_file()):
            raise
        if not _holds(root, USUAL_FILES):
            raise NoTokenizerError(name, root, USUAL_FILES) from error
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise UnknownModelError(name, f"the model's tokenizer cannot be read: {problem}") from error
    wanted = tuple(dict.fromkeys(("tokenizer.json", *found.vocab_files_names.values())))
    if local and found.vocab_files_names and not _holds(root, {*wanted, *USUAL_FILES}):
        raise NoTokenizerError(name, root, wanted)
    return found


def _holds(folder: Path, names: "tuple[str, ...] | set[str]") -> bool:
    return any((folder / name).is_file() for name in names)


def require_fit(
    name: str,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sequence_length: int,
    filled: bool,
) -> None:
    """Raise `UnfitTokenizerError` or `TooFewPositionsError` for what a row could not be read with.

    `filled`: whether the model reads rows that were filled up, so its filling token counts too.
    """
    rows = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    beyond = {token: number for token, number in _tokens_in_rows(tokenizer, filled).items() if number >= rows}
    if beyond:
        token = max(beyond, key=lambda one: beyond[one])
        raise UnfitTokenizerError(name, token, beyond[token], rows)
    positions = min(_positions(model), default=sequence_length)
    if sequence_length > positions and not _reads(model, sequence_length):
        raise TooFewPositionsError(name, positions, sequence_length)


def _tokens_in_rows(tokenizer: "PreTrainedTokenizerBase", filled: bool) -> dict[str, int]:
    """Return the special tokens that rows may hold: borders and masks; those in texts are spelled out."""
    names = [
        "bos_token",
        "eos_token",
        "cls_token",
        "sep_token",
        "mask_token",
        *(["pad_token"] if filled else []),
    ]
    never = set(tokenizer.all_special_tokens) - {getattr(tokenizer, one) for one in names}
    return {token: number for token, number in tokenizer.get_vocab().items() if token not in never}


def _positions(model: "PreTrainedModel") -> Iterator[int]:
    """Yield the longest row by each table of positions and by the configuration where nothing is rotated."""
    import torch

    tables = [
        module
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Embedding) and path.rsplit(".", 1)[-1] in POSITION_TABLES
    ]
    for table in tables:
        # Some families leave the first rows of the table unused: up to the filling token, or a fixed number.
        unused = 0 if table.padding_idx is None else table.padding_idx + 1
        yield table.num_embeddings - int(getattr(table, "offset", unused))
    stated = getattr(model.config, "max_position_embeddings", None)
    if stated and not tables and not getattr(model.config, "rope_parameters", None):
        yield int(stated)


def _reads(model: "PreTrainedModel", length: int) -> bool:
    """Return whether a row of that length passes: the tables say where to look, and the model decides."""
    import torch

    # The last token of the matrix: what fills rows up has no position of its own in some families.
    last = int(model.get_input_embeddings().num_embeddings) - 1  # type: ignore[arg-type]
    row = torch.full((1, length), last, device=model.device)
    both = {"decoder_input_ids": row} if model.config.is_encoder_decoder else {}
    try:
        with torch.inference_mode():
            model.eval()(input_ids=row, **both)
    except (IndexError, RuntimeError, ValueError):
        return False
    return True
