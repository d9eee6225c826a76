"""The report: one HTML file that needs nothing else, for a person to look at."""

from deepfood.evaluate.report.write import prepare_report, write_report

__all__ = ["prepare_report", "write_report"]
