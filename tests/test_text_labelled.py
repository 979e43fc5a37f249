"""Labelled texts: columns and files of two kinds, and what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from semascope.errors import DataError
from semascope.text import positive_label, read_labelled, read_two_sides


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_labels_are_texts_numbers_truth_values_or_lists_in_every_format(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": 1}, {"text": "c", "label": True}]
    rows += [{"text": "d", "label": ["x", "y"]}, {"text": "e", "label": None}, {"text": " ", "label": "z"}]
    found = read_labelled(jsonl(tmp_path / "a.jsonl", rows))
    assert [(d.text, set(d.labels)) for d in found] == [
        ("a", {"x"}), ("b", {"1"}), ("c", {"True"}), ("d", {"x", "y"}), ("e", set()),
    ]  # fmt: skip
    (tmp_path / "b.csv").write_text('body,kind\n"one, two",spam\nthree,\n')
    assert [(d.text, set(d.labels)) for d in read_labelled(
        tmp_path / "b.csv", text_column="body", label_column="kind"
    )] == [("one, two", {"spam"}), ("three", set())]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.table({"text": ["p"], "label": [0]}), tmp_path / "c.parquet")
    assert [set(d.labels) for d in read_labelled(tmp_path / "c.parquet")] == [{"0"}]


def test_the_same_text_twice_is_one_text(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}, {"text": "a ", "label": "y"}]
    assert [set(d.labels) for d in read_labelled(jsonl(tmp_path / "a.jsonl", rows))] == [{"x", "y"}, {"y"}]


def test_the_label_that_says_yes_is_the_positive_one(tmp_path: Path) -> None:
    documents = read_labelled(
        jsonl(tmp_path / "a.jsonl", [{"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": "c", "label": 0}])
    )
    assert positive_label(documents, None, "a") == "1"
    assert positive_label(documents, "0", "a") == "0"


@pytest.mark.parametrize(
    ("rows", "asked", "message"),
    [
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "y"}], None, "the labels 'x', 'y': say which"),
        ([{"text": "a", "label": "x"}], "z", "no text in here has the label 'z': it has 'x'"),
        ([{"text": "a", "label": "x"}, {"text": "b", "label": "x"}], "x", "all 2 texts in here have the label 'x'"),
        ([{"text": "a", "label": None}], "x", "it has none"),
    ],
)
def test_one_class_sets_and_unknown_labels_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], asked: str | None, message: str
) -> None:
    documents = read_labelled(jsonl(tmp_path / "a.jsonl", rows))
    with pytest.raises(DataError, match=message):
        positive_label(documents, asked, "here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}', "line 1 has no field 'label': it has text; choose the one that holds the label"),
        ('{"body": "a", "label": 1}', "line 1 has no field 'text': it has body, label"),
        ('{"text": 1, "label": 1}', "holds a number where text was expected"),
        ('{"text": "a", "label": {"b": 1}}', "the label is {'b': 1} where"),
        ("", "holds no text"),
    ],
)
def test_bad_columns_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        read_labelled(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        read_labelled(tmp_path / "missing.csv")


def test_two_files_and_what_is_in_both(tmp_path: Path) -> None:
    (tmp_path / "yes.txt").write_text("one\n\ntwo")
    (tmp_path / "no.txt").write_text("three")
    found = read_two_sides(str(tmp_path / "yes.txt"), str(tmp_path / "no.txt"))
    assert [(d.text, set(d.labels)) for d in found] == [("one", {"positive"}), ("two", {"positive"}), ("three", set())]
    (tmp_path / "no.txt").write_text("three\n\none")
    with pytest.raises(DataError, match=r"1 texts are in both .* for example 'one'"):
        read_two_sides(str(tmp_path / "yes.txt"), str(tmp_path / "no.txt"))
