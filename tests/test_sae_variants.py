"""What each variant is known to compute: its published loss, spelled out densely."""

import copy
import math

import pytest
import torch
from dictionaries import CONFIGS, FEATURES, KINDS, ROWS, WIDTH, activations, fresh, slightly_trained, target_of
from torch import Tensor
from torch.nn.functional import normalize

from semascope.kernels import Above, TopK
from semascope.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLU,
    JumpReLUConfig,
    KLConfig,
    L1Config,
    Moment,
    SparseAutoencoder,
    TopKConfig,
    VariantConfig,
    build,
)
from semascope.sae.auxiliary import auxiliary_term
from semascope.sae.control import L0Controller
from semascope.sae.initial import geometric_median


def preactivations(autoencoder: SparseAutoencoder, x: Tensor) -> Tensor:
    """Dense, and differentiable in the parameters."""
    centre = autoencoder.b_dec_O if autoencoder.centred else 0.0
    return (x - centre) @ autoencoder.W_enc_FD.T + autoencoder.b_enc_F


def deviation(x: Tensor) -> Tensor:
    return (x - x.mean(dim=0)).square().sum()


def assert_same_gradients(autoencoder: SparseAutoencoder, loss: Tensor, expected: Tensor) -> None:
    """Of two losses of the same parameters."""
    torch.testing.assert_close(loss, expected)
    found: list[Tensor] = []
    for total in (loss, expected):
        total.backward()
        found.append(torch.cat([p.grad.to_dense().flatten() for p in autoencoder.parameters() if p.grad is not None]))
        autoencoder.zero_grad(set_to_none=True)
    torch.testing.assert_close(*found)


def test_the_l1_loss_is_the_papers() -> None:
    autoencoder, x = slightly_trained("l1"), activations(seed=3)
    f = (x @ autoencoder.W_enc_FD.T + autoencoder.b_enc_F).relu()
    x_hat = f @ autoencoder.W_dec_FO + autoencoder.b_dec_O
    expected = ((x - x_hat) ** 2).sum(1).mean() + 1.5 * (f * autoencoder.W_dec_FO.norm(dim=1)).sum(1).mean()
    torch.testing.assert_close(autoencoder.loss(x, Moment()).total, expected)


def test_the_l1_coefficient_warms_up_over_the_first_twentieth() -> None:
    autoencoder, x = fresh("l1"), activations()
    full = autoencoder.loss(x, Moment(fraction=0.05)).terms["sparsity"]
    half = autoencoder.loss(x, Moment(fraction=0.025)).terms["sparsity"]
    assert autoencoder.loss(x, Moment(fraction=0.0)).terms["sparsity"] == 0
    torch.testing.assert_close(half, full / 2)


def test_l1_starts_as_the_paper_does() -> None:
    autoencoder = fresh("l1")
    torch.testing.assert_close(autoencoder.W_dec_FO.norm(dim=1), torch.full((FEATURES,), 0.1))
    assert torch.equal(autoencoder.W_enc_FD, autoencoder.W_dec_FO)
    assert not autoencoder.b_enc_F.any()
    assert not autoencoder.b_dec_O.any()


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


def test_l1_takes_an_l0_or_a_coefficient_that_stays() -> None:
    autoencoder = slightly_trained("l1")
    assert autoencoder.get_buffer("controller.log_value").exp().item() == pytest.approx(1.5)
    assert CONFIGS["l1"].target_l0() is None
    assert CONFIGS["l1"].with_l0(7).target_l0() == 7


def test_the_controller_moves_its_number_until_the_l0_is_right() -> None:
    controller = L0Controller(1.0, 32)
    # A plant whose L0 is 320 / coefficient, with a lag: the answer is a coefficient of 10.
    l0 = torch.tensor(320.0)
    for _ in range(100):
        coefficient = controller(l0 * 100, 100)
        l0 = l0 + 0.2 * (320 / coefficient - l0)
    assert l0.item() == pytest.approx(32, rel=0.01)
    assert controller.get_buffer("log_value").exp().item() == pytest.approx(10, rel=0.01)


