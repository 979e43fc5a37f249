"""The GPU's kernels against the dense reference: on a GPU where there is one, elsewhere in Triton's interpreter."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dictionaries
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from semascope.activations.mix import MixingBuffer
from semascope.kernels import (
    Above,
    BatchTopK,
    Pattern,
    Selection,
    TopK,
    backend,
    cpu,
    decode_with_sizes,
    encode,
    kernels_for,
    reference,
)
from semascope.sae import MATRYOSHKA_PREFIXES, BatchTopKConfig, Moment, SparseAutoencoder, TopKConfig, build
from semascope.training import Columns, Trainer, TrainingConfig
from semascope.training.firing import FiringRecord
from semascope.training.metrics import Meter
from semascope.training.optimizer import RowAdam

pytest.importorskip("triton", reason="Triton is for Linux")
from semascope.kernels import gpu, gpu_encode, triton_launch

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
ROWS, WIDTH, FEATURES = 10, 6, 150


@pytest.fixture(autouse=True)
def _patch_once_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton 3.9's interpreter patches its language anew at every call of a function of a kernel, `tl.sum` for one,
    which takes longer than all the rest."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    patch, launch_grid, patched = interpreter._patch_lang, interpreter.GridExecutor.__call__, set[int]()

    def launch_freshly(*arguments: Any, **options: Any) -> None:
        patched.clear()
        launch_grid(*arguments, **options)

    def patch_once(function: Any) -> Any:
        if id(function.__globals__) in patched:
            return None
        patched.add(id(function.__globals__))
        return patch(function)

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", launch_freshly)
    monkeypatch.setattr(interpreter, "_patch_lang", patch_once)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).to(DEVICE)


def listed(*numbers: int) -> Tensor:
    return torch.tensor(numbers, device=DEVICE)


def ragged_pattern() -> Pattern:
    """Rows of 0 to 6 entries out of few features, so that some have many, and some none."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randperm(12, generator=generator)[: i % 7].sort().values * 9 for i in range(ROWS)]
    counts = torch.tensor([len(row) for row in rows])
    return Pattern.from_counts(counts.to(DEVICE), torch.cat(rows).to(DEVICE), FEATURES)


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's kernels for all tensors, on the CPU too."""
    monkeypatch.setattr(backend, "cpu", gpu)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several uneven chunks of several tiles, and several rows a program."""
    monkeypatch.setattr(gpu_encode, "CHUNK_ENTRIES", 70 * ROWS)
    monkeypatch.setattr(gpu_encode, "LEAST_CHUNK_FEATURES", 1)
    monkeypatch.setattr(gpu_encode, "TILE_COLUMNS", 64)
    monkeypatch.setattr(gpu_encode, "TILE", 512)
    monkeypatch.setattr(gpu_encode, "FIRST_ROOM", 4)
    monkeypatch.setattr(gpu_encode, "_room", {})


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gathers by several uneven blocks of columns, and features with several parts."""
    monkeypatch.setattr(triton_launch, "CACHE_BYTES", 0)
    monkeypatch.setattr(triton_launch, "LEAST_COLUMNS", 4)
    monkeypatch.setattr(triton_launch, "column_blocks", lambda _: 4)
    monkeypatch.setattr(gpu, "column_blocks", lambda _: 4)
    monkeypatch.setattr(gpu, "LONG", 2)


def test_the_dispatch_gives_a_gpu_its_kernels_and_other_devices_theirs() -> None:
    assert kernels_for(torch.empty(0)) is cpu
    assert kernels_for(SimpleNamespace(device=torch.device("cuda", 1))) is gpu  # pyright: ignore[reportArgumentType]
    assert kernels_for(torch.empty(0, device="meta")) is reference
    for name in gpu.__all__:
        assert callable(getattr(cpu, name))
        assert callable(getattr(reference, name))


# --- encode ---------------------------------------------------------------------------------------------------------

