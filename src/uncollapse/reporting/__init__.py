"""The report: one self-contained HTML page that shows a `Result` and computes nothing."""

from uncollapse.reporting.html import render_report, write_report

__all__ = ["render_report", "write_report"]
