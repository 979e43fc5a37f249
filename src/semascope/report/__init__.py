"""The run at a glance: one self-contained HTML file."""

from semascope.report.completeness import check_plot_path, write_completeness_plot
from semascope.report.page import write_report
from semascope.report.series import averaged, density_bins

__all__ = ["averaged", "check_plot_path", "density_bins", "write_completeness_plot", "write_report"]
