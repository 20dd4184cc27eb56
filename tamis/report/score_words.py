"""What the score and the margin of a selection mean, in words, for each sampler."""

from tamis.selection.deciding import DecidingScore
from tamis.settings.samplers import ASK_LLM, PERPLEXITY, Sampler

SCORE_WORDS: dict[str, str] = {
    "got-d": "how much farther from the target the pool as a whole would be if there were more of this "
    "document in it: documents like the target's examples have small scores, also below 0",
    "got-d-quality": "how much farther from the target the pool would be with more of this document, plus a "
    "penalty that rises as its quality falls",
    "got-d-contrast": "how much farther from the target the pool would be with more of this document, less "
    "the same for the examples to keep away from",
    "ask-llm": "the log odds that the judge would call the text worth training on: 0 is even, 1 is 2.7 to 1",
    "density": "how many documents of the pool are like this one, itself included",
    "quality-diversity": "the judge's log odds for the text, less the logarithm of how many documents are "
    "like it",
    "rank-ensemble": "the mean of two places, by likeness to the target and by the judge, as parts of the "
    "whole ranking: 0 is first in both, 1 is last in both",
    "knn": "how far the document is from the target example that is most like it: 0 is the same meaning",
    "perplexity": "how many bits a small model needs for each byte of the text: few mean predictable text",
    "got-d-rounds": "the document's place in the order of the rounds. Each round prefers documents like the "
    "target's examples that earlier rounds did not cover",
    "got-d-quality-rounds": "the document's place in the order of the rounds. Each round prefers good "
    "documents like the target's examples that earlier rounds did not cover",
    "semdedup": "the likeness (cosine) of the document to what is kept of its cluster: near 1 it repeats "
    "something",
    "prototypes": "minus the distance of the document from the centre of its cluster, so that unusual ones "
    "have small scores",
    "round-robin": "the document's place in the order in which target examples took turns, each taking the "
    "nearest document left",
    "dsir": "how much more usual its words are in the pool than in the target, with a random number added: "
    "chance has a part in it",
    "classifier": "the log odds, by a classifier, that the document is of the pool rather than of the target",
    "tsds": "how unlikely the document is to be drawn for the target, with a random number added: likely are "
    "those near its examples that few others resemble",
    "unbalanced": "how little of the target's mass reaches the document: below 0 it gets more than an equal "
    "share",
    PERPLEXITY: "how many bits the model needs for each byte of the text: few mean predictable text",
    ASK_LLM: "the log odds against the model's calling the text worth training on: small means worth it",
}
"""By sampler, and by family of those of a model: what one number of the score says."""

SHARP = (
    "The margin is how far the score is from the cut, in the same units. Chosen documents have margins above "
    "0, the others below: near 0 it was a close decision, which a few documents more or less could turn; a "
    "large one is safe."
)
DRAWN = (
    "The margin is how far the document was from the cut of the draw: it holds chance besides the score, so "
    "it says how near the document was to the other side this time, and not how good it is."
)
CHANCE = (
    "There is no score: every eligible document had the same chance. The margin is how far its random number "
    "was from the cut, and says nothing of the document."
)


def words_of(sampler: Sampler | None, score: DecidingScore | None) -> list[str]:
    """Return what score and margin mean for a sampler, a paragraph each; the last one in numbers."""
    if sampler is None:
        return []
    if sampler.rule == "uniform":
        return [CHANCE]
    meaning = SCORE_WORDS.get(sampler.name) or SCORE_WORDS[sampler.name.partition(":")[0]]
    if sampler.rule != "top_k":
        return [f"The score is {meaning}. It makes a document more or less likely to be drawn.", DRAWN]
    better = "smaller" if sampler.direction == "lowest" else "larger"
    said = [f"The score is {meaning}. The {better}, the better.", SHARP]
    if score and score.cut is not None and score.chosen.any():
        taken = score.scores[score.chosen]
        best, last = (taken.min(), taken.max()) if score.smaller_is_better else (taken.max(), taken.min())
        said.append(
            f"Here: the best document has {best:.4g}, the last one chosen {last:.4g}, and the cut is at "
            f"{score.cut:.4g}; so the best has a margin of {abs(best - score.cut):.4g}, the last one of "
            f"{abs(last - score.cut):.2g}."
        )
    return said
