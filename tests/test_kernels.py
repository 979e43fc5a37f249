"""Each fast kernel against the dense reference, forward and backward."""

import pytest
import torch
from torch import Tensor

from semascope.kernels import (
    Above,
    BatchTopK,
    Pattern,
    Selection,
    TopK,
    autograd,
    cpu,
    cpu_encode,
    decode,
    decode_with_sizes,
    encode,
    memory,
    of_entries,
    reference,
)  # fmt: skip
from semascope.kernels.threads import over_rows
from semascope.records import Codes

ROWS, WIDTH, FEATURES = 37, 6, 230


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ragged_pattern() -> Pattern:
    """Rows of 0 to 9 entries, one feature that no row has."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randperm(FEATURES - 1, generator=generator)[: i % 10].sort().values for i in range(ROWS)]
    return Pattern.from_counts(torch.tensor([len(row) for row in rows]), torch.cat(rows), FEATURES)


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several uneven blocks, with lanes and runs of eight marks of which the last is not full."""
    monkeypatch.setattr(cpu_encode, "BLOCK_ENTRIES", 50 * ROWS)
    monkeypatch.setattr(cpu_encode, "LEAST_BLOCK_FEATURES", 1)
    monkeypatch.setattr(cpu_encode, "LANES", 16)


SELECTIONS = {
    "topk": TopK(5),
    "topk 1": TopK(1),
    "topk beyond the lanes": TopK(40),
    "topk beyond a block": TopK(120),
    "topk of all": TopK(1000),
    "topk among": TopK(3, among_F=torch.tensor([4, 9, 17, 20, 149, 229])),
    "topk among few": TopK(9, among_F=torch.tensor([100, 101])),
    "above": Above(1.3),
    "above by feature": Above(random(FEATURES, seed=5).abs()),
    "above all": Above(1e9),
    "above none": Above(-1e9),
    "batchtopk": BatchTopK(4),
    "batchtopk, good guess": BatchTopK(4, likely=2.0),
    "batchtopk, low guess": BatchTopK(4, likely=0.01),
    "batchtopk, high guess": BatchTopK(4, likely=1e6),
    "batchtopk, nothing below the guess": BatchTopK(4, likely=2.0, below_too=False),
    "batchtopk, nothing above the guess": BatchTopK(4, likely=1e6, below_too=False),
    "batchtopk of more than are positive": BatchTopK(200),
}


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.float64, "full"), (torch.float32, "full"), (torch.float32, "fast")]
)
def test_encode_in_blocks_keeps_what_the_reference_keeps(name: str, dtype: torch.dtype, precision: str) -> None:
    selection = SELECTIONS[name]
    if isinstance(selection, Above) and isinstance(selection.threshold, Tensor):
        selection = Above(selection.threshold.to(dtype))
    x, W, b = (
        random(*shape, seed=i, dtype=dtype) for i, shape in enumerate([(ROWS, WIDTH), (FEATURES, WIDTH), (FEATURES,)])
    )
    [(fast, fast_values)] = cpu.encode(x, W, b, [selection], precision)
    [(slow, slow_values)] = reference.encode(x, W, b, [selection])
    assert torch.equal(fast.row_offsets, slow.row_offsets)
    assert torch.equal(fast.feature_ids, slow.feature_ids)  # also: features ascend within a row
    torch.testing.assert_close(fast_values, slow_values)


def test_bfloat16_candidates_hold_the_largest() -> None:
    """At a realistic size: what the candidates miss is less than one in ten thousand."""
    x, W = random(512, 256, dtype=torch.float32), random(4096, 256, seed=1, dtype=torch.float32)
    W /= W.norm(dim=1, keepdim=True)
    [(fast, values)] = cpu.encode(x, W, torch.zeros(4096), [TopK(32)], "fast")
    [(slow, _)] = reference.encode(x, W, torch.zeros(4096), [TopK(32)])
    common = (fast.codes(torch.ones_like(values)).to_dense() * slow.codes(torch.ones_like(values)).to_dense()).sum()
    assert common / (512 * 32) >= 0.9999


def test_several_selections_share_one_pass() -> None:
    x, W, b = random(ROWS, WIDTH), random(FEATURES, WIDTH, seed=1), random(FEATURES, seed=2)
    selections: list[Selection] = [TopK(2), Above(0.0), BatchTopK(3)]
    for (pattern, values), selection in zip(cpu.encode(x, W, b, selections), selections, strict=True):
        [(alone, alone_values)] = cpu.encode(x, W, b, [selection])
        assert torch.equal(pattern.feature_ids, alone.feature_ids)
        assert torch.equal(values, alone_values)


@pytest.mark.usefixtures("_small_blocks")
def test_ties_give_k_different_features_with_the_largest_values() -> None:
    x = random(ROWS, WIDTH).round()
    W = random(FEATURES, WIDTH, seed=1).round()
    [(pattern, values)] = cpu.encode(x, W, torch.zeros(FEATURES, dtype=torch.float64), [TopK(7)])
    ids, found = pattern.feature_ids.view(ROWS, 7), values.view(ROWS, 7)
    assert torch.equal(found.sort(descending=True).values, (x @ W.T).topk(7).values)
    assert torch.equal((x @ W.T).gather(1, ids), found)
    assert (ids.diff() > 0).all()


