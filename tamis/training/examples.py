"""What can be learnt from: plain text, a prompt with its response, a text with its label.

Of a pair the loss is over the response alone, the end of the prompt standing before it; the text that names a
pair and becomes its vector is the prompt, an empty line, and the response.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tamis.corpus.answers import SEPARATOR, pair_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A prompt and the response to learn."""

    prompt: str
    response: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A text and the class it belongs to."""

    text: str
    label: str


Example = str | Pair | Labelled


def text_of(example: Example) -> str:
    """The document that an example is."""
    if isinstance(example, Pair):
        return pair_text(example.prompt, example.response)
    return example.text if isinstance(example, Labelled) else example


__all__ = ["SEPARATOR", "Example", "Labelled", "Pair", "classes_of", "text_of"]


def classes_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """The labels that stand in the examples, sorted; none of plain texts and pairs."""
    return tuple(sorted({one.label for one in examples if isinstance(one, Labelled)}))
