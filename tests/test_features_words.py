"""Searching the texts that fire a feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from semascope.features import FeatureIndex
from semascope.features.build import IndexBuilder
from semascope.features.words import words_of
from semascope.records import Codes, TokenBatch

TEXTS = (
    "We walked over the Golden Gate Bridge at dawn",
    "A golden ring lay behind the garden gate again",
    "The bridge over the river Kwai fell at dawn",
    "She plays bridge with golden cards in the evening",
)
WORDS = sorted({f" {word}" for text in TEXTS for word in text.split()})


def build(
    path: Path,
    fires: dict[int, dict[tuple[int, str], float]],
    texts: Sequence[str] = TEXTS,
    *,
    tokens: Sequence[str] = WORDS,
    split: Callable[[str], list[str]] = lambda text: [f" {word}" for word in text.split()],
    documents_per_text: bool = True,
    decode: Callable[[Sequence[int]], str] | None = None,
) -> FeatureIndex:
    """One window a text; ``fires`` gives each feature's value at words of texts."""
    rows = [[tokens.index(token) for token in split(text)] for text in texts]
    tokens_BT = torch.tensor(rows)
    numbers = torch.arange(len(rows)) if documents_per_text else torch.zeros(len(rows), dtype=torch.long)
    dense_BTF = torch.zeros(*tokens_BT.shape, max(fires) + 1)
    for feature, values in fires.items():
        for (text, word), value in values.items():
            dense_BTF[text, rows[text].index(tokens.index(word)), feature] = value
    n_windows, length = tokens_BT.shape
    with IndexBuilder(path, n_features=dense_BTF.shape[2]) as builder:
        builder.add_windows(TokenBatch(tokens_BT, numbers[:, None].expand_as(tokens_BT), 0))
        builder.add(
            Codes.from_dense(dense_BTF.flatten(0, 1)),
            tokens_BT.flatten(),
            torch.arange(n_windows).repeat_interleave(length),
            torch.arange(length).repeat(n_windows),
        )
        builder.finish(
            torch.eye(dense_BTF.shape[2]), promoted=None, token_text=tokens.__getitem__, decode=decode, provenance={}
        )
    return FeatureIndex.open(path)


@pytest.fixture(params=[None, 1], ids=["", "with-frequent-parts"])
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FeatureIndex:
    """Feature 0 fires on the Golden Gate, 1 on bridges, 2 on dawn, 3 on evening."""
    if request.param is not None:
        monkeypatch.setattr("semascope.features.format.MOST_ROWS_READ", request.param)
    return build(
        tmp_path / "features",
        {
            0: {(0, " Gate"): 2.0},
            1: {(0, " Bridge"): 1.0, (2, " bridge"): 3.0, (3, " bridge"): 2.0},
            2: {(0, " dawn"): 1.0, (2, " dawn"): 1.0},
            3: {(3, " evening"): 1.0},
        },
    )


def found(index: FeatureIndex, search: str) -> list[int]:
    return index.select(search=search, search_in="texts").tolist()


def test_words_near_the_peak_of_more_contexts_count_more(index: FeatureIndex) -> None:
    # golden: beside the peak of 0; twice in three contexts of 1, at two and three words; one of two of 2; far in 3.
    assert found(index, "golden") == [0, 1, 3, 2]
    assert found(index, "KWAI") == [2, 1]
    assert found(index, "dawn")[0] == 2
    assert found(index, "Bridge")[0] == 1


def test_all_words_stand_in_one_context(index: FeatureIndex) -> None:
    assert found(index, "golden gate") == [0, 1, 2]
    assert found(index, "golden evening ") == [3, 1]
    assert found(index, "golden kwai") == []  # both are in contexts of 1 and 2, never in the same
    assert found(index, "'Golden Gate!' bridge") == [0, 1, 2]


def test_the_last_word_may_have_just_begun(index: FeatureIndex) -> None:
    assert found(index, "gol") == found(index, "golden")
    assert found(index, "golden eve") == found(index, "golden evening")
    assert found(index, "gol ") == found(index, "gol gate") == []
    assert found(index, "go") == []  # too short a beginning
    assert found(index, "at") == found(index, "at ") != []  # but a word
    assert found(index, "zzz") == found(index, "...") == []


def test_a_search_joins_tokens_and_texts(index: FeatureIndex) -> None:
    assert index.select(search="evening", search_in="tokens").tolist() == [3]
    assert index.select(search="evening").tolist() == [3, 1]
    assert index.select(search="evening", sort="-maximum").tolist() == [1, 3]
    assert [one.feature for one in index.list(search="kwai")] == [2, 1]


def test_other_documents_of_a_window_are_no_context(tmp_path: Path) -> None:
    tokens_BT = torch.tensor([[0, 1, 2, 3]])
    with IndexBuilder(tmp_path / "features", n_features=1) as builder:
        builder.add_windows(TokenBatch(tokens_BT, torch.tensor([[0, 1, 1, 2]]), 0))
        builder.add(Codes.from_dense(torch.ones(1, 1)), torch.tensor([1]), torch.tensor([0]), torch.tensor([1]))
        words = (" before", " here", " there", " after")
        builder.finish(torch.eye(1), promoted=None, token_text=words.__getitem__, provenance={})
    index = FeatureIndex.open(tmp_path / "features")
    assert [found(index, word) for word in ("before", "here", "there", "after")] == [[], [0], [0], []]


def test_words_of_several_tokens_and_of_parts_of_characters_are_whole(tmp_path: Path) -> None:
    pieces = ("un", "believ", "able", " caf", "\ufffd", "\ufffd")

    def decode(tokens: Sequence[int]) -> str:
        return "".join(pieces[token] for token in tokens).replace("\ufffd\ufffd", "é")

    tokens_BT = torch.arange(6)[None]
    with IndexBuilder(tmp_path / "features", n_features=1) as builder:
        builder.add_windows(TokenBatch(tokens_BT, torch.zeros_like(tokens_BT), 0))
        builder.add(Codes.from_dense(torch.ones(1, 1)), torch.tensor([2]), torch.tensor([0]), torch.tensor([2]))
        builder.finish(torch.eye(1), promoted=None, token_text=pieces.__getitem__, decode=decode, provenance={})
    index = FeatureIndex.open(tmp_path / "features")
    assert found(index, "unbelievable café") == [0]
    assert found(index, "able ") == found(index, "caf ") == []


def test_words_are_compared_without_case_and_signs() -> None:
    assert words_of("It's “Über-cool”, 3.14 snake_case!") == ["it", "s", "über", "cool", "3", "14", "snake", "case"]
    assert words_of("東京タワー is tall") == ["東", "京", "タ", "ワ", "ー", "is", "tall"]
    assert words_of("x" * 100) == ["x" * 40]
