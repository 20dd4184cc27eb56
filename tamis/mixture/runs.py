"""A run of a mixture: what it trains on, by whom it is trained, and its losses on the targets.

It starts from fresh weights. Tamis measures its checkpoint; the command of [trainer] measures it at its end,
and, on a target that came later, in a further run of no steps on the checkpoint that the first one left.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import polars as pl

from tamis.base.errors import PermanentError
from tamis.base.progress import Advance, ignore
from tamis.corpus.stage import DOCUMENTS
from tamis.mixture.stage import MIXTURE_DOCUMENTS
from tamis.mixture.swarm import PlannedRun
from tamis.project import Project
from tamis.readers.text import normalised_id
from tamis.selection.allocation import TargetShares, allocate
from tamis.selection.decide import Ranking
from tamis.selection.pool import training_order
from tamis.settings.samplers import Sampler
from tamis.store.tables import Store, one_of
from tamis.trainer.exchange import EvaluationRow
from tamis.trainer.runs import RECORD, Content, Rows, Run, training_result
from tamis.training import PretrainingOptions, evaluate, preset_shape, pretrain
from tamis.training.results import TrainingResult
from tamis.training.storing import split_texts, texts_in_order

_AS_RANKED = Sampler(
    name="as ranked",
    description="The order that is stored.",
    rule="top_k",
    direction="lowest",
    score_columns=("method_score",),
)
_ANY_REPETITION = 1e6


class NoModelError(PermanentError):
    """A run of a mixture left no checkpoint, and is to be measured on further examples."""

    def __init__(self, run: str, missing: int) -> None:
        super().__init__(
            f"run {run} of the mixture is not measured on {missing} held-out examples, which came after it, "
            "and its trainer left no checkpoint to measure; let the command of [trainer] name one in its "
            "result, which trains the runs of the mixture again"
        )


def run_documents(store: Store, run: PlannedRun) -> pl.DataFrame:
    """Return source, doc_id and count (1 and more) of a run's training set.

    Of each source it takes as `[[selection]] mixture = true` does: whole passes, then the best documents.
    """
    where = f"{one_of('source', sorted(run.weights))} AND rank IS NOT NULL"
    drawn = store.read(MIXTURE_DOCUMENTS.name, ["source", "doc_id", "n_tokens", "rank"], where)
    candidates = drawn.join(store.read(DOCUMENTS.name, ["doc_id"]), on="doc_id", how="semi").select(
        "doc_id", "n_tokens", group="source", method_score="rank"
    )
    shares = TargetShares(shares=run.weights, maximum_repetition=_ANY_REPETITION)
    decisions = allocate(candidates, f"{run.tokens}tok", shares, Ranking(sampler=_AS_RANKED)).decisions
    chosen = decisions.filter(pl.col("count") > 0)
    return chosen.select("doc_id", "count", source="budget_group").sort("doc_id")


def held_out_texts(store: Store, targets: Sequence[str]) -> dict[str, list[str]]:
    """Return the texts of each target that runs are measured on, by target.

    Held-out examples that runs may have been trained on, of a target that came later, do not count.
    """
    seen = store.read(MIXTURE_DOCUMENTS.name, ["doc_id"], "rank IS NOT NULL")
    return {
        target: split_texts(store, target, "held_out").join(seen, on="doc_id", how="anti")["text"].to_list()
        for target in targets
    }


def run_content(project: Project, run: PlannedRun, tokenizer: Path, targets: Sequence[str]) -> Content:
    """Return what a run is trained on; `tokenizer`: its folder. The command of [trainer] measures it, too."""
    store, settings = project.home.store, project.settings.pretraining
    order = training_order(run_documents(store, run), project.seed)["doc_id"].to_list()
    rows = Rows(
        examples=texts_in_order(store, order),
        tokens=run.tokens,
        steps=-(-run.tokens // (settings.batch_size * settings.sequence_length)),
    )
    return Content(
        model=tokenizer,
        shape=preset_shape(run.preset, settings.vocabulary),
        learning_rate=settings.learning_rate,
        held_out=_unlike(held_out_texts(store, targets)) if project.settings.trainer else (),
        stages=[rows],
    )


def train_run(run: Run, content: Content, checkpoint: Path, advance: Advance = ignore) -> TrainingResult:
    """Train a run by Tamis, and write its model into a folder; raises `DivergedError`."""
    (rows,), settings = content.stages, run.project.settings.pretraining
    assert content.shape is not None
    recipe = settings.model_dump(exclude={"vocabulary", "tokens"})
    return pretrain(
        content.shape,
        cast(Iterable[str], rows.examples),
        Path(content.model),
        PretrainingOptions(seed=run.project.seed, **recipe, tokens=rows.tokens),
        checkpoint,
        run.state,
        advance=advance,
    )


def read_run(run: Run, checkpoint: Path) -> TrainingResult:
    """Put the checkpoint and the record of a run that the command has ended into a folder; its figures.

    Raises what `Run.results` raises.
    """
    results = run.results()
    run.keep(results, checkpoint)
    return training_result(run.first, results[0][0], [*run.first.measured], run.first.parameters)


def unmeasured(store: Store, checkpoint: Path, targets: Sequence[str]) -> list[str]:
    """Return the held-out texts of the targets that the run of a checkpoint was not measured on."""
    known = _measured(checkpoint)
    return [text for text in _unlike(held_out_texts(store, targets)) if normalised_id(text) not in known]


def measuring_content(run: str, checkpoint: Path, missing: Sequence[str]) -> Content:
    """Return what a run of no steps measures a checkpoint on; raises `NoModelError` where there is none."""
    if not any(path.name != RECORD for path in checkpoint.iterdir()):
        raise NoModelError(run, len(missing))
    return Content(model=checkpoint, held_out=missing)


def losses(
    project: Project, checkpoint: Path, targets: Sequence[str], later: Run | None = None
) -> list[tuple[str, float | None, int]]:
    """Return target, bits per byte and number of examples for each target.

    As the command of [trainer] measured them where it trained the checkpoint, `later` in a run of no steps
    where one was needed. Raises what `Run.results` raises.
    """
    length, known = project.settings.pretraining.sequence_length, _measured(checkpoint)
    if later is not None:
        known |= {row.id: row for row in later.results()[0][0].evaluations}
    found: list[tuple[str, float | None, int]] = []
    for target, texts in held_out_texts(project.home.store, targets).items():
        bits = None
        if project.settings.trainer is not None:
            rows = [known[normalised_id(text)] for text in texts]
            n_bytes = sum(row.bytes for row in rows)
            bits = math.fsum(row.nats for row in rows) / math.log(2) / n_bytes if n_bytes else None
        elif texts:
            bits = evaluate(checkpoint, texts, sequence_length=length).bits_per_byte
        found.append((target, bits, len(texts)))
    return found


def _measured(checkpoint: Path) -> dict[str, EvaluationRow]:
    """Return the losses in the record of a run, by id of the example; none of a run that Tamis trained."""
    if not (checkpoint / RECORD).exists():
        return {}
    (run,) = json.loads((checkpoint / RECORD).read_bytes())["runs"]
    return {row["id"]: EvaluationRow(**row) for row in run["result"]["evaluations"]}


def _unlike(texts: dict[str, list[str]]) -> list[str]:
    """Return the texts of all targets, each once."""
    return list(dict.fromkeys(text for own in texts.values() for text in own))
