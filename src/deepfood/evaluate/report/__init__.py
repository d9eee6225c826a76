"""The report: one HTML file that needs nothing else, for a person to look at."""

from deepfood.evaluate.report.write import require_report, write_report

__all__ = ["require_report", "write_report"]
