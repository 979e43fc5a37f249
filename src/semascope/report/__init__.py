"""The run at a glance: one self-contained HTML file."""

from semascope.report.page import write_report

__all__ = ["write_report"]
