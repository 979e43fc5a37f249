"""One contract for every architecture: what is read and replaced is what the model computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    MptConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from semascope.errors import SiteError
from semascope.models import HuggingFaceModel
from semascope.records import SITE_KINDS, Site
from semascope.text.tokenizer import ByteTokenizer

WIDTH, LAYERS, VOCABULARY, CONTEXT = 32, 3, 64, 48
COMMON = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
LLAMA_LIKE = COMMON | SIZES | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT}
GPT_LIKE = COMMON | {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": 4, "n_positions": CONTEXT}

CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**LLAMA_LIKE),
    "mistral": lambda: MistralConfig(**LLAMA_LIKE, sliding_window=4),
    "mixtral": lambda: MixtralConfig(**LLAMA_LIKE, num_local_experts=2),
    "qwen2": lambda: Qwen2Config(**LLAMA_LIKE),
    "qwen3": lambda: Qwen3Config(**LLAMA_LIKE, head_dim=8),
    "gemma2": lambda: Gemma2Config(**LLAMA_LIKE, head_dim=8),
    "gemma3": lambda: Gemma3TextConfig(**LLAMA_LIKE, head_dim=8, sliding_window=4),
    "phi": lambda: PhiConfig(**LLAMA_LIKE),
    "neox": lambda: GPTNeoXConfig(**COMMON, **SIZES, intermediate_size=48, max_position_embeddings=CONTEXT),
    "neox-sequential": lambda: GPTNeoXConfig(
        **COMMON, **SIZES, intermediate_size=48, max_position_embeddings=CONTEXT, use_parallel_residual=False
    ),
    "gpt2": lambda: GPT2Config(**GPT_LIKE),
    "falcon": lambda: FalconConfig(**COMMON, **SIZES, max_position_embeddings=CONTEXT),
    "opt": lambda: OPTConfig(
        **(COMMON | {"pad_token_id": 1}),
        **SIZES,
        ffn_dim=48,
        word_embed_proj_dim=WIDTH,
        max_position_embeddings=CONTEXT,
    ),
    "mpt": lambda: MptConfig(vocab_size=VOCABULARY, d_model=WIDTH, n_layers=LAYERS, n_heads=4, max_seq_len=CONTEXT),
    "bloom": lambda: BloomConfig(**COMMON, hidden_size=WIDTH, n_layer=LAYERS, n_head=4),
}
UNAVAILABLE = {
    "mixtral": {"neurons"},
    "opt": {"mlp_in", "mlp_out", "neurons"},
    "mpt": {"mlp_out"},
    "bloom": {"mlp_out", "attn_out"},
}
NEURONS = {"gpt2": 128, "falcon": 128, "mpt": 128, "bloom": 128}  # elsewhere as many as intermediate_size
# Blocks that add the outputs of attention and MLP to the residual stream as they are.
PLAIN_RESIDUAL = ["llama", "mistral", "mixtral", "qwen2", "qwen3", "phi", "neox", "neox-sequential", "gpt2", "falcon"]


def build(architecture: str) -> tuple[PreTrainedModel, HuggingFaceModel]:
    torch.manual_seed(0)
    wrapped = AutoModelForCausalLM.from_config(CONFIGS[architecture]())
    with torch.no_grad():
        for parameter in wrapped.parameters():
            # Larger than any initialization, so that every part of the model matters to its output.
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return wrapped, HuggingFaceModel(wrapped, ByteTokenizer(), name=architecture)


@pytest.fixture(scope="module", params=list(CONFIGS))
def models(request: pytest.FixtureRequest) -> tuple[str, PreTrainedModel, HuggingFaceModel]:
    return request.param, *build(request.param)


@pytest.fixture(scope="module")
def tokens_BT() -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (3, 10), generator=torch.Generator().manual_seed(1))


def available(architecture: str) -> list[Site]:
    kinds = [kind for kind in SITE_KINDS if kind not in UNAVAILABLE.get(architecture, set())]
    return [Site(layer, kind) for layer in range(LAYERS) for kind in kinds]


def test_sizes_are_those_of_the_configuration(models):
    architecture, _, model = models
    assert (model.n_layers, model.vocabulary, model.width(Site(0))) == (LAYERS, VOCABULARY, WIDTH)
    assert model.context_limit == (2048 if architecture == "bloom" else CONTEXT)


def test_residual_stream_is_what_the_model_itself_reports(models, tokens_BT):
    _, wrapped, model = models
    with torch.no_grad():
        reported = wrapped(tokens_BT, output_hidden_states=True, use_cache=False).hidden_states
    # The last hidden state of Transformers is taken after the final norm, so it is left out.
    for layer in range(LAYERS):
        torch.testing.assert_close(model.activations(tokens_BT, Site(layer, "resid_pre")), reported[layer])
    for layer in range(LAYERS - 1):
        torch.testing.assert_close(model.activations(tokens_BT, Site(layer)), reported[layer + 1])


def test_every_site_in_one_pass_is_every_site_alone(models, tokens_BT):
    architecture, _, model = models
    sites = available(architecture)
    together = model.activations_at(tokens_BT, sites)
    assert list(together) == sites
    for site in sites:
        width = NEURONS.get(architecture, 48) if site.kind == "neurons" else WIDTH
        assert together[site].shape == (*tokens_BT.shape, width)
        assert model.width(site) == width
        torch.testing.assert_close(model.activations(tokens_BT, site), together[site])


@pytest.mark.parametrize("architecture", PLAIN_RESIDUAL)
def test_attention_and_mlp_are_what_a_block_adds(architecture, tokens_BT):
    _, model = build(architecture)
    before, after, attention, mlp = (Site(1, kind) for kind in ("resid_pre", "resid_post", "attn_out", "mlp_out"))
    read = model.activations_at(tokens_BT, [before, after, attention, mlp])
    torch.testing.assert_close(read[before] + read[attention] + read[mlp], read[after])


def test_sites_that_do_not_exist_say_why(models):
    architecture, _, model = models
    for kind in UNAVAILABLE.get(architecture, set()):
        with pytest.raises(SiteError, match=rf"there is no site {kind}\.1: .*resid_post\.1"):
            model.width(Site(1, kind))
    for layer in (LAYERS, -1):
        with pytest.raises(SiteError, match=f"a layer from 0 to {LAYERS - 1}"):
            model.width(Site(layer))


def test_nothing_behind_the_site_is_computed(models, tokens_BT):
    _, wrapped, model = models
    executed: list[nn.Module] = []
    blocks = next(m for m in wrapped.modules() if isinstance(m, nn.ModuleList) and len(m) == LAYERS)
    watched = [*blocks, wrapped.get_output_embeddings()]
    handles = [module.register_forward_pre_hook(lambda module, _: executed.append(module)) for module in watched]
    try:
        model.activations(tokens_BT, Site(1))
    finally:
        for handle in handles:
            handle.remove()
    assert executed == [blocks[0], blocks[1]]


def test_splicing_what_is_there_changes_nothing_and_zeros_change_the_rest(models, tokens_BT):
    architecture, _, model = models
    logits_BTV = model.logits(tokens_BT)
    assert logits_BTV.shape == (*tokens_BT.shape, VOCABULARY)
    for site in available(architecture)[len(SITE_KINDS) :]:
        torch.testing.assert_close(model.splice(tokens_BT, site, torch.clone), logits_BTV)
        assert not torch.allclose(model.splice(tokens_BT, site, torch.zeros_like), logits_BTV, atol=1e-3)
    torch.testing.assert_close(model.logits(tokens_BT), logits_BTV)


def test_a_splice_reaches_only_later_positions(models, tokens_BT):
    _, _, model = models

    def change_position_4(found_BTD: torch.Tensor) -> torch.Tensor:
        changed_BTD = found_BTD.clone()
        changed_BTD[:, 4] += 1.5 * torch.arange(WIDTH)
        return changed_BTD

    difference_BT = (model.splice(tokens_BT, Site(0), change_position_4) - model.logits(tokens_BT)).abs().amax(-1)
    assert difference_BT[:, :4].max() < 1e-4
    assert difference_BT[:, 4].min() > 1e-2


def test_a_continuation_writes_what_the_model_itself_generates(models, tokens_BT):
    _, wrapped, model = models
    generated_BT = wrapped.generate(
        tokens_BT, attention_mask=torch.ones_like(tokens_BT), max_new_tokens=12, do_sample=False, pad_token_id=0
    )
    continuation, written_BT = model.continuation(), tokens_BT
    while written_BT.shape[1] < generated_BT.shape[1]:
        next_B = continuation.extend(written_BT[:, continuation.length :]).argmax(1)
        written_BT = torch.cat([written_BT, next_B[:, None]], dim=1)
    assert torch.equal(written_BT, generated_BT)


def test_a_continuation_with_replacements_is_a_splice_of_the_whole_window(models, tokens_BT):
    _, _, model = models

    def shift(found_BTD: torch.Tensor) -> torch.Tensor:
        return found_BTD + torch.arange(WIDTH) / WIDTH

    continuation = model.continuation()
    for start, stop in ((0, 4), (4, 5), (5, 6), (6, 10)):
        logits_BV = continuation.extend(tokens_BT[:, start:stop], {Site(1): shift})
        assert continuation.length == stop
        expected_BTV = model.splice(tokens_BT[:, :stop], Site(1), shift)
        torch.testing.assert_close(logits_BV, expected_BTV[:, -1], atol=1e-4, rtol=1e-4)


def test_neurons_are_what_the_last_layer_of_the_mlp_takes(models, tokens_BT):
    architecture, _, model = models
    if UNAVAILABLE.get(architecture, set()) & {"neurons", "mlp_out"}:
        return  # no neurons, or an output that more is added to
    down = model._sites.place(Site(1, "neurons")).module
    read = model.activations_at(tokens_BT, [Site(1, "neurons"), Site(1, "mlp_out")])
    torch.testing.assert_close(down(read[Site(1, "neurons")]), read[Site(1, "mlp_out")])


def test_the_gradient_is_what_small_changes_do(models, tokens_BT):
    architecture, _, model = models
    generator = torch.Generator().manual_seed(2)
    weights_BV = torch.randn(len(tokens_BT), VOCABULARY, generator=generator) / 8
    for site in [site for site in available(architecture) if site.layer == 1]:
        found = model.sensitivity(tokens_BT, site, lambda logits_BTV: (logits_BTV[:, -1] * weights_BV).sum())
        torch.testing.assert_close(found.logits_BTV, model.logits(tokens_BT))
        torch.testing.assert_close(found.activation_BTD, model.activations(tokens_BT, site))
        assert not found.gradient_BTD.requires_grad
        assert found.gradient_BTD.norm() > 0
        # Along the gradient, where the change is largest; Transformers computes norms in float32 whatever the type.
        direction_BTD = found.gradient_BTD / found.gradient_BTD.norm()

        def score(step: float, site: Site = site, direction_BTD: torch.Tensor = direction_BTD) -> torch.Tensor:
            changed_BTV = model.splice(tokens_BT, site, lambda x_BTD: x_BTD + step * direction_BTD)
            return (changed_BTV[:, -1] * weights_BV).sum()

        slopes = [(score(step) - score(-step)) / (2 * step) for step in (4e-3, 8e-3)]
        slope = (4 * slopes[0] - slopes[1]) / 3  # without the term in step²
        torch.testing.assert_close(slope, found.gradient_BTD.norm(), rtol=2e-3, atol=0)


def test_a_branch_is_a_splice_of_each_row(models, tokens_BT):
    architecture, _, model = models
    generator = torch.Generator().manual_seed(3)
    for site in [site for site in available(architecture) if site.layer == 1]:
        shape = (5, tokens_BT.shape[1], model.width(site))
        instead_NTD = torch.randn(shape, generator=generator)
        spliced_NTV = model.splice(tokens_BT[:1].expand(5, -1), site, lambda _, new=instead_NTD: new.clone())
        torch.testing.assert_close(model.branch(tokens_BT[0], site, instead_NTD), spliced_NTV[:, -1])
    with pytest.raises(SiteError, match=r"\[5, 10, 31\] .* \['N', 10, 32\] was expected"):
        model.branch(tokens_BT[0], Site(1), torch.zeros(5, 10, 31))


def test_promoted_is_the_last_step_of_the_model(models, tokens_BT):
    _, _, model = models
    read_BTD = model.activations(tokens_BT, Site(LAYERS - 1))
    logits_NV = model.logits(tokens_BT).flatten(0, 1)
    # The effect of the whole residual stream is the logits, up to the biases behind it and the mean.
    effect_NV = model.promoted(read_BTD.flatten(0, 1))
    of_zero_V = model.splice(torch.zeros(1, 1, dtype=torch.int64), Site(LAYERS - 1), torch.zeros_like)[0, 0]
    expected_NV = logits_NV - of_zero_V
    torch.testing.assert_close(effect_NV, expected_NV - expected_NV.mean(1, keepdim=True), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(effect_NV.mean(1), torch.zeros(len(effect_NV)), atol=1e-5, rtol=0)