SELECTIONS: dict[str, Callable[[], Selection]] = {
    "topk": lambda: TopK(5),
    "topk beyond a tile": lambda: TopK(70),
    "topk of all": lambda: TopK(1000),
    "topk among": lambda: TopK(3, among_F=listed(4, 9, 17, 20, 101, 149)),
    "topk among few": lambda: TopK(9, among_F=listed(100, 101)),
    "above": lambda: Above(1.3),
    "above a tensor": lambda: Above(torch.tensor(1.3, device=DEVICE)),
    "above by feature": lambda: Above(random(FEATURES, seed=5).abs()),
    "above nothing": lambda: Above(-torch.inf),
    "above all": lambda: Above(1e9),
    "batchtopk": lambda: BatchTopK(4),
    "batchtopk, good guess": lambda: BatchTopK(4, likely=torch.tensor(2.0, device=DEVICE)),
    "batchtopk, high guess": lambda: BatchTopK(4, likely=1e6),
    "batchtopk of more than are positive": lambda: BatchTopK(200),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, "full"), (torch.float32, "fast")])
def test_encode_in_chunks_keeps_what_the_reference_keeps(name: str, dtype: torch.dtype, precision: str) -> None:
    selection = SELECTIONS[name]()
    if isinstance(selection, Above) and isinstance(selection.threshold, Tensor):
        selection = Above(selection.threshold.to(dtype))
    x, W, b = (
        random(*shape, seed=i, dtype=dtype) for i, shape in enumerate([(ROWS, WIDTH), (FEATURES, WIDTH), (FEATURES,)])
    )
    [(fast, fast_values)] = gpu.encode(x, W, b, [selection], precision)
    [(slow, slow_values)] = reference.encode(x, W, b, [selection])
    assert torch.equal(fast.row_offsets, slow.row_offsets)
    assert torch.equal(fast.feature_ids, slow.feature_ids)  # also: features ascend within a row
    torch.testing.assert_close(fast_values, slow_values)


@pytest.mark.usefixtures("small_chunks")
def test_several_selections_share_one_pass_and_remember_how_much_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    x, W, b = random(ROWS, WIDTH), random(FEATURES, WIDTH, seed=1), random(FEATURES, seed=2)
    selections: list[Selection] = [TopK(2), Above(0.0), BatchTopK(3, likely=1.0)]
    gpu.encode(x, W, b, selections)  # There was not room enough, which now is known.
    passes: list[int] = []
    chunks = gpu_encode._Problem.chunks
    monkeypatch.setattr(gpu_encode._Problem, "chunks", lambda problem: (passes.append(1), chunks(problem))[1])
    found = gpu.encode(x, W, b, selections)
    assert len(passes) == 1
    for (pattern, values), (expected, expected_values) in zip(
        found, reference.encode(x, W, b, selections), strict=True
    ):
        assert torch.equal(pattern.feature_ids, expected.feature_ids)
        torch.testing.assert_close(values, expected_values)


@pytest.mark.usefixtures("small_chunks")
def test_ties_give_k_different_features_with_the_largest_values() -> None:
    x, W = random(ROWS, WIDTH).round(), random(FEATURES, WIDTH, seed=1).round()
    x[2] = 0  # All are equal.
    [(pattern, values)] = gpu.encode(x, W, torch.zeros(FEATURES, dtype=torch.float64, device=DEVICE), [TopK(7)])
    ids, found = pattern.feature_ids.view(ROWS, 7), values.view(ROWS, 7)
    assert torch.equal(found.sort(descending=True).values, (x @ W.T).topk(7).values)
    assert torch.equal((x @ W.T).gather(1, ids), found)
    assert (ids.diff() > 0).all()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("selection", [lambda: TopK(5), lambda: TopK(3, among_F=torch.arange(9, device=DEVICE)),
                                       lambda: Above(0.5), lambda: BatchTopK(4)])  # fmt: skip
def test_not_a_number_stays_within_bounds_and_shows(selection: Callable[[], Selection]) -> None:
    x, W = random(ROWS, WIDTH, dtype=torch.float32), random(FEATURES, WIDTH, dtype=torch.float32)
    x[3] = torch.nan
    [(pattern, values)] = gpu.encode(x, W, torch.zeros(FEATURES, device=DEVICE), [selection()], "fast")
    assert ((pattern.feature_ids >= 0) & (pattern.feature_ids < FEATURES)).all()
    if isinstance(selection(), TopK):
        assert values[pattern.row_ids == 3].isnan().all()
    assert not values[pattern.row_ids != 3].isnan().any()


