"""The total that the progress of a trial announces is what its training reads."""

import pytest

from tamis.training import FineTuningOptions, fine_tune
from tamis.training.cost import tokens_per_epoch
from tamis.training.examples import Labelled, Pair

SEQUENCE = 32


def read_in_training(tiny, tmp_path, examples, held_out, epochs) -> int:
    """Tokens that real training reports as done."""
    done: list[int] = []
    options = FineTuningOptions(epochs=epochs, sequence_length=SEQUENCE, batch_size=4, seed=1)
    fine_tune(
        tiny.model,
        examples,
        options,
        held_out,
        tmp_path / "out",
        tmp_path / "resume",
        runtime=tiny.runtime,
        advance=done.append,
    )
    return sum(done)


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("kind", ["text", "pairs", "labels"])
def test_training_reads_what_is_expected(tiny, tmp_path, kind, epochs):
    texts = tiny.texts[:6]
    examples = {
        "text": [*texts, ""],
        "pairs": [Pair(prompt="of the", response=text) for text in texts],
        "labels": [Labelled(text=text, label=text[0] if place else "z") for place, text in enumerate(texts)],
    }[kind]
    read = read_in_training(tiny, tmp_path, examples, examples[:2] if kind == "labels" else texts[:1], epochs)
    assert read == tokens_per_epoch(tiny.model, examples, SEQUENCE) * epochs


def test_no_examples_are_no_tokens(tiny):
    assert tokens_per_epoch(tiny.model, [], SEQUENCE) == 0
    assert tokens_per_epoch(tiny.model, [""], SEQUENCE) == 0
