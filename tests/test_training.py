"""Training: planted features are found back, dead ones revived, and an interruption changes nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PlantedStream, train_many, train_one
from dictionaries import CONFIGS

from semascope.errors import DamagedError, DataError, MismatchError, NumericalError
from semascope.files import read_json, write_json
from semascope.records import Codes
from semascope.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLU,
    JumpReLUConfig,
    KLConfig,
    L1Config,
    SparseAutoencoder,
    TopKConfig,
    VariantConfig,
    build,
)
from semascope.training import Columns, Trainer, TrainingConfig, read_metrics
from semascope.training.firing import FiringRecord
from semascope.training.schedules import learning_rate


def config(variant: VariantConfig | None = None, **changes: Any) -> TrainingConfig:
    settings = {
        "variant": variant or TopKConfig(k=2, auxiliary_k=8),
        "features": 32,
        "tokens": 256 * 300,
        "batch_tokens": 256,
        "learning_rate": 4e-3,
    }
    return TrainingConfig.model_validate(settings | changes)


@pytest.mark.parametrize(
    ("variant", "least_similarity"),
    [
        (TopKConfig(k=2, auxiliary_k=8), 0.95),
        (BatchTopKConfig(k=2, auxiliary_k=8), 0.95),
        (L1Config(coefficient=2.0), 0.95),
        (L1Config(l0=2, auxiliary_k=8), 0.95),
        (JumpReLUConfig(l0=2, auxiliary_k=8), 0.95),
        (GatedConfig(l0=2, auxiliary_k=8), 0.95),
        (KLConfig(l0=2, auxiliary_k=8), 0.85),
    ],
)
def test_planted_features_are_found_back(variant: VariantConfig, least_similarity: float, tmp_path: Path) -> None:
    stream = PlantedStream()
    trained = train_one(stream, config(variant, tokens=256 * 800), width=16, folder=tmp_path)
    found = trained.W_dec_FO / trained.W_dec_FO.norm(dim=1, keepdim=True)
    best = (stream.directions_PD @ found.T).max(dim=1).values
    assert best.mean() > least_similarity
    assert (best > 0.9).float().mean() >= 0.9


def test_metrics_tell_what_happened(tmp_path: Path) -> None:
    train_one(PlantedStream(), config(), width=16, folder=tmp_path)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(10, 301, 10))
    assert lines[-1]["tokens"] == 256 * 300
    assert lines[-1]["l0"] <= 2.0
    assert lines[-1]["explained_variance"] > max(0.8, lines[0]["explained_variance"])
    assert lines[-1]["learning_rate"] < 0.1 * lines[0]["learning_rate"]
    assert {"loss", "loss/reconstruction", "dead_fraction", "gradient_norm", "tokens_per_second"} <= lines[-1].keys()


@pytest.mark.parametrize(
    "variant",
    [TopKConfig(k=4), L1Config(l0=4), JumpReLUConfig(l0=4), GatedConfig(l0=4), KLConfig(l0=4)],
    ids=lambda variant: variant.variant,
)
def test_dead_features_are_revived(variant: VariantConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the features starts with barriers too high: they come back, and without AuxK they stay dead."""
    autoencoder_class = type(build(variant, width=32, features=256))
    initialize = autoencoder_class.initialize

    def initialize_with_dead_ones(self: SparseAutoencoder, *given: Any) -> None:
        initialize(self, *given)
        with torch.no_grad():
            if isinstance(self, JumpReLU):
                self.threshold_F[:80] += 6.0
            else:
                self.b_enc_F[:80] -= 6.0

    monkeypatch.setattr(autoencoder_class, "initialize", initialize_with_dead_ones)

    def dead(coefficient: float) -> float:
        settings = config(
            variant.model_copy(update={"auxiliary_k": 32, "auxiliary_coefficient": coefficient}),
            features=256, dead_after_tokens=256 * 40, tokens=256 * 400,
        )  # fmt: skip
        stream = PlantedStream(width=32, planted=300, active=4)
        train_one(stream, settings, width=32, folder=tmp_path / str(coefficient))
        return read_metrics(tmp_path / str(coefficient) / "metrics.jsonl")[-1]["dead_fraction"]

    if isinstance(variant, TopKConfig):
        assert dead(0.0) > 0.25
    assert dead(1 / 32) < 0.05


