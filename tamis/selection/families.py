"""Samplers of a model that the user names: "perplexity:MODEL", "perplexity:MODEL@SHARE", "ask-llm:MODEL".

The paper's nineteen samplers are eighteen scores and a draw, and fifteen of the scores are one formula under
fifteen models (arXiv 2402.09668, appendix B). So a family and the name of a model make a sampler, and no
table has to know the models in advance.
"""

from dataclasses import dataclass

from tamis.base.errors import PermanentError
from tamis.selection.samplers import METHOD_SCORE, Sampler

PERPLEXITY, ASK_LLM = "perplexity", "ask-llm"
FORMS = '"perplexity:MODEL", "perplexity:MODEL@SHARE" or "ask-llm:MODEL"'


class BadModelSamplerError(PermanentError, ValueError):
    """A sampler with a colon that names no model, or a share that is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"{name!r} is no sampler of a model; those are {FORMS}, SHARE being a part of the model's "
            "training over 0 and under 1"
        )


@dataclass(frozen=True, kw_only=True)
class ModelOf:
    """The model of such a sampler: its family, its name, and the share of its training (None: all of it)."""

    family: str
    model: str
    checkpoint: float | None = None


def model_of(name: str) -> ModelOf | None:
    """What a sampler's name says of a model; None for one without. Raises `BadModelSamplerError`."""
    family, colon, model = name.partition(":")
    if not colon:
        return None
    checkpoint = None
    if family == PERPLEXITY and "@" in model:
        model, _, share = model.rpartition("@")
        checkpoint = _share(share, name)
    if family not in (PERPLEXITY, ASK_LLM) or not model:
        raise BadModelSamplerError(name)
    return ModelOf(family=family, model=model, checkpoint=checkpoint)


def _share(text: str, name: str) -> float:
    try:
        share = float(text)
    except ValueError as error:
        raise BadModelSamplerError(name) from error
    if not 0 < share < 1:
        raise BadModelSamplerError(name)
    return share


def sampler_of_model(name: str) -> Sampler | None:
    """The sampler that such a name stands for; None for a name without a model."""
    found = model_of(name)
    if found is None:
        return None
    if found.family == ASK_LLM:
        text = f"Highest Ask-LLM margin by {found.model}, asked about every document that may be chosen."
    else:
        part = "" if found.checkpoint is None else f" after {100 * found.checkpoint:g} % of its training"
        text = f"Fewest bits per byte under {found.model}{part}, which did not train on the document."
    return Sampler(
        name=name,
        description=text,
        rule="top_k",
        direction="lowest",
        score_columns=(METHOD_SCORE,),
        method=found.family,
    )
