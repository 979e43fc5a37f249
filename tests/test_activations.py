"""Activations: outliers are left out and counted, mixing mixes, stores find their damage, streams resume exactly."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semascope.activations import (
    ActivationStore,
    LiveBatches,
    MixingBuffer,
    OutlierFilter,
    StoredBatches,
    StoreWriter,
    harvest,
)
from semascope.activations import store as store_module
from semascope.errors import ConfigError, DamagedError, MismatchError, NumericalError
from semascope.models import load_model
from semascope.records import ActivationBatch, Document, Site, TokenBatch
from semascope.text import pack

MODEL = load_model("tiny", precision="full")
SITE = Site(1)
CONTEXT = 16


def windows(n_documents: int = 40, *, skip: int = 0) -> Iterator[TokenBatch]:
    documents = [Document(f"Document {i} is about the number {i * i}. " * 3, "test") for i in range(n_documents)]
    batches = pack(documents, MODEL.tokenizer, context_tokens=CONTEXT, windows_per_batch=4)
    for batch in batches:
        if batch.first_window >= skip:
            yield batch


def rows(n: int, width: int = 3, start: int = 0) -> Tensor:
    """Rows that can be told apart: row i holds i."""
    return torch.arange(start, start + n, dtype=torch.float32)[:, None].expand(n, width)


# --- outliers ---------------------------------------------------------------------------------------------------------


def test_position_zero_and_massive_activations_are_left_out_and_counted() -> None:
    x = torch.ones(2, 5, 4)
    x[0, 3] *= 10.5
    x[1, 2] *= 9.5
    outliers = OutlierFilter()
    assert outliers.keep(x).tolist() == [[False, True, True, False, True], [False, True, True, True, True]]
    assert (outliers.counts.tokens, outliers.counts.first_position, outliers.counts.massive) == (10, 2, 1)


def test_the_median_runs_along_and_one_strange_batch_does_not_move_it() -> None:
    outliers = OutlierFilter()
    for _ in range(5):
        outliers.keep(torch.ones(1, 4, 4))
    assert not outliers.keep(torch.full((1, 4, 4), 20.0)).any()
    restored = OutlierFilter(*outliers.recent_medians)
    assert restored.keep(torch.full((1, 4, 4), 9.0))[0, 1:].all()


def test_harvest_tells_where_each_activation_comes_from() -> None:
    outliers = OutlierFilter()
    text, activations = next(harvest(MODEL, [SITE], windows(), outliers))
    whole = MODEL.activations(text.tokens_BT, SITE)
    assert len(activations) == text.tokens_BT.numel() - outliers.counts.first_position - outliers.counts.massive
    torch.testing.assert_close(activations.values_ND, whole[activations.windows_N, activations.positions_N])
    assert torch.equal(activations.tokens_N, text.tokens_BT[activations.windows_N, activations.positions_N])


@pytest.mark.parametrize(("value", "fault"), [(0.0, "all zero"), (float("nan"), "not all finite")])
def test_activations_that_nothing_can_be_learned_from_are_named(
    value: float, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(MODEL), "activations_at", lambda *_: {SITE: torch.full((4, CONTEXT, 32), value)})
    with pytest.raises(NumericalError, match=rf"tiny at resid_post\.1 are {fault}"):
        next(harvest(MODEL, [SITE], windows(), OutlierFilter()))


# --- mixing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
def test_everything_that_goes_into_the_buffer_comes_out_once(chunk: int) -> None:
    source = iter(rows(1003).split(chunk))
    batches = list(MixingBuffer(capacity=128, batch=32, width=3, seed=0).batches(source))
    assert torch.cat(batches)[:, 0].sort().values.tolist() == list(range(1003))
    assert [len(batch) for batch in batches] == [32] * 31 + [11]


def test_a_source_smaller_than_the_buffer_is_fully_shuffled() -> None:
    batches = list(MixingBuffer(capacity=500, batch=32, width=3, seed=0).batches(iter(rows(100).split(9))))
    order = torch.cat(batches)[:, 0]
    assert order.sort().values.tolist() == list(range(100))
    assert order.tolist() != list(range(100))


def test_one_batch_draws_from_nearly_as_many_documents_as_random_sampling_would() -> None:
    """300 documents of 100 tokens each, a buffer of half of them: batches of 128 rows, in the middle of the stream."""
    tokens = torch.arange(300).repeat_interleave(100).float()[:, None]
    batches = list(MixingBuffer(capacity=15_000, batch=128, width=1, seed=1).batches(iter(tokens.split(64))))
    mixed = torch.tensor([float(batch.unique().numel()) for batch in batches[20:200]]).mean()
    generator = torch.Generator().manual_seed(0)
    drawn = [tokens[torch.randperm(30_000, generator=generator)[:128]].unique().numel() for _ in range(50)]
    unmixed = tokens[:128].unique().numel()
    assert mixed > 0.85 * torch.tensor(drawn).float().mean()
    assert unmixed == 2


def test_the_buffer_goes_on_exactly_where_its_state_was_taken() -> None:
    def source(start: int) -> Iterator[Tensor]:
        return iter(rows(1000)[start:].split(10))

    whole = list(MixingBuffer(capacity=100, batch=20, width=3, seed=5).batches(source(0)))
    buffer = MixingBuffer(capacity=100, batch=20, width=3, seed=5)
    taken = 0

    def counted() -> Iterator[Tensor]:
        nonlocal taken
        for part in source(0):
            taken += len(part)
            yield part

    stream = buffer.batches(counted())
    first = [next(stream) for _ in range(17)]
    state = {name: tensor.clone() for name, tensor in buffer.state().items()}
    other = MixingBuffer(capacity=100, batch=20, width=3, seed=99)
    other.restore(state)
    rest = list(other.batches(source(taken)))
    assert torch.equal(torch.cat(whole), torch.cat(first + rest))


def test_a_buffer_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer of 10 rows cannot give batches of 20"):
        MixingBuffer(capacity=10, batch=20, width=3, seed=0)


# --- the store --------------------------------------------------------------------------------------------------------


def write_store(folder: Path, *, stop_after: int | None = None, dtype: str = "float32") -> None:
    with StoreWriter(folder, origin={"model": "tiny"}, widths={SITE: 32}, dtype=dtype) as writer:
        source = harvest(MODEL, [SITE], windows(skip=writer.manifest.windows), writer.outliers)
        for number, (text, activations) in enumerate(source):
            if number == stop_after:
                raise KeyboardInterrupt
            writer.add(text, activations)


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 20_000)


@pytest.mark.usefixtures("small_shards")
def test_a_store_gives_back_what_was_written(tmp_path: Path) -> None:
    write_store(tmp_path)
    store = ActivationStore(tmp_path)
    written = [activations for _, activations in harvest(MODEL, [SITE], windows(), OutlierFilter())]
    values = torch.cat([activations.values_ND for activations in written])
    assert len(store.manifest.shards) > 3
    assert len(store) == len(values)
    chosen = torch.randperm(len(store), generator=torch.Generator().manual_seed(0))[:77]
    assert torch.equal(store.rows(chosen), values[chosen])
    read = list(store.batches(SITE, rows=100))
    assert torch.equal(torch.cat([batch.values_ND for _, batch in read]), values)
    assert torch.equal(torch.cat([b.windows_N for _, b in read]), torch.cat([b.windows_N for b in written]))
    read_tokens = torch.cat([text.tokens_BT for text, _ in read if text is not None])
    assert torch.equal(read_tokens, torch.cat([text.tokens_BT for text in windows()]))
    assert store.mean_squared_norms[SITE] == pytest.approx(values.square().sum(dim=1).mean().item(), rel=1e-6)
    store.verify()


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_harvest_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    write_store(tmp_path / "whole")
    for stop_after in (9, 5):
        with pytest.raises(KeyboardInterrupt):
            write_store(tmp_path / "parts", stop_after=stop_after)
        with pytest.raises(DamagedError, match="unfinished"):
            ActivationStore(tmp_path / "parts")
    write_store(tmp_path / "parts")
    whole, parts = ActivationStore(tmp_path / "whole"), ActivationStore(tmp_path / "parts")
    everything = torch.arange(len(whole))
    assert torch.equal(whole.rows(everything), parts.rows(everything))
    assert whole.manifest.outliers == parts.manifest.outliers
    assert whole.manifest.recent_medians == parts.manifest.recent_medians


@pytest.mark.usefixtures("small_shards")
def test_a_truncated_missing_or_changed_shard_is_named(tmp_path: Path) -> None:
    write_store(tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(DamagedError, match=rf"shard-00001\.safetensors is {len(whole) - 1} bytes long"):
        ActivationStore(tmp_path)
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedError, match=r"shard-00001\.safetensors is not what was written"):
        ActivationStore(tmp_path).verify()
    shard.unlink()
    with pytest.raises(DamagedError, match=r"shard-00001\.safetensors is missing"):
        ActivationStore(tmp_path)
    with pytest.raises(DamagedError, match=r"no manifest\.json"):
        ActivationStore(tmp_path / "elsewhere")


def test_a_store_of_another_origin_is_not_mixed_with(tmp_path: Path) -> None:
    write_store(tmp_path)
    with pytest.raises(MismatchError, match="another"):
        StoreWriter(tmp_path, origin={"model": "another"}, widths={SITE: 32})


def test_values_that_do_not_fit_the_stored_type_are_refused(tmp_path: Path) -> None:
    one = ActivationBatch(torch.full((1, 32), 1e5), *(torch.zeros(1, dtype=torch.int64) for _ in range(3)))
    text = next(windows())
    with pytest.raises(NumericalError, match=r"1e\+05 do not fit into float16"):
        StoreWriter(tmp_path, origin={}, widths={SITE: 32}, dtype="float16").add(text, one)
    with pytest.raises(ConfigError, match="'int4'"):
        StoreWriter(tmp_path, origin={}, widths={SITE: 32}, dtype="int4")


# --- streams ----------------------------------------------------------------------------------------------------------


def test_stored_batches_are_scaled_and_every_pass_shows_every_row_in_another_order(tmp_path: Path) -> None:
    text = next(windows())
    with StoreWriter(tmp_path, origin={}, widths={SITE: 3}, dtype="float32") as writer:
        for start in range(1, 1001, 100):
            nothing = torch.zeros(100, dtype=torch.int64)
            writer.add(text, ActivationBatch(rows(100, start=start), nothing, nothing, nothing))
    stream = StoredBatches(ActivationStore(tmp_path), batch=50, seed=3)
    first, second = (torch.cat([next(stream) for _ in range(20)]) for _ in range(2))
    for seen in (first, second):
        assert seen.square().sum(dim=1).mean().item() == pytest.approx(3.0, rel=1e-5)
        assert (seen[:, 0] / stream.scales[SITE]).round().sort().values.tolist() == list(range(1, 1001))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["stored", "live"])
def test_streams_go_on_exactly_where_their_state_was_taken(kind: str, tmp_path: Path) -> None:
    write_store(tmp_path)

    def stream() -> StoredBatches | LiveBatches:
        if kind == "stored":
            return StoredBatches(ActivationStore(tmp_path), batch=40, seed=1)
        return LiveBatches(
            MODEL, [SITE], lambda skip: windows(skip=skip), tokens=10**6, batch=40, buffer_tokens=400, seed=1
        )

    whole = stream()
    expected = [next(whole) for _ in range(30)]
    interrupted = stream()
    for _ in range(13):
        next(interrupted)
    tensors, values = interrupted.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = stream()
    resumed.restore(tensors, values)
    for step in range(13, 30):
        assert torch.equal(next(resumed), expected[step]), step
    assert resumed.scales == whole.scales
    assert resumed.outliers.counts == whole.outliers.counts


def test_live_batches_are_scaled_end_with_the_text_and_count_what_they_left_out() -> None:
    stream = LiveBatches(
        MODEL, [SITE], lambda skip: windows(skip=skip), tokens=10**6, batch=64, buffer_tokens=10**6, seed=0
    )
    sample = stream.sample()
    assert sample.square().sum(dim=1).mean() == pytest.approx(32, rel=1e-4)
    batches: list[Tensor] = []
    while (batch := next(stream, None)) is not None:
        batches.append(batch)
    counts = stream.outliers.counts
    assert sum(map(len, batches)) == counts.tokens - counts.first_position - counts.massive


def test_live_batches_run_the_model_no_further_than_needed_also_when_resumed() -> None:
    def stream() -> LiveBatches:
        return LiveBatches(
            MODEL, [SITE], lambda skip: windows(skip=skip), tokens=1000, batch=40, buffer_tokens=400, seed=1
        )

    whole = stream()
    expected = [next(whole) for _ in range(25)]
    assert 1000 <= whole.outliers.counts.kept < 1000 + 4 * CONTEXT
    interrupted = stream()
    for _ in range(22):
        next(interrupted)
    tensors, values = interrupted.state()
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = stream()
    resumed.restore(tensors, values)
    assert all(torch.equal(next(resumed), batch) for batch in expected[22:])
    assert resumed.outliers.counts == whole.outliers.counts
