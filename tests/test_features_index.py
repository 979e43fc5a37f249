"""The feature index: what comes out is what NumPy says of the dense activations that went in."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.errors import (
    ArtifactError,
    DamagedError,
    DataError,
    FormatError,
    InputError,
    MismatchError,
    NumericalError,
    SemascopeError,
)
from semascope.features import format
from semascope.features.build import IndexBuilder
from semascope.features.examples import Context
from semascope.features.index import FeatureIndex
from semascope.records import Codes, TokenBatch

WORDS = ("<s>", " the", " Paris", "paris", " London", " gate", " golden", " of", " bridge", " PARISIAN")


def text(token: int) -> str:
    return WORDS[token] if token < len(WORDS) else f" t{token}"


def add_dense(
    builder: IndexBuilder, dense_WTF: Tensor, tokens_WT: Tensor, documents_WT: Tensor, first_window: int = 0
) -> None:
    """Add a corpus of W windows with its dense activations, in batches of two windows, last rows first."""
    n_windows, length, n_features = dense_WTF.shape
    for start in range(0, n_windows, 2):
        chunk = slice(start, start + 2)
        builder.add_windows(TokenBatch(tokens_WT[chunk], documents_WT[chunk], first_window + start))
        windows_N = torch.arange(start, min(start + 2, n_windows)).repeat_interleave(length) + first_window
        order = torch.arange(len(windows_N)).flip(0)
        builder.add(
            Codes.from_dense(dense_WTF[chunk].reshape(-1, n_features)[order]),
            tokens_WT[chunk].flatten()[order],
            windows_N[order],
            torch.arange(length).repeat(len(windows_N) // length)[order],
        )


def build(
    path: Path,
    dense_WTF: Tensor,
    tokens_WT: Tensor,
    documents_WT: Tensor | None = None,
    *,
    W_dec_FD: Tensor | None = None,
    promoted: Callable[[Tensor], Tensor] | None = None,
    first_window: int = 0,
) -> FeatureIndex:
    n_features = dense_WTF.shape[2]
    if documents_WT is None:
        documents_WT = torch.zeros_like(tokens_WT)
    if W_dec_FD is None:
        W_dec_FD = torch.eye(n_features)
    with IndexBuilder(path, n_features=n_features) as builder:
        add_dense(builder, dense_WTF, tokens_WT, documents_WT, first_window)
        builder.finish(W_dec_FD, promoted=promoted, token_text=text, provenance={"model": "hand-made"})
    return FeatureIndex.open(path)


def random_corpus(
    seed: int, n_windows: int = 30, length: int = 16, n_features: int = 12
) -> tuple[Tensor, Tensor, Tensor]:
    """Sparse activations of very different densities (feature 5 dead), tokens, and documents of 1 to 9 tokens."""
    generator = torch.Generator().manual_seed(seed)
    density_F = torch.logspace(-2.5, -0.1, n_features)
    active_WTF = torch.rand(n_windows, length, n_features, generator=generator) < density_F
    dense_WTF = torch.empty(n_windows, length, n_features).exponential_(generator=generator) * active_WTF
    dense_WTF[..., 5] = 0
    tokens_WT = torch.randint(0, 40, (n_windows, length), generator=generator)
    starts_N = torch.rand(n_windows * length, generator=generator) < 0.25
    documents_WT = starts_N.cumsum(0).reshape(n_windows, length)
    return dense_WTF, tokens_WT, documents_WT


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts and many row groups even for a small index."""
    monkeypatch.setattr(format, "ACTIVATIONS_PER_PART", 700)
    monkeypatch.setattr(format, "FEATURES_PER_ROW_GROUP", 2)
    monkeypatch.setattr(format, "TOKENS_PER_ROW_GROUP", 48)


