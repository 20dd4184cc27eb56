"""Stages of the scaling law: losses of trials, the law fitted to them, and the model it speaks for."""

from typing import Any

from tamis.scaling import CODE_VERSION
from tamis.stage import Automation, Growth, Snapshot, Stage, edge
from tamis.store.columns import Table, integer, real, text

LOSS_CURVES = Table(
    name="loss_curves",
    key=("target", "model", "size"),
    text=(),
    columns=(
        text("target", "name of the target whose held-out examples the loss is measured on"),
        text("model", "name of the base model"),
        integer("size", "number of training documents; 0 for the model before training"),
        real(
            "loss",
            "loss on the target's held-out examples, in bits per byte, or in nats per example if the target "
            "has labels",
        ),
        text("trial", "name of the trial that measured the loss"),
    ),
)


def law_trials(snapshot: Snapshot, partition: str = "") -> tuple[str, ...]:
    """The trials that loss curves are drawn from: all planned ones, or those that a search has measured."""
    if snapshot.searches:
        measured = tuple(name for search in snapshot.searches.values() for name in search.measured)
        return measured or tuple(name for search in snapshot.searches.values() for name in search.open)
    return tuple(name for name, trial in snapshot.trials.items() if trial.kind == "law")


def law_active(snapshot: Snapshot) -> bool:
    """Whether there are trials to fit a law to."""
    return bool(law_trials(snapshot))


def _prediction_settings(snapshot: Snapshot, partition: str) -> dict[str, Any]:
    """Where losses are predicted, and what searches under a budget have chosen and left out."""
    found: dict[str, Any] = {"predict_at": snapshot.project.settings.scaling.predict_at}
    if snapshot.searches:
        found["searched"] = {target: search.choice for target, search in snapshot.searches.items()}
    for target, search in snapshot.searches.items():
        if search.left_out:  # without the reasons, which may name folders of this machine
            found.setdefault("left_out", {})[target] = sorted(search.left_out)
    return found


REPORT_STAGE = Stage(
    name="scaling_law_report",
    group="scaling",
    code_version=CODE_VERSION,
    active=law_active,
    edges=(edge("loss_curves"),),
    settings=_prediction_settings,
    result=True,
    automation=Automation.ONCE_SEARCHED,
    growth=Growth.NOTHING,
)
CHOICE_STAGE = Stage(
    name="model_choice",
    group="scaling",
    code_version=CODE_VERSION,
    active=law_active,
    edges=(edge("loss_curves"),),
    settings=_prediction_settings,
    automation=Automation.ONCE_SEARCHED,
    growth=Growth.NOTHING,
)
STAGES = (
    Stage(
        name="loss_curves",
        group="scaling",
        code_version=CODE_VERSION,
        active=law_active,
        edges=(edge("trials", law_trials),),
        tables=(LOSS_CURVES,),
        automation=Automation.ONCE_SEARCHED,
        growth=Growth.NOTHING,
    ),
    REPORT_STAGE,
    CHOICE_STAGE,
)
