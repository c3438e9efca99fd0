"""The HTML report of one evaluation, or of several side by side."""

from hummingbird.retrieval.report.page import write_comparison, write_report
from hummingbird.retrieval.report.runs import Run

__all__ = ["Run", "write_comparison", "write_report"]