def test_barriers_are_lowered_on_the_activations_since_the_last_look_and_never_after_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(L1Config(l0=2, auxiliary_k=8), tokens=256 * 40, dead_after_tokens=256 * 20)
    trainer = Trainer(settings, Columns(slice(0, 16)), folder=tmp_path)
    stream = PlantedStream()
    trainer.initialize(stream.sample())
    asleep, dozing = torch.arange(10), torch.arange(10, 14)
    with torch.no_grad():
        trainer.autoencoder.b_enc_F[asleep] -= 100.0
    lowered: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def lower_barriers(quiet_T: torch.Tensor, x_BD: torch.Tensor) -> None:
        lowered[step] = quiet_T, x_BD

    monkeypatch.setattr(trainer.autoencoder, "lower_barriers", lower_barriers)
    trainer.begin(after_step=0)
    for step in range(settings.steps):
        trainer.step(next(stream), step)
        if step == 4:
            with torch.no_grad():
                trainer.autoencoder.b_enc_F[dozing] -= 100.0
        if step % 10 == 9:
            trainer.end_interval(step + 1, tokens_per_second=0.0)

    # Quiet after ten steps, and still so ten steps later.
    assert list(lowered) == [19, 29]
    assert lowered[19][0].tolist() == asleep.tolist()
    fell_asleep_T = trainer.firing.last_fired_F[lowered[29][0]]
    assert set(lowered[29][0].tolist()) >= {*asleep.tolist(), *dozing.tolist()}
    assert fell_asleep_T.tolist() == sorted(fell_asleep_T.tolist())
    again = PlantedStream()
    drawn = [next(again) for _ in range(30)]
    assert torch.equal(lowered[29][1], torch.cat(drawn[20:]))


def test_where_features_compete_the_dead_start_afresh_and_the_optimizer_forgets_them(tmp_path: Path) -> None:
    settings = config(tokens=256 * 40, dead_after_tokens=256 * 22)
    trainer = Trainer(settings, Columns(slice(0, 16)), folder=tmp_path)
    stream = PlantedStream()
    trainer.initialize(stream.sample())
    asleep = torch.arange(10)
    with torch.no_grad():
        trainer.autoencoder.b_enc_F[asleep] -= 100.0
    trainer.begin(after_step=0)
    barriers: list[float] = []
    for step in range(30):
        trainer.step(next(stream), step)
        if step % 10 == 9:
            trainer.end_interval(step + 1, tokens_per_second=0.0)
            barriers.append(trainer.autoencoder.b_enc_F[asleep].max().item())
    # AuxK moves them from the eleventh step on, and none is dead before the twenty-second.
    assert barriers[1] < -90.0
    assert barriers[2] == 0.0
    state = trainer.optimizer.state()
    assert all(
        not state[f"{name}/{kind}"][asleep].any() for name in ("W_enc_FD", "W_dec_FO") for kind in ("mean", "steps")
    )
    assert state["W_enc_FD/steps"].any()