def same(found: object, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found, np.float64), np.asarray(expected, np.float64), rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_statistics_are_those_of_the_dense_activations(tmp_path: Path, seed: int) -> None:
    dense_WTF, tokens_WT, documents_WT = random_corpus(seed)
    index = build(tmp_path / "features", dense_WTF, tokens_WT, documents_WT)
    assert len(list((tmp_path / "features/activations").iterdir())) > 1
    assert index.n_tokens == tokens_WT.numel()
    assert index.n_activations == int((dense_WTF > 0).sum())
    flat_NF = dense_WTF.reshape(-1, dense_WTF.shape[2]).numpy()
    tokens_N = tokens_WT.flatten().numpy()
    for feature in range(index.n_features):
        found = index.statistics(feature)
        values: NDArray[np.float32] = flat_NF[:, feature]
        active = values[values > 0]
        assert (found.feature, found.n_active) == (feature, len(active))
        same(found.density, len(active) / len(values))
        if not len(active):
            assert (found.maximum, found.mean, found.top_tokens) == (0, 0, ())
            assert (sum(found.histogram), sum(found.quantiles)) == (0, 0)
            continue
        same([found.maximum, found.mean], [active.max(), active.mean()])
        same(found.quantiles, np.quantile(active.astype(np.float64), format.QUANTILES))
        same(found.histogram, np.histogram(active.astype(np.float64), bins=20, range=(0, active.max()))[0])
        masses = np.bincount(tokens_N, weights=values, minlength=40) / active.sum(dtype=np.float64)
        expected = sorted(((-mass, token) for token, mass in enumerate(masses) if mass > 0))[:10]
        assert [one.token for one in found.top_tokens] == [token for _, token in expected]
        same([one.weight for one in found.top_tokens], [-mass for mass, _ in expected])


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("seed", [3, 4])
def test_examples_are_the_windows_with_the_highest_peaks(tmp_path: Path, seed: int) -> None:
    dense_WTF, tokens_WT, documents_WT = random_corpus(seed)
    index = build(tmp_path / "features", dense_WTF, tokens_WT, documents_WT, first_window=100)
    context = Context(before=4, after=3)
    for feature in range(index.n_features):
        dense_WT = dense_WTF[..., feature]
        peaks = dense_WT.amax(1)
        n_firing = int((peaks > 0).sum())
        page = index.page(feature, n_top=8, n_intervals=4, per_interval=100, context=context)
        assert list(page.top) == index.top(feature, 8, context=context)
        assert list(page.intervals) == index.intervals(feature, 4, 100, context=context)
        same([one.value for one in page.top], peaks.sort(descending=True).values[: min(8, n_firing)])
        sampled = [one for interval in page.intervals for one in interval.examples]
        assert sorted(one.window - 100 for one in sampled) == peaks.nonzero().flatten().tolist()
        for interval in page.intervals:
            assert interval.n_windows == len(interval.examples)
            assert all(interval.low <= one.value <= interval.high for one in interval.examples)
        for one in (*page.top, *sampled):
            window, position = one.window - 100, one.position
            assert dense_WT[window, position] == peaks[window] == pytest.approx(one.value)
            shown = [
                at
                for at in range(max(0, position - 4), min(16, position + 4))
                if documents_WT[window, at] == documents_WT[window, position]
            ]
            assert (one.start, one.document) == (shown[0], documents_WT[window, position])
            assert list(one.tokens) == tokens_WT[window, shown].tolist()
            same(one.values, dense_WT[window, shown])


def test_a_sample_by_interval_is_bounded_spread_and_repeatable(tmp_path: Path) -> None:
    dense_WTF = torch.linspace(0.01, 1, 200).reshape(200, 1, 1)
    index = build(tmp_path / "features", dense_WTF, torch.arange(200).reshape(200, 1))
    intervals = index.intervals(0, 5, 4)
    assert [interval.n_windows for interval in intervals] == [39, 40, 40, 40, 41]
    assert all(len(interval.examples) == 4 for interval in intervals)
    assert intervals == index.intervals(0, 5, 4)
    assert max(one.window for one in intervals[0].examples) - min(one.window for one in intervals[0].examples) > 5
    same([intervals[0].low, intervals[0].high, intervals[4].high], [0, 0.2, 1])


def test_contexts_stop_at_the_borders_of_the_document_of_the_peak(tmp_path: Path) -> None:
    tokens_WT = torch.tensor([[0, 1, 2, 3, 0, 4, 5, 6]])
    documents_WT = torch.tensor([[-1, 7, 7, 7, -1, 8, 8, 9]])
    dense_WTF = torch.zeros(1, 8, 3)
    dense_WTF[0, :, 0] = torch.tensor([0.0, 0, 1, 2, 9, 0, 0, 0]) / 10
    dense_WTF[0, 3, 1], dense_WTF[0, 2, 1] = 5, 1
    dense_WTF[0, 6, 2] = 3
    index = build(tmp_path / "features", dense_WTF, tokens_WT, documents_WT)
    (on_border,) = index.top(0)
    assert (on_border.tokens, on_border.document, on_border.start) == ((0,), -1, 4)
    (first,) = index.top(1)
    assert (first.tokens, first.values, first.position, first.document) == ((1, 2, 3), (0, 1, 5), 3, 7)
    (second,) = index.top(2)
    assert (second.tokens, second.values, second.start) == ((4, 5), (0, 3), 5)
    (narrow,) = index.top(1, context=Context(before=1, after=0))
    assert narrow.tokens == (2, 3)