def test_an_empty_batch_and_one_below_zero_have_no_entries() -> None:
    x, W, b = random(0, WIDTH), random(FEATURES, WIDTH), random(FEATURES)
    [(pattern, _)] = gpu.encode(random(ROWS, WIDTH), W, b - 1e6, [BatchTopK(2)])
    assert pattern.row_offsets.tolist() == [0] * (ROWS + 1)
    for pattern, values in gpu.encode(x, W, b, [TopK(3), Above(0.0), BatchTopK(2)]):
        assert pattern.n_rows == len(values) == len(pattern.feature_ids) == 0
        assert gpu.decode(pattern, values, W).shape == (0, WIDTH)
        assert gpu.weight_gradient(pattern, values, x).shape == (0, WIDTH)


# --- products and gradients -----------------------------------------------------------------------------------------


def dense(pattern: Pattern, rows_T: Tensor) -> Tensor:
    """A gradient by the pattern's features, with all its rows."""
    shape = (pattern.n_features, *rows_T.shape[1:])
    return rows_T.new_zeros(shape).index_add_(0, pattern.transposed(gpu.transpose).features_T, rows_T)


@pytest.mark.usefixtures("small_blocks", "on_gpu")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_products_equal_the_reference(dtype: torch.dtype) -> None:
    pattern = ragged_pattern()
    values, W, grad = (
        t.to(dtype)
        for t in (random(len(pattern.feature_ids)), random(FEATURES, WIDTH, seed=1), random(ROWS, WIDTH, seed=2))
    )
    codes = pattern.codes(values).to_dense()
    torch.testing.assert_close(gpu.decode(pattern, values, W), codes @ W)
    expected_values, expected_W = reference.code_gradient(pattern, grad, W), codes.T @ grad
    torch.testing.assert_close(gpu.code_gradient(pattern, grad, W), expected_values)
    torch.testing.assert_close(dense(pattern, gpu.weight_gradient(pattern, values, grad)), expected_W)
    torch.testing.assert_close(dense(pattern, gpu.touched_sums(pattern, values)), codes.sum(dim=0))
    grad_values, grad_W = gpu.decode_gradients(pattern, values, grad, W)
    torch.testing.assert_close(grad_values, expected_values)
    torch.testing.assert_close(dense(pattern, grad_W), expected_W)
    along = random(FEATURES, seed=3).to(dtype)
    along_touched = torch.where(codes.any(dim=0), along, 0.0)
    features, touched = gpu.transpose(pattern).features_T, len(reference.transpose(pattern).features_T)
    # What fills the list up is to add nothing, as where `touched_sums` gives it.
    along_T = torch.where(torch.arange(len(features)) < touched, along[features], 0.0)
    _, grad_W = gpu.decode_gradients(pattern, values, grad, W, along_T)
    torch.testing.assert_close(dense(pattern, grad_W), expected_W + along_touched[:, None] * W)


def test_the_transposed_pattern_groups_entries_by_feature_and_fills_up_with_repeats() -> None:
    pattern = ragged_pattern()
    fast, slow = gpu.transpose(pattern), reference.transpose(pattern)
    touched, bound = len(slow.features_T), len(pattern.feature_ids)
    assert touched < bound == len(fast.features_T)
    assert torch.equal(fast.features_T, slow.features_T.repeat(bound)[:bound])
    assert torch.equal(fast.offsets[: touched + 1], slow.offsets)
    assert (fast.offsets[touched:] == bound).all()
    assert torch.equal(fast.row_ids, slow.row_ids)
    assert torch.equal(fast.order, slow.order)
    few = Pattern(pattern.row_offsets, pattern.feature_ids, FEATURES, touchable=12)
    assert len(gpu.transpose(few).features_T) == 12


def test_wide_matrices_are_gathered_by_blocks_that_the_cache_holds() -> None:
    assert triton_launch.column_blocks(torch.empty(8192, 2304, device="meta")) == 512
    assert triton_launch.column_blocks(torch.empty(65_536, 2304, device="meta")) == 64
    assert triton_launch.column_blocks(torch.empty(1 << 20, 2304, device="meta")) == 1024
    assert triton_launch.column_blocks(torch.empty(100, 6, device="meta")) == 8