@pytest.mark.parametrize("variant", [CONFIGS["topk"], CONFIGS["l1-l0"]], ids=["topk", "l1-l0"])
def test_resumed_training_ends_bit_for_bit_where_an_uninterrupted_one_does(
    variant: VariantConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(variant, features=64, dead_after_tokens=256 * 8)
    whole = train_one(PlantedStream(), settings, width=16, folder=tmp_path / "whole")

    class Interrupted(PlantedStream):
        def __next__(self) -> torch.Tensor:
            if self._drawn == 157:
                raise KeyboardInterrupt
            return super().__next__()

    monkeypatch.setattr("semascope.training.checkpoints.LEAST_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("semascope.training.checkpoints.SHARE_OF_TIME", 1e9)
    with pytest.raises(KeyboardInterrupt):
        train_one(Interrupted(), settings, width=16, folder=tmp_path / "parts")
    resumed = train_one(PlantedStream(), settings, width=16, folder=tmp_path / "parts")

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    same = [
        {k: v for k, v in line.items() if k != "tokens_per_second"}
        for line in read_metrics(tmp_path / "whole/metrics.jsonl")
    ]
    assert same == [
        {k: v for k, v in line.items() if k != "tokens_per_second"}
        for line in read_metrics(tmp_path / "parts/metrics.jsonl")
    ]


def of_every_variant() -> dict[str, TrainingConfig]:
    """Short trainings, two of them of another size or seed."""
    variants = {**CONFIGS, "matryoshka": BatchTopKConfig(k=2, auxiliary_k=8, prefixes=(0.5, 1.0))}
    settings = {name: config(variant, features=64, tokens=256 * 150) for name, variant in variants.items()}
    return settings | {
        "wider": config(features=96, dead_after_tokens=256 * 8, tokens=256 * 150),
        "another seed": config(features=64, tokens=256 * 150, seed=5),
    }


KILLED = """
import os, signal, sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import PlantedStream, train_many
from test_training import of_every_variant
from semascope.training import checkpoints
checkpoints.LEAST_SECONDS_BETWEEN, checkpoints.SHARE_OF_TIME = 0.0, 1e9
torch.set_num_threads(1)
class Killed(PlantedStream):
    def __next__(self):
        if self._drawn == 123:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__next__()
train_many(Killed(), of_every_variant(), width=16, folder=Path({folder!r}))
"""


@pytest.fixture(scope="module")
def every_variant(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SparseAutoencoder]:
    """Dictionaries of every variant, trained together without an interruption."""
    return train_many(PlantedStream(), of_every_variant(), width=16, folder=tmp_path_factory.mktemp("whole"))


def test_dictionaries_of_every_variant_killed_with_sigkill_and_resumed_end_bit_for_bit_the_same(
    every_variant: dict[str, SparseAutoencoder], tmp_path: Path
) -> None:
    tests, folder = str(Path(__file__).parent), str(tmp_path / "parts")
    program = KILLED.format(tests=tests, folder=folder)
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert [path.name for path in (tmp_path / "parts/checkpoints").iterdir()] == ["step-00000120"]
    resumed = train_many(PlantedStream(), of_every_variant(), width=16, folder=tmp_path / "parts")
    for name, autoencoder in every_variant.items():
        for tensor_name, tensor in autoencoder.state_dict().items():
            assert torch.equal(resumed[name].state_dict()[tensor_name], tensor), (name, tensor_name)


def test_a_dictionary_among_many_is_the_one_that_it_is_alone(
    every_variant: dict[str, SparseAutoencoder], tmp_path: Path
) -> None:
    for name in ("jumprelu", "wider"):
        alone = train_one(PlantedStream(), of_every_variant()[name], width=16, folder=tmp_path / name)
        among = every_variant[name].state_dict()
        assert all(torch.equal(tensor, among[key]) for key, tensor in alone.state_dict().items())


def test_a_checkpoint_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    train_one(PlantedStream(), config(tokens=256 * 20), width=16, folder=tmp_path)
    with pytest.raises(MismatchError, match=r"other settings \(learning_rate\)"):
        train_one(PlantedStream(), config(tokens=256 * 20, learning_rate=1e-3), width=16, folder=tmp_path)


def test_a_half_written_checkpoint_is_named(tmp_path: Path) -> None:
    settings = config(tokens=256 * 20)
    train_one(PlantedStream(), settings, width=16, folder=tmp_path)
    folder = tmp_path / "checkpoints/step-00000020"
    weights = folder / "dictionary/weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with pytest.raises(DamagedError, match=r"weights\.safetensors is damaged"):
        train_one(PlantedStream(), settings, width=16, folder=tmp_path)
    weights.write_bytes(whole)
    state = read_json(folder / "state.json")
    write_json(folder / "state.json", {"step": 20})
    with pytest.raises(DamagedError, match=r"lacks configs, stream"):
        train_one(PlantedStream(), settings, width=16, folder=tmp_path)
    write_json(folder / "state.json", state)
    (folder / "state.json").unlink()
    with pytest.raises(DamagedError, match="half-written"):
        train_one(PlantedStream(), settings, width=16, folder=tmp_path)


def test_a_metrics_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text(json.dumps({"step": 10}) + '\n{"step": 2')
    assert read_metrics(file) == [{"step": 10}]


def test_a_stream_that_ends_early_is_no_silent_early_stop(tmp_path: Path) -> None:
    class Short(PlantedStream):
        def __next__(self) -> torch.Tensor:
            if self._drawn == 15:
                raise StopIteration
            return super().__next__()

    with pytest.raises(DataError, match="ended after 15 of 300 steps"):
        train_one(Short(), config(), width=16, folder=tmp_path)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    class Broken(PlantedStream):
        def __next__(self) -> torch.Tensor:
            return super().__next__() * (float("nan") if self._drawn == 4 else 1.0)

    with pytest.raises(NumericalError, match="step 10"):
        train_one(Broken(), config(), width=16, folder=tmp_path)
    assert not list((tmp_path / "checkpoints").glob("step-*"))


def test_learning_rate_is_constant_then_falls_to_zero() -> None:
    rates = [learning_rate(fraction, peak=2.0, decay_fraction=0.2) for fraction in (0.0, 0.8, 0.9, 1.0)]
    assert rates == pytest.approx([2.0, 2.0, 1.0, 0.0])
    assert learning_rate(0.999, peak=2.0, decay_fraction=0.0) == 2.0


def test_firing_is_counted_in_tokens_and_zeros_do_not_fire() -> None:
    record = FiringRecord(3)
    one_row = Codes(torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([1.0, 0.0]), 3)
    for _ in range(4):
        record.update(one_row)
    assert record.tokens_seen == 4
    assert record.silent(for_tokens=4).tolist() == [1, 2]
    assert record.silent(for_tokens=5).tolist() == []


def test_a_token_on_which_nearly_everything_fires_keeps_nothing_from_being_dead() -> None:
    record, features = FiringRecord(100), torch.arange(100)
    row_offsets, ids = torch.tensor([0, *range(100, 121)]), torch.cat([features, features[:20]])
    record.update(Codes(row_offsets, ids, torch.ones(120), 100))
    assert record.silent(for_tokens=21).tolist() == features[20:].tolist()


def test_settings_left_open_are_resolved() -> None:
    resolved = TrainingConfig(features=65_536, tokens=200_000_000, batch_tokens=4096).resolved()
    assert resolved.learning_rate == pytest.approx(1e-4, rel=0.02)  # 2e-4 / sqrt(65536 / 16384)
    assert resolved.dead_after_tokens == 10_000_000
    # Short ones: 2e-3, and more for few features.
    for features, rate in ((16_384, 2e-3), (8192, 2e-3), (1024, 4e-3)):
        assert TrainingConfig(features=features, tokens=800_000).resolved().learning_rate == pytest.approx(rate)
    assert TrainingConfig(tokens=800_000).resolved().dead_after_tokens == 100_000
    paper = TrainingConfig(variant=L1Config(), tokens=200_000 * 4096, batch_tokens=4096).resolved()
    assert paper.learning_rate == pytest.approx(5e-5)