def test_near_duplicates_are_folded_with_their_number(tmp_path: Path) -> None:
    alike = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    other = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14]
    # The first and last token, further than five from the peak, differ in every window and do not matter.
    tokens_WT = torch.tensor([[100 + i, *(other if i % 10 == 9 else alike), 900 + i] for i in range(250)])
    dense_WTF = torch.zeros(250, 13, 1)
    dense_WTF[:, 6, 0] = torch.linspace(1, 2, 250)
    index = build(tmp_path / "features", dense_WTF, tokens_WT)
    strongest = index.top(0, 2)
    assert [(one.window, one.count) for one in strongest] == [(249, 10), (248, 90)]
    assert strongest[0].tokens == (349, *other, 1149)
    assert [(one.window, one.count) for one in index.top(0, 3)] == [(249, 25), (248, 225)]


def test_neighbours_and_promoted_tokens_are_those_of_the_dense_products(tmp_path: Path) -> None:
    dense_WTF, tokens_WT, documents_WT = random_corpus(5, n_windows=4, n_features=30)
    generator = torch.Generator().manual_seed(0)
    W_dec_FD = torch.randn(30, 8, generator=generator) * torch.rand(30, 1, generator=generator)
    unembed_DV = torch.randn(8, 50, generator=generator)
    index = build(
        tmp_path / "features",
        dense_WTF,
        tokens_WT,
        documents_WT,
        W_dec_FD=W_dec_FD,
        promoted=lambda directions_nD: directions_nD @ unembed_DV,
    )
    cosine_FF = torch.nn.functional.cosine_similarity(W_dec_FD[:, None], W_dec_FD[None], dim=2)
    logits_FV = W_dec_FD @ unembed_DV
    for feature in range(30):
        found = index.statistics(feature)
        nearest = [other for other in cosine_FF[feature].argsort(descending=True).tolist() if other != feature][:10]
        assert [one.feature for one in found.neighbours] == nearest
        same([one.cosine for one in found.neighbours], cosine_FF[feature, nearest])
        ranked = logits_FV[feature].argsort(descending=True).tolist()
        assert [one.token for one in found.promoted] == ranked[:10]
        assert [one.token for one in found.suppressed] == ranked[::-1][:10]
        same([one.weight for one in found.promoted], logits_FV[feature, ranked[:10]])
        assert [one.text for one in found.promoted] == [text(token) for token in ranked[:10]]


def test_outside_the_residual_stream_nothing_is_promoted(tmp_path: Path) -> None:
    index = build(tmp_path / "features", torch.ones(1, 2, 1), torch.tensor([[1, 2]]))
    found = index.statistics(0)
    assert (found.promoted, found.suppressed, found.neighbours) == ((), (), ())


@pytest.fixture(params=[None, 1], ids=["", "with-frequent-parts"])
def searchable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> FeatureIndex:
    """Feature 0 fires on " Paris" a little, 1 on it alone, 2 promotes it, 3 fires on golden gate, 4 is dead."""
    if request.param is not None:
        monkeypatch.setattr("semascope.features.format.MOST_ROWS_READ", request.param)
    tokens_WT = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    dense_WTF = torch.zeros(1, 8, 5)
    dense_WTF[0, [1, 3, 4], 0] = torch.tensor([1.0, 2.0, 3.0])
    dense_WTF[0, 1, 1] = 4
    dense_WTF[0, 6, 2] = 5
    dense_WTF[0, [4, 5], 3] = torch.tensor([0.5, 0.25])
    unembed_DV = torch.zeros(5, 30)
    unembed_DV[2, 2] = 7.0
    unembed_DV[:, 10:22] = 1.0  # other tokens fill the places of the features that promote nothing
    return build(tmp_path / "features", dense_WTF, tokens_WT, promoted=lambda directions_nD: directions_nD @ unembed_DV)


