"""The mixture: how much of each source, so that the corpus is balanced wherever it is cut after shuffling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from semascope import progress
from semascope.records import Document
from semascope.text.sample.passages import is_worth_keeping
from semascope.text.sample.prose import factbook, law, medicine, news, question_passages
from semascope.text.sample.python_code import package_source, standard_library
from semascope.text.sample.security import advisories, weakness_code, weaknesses
from semascope.text.sample.wikipedia import english_wikipedia, french_wikipedia, spanish_wikipedia

TOTAL_CHARACTERS = 20_000_000


@dataclass(frozen=True)
class Share:
    """A source and the part of ``TOTAL_CHARACTERS`` that it may have; one that holds less gives all it has."""

    read: Callable[[], Iterable[Document]]
    part: float


SHARES = (
    Share(english_wikipedia, 0.30),
    Share(question_passages, 0.14),
    Share(weaknesses, 0.06),
    Share(advisories, 0.06),
    Share(weakness_code, 0.03),
    Share(package_source, 0.02),
    Share(standard_library, 0.10),
    Share(french_wikipedia, 0.09),
    Share(news, 0.09),
    Share(medicine, 0.03),
    Share(law, 0.03),
    Share(factbook, 0.04),
    Share(spanish_wikipedia, 0.03),
)


def read_sample() -> Iterator[Document]:
    """The embedded sample, about 19 million characters, no text twice; the same documents every time.

    The packages it comes from are fetched on first use (about 42 MB). Raises UnavailableError when they cannot be.
    """
    yield from mixed_sample()


@cache
def mixed_sample() -> tuple[Document, ...]:
    """The same, kept for the life of the process: a run reads it for training, evaluation and concepts."""
    documents: list[Document] = []
    seen: set[str] = set()
    with progress.task("Read the sample", total=len(SHARES), unit="sources") as task:
        for share in SHARES:
            documents += _capped(_distinct(share.read(), seen), share.part * TOTAL_CHARACTERS)
            task.advance()
    return tuple(documents)


def _distinct(documents: Iterable[Document], seen: set[str]) -> Iterator[Document]:
    for document in documents:
        if is_worth_keeping(document.text) and document.id not in seen:
            seen.add(document.id)
            yield document


def _capped(documents: Iterable[Document], most_characters: float) -> Iterator[Document]:
    """As many documents as fit: those with more labels first, then in the order of their hashes."""
    room = most_characters
    for document in sorted(documents, key=lambda document: (-len(document.labels), document.id)):
        room -= len(document.text)
        if room < 0:
            return
        yield document
