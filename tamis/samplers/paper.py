"""The nineteen samplers of Sachdeva et al. (arXiv 2402.09668, appendix B), and which of them can run here.

The paper's models are the user's to choose: five sizes of a family, five checkpoints of one training run,
five judges. A place without a configured model says so and is never filled with another score.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import TYPE_CHECKING

from tamis.settings.samplers import ASK_LLM, model_of

if TYPE_CHECKING:
    from tamis.settings.config import Settings

NEEDS_A_MODEL = "needs a model"
PLACES = 5


@dataclass(frozen=True, kw_only=True)
class PaperSampler:
    """One of the nineteen: number, the paper's name, and the sampler here (None: it needs a model)."""

    number: int
    name: str
    sampler: str | None
    needs: str = ""

    @property
    def status(self) -> str:
        """What a list shows: the sampler's name, or that a model is missing."""
        return self.sampler or NEEDS_A_MODEL


def configured_paper_samplers(settings: "Settings") -> list[PaperSampler]:
    """All nineteen with the models that tamis.toml names: base models, their checkpoints, judges."""
    used = [section.sampler for section in settings.selection] + list(settings.sampler_trials.samplers)
    named = [model_of(name) for name in used]
    judges = [found.model for found in named if found is not None and found.family == ASK_LLM]
    return paper_samplers(
        [model.name for model in settings.base_model],
        [(model.name, share) for model in settings.base_model for share in model.checkpoints],
        list(dict.fromkeys([settings.judge.model, *judges])),
    )


def paper_samplers(
    models: Sequence[str], checkpoints: Iterable[tuple[str, float]], judges: Sequence[str]
) -> list[PaperSampler]:
    """All nineteen, given base models (small to large), checkpoints (model, share of training) and judges.

    More than five of a kind: the first five count. The first judge is the one whose margins the grader
    extends, so its place is taken by "ask-llm".
    """
    sizes = [f"perplexity:{model}" for model in models]
    steps = [f"perplexity:{model}@{share:g}" for model, share in checkpoints]
    asked = [("ask-llm" if place == 0 else f"ask-llm:{judge}") for place, judge in enumerate(judges)]
    named: list[tuple[str, str | None, str]] = [
        ("Random", "random", ""),
        ("Density", "density", ""),
        ("SemDeDup", "semdedup", ""),
        ("SSL prototypes", "prototypes", ""),
        *_places("Perplexity, model size", sizes, "another [[base_model]]"),
        *_places("Perplexity, checkpoint", steps, "another share in checkpoints of a [[base_model]]"),
        *_places("Ask-LLM, judge", asked, 'another selection with sampler "ask-llm:MODEL"'),
    ]
    return [
        PaperSampler(number=number, name=name, sampler=sampler, needs="" if sampler else needs)
        for number, (name, sampler, needs) in enumerate(named, start=1)
    ]


def _places(name: str, samplers: Sequence[str], needs: str) -> list[tuple[str, str | None, str]]:
    return [
        (f"{name} {place}", sampler, needs)
        for place, sampler in enumerate(islice([*samplers, *repeat(None, PLACES)], PLACES), start=1)
    ]