def test_a_controller_of_a_number_that_makes_codes_denser_goes_the_other_way() -> None:
    controller = L0Controller(1.0, 32, larger_is_sparser=False)
    assert controller(torch.tensor(6400), 100) < 1
    assert L0Controller(2.5, None)(torch.tensor(6400), 100).item() == pytest.approx(2.5)


def test_an_l0_of_zero_or_far_off_moves_the_number_by_a_bounded_step() -> None:
    controller = L0Controller(1.0, 32)
    assert controller(torch.tensor(0), 100).item() == pytest.approx(math.exp(-2 * 1.2), rel=1e-5)


@pytest.mark.parametrize("recipe", ["gemma-scope", "anthropic"])
def test_jumprelu_has_the_published_value_and_gradient(recipe: str) -> None:
    """The straight-through gradient, written as that of a ramp of the bandwidth's width through the threshold."""
    name = "jumprelu" if recipe == "anthropic" else "jumprelu-gemma-scope"
    config = JumpReLUConfig.model_validate(CONFIGS[name].model_dump() | {"l0": None, "coefficient": 0.7})
    autoencoder, x = slightly_trained(name).double(), activations(seed=3).double()
    autoencoder.config, autoencoder.controller = config, L0Controller(0.7, None)
    epsilon = autoencoder.bandwidth

    pre = preactivations(autoencoder, x)
    theta = autoencoder.threshold_F
    distance = (pre if recipe == "anthropic" else pre.detach()) - theta
    ramp = (distance / epsilon + 0.5).clamp(0, 1)
    active = (distance > 0).double() + ramp - ramp.detach()
    f = pre * active
    error = (x - f @ autoencoder.W_dec_FO - autoencoder.b_dec_O).square().sum()
    norms = autoencoder.W_dec_FO.norm(dim=1)
    penalty = (4 * f * norms).tanh().sum() if recipe == "anthropic" else active.sum()
    expected = (error + 0.7 * penalty) / deviation(x)
    assert_same_gradients(autoencoder, autoencoder.loss(x, Moment()).total, expected)


@pytest.mark.parametrize("name", ["l1", "l1-l0", "jumprelu", "jumprelu-gemma-scope", "gated", "kl"])
def test_features_with_lower_barriers_fire_a_quarter_as_often_as_features_do_on_average(name: str) -> None:
    autoencoder, x = fresh(name).double(), activations(seed=3).double()
    dead = torch.tensor([2, 11, 29])
    with torch.no_grad():
        autoencoder.b_enc_F[dead] = -10.0
    before = {key: tensor.clone() for key, tensor in autoencoder.state_dict().items()}
    assert not torch.isin(autoencoder.encode(x).feature_ids, dead).any()
    autoencoder.lower_barriers(dead, x)
    fired_F = torch.bincount(autoencoder.encode(x).feature_ids, minlength=FEATURES)
    rows = round(ROWS * 0.25 * (autoencoder.config.target_l0() or 32) / FEATURES)
    assert ((fired_F[dead] - rows).abs() <= 1).all()
    assert (fired_F[dead] > 0).all()
    others = [feature for feature in range(FEATURES) if feature not in dead]
    for key, tensor in autoencoder.state_dict().items():
        rows = others if key.endswith(("_F", "_FD", "_FO")) else ...
        assert torch.equal(tensor[rows], before[key][rows]), key


@pytest.mark.parametrize("name", ["l1-l0", "jumprelu", "gated", "kl"])
def test_of_more_quiet_features_than_the_rows_have_firings_for_the_first_ones_get_lower_barriers(name: str) -> None:
    autoencoder, x = fresh(name).double(), activations(seed=3).double()
    dead = torch.tensor([29, 2, 11, 7])
    with torch.no_grad():
        autoencoder.b_enc_F[dead] = -10.0
    l0 = autoencoder.config.target_l0()
    assert l0
    # A quarter of the average would be half a row each: two of the four on one row each are as much.
    few = x[: round(2 * FEATURES / l0)]
    autoencoder.lower_barriers(dead, few)
    fired = torch.isin(dead, autoencoder.encode(few).feature_ids)
    assert fired.tolist() == [True, True, False, False]
    assert (autoencoder.b_enc_F[dead[2:]] == -10.0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["topk", "batchtopk", "jumprelu", "jumprelu-gemma-scope"])
