"""Running a model: what comes back, what is refused, and what is left as it was."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, LlamaForCausalLM

from semascope.errors import ConfigError, ModelError, SiteError
from semascope.hardware import has_bfloat16_matrix_units
from semascope.models import HuggingFaceModel, LanguageModel, load_model
from semascope.models import cpu as cpu_settings
from semascope.records import Site
from semascope.text.tokenizer import ByteTokenizer


@pytest.fixture(scope="module")
def tokens_BT(tiny: LanguageModel) -> torch.Tensor:
    return torch.tensor(tiny.tokenizer.encode(["a small text of bytes", "another text of bytes"]))


def test_tiny_is_the_same_every_time(tiny, tokens_BT):
    assert (tiny.n_layers, tiny.width(Site(0)), tiny.context_limit, tiny.vocabulary) == (4, 32, 128, 257)
    torch.rand(7)
    again = load_model("tiny", device="cpu", precision="full")
    assert torch.equal(again.logits(tokens_BT), tiny.logits(tokens_BT))


def test_loading_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_model("tiny")
    assert torch.equal(torch.rand(4), expected)


def test_promoted_by_hand(tiny):
    wrapped = tiny._wrapped
    assert isinstance(wrapped, LlamaForCausalLM)
    directions_ND = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    scale_N1 = (directions_ND.square().mean(1, keepdim=True) + wrapped.config.rms_norm_eps).rsqrt()
    expected_NV = (directions_ND * scale_N1 * wrapped.model.norm.weight) @ wrapped.lm_head.weight.T
    expected_NV -= expected_NV.mean(1, keepdim=True)
    torch.testing.assert_close(tiny.promoted(directions_ND), expected_NV)


def test_promoted_refuses_another_width(tiny):
    with pytest.raises(SiteError, match=r"\[2, 31\].*\[N, 32\] was expected"):
        tiny.promoted(torch.zeros(2, 31))


def test_activations_can_be_trained_on(tiny, tokens_BT):
    weight = torch.zeros(32, 2, requires_grad=True)
    (tiny.activations(tokens_BT, Site(1)) @ weight).sum().backward()
    assert weight.grad is not None


def test_nothing_asks_for_gradients(tiny, tokens_BT):
    shift = torch.ones(32, requires_grad=True)
    assert not tiny.splice(tokens_BT, Site(1), lambda found_BTD: found_BTD + shift).requires_grad
    assert not tiny.activations(tokens_BT, Site(1)).requires_grad


def test_no_sites_is_no_work(tiny, tokens_BT):
    assert tiny.activations_at(tokens_BT, []) == {}


def test_many_windows_run_in_passes_and_come_back_in_order(tiny, monkeypatch):
    tokens_BT = torch.randint(0, 257, (7, 5), generator=torch.Generator().manual_seed(0))
    whole = tiny.activations(tokens_BT, Site(2))
    sizes: list[int] = []
    handle = tiny._wrapped.get_input_embeddings().register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr(cpu_settings, "TOKENS_PER_PASS", 17)
    try:
        torch.testing.assert_close(tiny.activations(tokens_BT, Site(2)), whole)
    finally:
        handle.remove()
    assert sizes == [3, 3, 1]


def test_hooks_are_removed_when_a_replacement_fails(tiny, tokens_BT):
    before = tiny.logits(tokens_BT)

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        tiny.splice(tokens_BT, Site(1), fail)
    with pytest.raises(SiteError, match=r"replacement of the activation at resid_post\.1"):
        tiny.splice(tokens_BT, Site(1), lambda found_BTD: found_BTD[:, 1:])
    assert torch.equal(tiny.logits(tokens_BT), before)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(1, 129, dtype=torch.int64), "129 tokens is longer than the 128 tokens"),
        (torch.tensor([[0, 257]]), r"token id 257 is not in the vocabulary of 'tiny' \(0 to 256\)"),
        (torch.tensor([[0, -1]]), "token id -1"),
        (torch.zeros(4, dtype=torch.int64), r"\[windows, positions\]"),
        (torch.zeros(1, 0, dtype=torch.int64), r"\[windows, positions\]"),
        (torch.zeros(1, 4), "torch.float32"),
    ],
)
def test_tokens_that_cannot_be_run(tiny, tokens, message):
    for run in (
        tiny.logits,
        lambda t: tiny.activations(t, Site(0)),
        lambda t: tiny.splice(t, Site(0), torch.clone),
        lambda t: tiny.sensitivity(t, Site(0), torch.sum),
    ):
        with pytest.raises(ModelError, match=message):
            run(tokens)


def test_an_encoder_is_refused():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    with pytest.raises(ModelError, match="is an encoder"):
        HuggingFaceModel(BertLMHeadModel(config), ByteTokenizer(), name="bert")


def test_fast_precision_is_close_and_stays_inside_the_model(tiny, tokens_BT):
    if not has_bfloat16_matrix_units():
        with pytest.raises(ConfigError, match="AMX"):
            load_model("tiny", device="cpu", precision="fast")
        return
    fast = load_model("tiny", device="cpu", precision="fast")
    for read, expected in (
        (fast.activations(tokens_BT, Site(3)), tiny.activations(tokens_BT, Site(3))),
        (fast.activations(tokens_BT, Site(2, "mlp_out")), tiny.activations(tokens_BT, Site(2, "mlp_out"))),
        (fast.logits(tokens_BT), tiny.logits(tokens_BT)),
    ):
        assert read.dtype == torch.float32
        assert 0 < (read - expected).norm() / expected.norm() < 0.03
    for site in (Site(1), Site(2, "mlp_out"), Site(2, "neurons")):
        gradient, expected = (
            model.sensitivity(tokens_BT, site, lambda logits_BTV: logits_BTV[:, -1, 3].sum()).gradient_BTD
            for model in (fast, tiny)
        )
        assert gradient.dtype == torch.float32
        assert 0 < (gradient - expected).norm() / expected.norm() < 0.06
    with pytest.raises(ArithmeticError):
        fast.splice(tokens_BT, Site(1, "mlp_out"), lambda _: (_ for _ in ()).throw(ArithmeticError))
    assert not torch.is_autocast_enabled("cpu")


def test_lower_types_come_back_as_they_are(tokens_BT):
    model = load_model("tiny", device="cpu", dtype="bfloat16")
    assert model.activations(tokens_BT, Site(0)).dtype == torch.bfloat16
    assert model.promoted(torch.ones(1, 32)).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu0"}, "'gpu0' is not a device"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"dtype": "int8"}, "'int8' is not a type of weights"),
        ({"precision": "best"}, "'best' is not a precision"),
        ({"dtype": "bfloat16", "device": "cpu", "precision": "fast"}, "float32 models"),
        ({"revision": "main"}, "only models of the hub have revisions"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ConfigError, match=message):
        load_model("tiny", **options)
