"""Classes of texts by a language model that was never shown a label: which label's words it finds likeliest.

The code length of a label after a text, less the label's mean over all texts: without that, a model says the
same frequent words whatever the text (Holtzman et al., arXiv 2104.08315).
"""

from collections.abc import Sequence

from tamis.training.evaluation import evaluate_pairs
from tamis.training.examples import Labelled, Pair
from tamis.training.results import Outcomes

QUESTION = "\n\nTopic:"


def zero_shot_outcomes(model: str, examples: Sequence[Labelled], sequence_length: int) -> Outcomes:
    """Expected and predicted classes, numbers of the sorted labels."""
    labels = sorted({one.label for one in examples})
    pairs = [
        Pair(prompt=one.text + QUESTION, response=" " + spoken(label)) for one in examples for label in labels
    ]
    found = evaluate_pairs(model, pairs, sequence_length=sequence_length)
    bits_nc = found.document_bits.reshape(len(examples), len(labels))
    predicted = (bits_nc - bits_nc.mean(0)).argmin(1)
    number = {label: place for place, label in enumerate(labels)}
    return Outcomes(expected=[number[one.label] for one in examples], predicted=predicted.tolist())


def spoken(label: str) -> str:
    """A label as one would write it."""
    words = {"pos": "positive", "neg": "negative", "Sci/Tech": "science and technology"}
    return words.get(label, label.replace("_", " "))
