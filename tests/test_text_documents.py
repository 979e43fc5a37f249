import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from semascope.errors import DataError, SemascopeError, UnavailableError
from semascope.records import Document
from semascope.text import documents as documents_module
from semascope.text import read_documents
from semascope.text.hub import HubName, parse_hub_name


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(source: str, **options: str) -> list[str]:
    return [document.text for document in read_documents(source, **options)]


def test_the_paragraphs_of_a_text_file_are_its_documents(tmp_path: Path) -> None:
    source = write(tmp_path / "a.txt", "\ufeffone\nstill one\n \n\n日本語\r\n\r\nthree\n\n")
    found = list(read_documents(source))
    assert [document.text for document in found] == ["one\nstill one", "日本語", "three"]
    assert {document.source for document in found} == {source}


def test_a_folder_is_read_recursively_one_document_a_text_file(tmp_path: Path) -> None:
    write(tmp_path / "b" / "two.md", "first\n\nsecond\n")
    write(tmp_path / "a.txt", "one\n\nmore")
    write(tmp_path / "c.jsonl", '{"text": "row 1"}\n{"text": "row 2"}\n')
    write(tmp_path / "picture.png", b"\x89PNG")
    write(tmp_path / ".hidden" / "secret.txt", "no")
    write(tmp_path / "empty.txt", " \n")
    assert read(str(tmp_path)) == ["one\n\nmore", "first\n\nsecond", "row 1", "row 2"]


def test_json_lines_with_another_field_and_labels(tmp_path: Path) -> None:
    rows = [{"body": "a", "labels": ["x", "y"]}, {"body": "b", "labels": None}, {"body": " "}, {"body": None}]
    source = write(tmp_path / "rows.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")
    assert list(read_documents(source, field="body")) == [
        Document("a", source, frozenset({"x", "y"})),
        Document("b", source),
    ]


def test_a_json_list(tmp_path: Path) -> None:
    assert read(write(tmp_path / "rows.json", '[{"text": "é"}, {"text": "b"}]')) == ["é", "b"]


def test_csv_with_labels(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.csv", 'text,labels\n"a, b\nc","x, y"\nd,\n')
    assert list(read_documents(source)) == [Document("a, b\nc", source, frozenset({"x", "y"})), Document("d", source)]


def test_parquet_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"text": ["a", None, "c"], "other": [1, 2, 3], "labels": [["x"], [], None]})
    pyarrow.parquet.write_table(table, path)
    assert list(read_documents(str(path))) == [Document("a", str(path), frozenset({"x"})), Document("c", str(path))]


def test_the_name_sample_is_the_embedded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents_module, "read_sample", lambda: iter([Document("embedded", "sample")]))
    assert read("sample") == ["embedded"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "ok"}\n{"body": 1, "title": 2}\n', r"line 2 has no field 'text': it has body, title"),
        ("a.jsonl", '{"text": "ok"}\n{"text"\n', r"line 2 is not JSON"),
        ("a.jsonl", '["a"]\n', r"line 1 is a JSON list where an object"),
        ("a.jsonl", '{"text": 3}\n', r"line 1: the field 'text' holds a number where text was expected"),
        ("a.jsonl", '{"text": "a", "labels": "x"}\n', r"line 1: 'labels' is 'x' where a list of strings"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl is not UTF-8 text .*byte 10"),
        ("a.json", '{"text": "a"}', r"a JSON object where a list of rows was expected"),
        ("a.json", "[1]", r"row 0 is a JSON number"),
        ("a.txt", b"abc\xff", r"a\.txt is not UTF-8 text .*byte 3"),
        ("a.txt", " \n\n ", r"holds no text"),
        ("a.jsonl", "", r"holds no text"),
        ("a.parquet", b"PAR1 no", r"is no readable Parquet file"),
        ("a.csv", "text,label\na,b,c\n", r"line 2 has another number of cells than the heading's 2"),
        ("a.csv", "body\na\n", r"line 2 has no field 'text': it has body"),
        ("a.csv", 'text\n"a\n', r"is not CSV"),
        ("a.xml", "<a/>", r"unknown suffix '\.xml': expected one of \.txt, \.md, \.jsonl, \.json, \.csv, \.parquet"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    source = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as raised:
        read(source)
    assert source in str(raised.value)


def test_parquet_without_the_field_names_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["a"], "title": ["b"]}), path)
    with pytest.raises(DataError, match="no field 'text': it has body, title"):
        read(str(path))


@pytest.mark.parametrize("source", ["missing.txt", "folder/missing.parquet", "nothing", "/no/such/folder", "samples"])
def test_a_source_that_is_not_there_is_named(source: str) -> None:
    with pytest.raises(DataError, match=rf"'{source}' does not exist"):
        read(source)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no text"):
        read(str(tmp_path))


def test_names_of_hub_datasets() -> None:
    assert parse_hub_name("owner/name") == HubName("owner/name", None, "train")
    assert parse_hub_name("owner/na.me-2:test") == HubName("owner/na.me-2", None, "test")
    assert parse_hub_name("owner/name/20231101.en:validation") == HubName("owner/name", "20231101.en", "validation")
    assert [parse_hub_name(text) for text in ("name", "/owner/name", "a/b/c/d", "a b/c", "owner/")] == [None] * 5


class FakeDatasets:
    """Stands in for the datasets library: serves rows, or raises."""

    def __init__(self, outcome: list[dict[str, object]] | Exception) -> None:
        self.outcome = outcome
        self.asked: tuple[object, ...] = ()
        self.seed: int | None = None

    def load_dataset(self, *name: str | None, split: str, streaming: bool) -> "FakeDatasets":
        self.asked = (*name, split, streaming)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self

    def shuffle(self, *, seed: int, buffer_size: int) -> "FakeDatasets":
        self.seed = seed
        return self

    def __iter__(self) -> Iterator[dict[str, object]]:
        assert isinstance(self.outcome, list)
        return iter(self.outcome)


class NotFoundError(FileNotFoundError):
    pass


def serve(monkeypatch: pytest.MonkeyPatch, outcome: list[dict[str, object]] | Exception) -> FakeDatasets:
    fake = FakeDatasets(outcome)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    monkeypatch.setitem(sys.modules, "datasets.exceptions", SimpleNamespace(DatasetNotFoundError=NotFoundError))
    return fake


def test_a_hub_dataset_is_streamed_and_its_shards_shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = serve(monkeypatch, [{"text": "a", "labels": ["x"]}, {"text": "b"}])
    found = list(read_documents("owner/name/part:test", shuffle_seed=5))
    assert found == [Document("a", "owner/name/part:test", frozenset({"x"})), Document("b", "owner/name/part:test")]
    assert fake.asked == ("owner/name", "part", "test", True)
    assert fake.seed == 5


@pytest.mark.parametrize(
    ("outcome", "error", "message"),
    [
        (ConnectionError("no route"), UnavailableError, r"'owner/name:train' cannot be reached \(no route\)"),
        (NotFoundError("?"), DataError, "neither a file or folder here nor a dataset"),
        (ValueError("Bad split: train"), DataError, "'owner/name:train' cannot be read: Bad split"),
        ([{"body": "a"}], DataError, "no field 'text': it has body"),
        ([], DataError, "holds no text"),
    ],
)
def test_hub_datasets_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
    outcome: list[dict[str, object]] | Exception,
    error: type[SemascopeError],
    message: str,
) -> None:
    serve(monkeypatch, outcome)
    with pytest.raises(error, match=message):
        read("owner/name")