@pytest.mark.usefixtures("on_gpu")
def test_gradients_through_encode_and_decode_equal_dense_ones() -> None:
    x, weights = random(ROWS, WIDTH), random(ROWS, WIDTH, seed=7)
    leaves = [random(WIDTH, seed=1), random(40, WIDTH, seed=2), random(40, seed=3), random(40, WIDTH, seed=4)]
    sparse, plain = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))

    def loss(found: list[tuple[Pattern, Tensor]], W_dec: Tensor, through_dense: bool) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=DEVICE)
        for pattern, pre in found:
            values = pre.relu()
            if through_dense:
                decoded = pattern.codes(values).to_dense() @ W_dec
                sizes = values * W_dec.norm(dim=1)[pattern.feature_ids]
            else:
                decoded, sizes = decode_with_sizes(pattern, values, W_dec)
            total = total + (decoded * weights).square().sum() + sizes.sum()
        return total

    centre, W_enc, b_enc, W_dec = sparse
    found = encode(x, centre, W_enc, b_enc, [TopK(3), Above(0.5)])
    loss(found, W_dec, False).backward()
    centre, W_enc, b_enc, W_dec = plain
    dense_found = [
        (pattern, ((x - centre) @ W_enc.T + b_enc)[pattern.row_ids, pattern.feature_ids]) for pattern, _ in found
    ]
    loss(dense_found, W_dec, True).backward()
    for ours, theirs in zip(sparse, plain, strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad.to_dense(), theirs.grad)


# --- the optimizer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, WIDTH])
@pytest.mark.parametrize(
    ("unit_rows", "dtype"), [(True, torch.float64), (False, torch.float64), (False, torch.float32)]
)
def test_adam_on_some_rows_equals_the_reference(unit_rows: bool, dtype: torch.dtype, width: int) -> None:
    W = random(40, width, dtype=dtype)
    W /= W.norm(dim=1, keepdim=True)
    states = [[W.clone(), W * 0, W * 0, torch.zeros(40, dtype=torch.int32, device=DEVICE)] for _ in range(2)]
    for step in range(4):
        rows = torch.randperm(40, generator=torch.Generator().manual_seed(step))[:25].sort().values.to(DEVICE)
        gradient = random(25, width, seed=step, dtype=dtype)
        settings: dict[str, Any] = {"rate": 0.01, "betas": (0.9, 0.999), "epsilon": 1e-8, "unit_rows": unit_rows}
        factor = torch.tensor(0.5, device=DEVICE)
        reference.adam_rows(rows, gradient, *states[0], factor=factor, **settings)
        nothing = torch.cat([rows, listed(-1, -1)])
        gpu.adam_rows(nothing, torch.cat([gradient, gradient[:2]]), *states[1], factor=factor, **settings)
    for slow, fast in zip(*states, strict=True):
        torch.testing.assert_close(fast, slow)


def test_rows_that_are_repeated_are_merged_into_one() -> None:
    rows, gradient = listed(3, 5, 9, 3, 5, 1, 3), random(7, 3)
    expected = torch.zeros(10, 3, dtype=torch.float64, device=DEVICE).index_add_(0, rows, gradient)
    merged, values = gpu.merge_rows(rows, gradient.clone(), 10)
    assert merged.tolist() == [3, 5, 9, -1, -1, 1, -1]
    assert (values[merged < 0] == 0).all()
    torch.testing.assert_close(values[merged >= 0], expected[merged[merged >= 0]])


# --- whole steps ----------------------------------------------------------------------------------------------------


