"""A run directory as one HTML file that opens offline."""

from likewise.report.write import write_report

__all__ = ["write_report"]