def test_a_dead_feature_starts_afresh_as_what_a_row_lacks(name: str, kind: str) -> None:
    autoencoder, x = slightly_trained(name, kind).double(), activations(seed=3).double()
    target, dead = target_of(x, kind), torch.tensor([29, 2, 11])
    k = int(autoencoder.config.target_l0() or 32)
    with torch.no_grad():
        autoencoder.b_enc_F[dead] = -100.0
    before = {key: tensor.clone() for key, tensor in autoencoder.state_dict().items()}
    rows = slice(-4 * len(dead), None)
    pre = preactivations(autoencoder, x[rows]).detach()
    least = pre.flatten().topk(k * len(pre)).values.min()
    found = pre.relu().where(pre >= least, 0.0) @ autoencoder.W_dec_FO + autoencoder.b_dec_O
    if autoencoder.W_skip_OD is not None:
        found = found + x[rows] @ autoencoder.W_skip_OD.T
    error = normalize((target[rows] - found).detach())

    afresh = autoencoder.renew(dead, x, target)
    assert afresh.tolist() == [2, 11, 29]
    agreement, chosen = (autoencoder.W_dec_FO[afresh] @ error.T).max(dim=1)
    assert (agreement > 1 - 1e-9).all()
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    lacking = error[chosen] if kind == "autoencoder" else normalize(x[rows][chosen] - x.mean(dim=0))
    assert ((normalize(autoencoder.W_enc_FD[afresh]) * lacking).sum(dim=1) > 1 - 1e-9).all()
    if isinstance(autoencoder, JumpReLU):
        least = least.clamp_min(autoencoder.bandwidth)
        assert (autoencoder.threshold_F[afresh] == least).all()
    fired = (preactivations(autoencoder, x)[:, afresh] > least).sum(dim=0)
    assert (fired == round(ROWS * k / FEATURES)).all()
    others = [feature for feature in range(FEATURES) if feature not in dead]
    for key, tensor in autoencoder.state_dict().items():
        kept = others if key.endswith(("_F", "_FD", "_FO")) else ...
        assert torch.equal(tensor[kept], before[key][kept]), key


