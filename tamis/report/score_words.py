"""What the score and the margin of a selection mean, in words, for each sampler."""

from tamis.selection.decide import DecidingScore
from tamis.settings.samplers import ASK_LLM, PERPLEXITY, Sampler

SCORE_WORDS: dict[str, str] = {
    "got-d": "how much farther from the target the whole pool would be if it contained more of this "
    "document: documents like the target's examples have small scores, which can be below 0",
    "got-d-quality": "how much farther from the target the pool would be with more of this document, plus a "
    "penalty that rises as the quality of the document falls",
    "got-d-contrast": "how much farther from the target the pool would be with more of this document, minus "
    "how much farther from the examples to keep away from it would be",
    "ask-llm": "the log odds that the judge, a language model, would call the text worth training on: 0 "
    "means even odds, 1 means odds of 2.7 to 1",
    "density": "how many documents of the pool are similar to this document, itself included",
    "quality-diversity": "the judge's log odds for the text, minus the logarithm of the number of similar "
    "documents",
    "rank-ensemble": "the mean of two ranks of the document, one by similarity to the target and one by the "
    "judge's score, as fractions of the ranking: near 0 means first in both, 1 means last in both",
    "knn": "how far the document is from the most similar target example: 0 means the same meaning",
    "perplexity": "how many bits a small model needs per byte of the text: few bits mean predictable text",
    "got-d-rounds": "the position of the document in the order in which several rounds choose. Each round "
    "prefers documents similar to the target examples that earlier rounds did not cover",
    "got-d-quality-rounds": "the position of the document in the order in which several rounds choose. Each "
    "round prefers good documents similar to the target examples that earlier rounds did not cover",
    "semdedup": "the cosine similarity of the document to the most similar document already kept in its "
    "cluster: near 1, the document repeats the kept one",
    "prototypes": "minus the distance of the document from the centre of its cluster, so unusual "
    "documents have small scores",
    "round-robin": "the document's position in the order of choice: target examples take turns, each taking "
    "the nearest document that is left",
    "dsir": "how much more common the document's words are in the pool than in the target, plus a random "
    "number, so the score depends partly on chance",
    "classifier": "a classifier's log odds that the document is from the pool rather than from the target",
    "tsds": "how unlikely the document is to be drawn for the target, plus a random number: the most likely "
    "documents are near the target's examples and have few similar documents",
    "unbalanced": "how little of the target's mass optimal transport moves to the document: below 0, the "
    "document gets more than an equal share",
    PERPLEXITY: "how many bits the model needs per byte of the text: few bits mean predictable text",
    ASK_LLM: "the log odds against the model calling the text worth training on: small for good texts",
}
"""By sampler, and by family of those of a model: what one number of the score says."""

SHARP = (
    "The margin is the distance of the score from the cut, which separates chosen documents from the others, "
    "in the same units as the score: above 0 for chosen documents, below 0 for the others. Near 0, the "
    "decision was close, and a few documents more or less in the pool could reverse the decision."
)
DRAWN = (
    "The margin is how far the document was from the cut of this draw. The margin depends on chance as well "
    "as on the score, so it shows how close the decision was in this draw, not how good the document is."
)
CHANCE = (
    "There is no score: every eligible document had the same chance. The margin is how far the random number "
    "of the document was from the cut, and says nothing about the document itself."
)


def words_of(sampler: Sampler | None, score: DecidingScore | None) -> list[str]:
    """Return what score and margin mean for a sampler, a paragraph each; the last one in numbers."""
    if sampler is None:
        return []
    if sampler.rule == "uniform":
        return [CHANCE]
    meaning = SCORE_WORDS.get(sampler.name) or SCORE_WORDS[sampler.name.partition(":")[0]]
    if sampler.rule != "top_k":
        return [f"The score is {meaning}. The score decides how likely the document is to be drawn.", DRAWN]
    better = "smaller" if sampler.direction == "lowest" else "larger"
    said = [f"The score is {meaning}. A {better} score is better.", SHARP]
    if score and score.cut is not None and score.chosen.any():
        taken = score.scores[score.chosen]
        best, last = (taken.min(), taken.max()) if score.smaller_is_better else (taken.max(), taken.min())
        said.append(
            f"In this selection, the best document scores {best:.4g}, the last one chosen scores {last:.4g}, "
            f"and the cut is at {score.cut:.4g}, so their margins are {abs(best - score.cut):.4g} and "
            f"{abs(last - score.cut):.2g}."
        )
    return said
