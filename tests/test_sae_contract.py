"""What every variant must do, as an autoencoder, as a transcoder, and as one with a skip connection."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from dictionaries import (
    CONFIGS,
    FEATURES,
    KINDS,
    OUTPUT_WIDTH,
    ROWS,
    WIDTH,
    activations,
    fresh,
    slightly_trained,
    target_of,
)
from torch import Tensor

from semascope.errors import MismatchError
from semascope.kernels import reference
from semascope.sae import (
    VARIANTS,
    Moment,
    SparseAutoencoder,
    build,
    load_dictionary,
    save_dictionary,
)

every_variant = pytest.mark.parametrize("name", list(CONFIGS))
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def test_every_registered_variant_is_tested_here() -> None:
    assert {type(config) for config in CONFIGS.values()} == set(VARIANTS.values())


@every_kind
@every_variant
def test_loss_falls_and_parameters_stay_finite(name: str, kind: str) -> None:
    x = activations(seed=99)
    before, trained = fresh(name, kind), slightly_trained(name, kind)
    errors = [a.loss(x, Moment(), target_of(x, kind)).terms["reconstruction"].item() for a in (before, trained)]
    assert errors[1] < 0.9 * errors[0]
    assert all(torch.isfinite(parameter).all() for parameter in trained.parameters())


@every_kind
@every_variant
def test_every_parameter_gets_a_gradient(name: str, kind: str) -> None:
    autoencoder, x = slightly_trained(name, kind), activations()
    autoencoder.loss(x, Moment(), target_of(x, kind)).total.backward()
    for parameter_name, parameter in autoencoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.to_dense().abs().sum() > 0, parameter_name


@pytest.mark.parametrize("dead", [None, torch.tensor([3, 17, 30])], ids=["alive", "dead"])
@every_kind
@every_variant
def test_losses_and_gradients_equal_those_of_dense_algebra(
    name: str, kind: str, dead: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, every kernel replaced by its dense reference."""
    x = activations(seed=5).double()

    def outcome() -> list[Tensor]:
        autoencoder = slightly_trained(name, kind).double()
        losses = autoencoder.loss(x, Moment(dead_features=dead), target_of(x, kind))
        losses.total.backward()
        gradients = [p.grad.to_dense() for p in autoencoder.parameters() if p.grad is not None]
        return [losses.total.detach(), losses.squared_error, *gradients]

    fast = outcome()

    def always_reference(_tensor: Tensor) -> ModuleType:
        return reference

    monkeypatch.setattr("semascope.kernels.autograd.kernels_for", always_reference)
    monkeypatch.setattr("semascope.sae.initial.kernels_for", always_reference)
    for found, expected in zip(fast, outcome(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@every_kind
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "batchtopk"])
def test_the_loss_sees_what_inference_computes(name: str, kind: str) -> None:
    autoencoder, x = slightly_trained(name, kind), activations(seed=7)
    target = target_of(x, kind)
    losses = autoencoder.loss(x, Moment(), target)
    codes = autoencoder.encode(x)
    torch.testing.assert_close(losses.codes.to_dense(), codes.to_dense())
    torch.testing.assert_close(losses.squared_error, (autoencoder.predict(x, codes) - target).square().sum())


@every_variant
def test_codes_are_sparse_and_not_negative(name: str) -> None:
    codes = slightly_trained(name).encode(activations(seed=7))
    assert codes.n_rows == ROWS
    assert codes.n_features == FEATURES
    assert (codes.values >= 0).all()
    if name != "kl-dense":
        assert 0 < (codes.values > 0).sum() < 0.8 * ROWS * FEATURES


@every_kind
@every_variant
def test_some_features_alone_are_what_all_together_are(name: str, kind: str) -> None:
    autoencoder, x = slightly_trained(name, kind), activations(seed=4)
    features = torch.tensor([7, 0, FEATURES - 1, 3])
    torch.testing.assert_close(autoencoder.encode_some(x, features), autoencoder.encode(x).to_dense()[:, features])
    with pytest.raises(MismatchError):
        autoencoder.encode_some(x[:, 1:], features)


