"""Scaling: loss curves of the trials, the law fitted to them, and the model they speak for."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from tamis.base.files import write_atomically
from tamis.platform.assets.specification import asset
from tamis.report.rendering import plot_markdown
from tamis.report.scaling import curve_plot_png, models_markdown, scaling_law_page
from tamis.runtime.record import Output
from tamis.runtime.step import Work
from tamis.scaling.stage import law_trials
from tamis.scaling.storing import choose_models, curves_table, reports_of_curves
from tamis.store.tables import ALL

AUDITED = (
    "no_defects",
    "No loss in the curves looks copied, repeated, interpolated, rising with more data, or like an outlier.",
    False,
)
PAGES, CHOICES = "scaling_law_{}.html", "choice_{}.json"


@asset("loss_curves", ["polars"], [AUDITED])
def loss_curves(work: Work) -> Iterator[Any]:
    """Held-out target loss of each model by number of training documents; size 0 is zero-shot."""
    frame, defects = curves_table(work.store, law_trials(work.snapshot, ""))
    work.store.put("loss_curves", frame, ALL)
    found = dg.AssetCheckResult(
        asset_key="loss_curves",
        check_name="no_defects",
        passed=not defects,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"defects": dg.MetadataValue.json(defects)},
    )
    yield from work.record(Output(row_count=len(frame), checks=[found]))


@asset("scaling_law_report", ["matplotlib"])
def scaling_law_report(work: Work) -> Iterator[Any]:
    """A page per target: loss curves, both phases of the law, predictions, the chosen model, the costs."""
    reports = reports_of_curves(work.store, work.project, work.snapshot.searches)
    pages = [work.project.home.reports / PAGES.format(report.target) for report in reports]
    for old in set(work.project.home.reports.glob(PAGES.format("*"))) - set(pages):
        old.unlink()
    facts: dict[str, Any] = {}
    for page, report in zip(pages, reports, strict=True):
        write_atomically(page, scaling_law_page(report).encode())
        # The user interface shows each report under its own name where there are several.
        named = f" ({report.target})" if len(reports) > 1 else ""
        found = {
            "chosen_model": report.chosen or "none",
            "why": report.why,
            "plot": dg.MetadataValue.md(plot_markdown(curve_plot_png(report))),
            "models": dg.MetadataValue.md(models_markdown(report)),
            "share_of_full_cost": report.cost_share,
            "report": work.link(page),
        }
        facts |= {f"{name}{named}": value for name, value in found.items()}
    made = Output(files=pages, row_count=work.store.count("loss_curves"), metadata=facts)
    yield from work.record(made)


@asset("model_choice", ["scipy"])
def model_choice(work: Work) -> Iterator[Any]:
    """For each target, the model with the lowest predicted loss at full size, and the cost of the search."""
    choices = choose_models(work.store, work.project, work.snapshot.searches)
    facts: dict[str, Any] = {}
    folder = work.fitted("")
    for choice in choices:
        content = json.dumps(choice, indent=1, sort_keys=True, allow_nan=False)
        write_atomically(folder / CHOICES.format(choice["target"]), content.encode())
        named = f" ({choice['target']})" if len(choices) > 1 else ""
        plain = {name: value for name, value in choice.items() if isinstance(value, str | int | float)}
        page = work.link(work.project.home.reports / PAGES.format(choice["target"]))
        facts |= {f"{name}{named}": value for name, value in (*plain.items(), ("report", page))}
    count = sum(len(choice["predictions"]) for choice in choices)
    yield from work.record(Output(files=[folder], row_count=count, metadata=facts))
