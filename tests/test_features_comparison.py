"""Two dictionaries with a known relation: one feature split in three, one kept, one new, one vanished."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from semascope.errors import DamagedError, InputError, MismatchError
from semascope.features import Comparison, FeatureIndex, Indexed, find_comparison, make_comparison
from semascope.features.build import IndexBuilder
from semascope.features.decoder import ROWS_AT_ONCE, chance_cosine, counterparts, neighbours, unit_rows
from semascope.records import Codes, TokenBatch

WIDTH, TOKENS, WINDOW = 16, 400, 20
AXES = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))).Q

# The narrow dictionary: 0 splits, 1 stays, 2 vanishes, 3 never fires.
NARROW = AXES[:4]
# The wide one: 0 is new, 1 is the narrow 1, 2 to 4 are children of the narrow 0, nearest last, 5 never fires.
SHARES = (0.62, 0.72, 0.82)
CHILDREN = torch.stack([c * AXES[0] + (1 - c**2) ** 0.5 * AXES[8 + n] for n, c in enumerate(SHARES)])
WIDE = torch.cat([AXES[6:7], AXES[1:2], CHILDREN, AXES[3:4]])
PARENT, KEPT, VANISHED, DEAD = range(4)
NEW, SAME, *SPLIT, WIDE_DEAD = range(6)


def index(path: Path, W_dec_FD: Tensor, dense_NF: Tensor, *, shift: int = 0) -> FeatureIndex:
    """An index of codes over tokens that ``shift`` makes others."""
    n_tokens, n_features = dense_NF.shape
    tokens_BT = (torch.arange(n_tokens) + shift).reshape(-1, WINDOW) % 50
    places = torch.randperm(n_tokens, generator=torch.Generator().manual_seed(1))
    with IndexBuilder(path, n_features=n_features) as builder:
        builder.add_windows(TokenBatch(tokens_BT, torch.zeros_like(tokens_BT), 0))
        codes = Codes.from_dense(dense_NF[places])
        builder.add(codes, tokens_BT.flatten()[places], places // WINDOW, places % WINDOW)
        builder.finish(W_dec_FD, promoted=None, token_text=str, provenance={})
    return FeatureIndex.open(path)


def narrow_codes() -> Tensor:
    """The parent on the first 100 tokens, the kept one on the next 100, the one that vanishes on every tenth."""
    dense_NF = torch.zeros(TOKENS, len(NARROW))
    dense_NF[:100, PARENT] = dense_NF[100:200, KEPT] = dense_NF[::10, VANISHED] = 1
    return dense_NF


def wide_codes() -> Tensor:
    """Of the parent's tokens the children have 50, 30 and 10, and the last one 10 others as well."""
    dense_NF = torch.zeros(TOKENS, len(WIDE))
    dense_NF[:50, SPLIT[0]] = dense_NF[50:80, SPLIT[1]] = dense_NF[90:110, SPLIT[2]] = 1
    dense_NF[100:200, SAME] = dense_NF[300:, NEW] = 1
    return dense_NF


@pytest.fixture
def narrow(tmp_path: Path) -> Indexed:
    return Indexed(index(tmp_path / "narrow", NARROW, narrow_codes()), "narrow")


@pytest.fixture
def wide(tmp_path: Path) -> Indexed:
    return Indexed(index(tmp_path / "wide", WIDE, wide_codes()), "wide")


def check_planted(found: Comparison) -> None:
    found = found.at(0.5)
    assert found.alone().tolist() == [VANISHED]
    assert found.turned.alone().tolist() == [NEW]
    assert found.split().tolist() == [PARENT]
    assert found.turned.split().tolist() == []
    assert found.shared().tolist() == [KEPT, PARENT]
    family = found.family(PARENT)
    assert [one.feature for one in family.children] == SPLIT[::-1]
    assert [one.cosine for one in family.children] == pytest.approx(SHARES[::-1])


def test_what_was_planted_is_found_from_both_sides(narrow: Indexed, wide: Indexed) -> None:
    assert find_comparison(narrow, wide) is None
    check_planted(make_comparison(narrow, wide, NARROW, WIDE))
    kept = find_comparison(wide, narrow)
    assert kept is not None
    check_planted(kept.turned)


def test_children_share_the_tokens_of_their_parent(narrow: Indexed, wide: Indexed) -> None:
    found = make_comparison(wide, narrow, WIDE, NARROW).turned.at(0.5)
    assert found.same_text
    family = found.family(PARENT)
    assert [one.share for one in family.children] == pytest.approx([0.1, 0.3, 0.5])
    assert [one.share_there for one in family.children] == pytest.approx([0.5, 1, 1])
    first, *_ = found.here.of(PARENT)
    assert (first.feature, first.share, first.share_there) == (SPLIT[2], pytest.approx(0.1), pytest.approx(0.5))
    parent, *_ = found.there.of(SPLIT[2])
    assert (parent.feature, parent.share, parent.share_there) == (PARENT, pytest.approx(0.5), pytest.approx(0.1))


def test_a_threshold_decides_what_is_a_counterpart(narrow: Indexed, wide: Indexed) -> None:
    found = make_comparison(narrow, wide, NARROW, WIDE).at(0.75)
    assert found.turned.alone().tolist() == [NEW, SPLIT[0], SPLIT[1]]
    assert [one.feature for one in found.family(PARENT).children] == [SPLIT[2]]
    assert found.split().tolist() == []
    counts = found.turned.histogram(10)
    assert counts.tolist() == np.histogram([0, 1, *SHARES], 10, (0, 1))[0].tolist()


