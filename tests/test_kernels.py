"""Each fast kernel against the dense reference, forward and backward, in float64."""

import pytest
import torch
from torch import Tensor

from semascope.kernels import Above, Pattern, Selection, TopK, autograd, cpu, decode, encode, reference
from semascope.records import Codes

ROWS, WIDTH, FEATURES = 17, 6, 23


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ragged_pattern() -> Pattern:
    """Rows of 0 to 9 entries in no particular order, one feature that no row has."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randperm(FEATURES - 1, generator=generator)[: i % 10] for i in range(ROWS)]
    counts = torch.tensor([len(row) for row in rows])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Pattern(offsets, torch.cat(rows), FEATURES)


@pytest.mark.parametrize("selection", [TopK(5), TopK(3, among_F=torch.tensor([4, 9, 17, 20])), Above(0.3), Above(1e9)])
def test_encode_in_chunks_equals_the_reference(selection: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "CHUNK_ENTRIES", 4 * FEATURES)
    x, W, b = random(ROWS, WIDTH), random(FEATURES, WIDTH, seed=1), random(FEATURES, seed=2)
    [(fast, fast_values)] = cpu.encode(x, W, b, [selection])
    [(slow, slow_values)] = reference.encode(x, W, b, [selection])
    assert torch.equal(fast.row_offsets, slow.row_offsets)
    torch.testing.assert_close(fast.codes(fast_values).to_dense(), slow.codes(slow_values).to_dense())


def test_several_selections_share_one_pass() -> None:
    x, W, b = random(ROWS, WIDTH), random(FEATURES, WIDTH, seed=1), random(FEATURES, seed=2)
    together = cpu.encode(x, W, b, [TopK(2), Above(0.0)])
    for (pattern, values), selection in zip(together, [TopK(2), Above(0.0)], strict=True):
        [(alone, alone_values)] = cpu.encode(x, W, b, [selection])
        assert torch.equal(pattern.feature_ids, alone.feature_ids)
        assert torch.equal(values, alone_values)


def test_topk_among_listed_features_never_picks_another_however_negative_they_are() -> None:
    pre = torch.tensor([[5.0, -3.0, 4.0, -1.0]])
    kept = TopK(1, among_F=torch.tensor([1, 3])).select(pre)
    assert kept.feature_ids_K.tolist() == [3]
    assert kept.values_K.tolist() == [-1.0]


@pytest.mark.parametrize(("k", "features"), [(1, 4096), (4, 8192), (32, 16_384), (7, 4096), (4, 4095)])
@pytest.mark.parametrize("distinct", [True, False])
def test_topk_in_two_stages_keeps_the_largest_also_with_ties(k: int, features: int, distinct: bool) -> None:
    pre = random(9, features)
    if not distinct:
        pre = (2 * pre).round()
    pre[3, 128::512] += 50.0  # one group holds many of the largest
    kept = TopK(k).select(pre)
    expected = pre.topk(k).values
    found = kept.values_K.view(9, k)
    assert torch.equal(found.sort(descending=True).values, expected)
    ids = kept.feature_ids_K.view(9, k)
    assert torch.equal(pre.gather(1, ids), found)
    assert all(len(set(row)) == k for row in ids.tolist())


def test_topk_of_more_than_there_are_keeps_all() -> None:
    kept = TopK(9).select(random(3, 4))
    assert kept.counts_B.tolist() == [4, 4, 4]


def test_kernels_equal_the_reference_on_ragged_rows() -> None:
    pattern = ragged_pattern()
    values = random(pattern.feature_ids.shape[0], seed=3)
    W, dense = random(FEATURES, WIDTH, seed=4), random(ROWS, WIDTH, seed=5)
    torch.testing.assert_close(cpu.decode(pattern, values, W), reference.decode(pattern, values, W))
    torch.testing.assert_close(cpu.code_gradient(pattern, dense, W), reference.code_gradient(pattern, dense, W))
    torch.testing.assert_close(
        cpu.weight_gradient(pattern, values, dense), reference.weight_gradient(pattern, values, dense)
    )


def test_kernels_with_no_entry_at_all() -> None:
    empty = Pattern(torch.zeros(ROWS + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), FEATURES)
    values, W, dense = random(0), random(FEATURES, WIDTH), random(ROWS, WIDTH)
    assert torch.equal(cpu.decode(empty, values, W), torch.zeros(ROWS, WIDTH, dtype=torch.float64))
    assert cpu.code_gradient(empty, dense, W).shape == (0,)
    assert torch.equal(cpu.weight_gradient(empty, values, dense), torch.zeros(FEATURES, WIDTH, dtype=torch.float64))


@pytest.mark.parametrize("selection", [TopK(4), Above(0.2)])
def test_gradients_equal_those_of_dense_autograd(selection: Selection) -> None:
    x = random(ROWS, WIDTH)
    parameters = {
        "centre": random(WIDTH, seed=1),
        "W_enc": random(FEATURES, WIDTH, seed=2),
        "b_enc": random(FEATURES, seed=3),
        "W_dec": random(FEATURES, WIDTH, seed=4),
    }

    def gradients(sparse: bool) -> dict[str, Tensor]:
        p = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        if sparse:
            [(pattern, pre)] = encode(x, p["centre"], p["W_enc"], p["b_enc"], [selection])
            output = decode(pattern, pre.relu(), p["W_dec"]) + p["centre"]
        else:
            pre = (x - p["centre"]) @ p["W_enc"].T + p["b_enc"]
            kept = selection.select(pre.detach())
            offsets = torch.cat([torch.zeros(1, dtype=torch.int64), kept.counts_B.cumsum(0)])
            mask = Codes(offsets, kept.feature_ids_K, torch.ones_like(kept.values_K), FEATURES).to_dense()
            output = (pre.relu() * mask) @ p["W_dec"] + p["centre"]
        ((output - x) ** 3).sum().backward()
        return {name: value.grad for name, value in p.items() if value.grad is not None}

    sparse, dense = gradients(True), gradients(False)
    assert sparse.keys() == dense.keys() == parameters.keys()
    for name in parameters:
        torch.testing.assert_close(sparse[name], dense[name], msg=lambda m, name=name: f"{name}: {m}")


def test_the_cpu_gets_the_fast_kernels_and_other_devices_the_reference() -> None:
    assert autograd.kernels_for(torch.zeros(1)) is cpu
    assert autograd.kernels_for(torch.zeros(1, device="meta")) is reference
