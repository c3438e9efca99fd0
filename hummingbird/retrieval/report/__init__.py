"""The HTML report of one evaluation, or of several side by side."""

from hummingbird.retrieval.report.finished import read_run, read_runs
from hummingbird.retrieval.report.page import write_comparison, write_report
from hummingbird.retrieval.report.runs import Run

__all__ = ["Run", "read_run", "read_runs", "write_comparison", "write_report"]
