"""A page of figures and tables with what there is to say about them, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semascope.files import write_atomically
from semascope.report.figures import Drawing
from semascope.report.page import environment


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with text, figures by their captions, a table (the first row is its head) and remarks."""

    title: str
    text: str = ""
    figures: Sequence[tuple[str, Drawing]] = ()
    table: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()


def write_figures_page(path: Path, *, title: str, kicker: str, lead: str, sections: Sequence[Section]) -> None:
    """Write the page, atomically."""
    shown = [
        {"section": section, "figures": [(caption, drawing.svg()) for caption, drawing in section.figures]}
        for section in sections
    ]
    html = environment().get_template("figures.html").render(title=title, kicker=kicker, lead=lead, sections=shown)
    write_atomically(path, lambda temporary: temporary.write_text(html, encoding="utf-8", errors="replace"))
