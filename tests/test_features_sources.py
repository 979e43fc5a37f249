"""Where in the corpus a feature fires, and the document around a context."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch

from semascope.errors import DataError, InputError
from semascope.features import FeatureIndex, format
from semascope.features.build import IndexBuilder
from semascope.records import Codes, TokenBatch

# Documents 0 and 2 are news, 1 is law; a window begins with a token of no document.
DOCUMENTS_WT = torch.tensor([[-1, 0, 0, 0], [-1, 0, 1, 1], [-1, 1, 1, 1], [-1, 1, 2, 2]])
TOKENS_WT = torch.arange(16).reshape(4, 4) + 100
SOURCES = ("news", "law", "news")


def build(path: Path, sources: tuple[str, ...] | None = SOURCES) -> FeatureIndex:
    """Feature 0 fires on the law alone, 1 on everything, 2 on news three times as strongly as on law, 3 nowhere."""
    dense_WTF = torch.zeros(4, 4, 4)
    law_WT = DOCUMENTS_WT == 1
    dense_WTF[..., 0] = law_WT * torch.arange(1, 17).reshape(4, 4)
    dense_WTF[..., 1] = 1
    dense_WTF[..., 2] = torch.where(law_WT, 1.0, 3.0) * (DOCUMENTS_WT >= 0)
    windows_N, positions_N = torch.arange(4).repeat_interleave(4) + 7, torch.arange(4).repeat(4)
    with IndexBuilder(path, n_features=4) as builder:
        builder.add_windows(TokenBatch(TOKENS_WT, DOCUMENTS_WT, 7))
        builder.add(Codes.from_dense(dense_WTF.reshape(16, 4)), TOKENS_WT.flatten(), windows_N, positions_N)
        builder.finish(torch.eye(4), promoted=None, token_text=str, sources=sources, provenance={})
    return FeatureIndex.open(path)


def test_a_feature_is_distributed_over_the_sources(tmp_path: Path) -> None:
    index = build(tmp_path / "features")
    law, news = index.sources(0)
    assert (law.source, law.n_tokens, law.n_active, law.share) == ("law", 6, 6, 1)
    assert law.lift == pytest.approx(12 / 6)
    assert (news.source, news.n_tokens, news.n_active, news.share, news.lift) == ("news", 6, 0, 0, 0)
    assert [(one.n_active, one.share, one.lift) for one in index.sources(1)] == [(6, 0.5, 1), (6, 0.5, 1)]
    assert [(one.source, one.share, one.lift) for one in index.sources(2)] == [("news", 0.75, 1.5), ("law", 0.25, 0.5)]
    assert [one.share for one in index.sources(3)] == [0, 0]


def test_small_sources_count_together_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format, "MOST_SOURCES", 2)
    index = build(tmp_path / "features", ("a", "b", "c"))
    # b has 6 tokens, a 4 and c 2.
    assert {one.source: (one.n_tokens, one.n_active) for one in index.sources(1)} == {
        "b": (6, 6),
        "other sources": (6, 6),
    }


def test_without_sources_the_text_is_one(tmp_path: Path) -> None:
    (only,) = build(tmp_path / "features", None).sources(0)
    assert (only.source, only.n_tokens, only.share) == ("text", 12, 1)


def test_fewer_sources_than_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 documents were given for a text of 3"):
        build(tmp_path / "features", ("news", "law"))


def test_a_document_is_put_together_from_its_windows(tmp_path: Path) -> None:
    index = build(tmp_path / "features")
    (example,) = index.top(0, 1)
    law = index.document(example.document, feature=0, around=example.window)
    assert (law.source, law.n_tokens, law.begins, law.ends) == ("law", 6, True, True)
    assert [(one.window, one.start, one.tokens) for one in law.passages] == [
        (8, 2, (106, 107)),
        (9, 1, (109, 110, 111)),
        (10, 1, (113,)),
    ]
    assert [one.values for one in law.passages] == [(7, 8), (10, 11, 12), (14,)]
    assert [one.values for one in index.document(1, feature=3).passages] == [(0, 0), (0, 0, 0), (0,)]
    assert [one.values for one in index.document(1).passages] == [(), (), ()]


def test_a_long_document_is_shown_around_a_window(tmp_path: Path) -> None:
    index = build(tmp_path / "features")
    for around, windows, begins, ends in (
        (8, [8, 9], True, False),
        (9, [8, 9], True, False),
        (10, [9, 10], False, True),
    ):
        shown = index.document(1, around=around, most_windows=2)
        assert [one.window for one in shown.passages] == windows
        assert (shown.begins, shown.ends) == (begins, ends)
    for document, arguments in ((3, {}), (-1, {}), (1, {"around": 7}), (1, {"most_windows": 0})):
        with pytest.raises(InputError, match="document"):
            index.document(document, **arguments)


def test_only_as_many_sources_are_read_as_there_are_documents(tmp_path: Path) -> None:
    read: list[int] = []

    def endless() -> Iterator[str]:
        for number in count():
            read.append(number)
            yield f"source {number}"

    with IndexBuilder(tmp_path / "features", n_features=1) as builder:
        builder.add_windows(TokenBatch(TOKENS_WT, DOCUMENTS_WT, 0))
        builder.add(Codes.from_dense(torch.ones(1, 1)), torch.tensor([101]), torch.tensor([0]), torch.tensor([1]))
        builder.finish(torch.eye(1), promoted=None, token_text=str, sources=endless(), provenance={})
    assert read == [0, 1, 2]
