"""The report: one self-contained HTML file."""

from deepfood.evaluate.report.write import prepare_report, write_report

__all__ = ["prepare_report", "write_report"]
