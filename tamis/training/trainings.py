"""The trainings of a trial: one or two stages with one or more seeds, each done once however often killed.

In two stages (GOT-D's recipe) the model is first warmed up on what was selected and then fine-tuned on what
the target has to learn from; it is measured after both. Finished results are kept next to the resume
state until the trial is recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tamis.base.files import write_atomically
from tamis.training.examples import Example
from tamis.training.fine_tuning import fine_tune
from tamis.training.options import FineTuningOptions, Session
from tamis.training.results import TrainingResult


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """Data of one stage: the target or selection, its data version, its documents, in order.

    `doc_ids`: none twice. `repeated`: how often documents are among the examples that are several times.
    """

    data: str
    digest: str
    doc_ids: Sequence[str]
    examples: Sequence[Example]
    repeated: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Schooling:
    """Start of training, its stages, and what it is measured with.

    zero_shot: the base model's bits per byte on `held_out` where it is known. validation: decides when a
    stage ends, and is part of nothing else.
    """

    base: str | Path
    stages: Sequence[TrainingStage]
    held_out: Sequence[Example]
    validation: Sequence[Example] = ()
    zero_shot: float | None = None


def school(
    schooling: Schooling,
    options: FineTuningOptions,
    seeds: int,
    output: Path,
    session: Session,
) -> list[list[TrainingResult]]:
    """The result of every stage of every seed; the checkpoint of the first seed's last stage is `output`.

    Seeds follow that of the options. The folder of the session keeps what is under way and what is finished;
    whoever records the trial removes it then.
    """
    state = session.resume
    return [
        _one_seed(
            schooling,
            replace(options, seed=options.seed + number),
            output if number == 0 else state / f"seed-{number}",
            replace(session, resume=state / f"run-{number}"),
        )
        for number in range(seeds)
    ]


def _one_seed(
    schooling: Schooling,
    options: FineTuningOptions,
    output: Path,
    session: Session,
) -> list[TrainingResult]:
    results: list[TrainingResult] = []
    state = session.resume
    base, last = schooling.base, len(schooling.stages) - 1
    for place, stage in enumerate(schooling.stages):
        folder = output if place == last else state / f"stage-{place}"
        path = state / f"result-{place}.json"
        if path.is_file() and folder.is_dir():
            result = TrainingResult.from_json(path.read_text())
        else:
            result = fine_tune(
                base,
                stage.examples,
                options,
                schooling.held_out,
                folder,
                state / f"training-{place}",
                validation=schooling.validation,
                zero_shot=results[-1].held_out_bits_per_byte if results else schooling.zero_shot,
                runtime=session.runtime,
                advance=session.advance,
            )
            write_atomically(path, result.to_json().encode())
        results.append(result)
        base = folder
    return results
