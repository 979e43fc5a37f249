"""What every registered variant must do, and what each one is known to compute."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from semascope.errors import DamagedError, FormatError, MismatchError
from semascope.files import read_json, read_tensors, write_json
from semascope.kernels import Above, TopK
from semascope.records import Site
from semascope.sae import (
    VARIANTS,
    BatchTopKConfig,
    L1Config,
    Moment,
    SparseAutoencoder,
    TopKConfig,
    VariantConfig,
    build,
    hook_name,
    load_dictionary,
    save_dictionary,
)
from semascope.sae.format import SAELENS_VERSION
from semascope.sae.initial import geometric_median
from semascope.training.optimizer import RowAdam

WIDTH, FEATURES, ROWS = 12, 40, 64
CONFIGS: dict[str, VariantConfig] = {
    "l1": L1Config(coefficient=1.5),
    "topk": TopKConfig(k=4, auxiliary_k=6),
    "batchtopk": BatchTopKConfig(k=4, auxiliary_k=6),
}
every_variant = pytest.mark.parametrize("name", list(VARIANTS))


def activations(rows: int = ROWS, seed: int = 0) -> Tensor:
    x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed)) + 0.5
    return x * (WIDTH / x.square().sum(dim=1).mean()) ** 0.5


def fresh(name: str) -> SparseAutoencoder:
    autoencoder = build(CONFIGS[name], width=WIDTH, features=FEATURES)
    autoencoder.initialize(activations(), torch.Generator().manual_seed(1))
    return autoencoder


def slightly_trained(name: str) -> SparseAutoencoder:
    autoencoder = fresh(name)
    optimizer = RowAdam(autoencoder.named_parameters(), unit_rows=autoencoder.unit_rows)
    for step in range(60):
        autoencoder.loss(activations(seed=step), Moment(step / 60)).total.backward()
        optimizer.step(3e-3)
    return autoencoder


def test_every_registered_variant_is_tested_here() -> None:
    assert CONFIGS.keys() == VARIANTS.keys()


@every_variant
def test_loss_falls_and_parameters_stay_finite(name: str) -> None:
    before = fresh(name).loss(activations(seed=99), Moment()).total.item()
    trained = slightly_trained(name)
    assert trained.loss(activations(seed=99), Moment()).total.item() < 0.9 * before
    assert all(torch.isfinite(parameter).all() for parameter in trained.parameters())


@every_variant
def test_every_parameter_gets_a_gradient(name: str) -> None:
    autoencoder = fresh(name)
    autoencoder.loss(activations(), Moment()).total.backward()
    for parameter_name, parameter in autoencoder.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.to_dense().abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "batchtopk"])
def test_the_loss_sees_what_inference_computes(name: str) -> None:
    autoencoder, x = slightly_trained(name), activations(seed=7)
    losses = autoencoder.loss(x, Moment())
    codes = autoencoder.encode(x)
    torch.testing.assert_close(losses.codes.to_dense(), codes.to_dense())
    torch.testing.assert_close(losses.squared_error, (autoencoder.decode(codes) - x).square().sum())


@every_variant
def test_codes_are_sparse_and_not_negative(name: str) -> None:
    codes = slightly_trained(name).encode(activations(seed=7))
    assert codes.n_rows == ROWS
    assert codes.n_features == FEATURES
    assert (codes.values >= 0).all()
    assert 0 < (codes.values > 0).sum() < 0.8 * ROWS * FEATURES


@every_variant
def test_folding_changes_units_and_nothing_else(name: str) -> None:
    autoencoder, x, scale = slightly_trained(name), activations(seed=7), 0.037
    folded = autoencoder.folded(scale)
    torch.testing.assert_close(folded.W_dec_FD.norm(dim=1), torch.ones(FEATURES))
    raw = x / scale
    scaled_back = autoencoder.decode(autoencoder.encode(x)) / scale
    torch.testing.assert_close(folded.decode(folded.encode(raw)), scaled_back, rtol=1e-4, atol=1e-3)
    # A feature's activation is now the norm of what it adds, in the model's units.
    norms = autoencoder.W_dec_FD.norm(dim=1) / scale
    torch.testing.assert_close(
        folded.encode(raw).to_dense(), autoencoder.encode(x).to_dense() * norms, rtol=1e-4, atol=1e-3
    )


@every_variant
def test_saved_and_loaded_is_the_same(name: str, tmp_path: Path) -> None:
    autoencoder, x = slightly_trained(name).folded(0.5), activations(seed=7)
    save_dictionary(autoencoder, tmp_path / "dictionary", {"model_name": "tiny"})
    loaded = load_dictionary(tmp_path / "dictionary")
    assert loaded.metadata["model_name"] == "tiny"
    assert torch.equal(loaded.autoencoder.encode(x).to_dense(), autoencoder.encode(x).to_dense())


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


def test_the_l1_loss_is_the_papers() -> None:
    autoencoder, x = slightly_trained("l1"), activations(seed=3)
    f = (x @ autoencoder.W_enc_FD.T + autoencoder.b_enc_F).relu()
    x_hat = f @ autoencoder.W_dec_FD + autoencoder.b_dec_D
    expected = ((x - x_hat) ** 2).sum(1).mean() + 1.5 * (f * autoencoder.W_dec_FD.norm(dim=1)).sum(1).mean()
    torch.testing.assert_close(autoencoder.loss(x, Moment()).total, expected)


def test_the_l1_coefficient_warms_up_over_the_first_twentieth() -> None:
    autoencoder, x = fresh("l1"), activations()
    full = autoencoder.loss(x, Moment(fraction=0.05)).terms["sparsity"]
    half = autoencoder.loss(x, Moment(fraction=0.025)).terms["sparsity"]
    assert autoencoder.loss(x, Moment(fraction=0.0)).terms["sparsity"] == 0
    torch.testing.assert_close(half, full / 2)


def test_l1_starts_as_the_paper_does() -> None:
    autoencoder = fresh("l1")
    torch.testing.assert_close(autoencoder.W_dec_FD.norm(dim=1), torch.full((FEATURES,), 0.1))
    assert torch.equal(autoencoder.W_enc_FD, autoencoder.W_dec_FD)
    assert not autoencoder.b_enc_F.any()
    assert not autoencoder.b_dec_D.any()


def test_the_sparse_and_the_dense_path_of_l1_have_the_same_gradients() -> None:
    x = activations(seed=5).double()

    def gradients(share: float) -> list[Tensor]:
        autoencoder = slightly_trained("l1").double()
        autoencoder.zero_grad()
        autoencoder.active_share.fill_(share)
        autoencoder.loss(x, Moment()).total.backward()
        return [parameter.grad.to_dense() for parameter in autoencoder.parameters() if parameter.grad is not None]

    for sparse, dense in zip(gradients(0.0), gradients(1.0), strict=True):
        torch.testing.assert_close(sparse, dense)


def test_topk_keeps_k_and_its_decoder_stays_at_norm_one() -> None:
    autoencoder = slightly_trained("topk")
    torch.testing.assert_close(autoencoder.W_dec_FD.norm(dim=1), torch.ones(FEATURES))
    assert autoencoder.encode(activations()).row_offsets.diff().unique().tolist() == [4]


def test_a_negative_preactivation_among_the_top_k_gives_no_gradient_to_the_live_path() -> None:
    autoencoder = build(TopKConfig(k=2, auxiliary_coefficient=0.0), width=2, features=2)
    with torch.no_grad():
        autoencoder.W_enc_FD.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        autoencoder.W_dec_FD.copy_(0.5 * torch.eye(2))
    x = torch.tensor([[1.0, 0.2], [2.0, -0.4]])
    autoencoder.loss(x, Moment()).total.backward()
    assert autoencoder.W_enc_FD.grad is not None
    gradient = autoencoder.W_enc_FD.grad.to_dense()
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0  # its pre-activation is negative: ReLU closes the gradient with the value


def test_auxk_reaches_the_encoder_of_dead_features_even_below_zero() -> None:
    autoencoder, x = fresh("topk"), activations()
    dead = torch.tensor([3, 17, 30])
    with torch.no_grad():
        autoencoder.b_enc_F[dead] = -100.0
    autoencoder.loss(x, Moment(dead_features=dead)).total.backward()
    for parameter in (autoencoder.W_enc_FD, autoencoder.b_enc_F, autoencoder.W_dec_FD):
        assert parameter.grad is not None
        assert (parameter.grad.to_dense()[dead].abs().reshape(3, -1).sum(dim=1) > 0).all()


def test_auxk_is_the_share_of_the_error_that_dead_features_leave_unexplained() -> None:
    autoencoder, x = slightly_trained("topk").double(), activations(seed=4).double()
    dead = torch.tensor([1, 2, 5, 8, 13, 21, 34])
    losses = autoencoder.loss(x, Moment(dead_features=dead))
    error = x - autoencoder.decode(autoencoder.encode(x))
    pre = (x - autoencoder.b_dec_D) @ autoencoder.W_enc_FD.T + autoencoder.b_enc_F
    values, columns = pre[:, dead].topk(6)
    model_of_it = torch.einsum("bk,bkd->bd", values, autoencoder.W_dec_FD[dead[columns]])
    expected = (error - model_of_it).square().sum() / error.square().sum() / 32
    torch.testing.assert_close(losses.terms["auxiliary"], expected.detach())


def test_batchtopk_keeps_k_on_average_and_learns_its_threshold() -> None:
    autoencoder, x = slightly_trained("batchtopk"), activations(seed=7)
    kept = autoencoder.loss(x, Moment()).codes
    assert len(kept.values) == 4 * ROWS
    assert len(kept.row_offsets.diff().unique()) > 1
    assert autoencoder.encode(x).values.min() > autoencoder.get_buffer("threshold")
    assert len(autoencoder.encode(x).values) / ROWS == pytest.approx(4, rel=0.25)


def test_the_threshold_of_batchtopk_is_the_running_mean_of_the_smallest_activation_kept() -> None:
    autoencoder = fresh("batchtopk")
    first = autoencoder.loss(activations(), Moment()).codes.values.min()
    torch.testing.assert_close(autoencoder.get_buffer("threshold"), first)
    second = autoencoder.loss(activations(seed=1), Moment()).codes.values.min()
    torch.testing.assert_close(autoencoder.get_buffer("threshold"), 0.9 * first + 0.1 * second)


@pytest.mark.parametrize("name", ["l1", "topk", "batchtopk"])
@pytest.mark.parametrize("dense", [True, False])
def test_matryoshka_is_the_mean_error_of_the_prefixes_in_value_and_gradient(name: str, dense: bool) -> None:
    config = CONFIGS[name].model_copy(update={"prefixes": (0.25, 0.5, 1.0)})
    autoencoder, x = build(config, width=WIDTH, features=FEATURES), activations().double()
    autoencoder.initialize(activations(), torch.Generator().manual_seed(1))
    autoencoder = autoencoder.double()
    if name == "l1":
        autoencoder.get_buffer("active_share").fill_(1.0 if dense else 0.0)
    losses = autoencoder.loss(x, Moment(fraction=0.0))
    losses.total.backward()
    W = autoencoder.W_dec_FD.detach().clone().requires_grad_()
    f = losses.codes.to_dense()
    errors = [(f[:, :n] @ W[:n] + autoencoder.b_dec_D.detach() - x).square().sum() for n in (10, 20, 40)]
    scale = ROWS if name == "l1" else (x - x.mean(dim=0)).square().sum()
    expected = torch.stack(errors).mean() / scale
    expected.backward()
    torch.testing.assert_close(losses.terms["reconstruction"], expected.detach())
    torch.testing.assert_close(losses.squared_error, errors[-1].detach())
    assert autoencoder.W_dec_FD.grad is not None
    torch.testing.assert_close(autoencoder.W_dec_FD.grad.to_dense(), W.grad)


@pytest.mark.parametrize("prefixes", [(), (0.5,), (0.5, 0.25, 1.0), (0.0, 1.0)])
def test_prefixes_ascend_to_the_whole_dictionary(prefixes: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascend to 1"):
        TopKConfig(prefixes=prefixes)


def test_selections_at_inference() -> None:
    assert fresh("topk").selection() == TopK(4)
    assert fresh("l1").selection() == Above(0.0)
    batch = fresh("batchtopk")
    batch.get_buffer("threshold").fill_(0.5)
    assert batch.selection() == Above(0.5)


def test_geometric_median_ignores_an_outlier() -> None:
    points = torch.cat([torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), torch.full((1, 3), 1e6)])
    assert geometric_median(points).norm() < 0.3
    torch.testing.assert_close(
        geometric_median(torch.tensor([[0.0], [1.0], [10.0]])), torch.tensor([1.0]), atol=0.05, rtol=0
    )


def test_the_file_format_is_saelens_key_by_key(tmp_path: Path) -> None:
    save_dictionary(fresh("topk"), tmp_path / "d", {"hook_name": hook_name(Site(15))})
    config = read_json(tmp_path / "d" / "cfg.json")
    assert config == {
        "architecture": "topk",
        "k": 4,
        "rescale_acts_by_decoder_norm": False,
        "d_in": WIDTH,
        "d_sae": FEATURES,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": "blocks.15.hook_resid_post", "sae_lens_version": SAELENS_VERSION},
    }
    shapes = {
        name: tuple(tensor.shape) for name, tensor in read_tensors(tmp_path / "d/sae_weights.safetensors").items()
    }
    assert shapes == {
        "W_enc": (WIDTH, FEATURES), "b_enc": (FEATURES,), "W_dec": (FEATURES, WIDTH), "b_dec": (WIDTH,),
    }  # fmt: skip


def test_damaged_and_foreign_dictionaries_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with pytest.raises(DamagedError, match=r"holds no cfg\.json"):
        load_dictionary(tmp_path)
    save_dictionary(fresh("topk"), folder, {})
    weights, config = folder / "sae_weights.safetensors", read_json(folder / "cfg.json")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=r"sae_weights\.safetensors is damaged"):
        load_dictionary(folder)
    weights.write_bytes(whole)
    write_json(folder / "cfg.json", {**config, "d_sae": FEATURES + 1})
    with pytest.raises(DamagedError, match=r"W_enc \(12, 40\).*\(12, 41\)"):
        load_dictionary(folder)
    write_json(folder / "cfg.json", {**config, "architecture": "gated"})
    with pytest.raises(FormatError, match="'gated'"):
        load_dictionary(folder)
