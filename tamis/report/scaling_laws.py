"""The table of fitted laws on the scaling page, and what AICc can say of them."""

import math
from collections.abc import Sequence

from tamis.report.page import Column, Content, Markup, number, paragraph, percent, significant, table
from tamis.report.scaling_data import FittedLaw, ModelReport, ScalingReport

TOO_FEW = "too few sizes"
CLOSE = 2.0  # a difference in AICc that says little
LIMITS = {
    "share": "E (or else B) is zero",
    "delay": "D_l is zero or without bound",
    "beta": "beta at the end of its range",
    "alpha": "alpha at the end of its range",
}
NOTHING = 1e-9  # a parameter below is shown as zero


def laws_table(report: ScalingReport) -> list[Markup]:
    """Every law fitted to every model, with what AICc says of them."""
    headings = ("misfit (RMSD)", "AICc", "above the best")
    columns = [Column(heading=name) for name in ("model", "law", "parameters")]
    columns += [Column(heading=name, kind="n") for name in headings] + [Column(heading="how the fit went")]
    rows = [[model.model, *_law(model, law)] for model in report.models for law in model.laws.values()]
    return [paragraph(_preferred(report), class_="note"), table(columns, rows)]


def _preferred(report: ScalingReport) -> str:
    """Which law AICc prefers, over the models that let it compare several, and what the others lack."""
    judged = [model for model in report.models if model.best_law]
    lacking = _lacking([model for model in report.models if len(model.compared) < len(model.laws)])
    if not judged:
        return f"There are too few sizes to compare laws. {lacking}".rstrip()
    counts = {law: sum(model.best_law == law for model in judged) for law in judged[0].laws}
    said = ", ".join(f"{law} on {found}" for law, found in counts.items() if found)
    models = "model" if len(judged) == 1 else "models"
    return f"By AICc the best law is: {said} of {len(judged)} {models}. {lacking}".rstrip()


def _lacking(models: Sequence[ModelReport]) -> str:
    """Which laws the sizes of these models leave without an AICc, and how many sizes they take."""
    by_sizes: dict[int, list[ModelReport]] = {}
    for model in models:
        by_sizes.setdefault(len(set(model.sizes)), []).append(model)
    return " ".join(_without(sizes, alike) for sizes, alike in sorted(by_sizes.items()))


def _without(sizes: int, models: Sequence[ModelReport]) -> str:
    model, names = models[0], ", ".join(one.model for one in models)
    has = f"only {' and '.join(model.compared)} has" if model.compared else "no law has"
    others = [law for name, law in model.laws.items() if name not in model.compared]
    needed = ", ".join(f"{law.law} takes {law.least_sizes}" for law in others)
    return f"With {sizes} {'size' if sizes == 1 else 'sizes'} ({names}) {has} an AICc: {needed}."


def _law(model: ModelReport, law: FittedLaw) -> list[Content]:
    known = all(math.isfinite(value) for value in law.parameters.values())
    rounded = {name: 0.0 if abs(value) < NOTHING else value for name, value in law.parameters.items()}
    parameters = ", ".join(f"{name} = {significant(value, 3)}" for name, value in rounded.items())
    limits = "".join(f"; {LIMITS.get(name, name)}" for name in law.at_bounds)
    other = f"; {law.basins} optima fit about as well" if law.basins > 1 else ""
    found = [law.law, parameters if known else None, percent(law.rmsd, 2)]
    if not math.isfinite(law.aicc):
        return [*found, TOO_FEW, None, law.status + limits + other]
    if not model.best_law:
        return [*found, number(law.aicc, 1), "none to compare with", law.status + limits + other]
    above = law.aicc - model.laws[model.best_law].aicc
    said = "best" if above == 0 else f"{number(above, 1)}{' (close)' if above < CLOSE else ''}"
    return [*found, number(law.aicc, 1), said, law.status + limits + other]
