"""Concepts by which a dictionary is asked what it knows: which texts have one, and among which texts to tell."""

from __future__ import annotations

from dataclasses import dataclass

from semascope.records import Document


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that texts can be about.

    A text has it when it carries ``label``; it is compared with texts that do not, among those whose source or label
    is ``among`` (all, when None).
    """

    name: str
    label: str
    among: str | None = None

    def is_positive(self, document: Document) -> bool:
        """Whether the text has the concept."""
        return self._concerns(document) and self.label in document.labels

    def is_negative(self, document: Document) -> bool:
        """Whether the text is one of those that the concept must be told from."""
        return self._concerns(document) and self.label not in document.labels

    def _concerns(self, document: Document) -> bool:
        return self.among is None or self.among == document.source or self.among in document.labels


EMBEDDED_SUITE = (
    Concept("Famous people", "person", among="wikipedia-en"),
    Concept("Cities", "city", among="wikipedia-en"),
    Concept("Security vulnerabilities", "security"),
    Concept("SQL injection, among vulnerabilities", "sql-injection", among="security"),
    Concept("Program code", "code"),
    Concept("French", "french"),
)
