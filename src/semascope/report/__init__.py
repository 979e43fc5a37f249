"""What people read: a run as one self-contained HTML file, and pages of figures and tables."""

from semascope.report.completeness import check_plot_path, write_completeness_plot
from semascope.report.figures import Colours, Drawing
from semascope.report.figures_page import Section, write_figures_page
from semascope.report.numbers import count, percent, significant
from semascope.report.page import write_report
from semascope.report.series import averaged, density_bins

__all__ = [
    "Colours",
    "Drawing",
    "Section",
    "averaged",
    "check_plot_path",
    "count",
    "density_bins",
    "percent",
    "significant",
    "write_completeness_plot",
    "write_figures_page",
    "write_report",
]