@every_kind
@every_variant
def test_folding_changes_units_and_nothing_else(name: str, kind: str) -> None:
    autoencoder, x, scale = slightly_trained(name, kind), activations(seed=7), 0.037
    output_scale = scale if kind == "autoencoder" else 0.21
    folded = autoencoder.folded(scale, output_scale)
    torch.testing.assert_close(folded.W_dec_FO.norm(dim=1), torch.ones(FEATURES))
    raw = x / scale
    scaled_back = autoencoder.predict(x, autoencoder.encode(x)) / output_scale
    torch.testing.assert_close(folded.predict(raw, folded.encode(raw)), scaled_back, rtol=1e-4, atol=1e-3)
    # A feature's activation is now the norm of what it adds, in the model's units.
    norms = autoencoder.W_dec_FO.norm(dim=1) / output_scale
    torch.testing.assert_close(
        folded.encode(raw).to_dense(), autoencoder.encode(x).to_dense() * norms, rtol=1e-4, atol=1e-3
    )


@every_kind
@every_variant
def test_saved_and_loaded_is_the_same(name: str, kind: str, tmp_path: Path) -> None:
    autoencoder, x = slightly_trained(name, kind).folded(0.5, 0.7), activations(seed=7)
    save_dictionary(autoencoder, tmp_path / "dictionary", {"model_name": "tiny"})
    loaded = load_dictionary(tmp_path / "dictionary")
    assert loaded.metadata["model_name"] == "tiny"
    assert loaded.autoencoder.shape == autoencoder.shape
    codes = autoencoder.encode(x)
    assert torch.equal(loaded.autoencoder.encode(x).to_dense(), codes.to_dense())
    assert torch.equal(loaded.autoencoder.predict(x, codes), autoencoder.predict(x, codes))


@every_variant
def test_float64_works_throughout(name: str) -> None:
    autoencoder = fresh(name).double()
    losses = autoencoder.loss(activations().double(), Moment())
    losses.total.backward()
    assert losses.squared_error.dtype == torch.float64


@every_variant
def test_activations_of_another_width_are_refused(name: str) -> None:
    with pytest.raises(MismatchError, match=rf"\[N, {WIDTH}\].*\[3, 5\]"):
        fresh(name).encode(torch.zeros(3, 5))


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.target_l0() == 4])
def test_training_starts_near_the_l0_that_was_asked_for(name: str) -> None:
    active = (fresh(name).loss(activations(), Moment()).codes.values > 0).sum().item() / ROWS
    assert active == pytest.approx(4, rel=0.3)


@every_kind
@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("l1-") and name != "kl-dense"])
def test_matryoshka_is_the_mean_error_of_the_prefixes_in_value_and_gradient(name: str, kind: str) -> None:
    config = CONFIGS[name].model_copy(update={"prefixes": (0.25, 0.5, 1.0)})
    x = activations().double()
    target = target_of(x, kind)

    def matryoshka() -> SparseAutoencoder:
        autoencoder = build(config, width=WIDTH, features=FEATURES, **KINDS[kind])
        autoencoder.initialize(x.float(), target.float(), torch.Generator().manual_seed(1))
        return autoencoder.double()

    autoencoder = matryoshka()
    losses = autoencoder.loss(x, Moment(), target)
    f, skipped = losses.codes.to_dense(), autoencoder.beyond_skip(x, target).detach()
    W, b = autoencoder.W_dec_FO.detach().clone().requires_grad_(), autoencoder.b_dec_O.detach()
    errors = [(f[:, :n] @ W[:n] + b - skipped).square().sum() for n in (10, 20, 40)]
    scale = ROWS if name == "l1" else (target - target.mean(dim=0)).square().sum()
    expected = torch.stack(errors).mean() / scale
    torch.testing.assert_close(losses.terms["reconstruction"], expected.detach())
    torch.testing.assert_close(losses.squared_error, errors[-1].detach())
    pattern = autoencoder.preactivations(x, [autoencoder.selection()])[0][0]
    if name not in ("batchtopk", "jumprelu", "jumprelu-gemma-scope"):  # whose patterns in training are others
        found = autoencoder.reconstruction(pattern, f[pattern.row_ids, pattern.feature_ids], x, target)
        found.loss.backward()
        (expected * scale).backward()
        assert autoencoder.W_dec_FO.grad is not None
        torch.testing.assert_close(autoencoder.W_dec_FO.grad.to_dense(), W.grad)


@pytest.mark.parametrize("prefixes", [(), (0.5,), (0.5, 0.25, 1.0), (0.0, 1.0)])
@every_variant
def test_prefixes_ascend_to_the_whole_dictionary(name: str, prefixes: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend to 1"):
        type(CONFIGS[name])(prefixes=prefixes)


def test_a_transcoder_predicts_another_site_of_another_width() -> None:
    x = activations()
    transcoder = slightly_trained("topk", "skip")
    assert transcoder.predict(x, transcoder.encode(x)).shape == (ROWS, OUTPUT_WIDTH)
    assert transcoder.centre_D is None
