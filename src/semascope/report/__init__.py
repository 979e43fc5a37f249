"""The run at a glance: one self-contained HTML file."""

from semascope.report.page import write_report
from semascope.report.series import averaged, density_bins

__all__ = ["averaged", "density_bins", "write_report"]