def test_a_search_finds_what_fires_on_a_word_and_what_promotes_it(searchable: FeatureIndex) -> None:
    def found(**arguments: Any) -> list[int]:
        return searchable.select(search_in="tokens", **arguments).tolist()

    assert found(search="paris") == [1, 0, 2]
    assert found(search="PARIS", sort="id") == [0, 1, 2]
    assert found(search="golden gate") == found(search="gate golden") == [3]
    assert found(search="gate") == [3, 0]
    assert found(search="%") == found(search="berlin") == []
    assert found(search=" ") == found()


def test_features_are_listed_in_the_order_asked_for(searchable: FeatureIndex) -> None:
    def found(**arguments: Any) -> list[int]:
        return [one.feature for one in searchable.list(**arguments)]

    assert found() == [0, 1, 2, 3]
    assert found(alive=False) == [4]
    assert found(alive=None, sort="-id") == [4, 3, 2, 1, 0]
    assert found(sort="-maximum") == [2, 1, 0, 3]
    assert found(sort="density") == [1, 2, 3, 0]
    assert found(sort="mean", limit=2, offset=1) == [0, 1]
    same(searchable.densities(), [3 / 8, 1 / 8, 1 / 8, 2 / 8, 0])
    assert searchable.list()[1] == searchable.statistics(1)
    with pytest.raises(InputError, match=r"'colour'.*-density"):
        searchable.list(sort="colour")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="limit is -1"):
        searchable.list(limit=-1)


def test_an_unknown_feature_is_refused_with_the_valid_range(searchable: FeatureIndex) -> None:
    for feature in (5, -1):
        with pytest.raises(InputError, match="0 to 4"):
            searchable.page(feature)


def test_a_dead_feature_has_a_page(searchable: FeatureIndex) -> None:
    page = searchable.page(4)
    assert (page.top, page.intervals, page.statistics.n_active) == ((), (), 0)


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    index = build(tmp_path / "features", *random_corpus(6))
    expected = [index.page(feature) for feature in range(index.n_features)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(index.page, list(range(index.n_features)) * 3)) == expected * 3


def test_a_description_of_the_index_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "it's [a] folder*"
    (tmp_path / "it's a folder").mkdir()
    with build(path, *random_corpus(7)) as index:
        assert index.provenance == {"model": "hand-made"}
        assert (index.n_features, index.n_alive, index.n_windows) == (12, 11, 30)
        assert index.top(11)
    assert sorted(file.name for file in path.iterdir()) == [
        "activations",
        "by_source.parquet",
        "by_token.bin",
        "by_word.bin",
        "documents.parquet",
        "index.json",
        "sources.parquet",
        "statistics.parquet",
        "together.parquet",
        "tokens.parquet",
        "windows.parquet",
        "words.parquet",
    ]


def test_entries_at_zero_are_not_activations(tmp_path: Path) -> None:
    with IndexBuilder(tmp_path / "features", n_features=2) as builder:
        builder.add_windows(TokenBatch(torch.tensor([[1, 2]]), torch.zeros(1, 2, dtype=torch.long), 0))
        codes = Codes(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 0, 1]), torch.tensor([1.0, 0.0, 0.5, 0.0]), 2)
        builder.add(codes, torch.tensor([1, 2]), torch.tensor([0, 0]), torch.tensor([0, 1]))
        builder.finish(torch.eye(2), promoted=None, token_text=text, provenance={})
    index = FeatureIndex.open(tmp_path / "features")
    assert [index.statistics(feature).n_active for feature in (0, 1)] == [2, 0]


@pytest.mark.parametrize("earlier", [False, True])
def test_an_error_leaves_what_was_there(tmp_path: Path, earlier: bool) -> None:
    path = tmp_path / "features"
    if earlier:
        build(path, *random_corpus(8)).close()
    before = {file.name: file.stat().st_mtime_ns for file in path.rglob("*")}

    def interrupted() -> None:
        with IndexBuilder(path, n_features=12) as builder:
            add_dense(builder, *random_corpus(9))
            raise KeyboardInterrupt

    def unfinished() -> None:
        with IndexBuilder(path, n_features=12) as builder:
            add_dense(builder, *random_corpus(9))

    def failing_at_the_end() -> None:
        with IndexBuilder(path, n_features=12) as builder:
            add_dense(builder, *random_corpus(9))
            builder.finish(torch.full((12, 3), torch.nan), promoted=None, token_text=text, provenance={})

    for block, error in (
        (interrupted, KeyboardInterrupt),
        (unfinished, InputError),
        (failing_at_the_end, NumericalError),
    ):
        with pytest.raises(error):
            block()
        assert {file.name: file.stat().st_mtime_ns for file in path.rglob("*")} == before
        assert [entry.name for entry in tmp_path.iterdir()] == (["features"] if earlier else [])


