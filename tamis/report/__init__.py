"""Pages for people: scaling law, selection, samplers, SQL models, audit; each one a self-contained file."""

from tamis.report.audit import audit_page
from tamis.report.page import plot_markdown
from tamis.report.samplers import sampler_page
from tamis.report.scaling_choice import models_markdown
from tamis.report.scaling_data import ScalingReport
from tamis.report.scaling_page import scaling_law_page
from tamis.report.scaling_plot import curve_plot_png
from tamis.report.scaling_report import build_scaling_report
from tamis.report.selection import selection_page
from tamis.report.selection_data import SelectionReport
from tamis.report.selection_plot import selection_plot_png
from tamis.report.sql_model import sql_model_page

__all__ = [
    "ScalingReport",
    "SelectionReport",
    "audit_page",
    "build_scaling_report",
    "curve_plot_png",
    "models_markdown",
    "plot_markdown",
    "sampler_page",
    "scaling_law_page",
    "selection_page",
    "selection_plot_png",
    "sql_model_page",
]