@pytest.mark.parametrize("precision", ["full", "fast"])
@pytest.mark.parametrize("selection", [TopK(5), TopK(3, among_F=torch.arange(20)), Above(0.5), BatchTopK(4)])
def test_not_a_number_stays_within_bounds_and_shows(selection: Selection, precision: str) -> None:
    x = random(ROWS, WIDTH, dtype=torch.float32)
    x[3] = torch.nan
    [(pattern, values)] = cpu.encode(
        x, random(FEATURES, WIDTH, dtype=torch.float32), torch.zeros(FEATURES), [selection], precision
    )
    assert ((pattern.feature_ids >= 0) & (pattern.feature_ids < FEATURES)).all()
    if isinstance(selection, TopK):
        assert values[pattern.row_ids == 3].isnan().all()
    assert not values[pattern.row_ids != 3].isnan().any()


def test_a_feature_that_is_not_a_number_hides_no_other() -> None:
    x, W = random(ROWS, WIDTH, dtype=torch.float32), random(FEATURES, WIDTH, seed=1, dtype=torch.float32)
    W[0] = torch.nan
    for selection in (TopK(5), Above(0.5)):
        [(pattern, values)] = cpu.encode(x, W, torch.zeros(FEATURES), [selection])
        [(others, others_values)] = cpu.encode(x, W[1:], torch.zeros(FEATURES - 1), [selection])
        assert torch.equal(pattern.feature_ids, others.feature_ids + 1)
        torch.testing.assert_close(values, others_values)