def trained(autoencoder: SparseAutoencoder, steps: int) -> dict[str, Tensor]:
    """What steps of training, with some dead features, make of a dictionary and of its statistics."""
    optimizer = RowAdam(
        autoencoder.named_parameters(), unit_rows=autoencoder.unit_rows, rate_factors=autoencoder.rate_factors
    )
    firing, meter = FiringRecord(dictionaries.FEATURES, device=DEVICE), Meter()
    for step in range(steps):
        x = dictionaries.activations(rows=16, seed=step).double().to(DEVICE)
        losses = autoencoder.loss(x, Moment(step / steps, listed(3, 5, 8, 13, 21)))
        losses.total.backward()
        meter.add(x, losses, optimizer.step(1e-3))
        firing.update(losses.codes)
    figures = {name: torch.tensor(figure) for name, figure in meter.read().items()}
    return {**autoencoder.state_dict(), **optimizer.state(), **figures, "fired": firing.last_fired_F}


STEPS = {**dictionaries.CONFIGS, "matryoshka": BatchTopKConfig(k=4, prefixes=MATRYOSHKA_PREFIXES)}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_training_equals_that_of_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[dict[str, Tensor]] = []
    for kernels in (reference, gpu):
        monkeypatch.setattr(backend, "cpu", kernels)
        monkeypatch.setattr(backend, "_of_gpus", lambda kernels=kernels: kernels)
        autoencoder = build(STEPS[name], width=dictionaries.WIDTH, features=dictionaries.FEATURES)
        sample = dictionaries.activations(seed=9)
        with monkeypatch.context() as start:
            start.setattr(backend, "cpu", cpu)
            autoencoder.initialize(sample, sample, torch.Generator().manual_seed(1))
        autoencoder = autoencoder.double().to(DEVICE)
        results.append(trained(autoencoder, steps=2 if name == "topk" else 1))
    for key, expected in results[0].items():
        torch.testing.assert_close(results[1][key], expected, rtol=1e-5, atol=1e-6, msg=f"{key} differs")


# Operations whose result has a size, or a value on the host, that only the device knows; and `torch.tensor`, whose
# numbers are copied from the host.
WAITING = {
    "_coalesce", "_local_scalar_dense", "_unique2", "bincount", "equal", "histc", "is_nonzero", "lift_fresh",
    "masked_select", "nonzero", "unique_consecutive", "unique_dim",
}  # fmt: skip


class NoWaiting(TorchDispatchMode):
    """Raises at operations that make the host wait for a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_", "_index_put_impl_") else []
        by_mask = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
        if name in WAITING or by_mask:
            raise AssertionError(f"{name} waits for the device")
        if name == "repeat_interleave" and "output_size" not in (kwargs or {}) and len(args) < 3:
            raise AssertionError("repeat_interleave without a size waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("prefixes", [(1.0,), MATRYOSHKA_PREFIXES])
def test_a_step_of_topk_never_makes_the_host_wait(prefixes: tuple[float, ...], tmp_path: Path) -> None:
    variant = TopKConfig(k=4, auxiliary_k=3, prefixes=prefixes)
    config = TrainingConfig(
        variant=variant, features=dictionaries.FEATURES, batch_tokens=16, tokens=64, precision="fast"
    )
    trainer = Trainer(config, Columns(slice(0, dictionaries.WIDTH)), folder=tmp_path, device=DEVICE)
    trainer.initialize(dictionaries.activations(seed=9))
    trainer.begin(after_step=0)
    trainer.quiet_F = listed(3, 5, 8)
    buffer = MixingBuffer(capacity=32, batch=16, width=dictionaries.WIDTH, seed=0, device=DEVICE)
    batches = buffer.batches(iter(dictionaries.activations(rows=96).to(DEVICE).split(24)))
    next(batches)
    with NoWaiting():
        for step in range(2):
            trainer.step(next(batches), step)
    assert trainer.end_interval(2, tokens_per_second=1.0)["l0"] <= 4


@pytest.mark.usefixtures("on_gpu")
def test_what_waits_is_noticed() -> None:
    x, W, b = random(ROWS, WIDTH), random(FEATURES, WIDTH), random(FEATURES)
    with NoWaiting():
        gpu.encode(x, W, b, [TopK(3)])
        with pytest.raises(AssertionError, match="waits"):
            reference.encode(x, W, b, [TopK(3)])


@pytest.mark.slow
def test_the_kernels_compile_for_an_h100() -> None:
    """Triton needs no GPU for that; the interpreter accepts what its compiler would not."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).parent / "compile_for_gpu.py"
    subprocess.run([sys.executable, script], check=True, env=environment)
