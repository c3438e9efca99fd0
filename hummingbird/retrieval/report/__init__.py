"""The HTML report of one evaluation, and of several side by side."""

from hummingbird.retrieval.report.page import write_comparison, write_report

__all__ = ["write_comparison", "write_report"]