def test_no_more_features_start_afresh_than_a_quarter_of_the_rows_and_an_outlier_is_no_more_than_a_row() -> None:
    autoencoder, x = slightly_trained("topk"), activations(seed=3)
    x[-1] *= 1000.0
    dead = torch.arange(FEATURES - 1, 9, -1)
    with torch.no_grad():
        autoencoder.b_enc_F[dead] = -100.0
    afresh = autoencoder.renew(dead, x, x)
    assert afresh.tolist() == sorted(dead[: ROWS // 4].tolist())
    similarity = autoencoder.W_dec_FO[afresh] @ autoencoder.W_dec_FO[afresh].T - torch.eye(len(afresh))
    assert similarity.max() < 0.999


def test_lower_barriers_leave_features_that_could_fire_as_they_are() -> None:
    autoencoder, x = fresh("l1-l0"), activations(seed=3)
    often = torch.tensor([4, 5])
    with torch.no_grad():
        autoencoder.b_enc_F[often] = 3.0
    autoencoder.lower_barriers(often, x)
    assert (autoencoder.b_enc_F[often] == 3.0).all()


def test_thresholds_learn_at_the_rate_of_activations_and_never_let_negative_values_through() -> None:
    autoencoder = slightly_trained("jumprelu")
    assert (autoencoder.threshold_F - fresh("jumprelu").threshold_F).abs().max() > 0.05
    with torch.no_grad():
        autoencoder.threshold_F.fill_(-1.0)
    assert (autoencoder.encode(activations()).values > 0).all()


def test_gated_has_the_published_value_and_gradient() -> None:
    autoencoder, x = slightly_trained("gated").double(), activations(seed=3).double()
    autoencoder.controller = L0Controller(0.7, None)
    with torch.no_grad():
        autoencoder.r_mag_F.uniform_(-0.3, 0.3)
        autoencoder.b_mag_F.uniform_(-0.3, 0.3)
    gate = preactivations(autoencoder, x)
    magnitude = (gate - autoencoder.b_enc_F) * autoencoder.r_mag_F.exp() + autoencoder.b_mag_F
    f = (gate > 0) * magnitude.relu()
    error = (x - f @ autoencoder.W_dec_FO - autoencoder.b_dec_O).square().sum()
    frozen = gate.relu() @ autoencoder.W_dec_FO.detach() + autoencoder.b_dec_O.detach()
    expected = (error + (x - frozen).square().sum() + 0.7 * gate.relu().sum()) / deviation(x)
    assert_same_gradients(autoencoder, autoencoder.loss(x, Moment()).total, expected)


@pytest.mark.parametrize("cutoff", [0.0, 0.5])
def test_kl_has_the_published_value_and_gradient(cutoff: float) -> None:
    config = KLConfig(l0=None, rho=0.2, coefficient=3.0, cutoff=cutoff, weight_decay=0.01)
    autoencoder, x = build(config, width=WIDTH, features=FEATURES), activations(seed=3)
    autoencoder.initialize(x, x, torch.Generator().manual_seed(0))
    autoencoder, x = autoencoder.double(), x.double()
    sigmoid = preactivations(autoencoder, x).sigmoid()
    f = sigmoid * (sigmoid > cutoff)
    error = (x - f @ autoencoder.W_dec_FO - autoencoder.b_dec_O).square().sum() / ROWS
    mean = f.mean(dim=0)
    divergence = (0.2 * (0.2 / mean).log() + 0.8 * (0.8 / (1 - mean)).log()).sum()
    decay = 0.005 * (autoencoder.W_enc_FD.square().sum() + autoencoder.W_dec_FO.square().sum())
    expected = (error + 3.0 * divergence + decay) / (deviation(x) / ROWS)
    assert_same_gradients(autoencoder, autoencoder.loss(x, Moment()).total, expected)


def test_kl_takes_an_l0_or_a_mean_activation() -> None:
    for settings in ({"rho": 0.1}, {"l0": None}):
        with pytest.raises(ValueError, match="an l0 or a rho"):
            KLConfig.model_validate(settings)
    assert KLConfig(l0=None, rho=0.1).with_l0(8) == KLConfig(l0=8)


def test_topk_keeps_k_and_its_decoder_stays_at_norm_one() -> None:
    autoencoder = slightly_trained("topk")
    torch.testing.assert_close(autoencoder.W_dec_FO.norm(dim=1), torch.ones(FEATURES))
    assert autoencoder.encode(activations()).row_offsets.diff().unique().tolist() == [4]


def test_a_negative_preactivation_among_the_top_k_gives_no_gradient_to_the_live_path() -> None:
    autoencoder = build(TopKConfig(k=2, auxiliary_coefficient=0.0), width=2, features=2)
    with torch.no_grad():
        autoencoder.W_enc_FD.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        autoencoder.W_dec_FO.copy_(0.5 * torch.eye(2))
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
    for parameter in (autoencoder.W_enc_FD, autoencoder.b_enc_F, autoencoder.W_dec_FO):
        assert parameter.grad is not None
        assert (parameter.grad.to_dense()[dead].abs().reshape(3, -1).sum(dim=1) > 0).all()


def test_auxk_is_the_share_of_the_error_that_dead_features_leave_unexplained() -> None:
    autoencoder, x = slightly_trained("topk").double(), activations(seed=4).double()
    dead = torch.tensor([1, 2, 5, 8, 13, 21, 34])
    losses = autoencoder.loss(x, Moment(dead_features=dead))
    error = x - autoencoder.decode(autoencoder.encode(x))
    pre = (x - autoencoder.b_dec_O) @ autoencoder.W_enc_FD.T + autoencoder.b_enc_F
    values, columns = pre[:, dead].topk(6)
    offer = torch.einsum("bk,bkd->bd", values, autoencoder.W_dec_FO[dead[columns]])
    factor = (offer * error).sum() / offer.square().sum()
    assert 0 < factor < 1
    expected = (error - factor * offer).square().sum() / error.square().sum() / 32
    torch.testing.assert_close(losses.terms["auxiliary"], expected.detach())


def test_auxk_does_not_make_dead_features_smaller() -> None:
    # What is left over is small beside what they offer: they learn its direction, and keep their size.
    autoencoder, x = slightly_trained("topk").double(), activations(seed=4).double()
    dead = torch.tensor([1, 2, 5, 8, 13, 21, 34])
    error = x - autoencoder.decode(autoencoder.encode(x))
    [_, auxiliary] = autoencoder.preactivations(x, [TopK(4), TopK(6, among_F=dead)])
    auxiliary_term(autoencoder, [auxiliary], error)["auxiliary"].backward()
    encoder = (autoencoder.W_enc_FD, autoencoder.b_enc_F)
    gradients = [parameter.grad.to_dense() for parameter in encoder if parameter.grad is not None]
    assert gradients[0][dead].norm() > 1e-4
    growth = sum((gradient * parameter).sum().item() for gradient, parameter in zip(gradients, encoder, strict=True))
    assert abs(growth) < 1e-12


def test_dead_features_that_point_away_from_the_error_turn_round() -> None:
    autoencoder = build(TopKConfig(k=1, auxiliary_k=1), width=2, features=2)
    with torch.no_grad():
        autoencoder.W_enc_FD.copy_(torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
        autoencoder.W_dec_FO.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    x = torch.tensor([[4.0, 1.0], [3.0, 1.0]])
    autoencoder.loss(x, Moment(dead_features=torch.tensor([1]))).total.backward()
    assert autoencoder.W_dec_FO.grad is not None
    assert autoencoder.W_dec_FO.grad.to_dense()[1, 1] < 0  # down the gradient is towards the error


@pytest.mark.parametrize("variant", ["topk", "batchtopk", "jumprelu", "gated", "l1"])
def test_a_training_starts_with_an_encoder_of_the_size_that_fits(variant: str) -> None:
    config: VariantConfig = {
        "topk": TopKConfig(k=16),
        "batchtopk": BatchTopKConfig(k=16),
        "jumprelu": JumpReLUConfig(l0=16, bandwidth=1e-3),
        "gated": GatedConfig(l0=16),
        "l1": L1Config(l0=16),
    }[variant]
    autoencoder, x = build(config, width=WIDTH, features=512), activations(seed=5)
    autoencoder.initialize(x, x, torch.Generator().manual_seed(0))

    def found(factor: float) -> tuple[float, int]:
        """With codes so many times as large: the error, and how many there are."""
        larger = copy.deepcopy(autoencoder)
        with torch.no_grad():
            for name in ("W_enc_FD", "b_enc_F", "b_mag_F", "threshold_F"):
                if name in dict(larger.named_parameters()):
                    larger.get_parameter(name).mul_(factor)
            losses = larger.loss(x, Moment())
        return losses.squared_error.item(), int((losses.codes.values > 0).sum())

    norms = autoencoder.W_enc_FD.norm(dim=1)
    torch.testing.assert_close(norms, norms.mean().expand(512))
    assert norms.mean() < 0.9
    (error, active), (of_smaller, _), (of_larger, _) = found(1.0), found(0.97), found(1.03)
    assert error < min(of_smaller, of_larger)
    assert active / len(x) == pytest.approx(16, rel=0.05)


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


def test_selections_at_inference() -> None:
    assert fresh("topk").selection() == TopK(4)
    assert fresh("l1").selection() == Above(0.0)
    assert fresh("gated").selection() == Above(0.0)
    assert fresh("kl").selection() == Above(0.0)  # where the sigmoid is a half
    batch = fresh("batchtopk")
    batch.get_buffer("threshold").fill_(0.5)
    assert batch.selection() == Above(0.5)


def test_geometric_median_ignores_an_outlier() -> None:
    points = torch.cat([torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), torch.full((1, 3), 1e6)])
    assert geometric_median(points).norm() < 0.3
    torch.testing.assert_close(
        geometric_median(torch.tensor([[0.0], [1.0], [10.0]])), torch.tensor([1.0]), atol=0.05, rtol=0
    )
