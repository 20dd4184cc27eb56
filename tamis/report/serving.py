"""The page about a choice and its target: distances to held-out examples, and which examples are served.

Of the examples with the highest cost the beginning of the text is shown, so that a reader knows what to add.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tamis.base.numbers import counted, percent
from tamis.corpus.stage import TARGET_EXAMPLES
from tamis.report.rendering import render
from tamis.report.selection_data import EXCERPT_CHARACTERS
from tamis.selection.serving import CHOSEN, POOL, RANDOM, Serving, costs_of_examples
from tamis.store.tables import Store, quoted
from tamis.transport.exact import Distance
from tamis.transport.storing import TargetGaps, read_gaps

SHOWN_EXAMPLES = 10
FEWEST_HELD_OUT = 20
"""Held-out examples below which intervals of distances say nothing: drawn again, they are the same few."""
LABELS = {
    POOL: "a random draw from the pool",
    RANDOM: "a random choice of the same size",
    CHOSEN: "this choice",
}


@dataclass(frozen=True, kw_only=True)
class ServingPage:
    """Fields of the page.

    `distances`: label, the distance to held-out examples. `costly`: rows of example_id, cost, source and
    excerpt, the highest cost first. `gaps`: what the pool lacks; `lacking`: the first of these examples, with
    supply, source and excerpt. `warnings`: why distances may mean little.
    """

    name: str
    target: str
    serving: Serving
    answer: str
    distances: list[tuple[str, Distance]]
    compared: str
    costly: list[dict[str, object]]
    gaps: TargetGaps
    lacking: list[dict[str, object]]
    warnings: Sequence[str]


def served_page_name(selection: str) -> str:
    """Return the file name of the page of a selection."""
    return f"served_{selection}.html"


def serving_page(store: Store, name: str, target: str, serving: Serving, warnings: Sequence[str] = ()) -> str:
    """Return the page of a selection; texts are read only of the examples that are shown."""
    costly, gaps = costs_of_examples(serving.pairs).head(SHOWN_EXAMPLES), read_gaps(store, target)
    return render(
        "serving.html",
        ServingPage(
            name=name,
            target=target,
            serving=serving,
            answer=serving_answer(target, serving),
            distances=[(label, serving.distances[key]) for key, label in LABELS.items() if serving.distances],
            compared=comparison_in_words(target, serving),
            costly=with_texts(store, target, costly).to_dicts(),
            gaps=gaps,
            lacking=with_texts(store, target, gaps.lacking.head(SHOWN_EXAMPLES)).to_dicts(),
            warnings=warnings,
        ),
    )


def serving_answer(target: str, serving: Serving) -> str:
    """Return how many examples a choice serves, as a sentence."""
    examples = counted(serving.examples, "example")
    if serving.pairs.is_empty():
        return f"The choice serves none of the {examples} of {target}: no chosen document has a vector."
    if serving.limit is None or serving.served is None:
        return f"{target} has {examples}: too few to tell which of them are served well."
    share = percent(serving.served / serving.examples, 0)
    return (
        f"The choice serves {serving.served:,} of the {examples} of {target} well ({share}): at a cost no "
        "higher than that at which one half of the target examples serves 19 of 20 of the other half."
    )


def comparison_in_words(target: str, serving: Serving) -> str:
    """Return a sentence on the distances of the choice and of a random one; "" where there are none."""
    if not serving.held_out:
        return (
            f"{target} holds out no examples, so the distance of the choice to such examples is not measured."
        )
    if not serving.distances:
        return ""
    if serving.held_out < FEWEST_HELD_OUT:
        return (
            f"{target} has {counted(serving.held_out, 'held-out example')}: too few to tell whether the "
            f"choice is closer to such examples than a random one (at least {FEWEST_HELD_OUT} are needed)."
        )
    chosen, random = serving.distances[CHOSEN], serving.distances[RANDOM]
    if chosen.high < random.low:
        return (
            "The choice is closer to the held-out examples than a random one: their intervals do not overlap."
        )
    if chosen.low > random.high:
        return (
            "The choice is farther from the held-out examples than a random one: "
            "their intervals do not overlap."
        )
    return (
        "The intervals of the choice and of a random choice overlap, so neither is shown to be closer to the "
        "held-out examples."
    )


def with_texts(store: Store, target: str, examples: pl.DataFrame) -> pl.DataFrame:
    """Return examples (example_id and other columns) in their order, with their source and excerpt."""
    known = store.read(TARGET_EXAMPLES.name, ["doc_id", "source", "text"], f"target = {quoted(target)}")
    texts = known.select(
        "source", example_id="doc_id", excerpt=pl.col("text").str.slice(0, EXCERPT_CHARACTERS)
    )
    return examples.join(texts, on="example_id", how="left", maintain_order="left")