def test_features_that_never_fire_take_no_part(narrow: Indexed, wide: Indexed) -> None:
    found = make_comparison(narrow, wide, NARROW, WIDE)
    assert found.here.of(DEAD) == []
    assert found.here.best_F[DEAD] == -1
    assert found.family(DEAD).children == ()
    assert all(one.feature != WIDE_DEAD for feature in range(3) for one in found.here.of(feature))


def test_what_fires_together_is_a_counterpart_however_it_points(tmp_path: Path) -> None:
    """Twelve features of near directions would leave no place for it among those by cosine."""
    many = torch.cat([AXES[:1] + 0.1 * torch.randn(12, WIDTH, generator=torch.Generator().manual_seed(2)), AXES[5:6]])
    dense_NF = torch.zeros(TOKENS, 13)
    dense_NF[200:, :12] = 1
    dense_NF[:100, 12] = 1
    here = Indexed(index(tmp_path / "here", NARROW, narrow_codes()), "here")
    there = Indexed(index(tmp_path / "there", many, dense_NF), "there")
    found = make_comparison(here, there, NARROW, many).here.of(PARENT)
    assert len(found) == 11
    assert (found[-1].feature, found[-1].share) == (12, 1)
    assert all(one.share == 0 for one in found[:-1])


def test_on_other_tokens_it_is_not_known_what_fires_together(narrow: Indexed, tmp_path: Path) -> None:
    elsewhere = Indexed(index(tmp_path / "elsewhere", WIDE, wide_codes(), shift=1), "elsewhere")
    found = make_comparison(narrow, elsewhere, NARROW, WIDE)
    assert not found.same_text
    check_planted(found)
    assert all(one.share is None and one.share_there is None for one in found.here.of(PARENT))


def test_a_comparison_belongs_to_two_dictionaries_as_they_are(narrow: Indexed, wide: Indexed) -> None:
    made = make_comparison(narrow, wide, NARROW, WIDE)
    assert find_comparison(Indexed(narrow.index, "trained again"), wide) is None
    assert find_comparison(narrow, Indexed(wide.index, "trained again")) is None
    (kept,) = (narrow.index.folder / "counterparts").iterdir()
    (kept / "wider.parquet").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"wider\.parquet is damaged"):
        made.there.of(NEW)


def test_what_does_not_belong_together_is_refused(narrow: Indexed, wide: Indexed) -> None:
    with pytest.raises(MismatchError, match="width 16 cannot be compared with those of width 8"):
        make_comparison(narrow, wide, NARROW, WIDE[:, :8])
    with pytest.raises(MismatchError, match="decoder of 4 features was given for an index of 6"):
        make_comparison(narrow, wide, NARROW, NARROW)
    with pytest.raises(InputError, match="give two dictionaries"):
        make_comparison(narrow, narrow, NARROW, NARROW)


def test_blocks_and_parts_give_the_same(
    narrow: Indexed, wide: Indexed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_comparison(narrow, wide, NARROW, WIDE)
    for name, value in {
        "decoder.CHUNK_ELEMENTS": 1, "together._PAIRS_AT_ONCE": 1, "counterparts._PAIRS_AT_ONCE": 1,
        "format.ACTIVATIONS_PER_PART": 50,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"semascope.features.{name}", value)
    sides = (NARROW, narrow_codes()), (WIDE, wide_codes())
    here, there = (Indexed(index(tmp_path / f"{n}", *side), f"{n}") for n, side in enumerate(sides))
    assert len(list((there.index.folder / "activations").iterdir())) > 2
    pieces = make_comparison(here, there, NARROW, WIDE)
    for one, other, n_features in ((whole.here, pieces.here, 4), (whole.there, pieces.there, 6)):
        assert [one.of(feature) for feature in range(n_features)] == [other.of(f) for f in range(n_features)]


def test_neighbours_are_those_of_the_whole_product_however_many_rows_are_looked_at() -> None:
    generator = torch.Generator().manual_seed(0)
    unit_FD = unit_rows(torch.randn(2 * ROWS_AT_ONCE + 10, 16, generator=generator))
    some = range(ROWS_AT_ONCE - 5, 2 * ROWS_AT_ONCE + 3)
    ids_nK, cosines_nK = neighbours(unit_FD, some, 7)
    cosine_nF = unit_FD[some.start : some.stop] @ unit_FD.T
    cosine_nF[torch.arange(len(some)), torch.arange(some.start, some.stop)] = -2
    expected = cosine_nF.topk(7)
    assert torch.equal(ids_nK, expected.indices)
    torch.testing.assert_close(cosines_nK, expected.values)
    assert torch.equal(counterparts(unit_FD[some.start : some.stop], unit_FD, 3)[:, 1:], ids_nK[:, :2])


def test_among_more_twins_than_are_asked_for_a_feature_is_still_not_its_own_neighbour() -> None:
    ids_nK, cosines_nK = neighbours(unit_rows(torch.ones(6, 4)), range(6), 2)
    assert not (ids_nK == torch.arange(6)[:, None]).any()
    assert all(len(set(row)) == 2 for row in ids_nK.tolist())
    torch.testing.assert_close(cosines_nK, torch.ones(6, 2))


def test_chance_is_what_random_directions_reach() -> None:
    """Between one direction of two dimensions and a random one lies an angle that is uniform from 0 to 180 degrees."""
    generator = torch.Generator().manual_seed(0)
    spread_nD = unit_rows(torch.randn(5_000, 2, generator=generator))
    one_1D = torch.tensor([[1.0, 0.0]])
    median = chance_cosine(spread_nD, one_1D, draws=20_000, quantile=0.75)
    assert median == pytest.approx(math.cos(math.radians(45)), abs=0.02)
    assert chance_cosine(spread_nD, one_1D) == chance_cosine(spread_nD, one_1D) > 0.99
    along_nD = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert chance_cosine(along_nD, one_1D) == pytest.approx(0, abs=1e-5)
