"""Scaling: loss curves of the trials, the law fitted to them, and the model they speak for."""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from resources.made import Made, Rows
from resources.platform import Platform
from resources.specification import described
from tamis.lineage.choosers import law_trials
from tamis.lineage.manifest import write_atomically
from tamis.report import curve_plot_png, models_markdown, plot_markdown, scaling_law_page
from tamis.scaling.storing import choose_model, curves_table, report_of_curves
from tamis.store.schemas import schema_of

AUDITED = ("no_defects", "No copied, repeated or interpolated cells in the curves.", False)
REPORT_FILE = "scaling_law.html"


@dg.asset(**described("loss_curves", ["polars"], [AUDITED]))
def loss_curves(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """Held-out target loss over the number of training documents, per model; size 0 is zero-shot."""
    with platform.work(context) as work:
        frame, defects = curves_table(work.store, work.project, law_trials(work.world, ""))
        schema = schema_of("loss_curves")
        work.store.overwrite("loss_curves", frame.select(schema.names).to_arrow().cast(schema))
        check = dg.AssetCheckResult(
            asset_key="loss_curves",
            check_name="no_defects",
            passed=not defects,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"defects": dg.MetadataValue.json(defects)},
        )
        yield from work.record(Made(rows=[Rows(table="loss_curves")], row_count=len(frame), checks=[check]))


@dg.asset(**described("scaling_law_report", ["matplotlib"]))
def scaling_law_report(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """One page: points, fitted laws with intervals, predictions at larger sizes, and the chosen model."""
    with platform.work(context) as work:
        report = report_of_curves(work.store, work.project)
        page = work.project.home.reports / REPORT_FILE
        write_atomically(page, scaling_law_page(report).encode())
        yield from work.record(
            Made(
                files=[page],
                row_count=work.store.count("loss_curves"),
                metadata={
                    "chosen_model": report.chosen or "none",
                    "why": report.why,
                    "plot": dg.MetadataValue.md(plot_markdown(curve_plot_png(report))),
                    "models": dg.MetadataValue.md(models_markdown(report)),
                    "share_of_full_cost": report.cost_share,
                    "report": work.project.home.relative(page),
                },
            )
        )


@dg.asset(**described("model_choice", ["scipy"]))
def model_choice(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
    """The model with the smallest predicted loss at full size, and what finding it cost."""
    with platform.work(context) as work:
        choice = choose_model(work.store, work.project)
        folder = work.fitted("")
        write_atomically(folder / "choice.json", json.dumps(choice, indent=1, sort_keys=True).encode())
        facts = {name: value for name, value in choice.items() if isinstance(value, str | int | float)}
        yield from work.record(Made(files=[folder], row_count=len(choice["predictions"]), metadata=facts))