def test_a_new_index_replaces_the_earlier_one(tmp_path: Path) -> None:
    build(tmp_path / "features", *random_corpus(10)).close()
    assert build(tmp_path / "features", torch.ones(1, 2, 3), torch.tensor([[1, 2]])).n_features == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["features"]


def test_input_that_makes_no_index_is_refused(tmp_path: Path) -> None:
    batch = TokenBatch(torch.tensor([[1, 2]]), torch.zeros(1, 2, dtype=torch.long), 4)
    places = (torch.tensor([1, 2]), torch.tensor([4, 4]), torch.tensor([0, 1]))
    ones = Codes.from_dense(torch.ones(2, 3))

    def finish(builder: IndexBuilder, n_features: int = 3) -> None:
        builder.finish(torch.eye(n_features), promoted=None, token_text=text, provenance={})

    def steps(*done: Callable[[IndexBuilder], object]) -> None:
        with IndexBuilder(tmp_path / "features", n_features=3) as builder:
            for step in done:
                step(builder)

    cases: list[tuple[type[SemascopeError], str, list[Callable[[IndexBuilder], object]]]] = [
        (NumericalError, "no feature was active", [lambda b: b.add_windows(batch), finish]),
        (NumericalError, "negative", [lambda b: b.add(replace(ones, values=-ones.values), *places)]),
        (NumericalError, "undefined", [lambda b: b.add(replace(ones, values=ones.values * torch.nan), *places)]),
        (MismatchError, "3", [lambda b: b.add(Codes.from_dense(torch.ones(2, 4)), *places)]),
        (InputError, "2 tokens, 1 windows", [lambda b: b.add(ones, places[0], places[1][:1], places[2])]),
        (DataError, "window 4 came after", [lambda b: b.add_windows(batch), lambda b: b.add_windows(batch)]),
        (DataError, "no windows", [lambda b: b.add(ones, *places), finish]),
        (
            DataError,
            "position 1 of window 5",
            [lambda b: b.add_windows(batch), lambda b: b.add(ones, places[0], places[1] + 1, places[2]), finish],
        ),
        (
            DataError,
            "position 2 of window 4",
            [lambda b: b.add_windows(batch), lambda b: b.add(ones, *places[:2], places[2] + 1), finish],
        ),
        (
            MismatchError,
            "decoder of 2",
            [lambda b: b.add_windows(batch), lambda b: b.add(ones, *places), lambda b: finish(b, 2)],
        ),
    ]
    for error, message, done in cases:
        with pytest.raises(error, match=message):
            steps(*done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "index.json",
        "statistics.parquet",
        "windows.parquet",
        "tokens.parquet",
        "by_token.bin",
        "by_word.bin",
        "activations/0000.parquet",
    ],
)
def test_a_missing_or_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "features"
    build(path, *random_corpus(11)).close()
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match=name):
        FeatureIndex.open(path)
    (path / name).unlink()
    with pytest.raises(DamagedError, match=name):
        FeatureIndex.open(path)


@pytest.mark.parametrize("name", ["statistics.parquet", "windows.parquet", "activations/0000.parquet"])
def test_a_file_of_the_right_size_and_the_wrong_content_is_damaged(tmp_path: Path, name: str) -> None:
    path = tmp_path / "features"
    build(path, *random_corpus(12)).close()
    (path / name).write_bytes(b"x" * (path / name).stat().st_size)
    with pytest.raises(DamagedError, match=str(path)):
        FeatureIndex.open(path).page(11)


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features"
    with pytest.raises(ArtifactError, match="no feature index"):
        FeatureIndex.open(path)
    build(path, *random_corpus(13)).close()
    description = json.loads((path / "index.json").read_text())
    for changed in ({"format_version": 1}, {"format": "something"}):
        (path / "index.json").write_text(json.dumps({**description, **changed}))
        with pytest.raises(FormatError, match=r"index\.json"):
            FeatureIndex.open(path)
