"""Searching tokens and words: what a slow search over all texts says, with frequent parts or without."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from semascope.errors import DamagedError
from semascope.features import FeatureIndex
from semascope.features.build import IndexBuilder
from semascope.features.postings import Postings, PostingsWriter, frequent_parts
from semascope.records import Codes, TokenBatch

TEXTS = (" the", "The", " then", "other", " a", " an", "ana", " 東京", "->", "(a)", "a->b", "\n\n", " banana", "nan")


def built(path: Path) -> FeatureIndex:
    """Each of 40 features fires on a few tokens of a text of 200, to different degrees."""
    generator = torch.Generator().manual_seed(0)
    dense_NF = torch.rand(200, 40, generator=generator) * (torch.rand(200, 40, generator=generator) < 0.02)
    tokens_N = torch.randint(0, len(TEXTS), (200,), generator=generator)
    places = torch.arange(200)
    with IndexBuilder(path, n_features=40) as builder:
        builder.add_windows(TokenBatch(tokens_N[None], torch.zeros(1, 200, dtype=torch.long), 0))
        builder.add(Codes.from_dense(dense_NF), tokens_N, torch.zeros(200, dtype=torch.long), places)
        builder.finish(torch.eye(40), promoted=None, token_text=TEXTS.__getitem__, provenance={})
    return FeatureIndex.open(path)


def expected(index: FeatureIndex, words: list[str]) -> list[int]:
    """What a search for tokens finds, by reading all features."""

    def stands(word: str, text: str) -> bool:
        whole = len(word) < 3 and re.fullmatch("[a-z]+", word)
        return bool(re.search(rf"(?<!\w){word}(?!\w)", text.lower())) if whole else word in text.lower()

    weights = {}
    for feature in range(40):
        tokens = index.statistics(feature).top_tokens
        shares = [sum(one.weight for one in tokens if stands(word, one.text)) for word in words]
        if all(shares):
            weights[feature] = sum(shares)
    return sorted(weights, key=lambda feature: (-np.float32(weights[feature]), feature))


SEARCHES = (
    "the",
    "THE",
    "he",
    "th",
    "a",
    "an",
    "ana",
    "nan",
    "東",
    "東京",
    "->",
    "(",
    "the ana",
    "a ->",
    "zzz",
    "the zzz",
)


@pytest.mark.parametrize("most_rows", [1, 5, 100_000])
def test_tokens_are_found_as_by_reading_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_rows: int
) -> None:
    monkeypatch.setattr("semascope.features.format.MOST_ROWS_READ", most_rows)
    index = built(tmp_path / "features")
    parts = [text for token, text in _read(tmp_path / "features" / "tokens.parquet", "token", "text") if token is None]
    assert bool(parts) == (most_rows < 100)
    assert "a" not in parts
    assert not any(map(str.isspace, "".join(parts)))
    for search in SEARCHES:
        assert index.select(search=search, search_in="tokens").tolist() == expected(index, search.lower().split()), (
            search
        )
    assert index.select(search="the", search_in="tokens").tolist()
    assert set(index.token_texts.values()) <= set(TEXTS)


def test_frequent_parts_give_the_same_answers_as_all_words_of_a_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = built(tmp_path / "plain")
    monkeypatch.setattr("semascope.features.format.MOST_ROWS_READ", 1)
    index = built(tmp_path / "with parts")
    words = _read(tmp_path / "with parts" / "words.parquet", "word", "beginning")
    assert {"the", "ana", "ban", "bana"} <= {word for word, beginning in words if beginning}
    for search in ("the", "then", "the ", "ban", "bana", "ana", "a ban", "zzz", *SEARCHES):
        assert index.select(search=search).tolist() == plain.select(search=search).tolist(), search


def test_parts_are_frequent_by_the_rows_of_their_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semascope.features.format.MOST_ROWS_READ", 10)
    anywhere = frequent_parts(["aba", "ab", "c b"], [6, 5, 7], beginnings=False)
    assert {part: places.tolist() for part, places in anywhere.items()} == {
        "a": [0, 1], "b": [0, 1, 2], "ab": [0, 1],
    }  # fmt: skip
    beginning = frequent_parts(["aba", "ab", "c b"], [6, 5, 11], beginnings=True)
    assert {part: places.tolist() for part, places in beginning.items()} == {"a": [0, 1], "c": [2], "ab": [0, 1]}


def test_rows_come_back_by_term_and_too_few_are_damage(tmp_path: Path) -> None:
    path, row = tmp_path / "rows.bin", [("feature", "<i4"), ("weight", "<f4")]
    with PostingsWriter(path, row) as writer:
        writer.write({"feature": [0, 1, 2], "weight": [0.0, 0.5, 1.0]})
        writer.write({"feature": np.array([7]), "weight": np.array([2.0])})
    rows = Postings(path, row, np.array([2, 0, 1, 1]))
    assert rows.of(0, 2)["feature"].tolist() == [0, 1]
    assert rows.of_all(np.array([3, 1, 0]))["feature"].tolist() == [7, 0, 1]
    assert rows.of_all(np.array([], np.intp))["weight"].tolist() == []
    with pytest.raises(DamagedError, match=r"rows\.bin"):
        Postings(path, row, np.array([2, 0, 1, 2]))
    with pytest.raises(DamagedError, match=r"missing\.bin"):
        Postings(tmp_path / "missing.bin", row, np.array([1]))
    path.write_bytes(b"")
    assert Postings(path, row, np.array([0])).of(0, 1)["feature"].tolist() == []


def _read(path: Path, *columns: str) -> list[tuple[object, ...]]:
    table = pq.read_table(path)
    return list(zip(*(table.column(column).to_pylist() for column in columns), strict=True))
