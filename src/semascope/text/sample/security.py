"""Security: descriptions of weaknesses, what they look like in code, and published advisories.

Weaknesses are the entries of the Common Weakness Enumeration (CWE); advisories are records of vulnerabilities (CVE and
GitHub advisories), mostly in software around language models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from semascope.packages import Package
from semascope.records import Document
from semascope.text.sample.passages import LONGEST_CHARACTERS, first_passage, read_json, read_text

_CWE = Package("cwe2", "3.0.0", "abef03eb853f5c1851df6af5167bd9fe73a53dddb119fdbc5c3afc7d50b9f55b")
_ADVISORIES = Package("genai-incidents", "2.13.0", "fbdf878976839aef22756fa162d1fa8b3c52ea3c9fba1250423853238bd74e15")

# What a text has to say to be about a kind of weakness.
_KINDS = {
    "sql-injection": r"\bsql[- ]injection|\bSQLi\b|used in an SQL command",
    "cross-site-scripting": r"\bcross[- ]site[- ]scripting|\bXSS\b",
    "buffer-overflow": r"\bbuffer[- ]over(flow|run)|\b(heap|stack)-based (buffer )?overflow|\bheap overflow|"
    r"\bbuffer copy without",
    "path-traversal": r"\b(path|directory)[- ]traversal",
    "command-injection": r"\bcommand[- ]injection",
    "deserialization": r"\bdeseriali[sz]",
    "prompt-injection": r"\bprompt[- ]injection",
    "denial-of-service": r"\bdenial[- ]of[- ]service|\bDoS\b",
}
# General advice names kinds of weakness as examples further down.
_OPENING_CHARACTERS = 200
_SECURITY = frozenset({"security"})
_MARKDOWN_HEADING = re.compile(r"#+ (Summary|Impact|Description|Details|Overview|Vulnerability|CVE-[\d-]+)\b:?")


def kinds_of_weakness(text: str) -> frozenset[str]:
    """The kinds of weakness that a text names."""
    return frozenset(kind for kind, pattern in _KINDS.items() if re.search(pattern, text, re.IGNORECASE))


def weaknesses() -> Iterator[Document]:
    """Descriptions, mitigations and observed cases of the CWE."""
    for entry in _entries():
        name = entry.get("Name", "")
        described = [_prose(entry.find(tag)) for tag in ("{*}Description", "{*}Extended_Description")]
        # A long description mentions related kinds in passing; the name says which one it is about.
        yield _weakness("\n".join([f"{name}.", *filter(None, described)]), kinds_of_weakness(name))
        for mitigation in entry.iterfind("{*}Potential_Mitigations/{*}Mitigation/{*}Description"):
            text = _prose(mitigation)
            yield _weakness(text, kinds_of_weakness(text[:_OPENING_CHARACTERS]))
        yield from _observed_cases(entry)


def _weakness(text: str, kinds: frozenset[str]) -> Document:
    return Document(first_passage(text), "cwe", _SECURITY | kinds)


def _observed_cases(entry: Element) -> Iterator[Document]:
    """One line a case, as many lines together as fit into a passage; a kind has to be in half of them."""
    lines = [_prose(case) for case in entry.iterfind("{*}Observed_Examples/{*}Observed_Example/{*}Description")]
    while lines:
        together: list[str] = []
        while lines and sum(map(len, together)) + len(lines[0]) < LONGEST_CHARACTERS // 2:
            together.append(lines.pop(0))
        together = together or [lines.pop(0)]
        named = Counter(kind for line in together for kind in kinds_of_weakness(line))
        yield _weakness("\n".join(together), frozenset(kind for kind, n in named.items() if 2 * n >= len(together)))


def weakness_code() -> Iterator[Document]:
    """Example code of the CWE: ``vulnerable-code`` or ``fixed-code``, its language, and the kind of weakness."""
    for entry in _entries():
        kinds = kinds_of_weakness(entry.get("Name", ""))
        for example in entry.iter():
            if not example.tag.endswith("}Example_Code"):
                continue
            language, nature = example.get("Language", "Other"), example.get("Nature")
            # Without a language it is as often prose as code.
            if language == "Other" or nature not in ("Bad", "Good"):
                continue
            labels = {"code", language.lower()}
            labels |= {"vulnerable-code", *kinds} if nature == "Bad" else {"fixed-code"}
            yield Document(first_passage(_code(example)), "cwe-code", frozenset(labels))


def advisories() -> Iterator[Document]:
    """Published vulnerabilities; incidents without an advisory are left out, for they are hardly more than a title."""
    records: list[dict[str, Any]] = read_json(_ADVISORIES, "genai_incidents/data/incidents.min.json")["incidents"]
    for record in records:
        if not record["cve_ids"] and not {"cve", "ghsa"} & set(record["tags"]):
            continue
        title = record["title"].removesuffix("...")
        description = " ".join(_MARKDOWN_HEADING.sub(" ", record["description"]).split())
        text = description if description.startswith(title[:40]) else f"{title}\n{description}"
        yield Document(first_passage(text), "advisory", _SECURITY | kinds_of_weakness(text))


def _entries() -> Iterator[Element]:
    catalogue = ElementTree.fromstring(read_text(_CWE, "cwe2/database_v49/cwec_v4.14.xml"))
    for entry in catalogue.iterfind("{*}Weaknesses/{*}Weakness"):
        if entry.get("Status") != "Deprecated":
            yield entry


def _prose(element: Element | None) -> str:
    return "" if element is None else " ".join(" ".join(element.itertext()).split())


def _code(element: Element) -> str:
    """Code out of XHTML: ``br`` and ``div`` begin a line, a ``div`` with a margin is indented.

    The line breaks of the XML file itself are layout and go.
    """
    lines = [""]

    def visit(node: Element, depth: int) -> None:
        indented = depth + ("margin-left" in node.get("style", ""))
        block = node.tag.endswith(("}div", "}p"))
        if block:
            lines.append("    " * indented)
        write(node.text)
        for child in node:
            if child.tag.endswith("}br"):
                lines.append("    " * indented)
            else:
                visit(child, indented)
            write(child.tail)
        if block:
            lines.append("    " * depth)

    def write(text: str | None) -> None:
        for number, part in enumerate((text or "").split("\n")):
            if stripped := part.strip() if number else part.rstrip():
                lines[-1] += stripped

    visit(element, 0)
    return "\n".join(line.rstrip() for line in lines if line.strip())