def test_topk_among_listed_features_never_picks_another_however_negative_they_are() -> None:
    W = torch.tensor([[5.0], [-3.0], [4.0], [-1.0]])
    [(pattern, values)] = cpu.encode(torch.ones(1, 1), W, torch.zeros(4), [TopK(1, among_F=torch.tensor([1, 3]))])
    assert pattern.feature_ids.tolist() == [3]
    assert values.tolist() == [-1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_products_equal_the_reference(dtype: torch.dtype) -> None:
    pattern = ragged_pattern()
    values, W, grad = (
        t.to(dtype)
        for t in (random(len(pattern.feature_ids)), random(FEATURES, WIDTH, seed=1), random(ROWS, WIDTH, seed=2))
    )
    torch.testing.assert_close(cpu.decode(pattern, values, W), reference.decode(pattern, values, W))
    torch.testing.assert_close(cpu.code_gradient(pattern, grad, W), reference.code_gradient(pattern, grad, W))
    torch.testing.assert_close(
        cpu.weight_gradient(pattern, values, grad), reference.weight_gradient(pattern, values, grad)
    )
    rows = reference.transpose(pattern).features_T
    along = random(len(rows), seed=3).to(dtype)
    for extra in ((), (along,)):
        fast, slow = (kernels.decode_gradients(pattern, values, grad, W, *extra) for kernels in (cpu, reference))
        torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(cpu.row_norms(rows, W), W.norm(dim=1)[rows])
    torch.testing.assert_close(reference.row_norms(rows, W), W.norm(dim=1)[rows])


def test_the_transposed_pattern_groups_entries_by_feature() -> None:
    pattern = ragged_pattern()
    fast, slow = cpu.transpose(pattern), reference.transpose(pattern)
    for name in ("features_T", "offsets", "row_ids", "order"):
        assert torch.equal(getattr(fast, name), getattr(slow, name)), name


# In float32, Adam makes the rounding of gradients that are almost taken out (unit rows) as large as any other.
@pytest.mark.parametrize(
    ("unit_rows", "dtype"), [(True, torch.float64), (False, torch.float64), (False, torch.float32)]
)
def test_adam_on_some_rows_equals_the_reference(unit_rows: bool, dtype: torch.dtype) -> None:
    W = random(FEATURES, WIDTH, dtype=dtype)
    W /= W.norm(dim=1, keepdim=True)
    states = [[W.clone(), W * 0, W * 0, torch.zeros(FEATURES, dtype=torch.int32)] for _ in range(2)]
    for step in range(5):
        rows = torch.randperm(FEATURES, generator=torch.Generator().manual_seed(step))[:150].sort().values
        gradient = random(150, WIDTH, seed=step, dtype=dtype)
        for kernels, state in zip((cpu, reference), states, strict=True):
            kernels.adam_rows(
                rows, gradient, *state, rate=0.01, betas=(0.9, 0.999), epsilon=1e-8, factor=torch.tensor(0.5),
                unit_rows=unit_rows,
            )  # fmt: skip
    for fast, slow in zip(*states, strict=True):
        torch.testing.assert_close(fast, slow)
    if unit_rows:
        torch.testing.assert_close(states[0][0].norm(dim=1), torch.ones(FEATURES, dtype=dtype))


def test_threads_share_the_rows_and_change_nothing() -> None:
    pattern, W = ragged_pattern(), random(FEATURES, WIDTH, seed=1)
    alone = cpu.code_gradient(pattern, random(ROWS, WIDTH), W)
    torch.set_num_threads(3)
    try:
        assert torch.equal(cpu.code_gradient(pattern, random(ROWS, WIDTH), W), alone)
        seen: list[tuple[int, int]] = []
        over_rows(lambda first, last: seen.append((first, last)), 100)
    finally:
        torch.set_num_threads(1)
    assert sorted(seen) == [(0, 33), (33, 66), (66, 100)]


@pytest.mark.usefixtures("all_threads")
def test_the_gradient_of_what_belongs_to_features_has_the_same_bits_at_every_run() -> None:
    # More entries than PyTorch leaves to one thread.
    n_entries, n_rows = 200_000, 1000
    ids = torch.randint(0, FEATURES, (n_entries,), generator=torch.Generator().manual_seed(0))
    pattern = Pattern(torch.linspace(0, n_entries, n_rows + 1).long(), ids, FEATURES)
    gradient = random(n_entries, dtype=torch.float32)

    def summed() -> torch.Tensor:
        vector = torch.ones(FEATURES, requires_grad=True)
        of_entries(pattern, vector).backward(gradient)
        assert vector.grad is not None
        return vector.grad

    first = summed()
    wanted = torch.zeros(FEATURES, dtype=torch.float64).index_add_(0, ids, gradient.double())
    torch.testing.assert_close(first.double(), wanted, rtol=1e-4, atol=1e-3)
    assert all(torch.equal(summed(), first) for _ in range(10))


def dense_preactivations(x: Tensor, centre: Tensor, W: Tensor, b: Tensor, pattern: Pattern) -> Tensor:
    return ((x - centre) @ W.T + b)[pattern.row_ids, pattern.feature_ids]


def test_encoder_gradients_equal_dense_ones() -> None:
    x = random(ROWS, WIDTH)
    leaves = [random(WIDTH, seed=1), random(FEATURES, WIDTH, seed=2), random(FEATURES, seed=3)]
    sparse, dense = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    [(pattern, values), (other, other_values)] = encode(x, *sparse, [TopK(5), Above(1.0)])
    weights, other_weights = random(len(values), seed=4), random(len(other_values), seed=5)
    ((values * weights).sum() + (other_values * other_weights).sum()).backward()
    loss = (dense_preactivations(x, *dense, pattern) * weights).sum()
    (loss + (dense_preactivations(x, *dense, other) * other_weights).sum()).backward()
    for a, b in zip(sparse, dense, strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad.to_dense(), b.grad)


@pytest.mark.parametrize("with_sizes", [False, True])
def test_decoder_gradients_equal_dense_ones(with_sizes: bool) -> None:
    pattern = ragged_pattern()
    values = random(len(pattern.feature_ids)).relu()
    leaves = [values, random(FEATURES, WIDTH, seed=2)]
    sparse, dense = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    weights, size_weights = random(ROWS, WIDTH, seed=3), random(len(values), seed=4)
    if with_sizes:
        decoded, sizes = decode_with_sizes(pattern, *sparse)
        torch.testing.assert_close(decoded, decode(pattern, *sparse))
    else:
        decoded, sizes = decode(pattern, *sparse), torch.zeros(())
    ((decoded * weights).sum() + (sizes * size_weights).sum()).backward()
    values, W = dense
    sizes = values * W.norm(dim=1)[pattern.feature_ids] if with_sizes else torch.zeros(())
    ((reference.decode(pattern, values, W) * weights).sum() + (sizes * size_weights).sum()).backward()
    for a, b in zip(sparse, dense, strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad.to_dense(), b.grad)


def test_gradients_of_weights_hold_the_rows_that_were_active_and_no_other() -> None:
    pattern, W = ragged_pattern(), random(FEATURES, WIDTH).requires_grad_()
    decode(pattern, random(len(pattern.feature_ids)), W).sum().backward()
    assert W.grad is not None
    assert W.grad.is_sparse
    assert W.grad._indices()[0].tolist() == sorted(set(pattern.feature_ids.tolist()))


def test_the_gradient_of_the_centre_needs_no_matrix_product() -> None:
    """−(Σ_rows grad_pre) · W: the sums of rows that stand for it are exact also when there are many parts."""
    features, factors, W = torch.arange(FEATURES), random(FEATURES), random(FEATURES, WIDTH, seed=1)
    torch.testing.assert_close(autograd._sum_of_rows(features, factors, W), factors @ W)
    torch.testing.assert_close(autograd._sum_of_rows(features[:3], factors[:3], W), factors[:3] @ W[:3])


def test_codes_round_trip_through_dense() -> None:
    dense = random(5, 7).relu()
    torch.testing.assert_close(Codes.from_dense(dense).to_dense(), dense)


def test_large_memory_is_used_again_only_after_its_tensor_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_free", [])
    first = memory.empty((1 << 18, 2), torch.float32)
    address = first.data_ptr()
    row = first[5]  # a view keeps the memory
    del first
    other = memory.empty((1 << 18, 2), torch.float32)
    assert other.data_ptr() != address
    del row
    again = memory.empty((1 << 19,), torch.float32)
    assert again.data_ptr() == address
    assert again.shape == (1 << 19,)
