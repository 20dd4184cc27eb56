"""All runs of a project on one page, whatever trains them."""

from tamis.report.runs.page import PAGE, write_runs

__all__ = ["PAGE", "write_runs"]
