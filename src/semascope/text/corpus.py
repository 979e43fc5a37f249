"""A corpus: documents in a shuffled order, with a part held out that does not depend on the order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from semascope.errors import DataError
from semascope.records import Document
from semascope.text.documents import read_documents

_BUFFER_CHARACTERS = 2**28


class CorpusConfig(BaseModel):
    """Which text, how much of it is held out, and how it is cut into windows.

    ``source`` as in ``read_documents``. ``field``: the column of the text, where rows have columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[str, Field(min_length=1)] = "sample"
    field: Annotated[str, Field(min_length=1)] | None = None
    context_tokens: Annotated[int, Field(ge=2)] = 256
    held_out_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 0


class Corpus:
    """Two streams of shuffled documents that share no text. Every call reads from the beginning."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config

    def training(self) -> Iterator[Document]:
        """The documents to learn from. Raises DataError when there are none."""
        return self._part(held_out=False)

    def held_out(self) -> Iterator[Document]:
        """The documents to evaluate on. Raises DataError when there are none."""
        return self._part(held_out=True)

    def not_trained_on(self, documents: Sequence[Document]) -> list[Document]:
        """Those of ``documents`` whose whole text, but for white space, is no document to learn from."""
        config = self.config
        ids = {one.id for one in documents if not is_held_out(one, config.held_out_fraction)}
        if ids:
            corpus = read_documents(config.source, field=config.field)
            ids &= {document.id for document in corpus}
        return [one for one in documents if one.id not in ids]

    def labelled(self, others: Sequence[Document] = ()) -> list[Document]:
        """Texts to measure concepts by: the held-out documents with labels, and ``others`` that were not trained on."""
        return [*(one for one in self.held_out() if one.labels), *self.not_trained_on(others)]

    def _part(self, *, held_out: bool) -> Iterator[Document]:
        config = self.config
        documents = read_documents(config.source, field=config.field, shuffle_seed=config.seed)
        part = (document for document in documents if is_held_out(document, config.held_out_fraction) == held_out)
        empty = True
        for document in shuffled(part, seed=config.seed):
            empty = False
            yield document
        if empty:
            name = "held out" if held_out else "left to train on"
            raise DataError(
                f"no document of '{config.source}' is {name} at held_out_fraction={config.held_out_fraction}: "
                "give more documents, or another fraction"
            )


def is_held_out(document: Document, fraction: float) -> bool:
    """Whether the hash of the text puts it into the held-out ``fraction``, whatever the seed and the source."""
    # A hash of its own: the sample already uses the order of the ids to choose documents.
    digest = hashlib.blake2b(document.id.encode(), digest_size=8, person=b"held-out").digest()
    return int.from_bytes(digest) < fraction * 2**64


def shuffled(
    documents: Iterable[Document], *, seed: int, buffer_characters: int = _BUFFER_CHARACTERS
) -> Iterator[Document]:
    """Shuffle through a buffer that is bounded in characters; what fits into it is shuffled completely."""
    generator = random.Random(seed)
    buffer: list[Document] = []
    characters = 0
    for document in documents:
        buffer.append(document)
        characters += len(document.text)
        while characters > buffer_characters:
            chosen = generator.randrange(len(buffer))
            buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
            characters -= len(buffer[-1].text)
            yield buffer.pop()
    generator.shuffle(buffer)
    yield from buffer
