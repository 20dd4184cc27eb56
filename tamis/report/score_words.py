"""What the score and the margin of a selection mean, in words, for each sampler."""

from tamis.selection.deciding import DecidingScore
from tamis.settings.samplers import ASK_LLM, PERPLEXITY, Sampler

SCORE_WORDS: dict[str, str] = {
    "got-d": "how much farther from the target the whole pool would be if it contained more of this "
    "document: documents like the target's examples have small scores, which can be below 0",
    "got-d-quality": "how much farther from the target the pool would be with more of this document, plus a "
    "penalty that rises as its quality falls",
    "got-d-contrast": "how much farther from the target the pool would be with more of this document, minus "
    "the same for the examples to keep away from",
    "ask-llm": "the log odds that the judge would call the text worth training on: 0 is even, 1 is 2.7 to 1",
    "density": "how many documents of the pool are similar to this one, including itself",
    "quality-diversity": "the judge's log odds for the text, minus the logarithm of the number of similar "
    "documents",
    "rank-ensemble": "the mean of two ranks, by similarity to the target and by the judge, as fractions of "
    "the whole ranking: 0 is first in both, 1 is last in both",
    "knn": "how far the document is from the most similar target example: 0 is the same meaning",
    "perplexity": "how many bits a small model needs per byte of the text: few bits mean predictable text",
    "got-d-rounds": "the document's position in the order in which the rounds choose. Each round prefers "
    "documents like those target examples that earlier rounds did not cover",
    "got-d-quality-rounds": "the document's position in the order in which the rounds choose. Each round "
    "prefers good documents like those target examples that earlier rounds did not cover",
    "semdedup": "the cosine similarity of the document to the nearest one kept of its cluster: near 1 it "
    "repeats that one",
    "prototypes": "minus the distance of the document from the centre of its cluster, so unusual "
    "documents have small scores",
    "round-robin": "the document's position in the order of choice: target examples take turns, each taking "
    "the nearest document that is left",
    "dsir": "how much more common the document's words are in the pool than in the target, plus a random "
    "number, so it depends partly on chance",
    "classifier": "a classifier's log odds that the document is from the pool rather than from the target",
    "tsds": "how unlikely the document is to be drawn for the target, plus a random number: documents near "
    "the target's examples that few others resemble are the most likely",
    "unbalanced": "how little of the target's mass reaches the document: below 0 it gets more than an equal "
    "share",
    PERPLEXITY: "how many bits the model needs per byte of the text: few bits mean predictable text",
    ASK_LLM: "the log odds against the model calling the text worth training on: small means that it is",
}
"""By sampler, and by family of those of a model: what one number of the score says."""

SHARP = (
    "The margin is the distance of the score from the cut, in the same units: above 0 for chosen documents, "
    "below 0 for the others. Near 0 the decision was close, and a few documents more or less could reverse "
    "it; far from 0 it is safe."
)
DRAWN = (
    "The margin is how far the document was from the cut of this draw. It depends on chance as well as on "
    "the score, so it shows how close the decision was this time, not how good the document is."
)
CHANCE = (
    "There is no score: every eligible document had the same chance. The margin is how far its random number "
    "was from the cut, and says nothing about the document."
)


def words_of(sampler: Sampler | None, score: DecidingScore | None) -> list[str]:
    """Return what score and margin mean for a sampler, a paragraph each; the last one in numbers."""
    if sampler is None:
        return []
    if sampler.rule == "uniform":
        return [CHANCE]
    meaning = SCORE_WORDS.get(sampler.name) or SCORE_WORDS[sampler.name.partition(":")[0]]
    if sampler.rule != "top_k":
        return [f"The score is {meaning}. It decides how likely the document is to be drawn.", DRAWN]
    better = "smaller" if sampler.direction == "lowest" else "larger"
    said = [f"The score is {meaning}. A {better} score is better.", SHARP]
    if score and score.cut is not None and score.chosen.any():
        taken = score.scores[score.chosen]
        best, last = (taken.min(), taken.max()) if score.smaller_is_better else (taken.max(), taken.min())
        said.append(
            f"Here the best document scores {best:.4g}, the last one chosen {last:.4g}, and the cut is at "
            f"{score.cut:.4g}; so the two margins are {abs(best - score.cut):.4g} and "
            f"{abs(last - score.cut):.2g}."
        )
    return said
