"""Attribution and ablation: exact on a model that is linear behind the site, and as defined on any other."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from semascope.attribution import (
    Attribution,
    Question,
    ablate,
    ablate_sample,
    agreement,
    attribute,
    explain,
    explaining,
)
from semascope.errors import ConfigError, DataError, MismatchError, ModelError
from semascope.models import HuggingFaceModel, load_model
from semascope.records import Site
from semascope.sae import SparseAutoencoder, TopKConfig, build
from semascope.text import ByteTokenizer

WIDTH, FEATURES, K = 32, 48, 5
SITE = Site(2)
QUESTION = Question(tuple(b"What follows from this?"), target=ord("a"), baseline=ord("b"))


class LinearBlock(nn.Module):
    """Every position takes something from itself and all before it, in proportion."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(5)) / 8)

    def forward(self, hidden_states: Tensor, **_: object) -> Tensor:
        return hidden_states + hidden_states.cumsum(dim=1) @ self.mix


@pytest.fixture(scope="module")
def linear() -> HuggingFaceModel:
    """The tiny model, but linear behind layer 2."""
    model = load_model("tiny", device="cpu", precision="full")
    assert isinstance(model, HuggingFaceModel)
    model._wrapped.model.layers[3] = LinearBlock()
    model._wrapped.model.norm = nn.Identity()
    return HuggingFaceModel(model._wrapped, model.tokenizer, name="linear")


def dictionary(*, output_width: int | None = None, skip: bool = False, width: int = WIDTH) -> SparseAutoencoder:
    made = build(TopKConfig(k=K), width=width, features=FEATURES, output_width=output_width, skip=skip)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return made


def linear_parts(found: Attribution) -> float:
    parts = found.parts
    return parts.features + parts.bias + parts.skip + parts.error + parts.left_out


@pytest.mark.parametrize("question", [QUESTION, Question(QUESTION.prompt, target=ord("a"))], ids=["baseline", "mean"])
def test_on_a_linear_model_attribution_is_ablation(linear: HuggingFaceModel, question: Question) -> None:
    sae = dictionary()
    found = attribute(linear, SITE, sae, question)
    for contributions in (found.by_place(), found.by_feature()):
        effects_N = ablate(linear, sae, found, contributions)
        assert effects_N.abs().max() > 0.1
        torch.testing.assert_close(effects_N, contributions.attributions_N, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["autoencoder", "transcoder", "skip"])
def test_the_parts_add_up_to_the_logit_difference(linear: HuggingFaceModel, kind: str) -> None:
    output_site = None if kind == "autoencoder" else SITE
    sae = dictionary(output_width=None if kind == "autoencoder" else WIDTH, skip=kind == "skip")
    site = SITE if kind == "autoencoder" else Site(1, "mlp_in")
    found = attribute(linear, site, sae, QUESTION, output_site=output_site)
    value = QUESTION.value(linear.logits(QUESTION.tokens_T[None])[:, -1]).item()
    assert found.parts.total == pytest.approx(value)
    # A linear model without constants is explained altogether.
    assert linear_parts(found) == pytest.approx(value, abs=1e-4)
    assert found.parts.rest == pytest.approx(0, abs=1e-4)
    assert (found.parts.skip != 0) == (kind == "skip")
    assert all(abs(part) > 1e-2 for part in (found.parts.features, found.parts.bias, found.parts.error))
    assert found.parts.features == pytest.approx(found.attributions_K.sum().item(), abs=1e-4)


def test_on_any_model_the_parts_are_the_activation_along_its_gradient(tiny: HuggingFaceModel) -> None:
    found = attribute(tiny, SITE, dictionary(), QUESTION)
    assert linear_parts(found) == pytest.approx((found.activation_TO * found.gradient_TO).sum().item(), abs=1e-4)
    assert abs(found.parts.rest) > 1e-2


def test_an_attribution_by_hand(tiny: HuggingFaceModel) -> None:
    sae = dictionary()
    found = attribute(tiny, SITE, sae, QUESTION)
    dense_TF = sae.encode(tiny.activations(QUESTION.tokens_T[None], SITE)[0]).to_dense()
    dense_TF[~found.kept_T] = 0
    assert not found.kept_T[0]
    expected_TF = dense_TF * (found.gradient_TO @ sae.W_dec_FO.detach().T)
    places, features = found.by_place(), found.by_feature()
    assert len(places) == int((dense_TF > 0).sum())
    assert places.attributions_N.diff().max() <= 0
    torch.testing.assert_close(places.attributions_N, expected_TF[places.positions_N, places.features_N])
    torch.testing.assert_close(places.activations_N, dense_TF[places.positions_N, places.features_N])

    assert sorted(features.features_N.tolist()) == (dense_TF > 0).any(dim=0).nonzero()[:, 0].tolist()
    torch.testing.assert_close(features.attributions_N, expected_TF.sum(dim=0)[features.features_N])
    torch.testing.assert_close(features.activations_N, dense_TF.amax(dim=0)[features.features_N])
    assert torch.equal(features.positions_N, expected_TF.abs().argmax(dim=0)[features.features_N])
    assert torch.equal(features.places_N, (dense_TF > 0).sum(dim=0)[features.features_N])


def test_ablation_is_the_model_without_what_the_feature_writes(tiny: HuggingFaceModel) -> None:
    sae = dictionary()
    found = attribute(tiny, SITE, sae, QUESTION)
    tokens_BT, W_dec_FO = QUESTION.tokens_T[None], sae.W_dec_FO.detach()
    value = QUESTION.value(tiny.logits(tokens_BT)[:, -1])
    dense_TF = torch.zeros(len(QUESTION.prompt), FEATURES)
    dense_TF[found.positions_K, found.features_K] = found.activations_K

    places, features = found.by_place(), found.by_feature()
    effects_N, of_features_N = ablate(tiny, sae, found, places), ablate(tiny, sae, found, features)
    for number in (0, 3, len(places) - 1):
        feature, position = int(places.features_N[number]), int(places.positions_N[number])
        written_TO = torch.zeros_like(found.activation_TO)
        written_TO[position] = dense_TF[position, feature] * W_dec_FO[feature]
        without = QUESTION.value(tiny.splice(tokens_BT, SITE, lambda y, w=written_TO: y - w)[:, -1])
        torch.testing.assert_close(effects_N[number, None], value - without, atol=1e-5, rtol=1e-4)
    for number in (0, len(features) - 1):
        feature = int(features.features_N[number])
        written_TO = dense_TF[:, [feature]] * W_dec_FO[feature]
        without = QUESTION.value(tiny.splice(tokens_BT, SITE, lambda y, w=written_TO: y - w)[:, -1])
        torch.testing.assert_close(of_features_N[number, None], value - without, atol=1e-5, rtol=1e-4)


def test_ablations_in_parts_are_the_same(tiny: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sae = dictionary()
    found = attribute(tiny, SITE, sae, QUESTION)
    places = found.by_place()
    whole_N = ablate(tiny, sae, found, places)
    monkeypatch.setattr("semascope.attribution.ablation.NUMBERS_AT_ONCE", 3 * found.activation_TO.numel())
    torch.testing.assert_close(ablate(tiny, sae, found, places), whole_N, atol=1e-5, rtol=1e-4)
    chosen_M = torch.tensor([4, 0, 9, 2])
    torch.testing.assert_close(ablate(tiny, sae, found, places, chosen_M), whole_N[chosen_M], atol=1e-5, rtol=1e-4)


def test_a_sample_is_random_and_the_top_is_ablated_besides(tiny: HuggingFaceModel) -> None:
    sae = dictionary()
    found = attribute(tiny, SITE, sae, QUESTION)
    places = found.by_place()
    *_, sampled = ablate_sample(tiny, sae, found, places, most=9, top=4, seed=1)
    assert not sampled.complete
    assert len(sampled.compared_M) == 9
    assert {0, 1, 2, 3, *sampled.compared_M.tolist()} == set((~sampled.effects_N.isnan()).nonzero()[:, 0].tolist())
    same, other = (next(ablate_sample(tiny, sae, found, places, most=9, seed=seed)) for seed in (1, 2))
    assert torch.equal(same.compared_M, sampled.compared_M)
    assert not torch.equal(other.compared_M, sampled.compared_M)
    assert next(ablate_sample(tiny, sae, found, places, most=10_000)).complete


def test_ablations_are_told_as_they_are_made_the_largest_attributions_first(tiny: HuggingFaceModel) -> None:
    sae = dictionary()
    whole = explain(tiny, SITE, sae, QUESTION, ablations=9, top=4, seed=1)
    # Room for two windows at a time.
    at_once = 2 * len(QUESTION.prompt) + 1
    steps = list(explaining(tiny, SITE, sae, QUESTION, ablations=9, top=4, seed=1, positions_at_once=at_once))
    known = [(~step.ablated.effects_N.isnan()).nonzero()[:, 0].tolist() for step in steps]
    assert known[:3] == [[], [0, 1], [0, 1, 2, 3]]
    assert [len(numbers) for numbers in known[:-1]] == list(range(0, 2 * (len(known) - 1), 2))
    torch.testing.assert_close(steps[-1].ablated.effects_N, whole.ablated.effects_N, equal_nan=True)
    assert steps[-1].of_attribution.pearson == pytest.approx(whole.of_attribution.pearson, abs=1e-4)
    # However little is allowed at once, it goes on.
    assert len(list(explaining(tiny, SITE, sae, QUESTION, ablations=3, top=0, positions_at_once=1))) == 4


def test_agreement_by_known_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    effect_N = torch.randn(200, generator=generator)
    predicted_N = (effect_N + torch.randn(200, generator=generator)).round(decimals=1)  # with ties
    found = agreement(predicted_N, effect_N)
    assert found.pearson == pytest.approx(stats.pearsonr(predicted_N, effect_N).statistic, abs=1e-6)
    assert found.spearman == pytest.approx(stats.spearmanr(predicted_N, effect_N).statistic, abs=1e-6)
    assert found.pearson_interval is not None
    assert found.pearson_interval[0] < found.pearson < found.pearson_interval[1]
    expected = stats.pearsonr(predicted_N, effect_N).confidence_interval()
    assert found.pearson_interval == pytest.approx(expected, abs=0.04)

    values_N = torch.arange(30.0)
    assert agreement(values_N, 1e-6 * values_N.double() + 5).pearson == pytest.approx(1)
    assert agreement(values_N, -(values_N**3)).spearman == pytest.approx(-1)
    assert agreement(values_N, values_N.roll(3)).shared_top == 7
    assert agreement(values_N, values_N, complete=False).shared_top is None
    assert agreement(values_N, torch.zeros(30)).pearson is None
    assert agreement(values_N[:2], values_N[:2]).pearson is None
    assert agreement(values_N[:0], values_N[:0]).compared == 0


def test_an_explanation_puts_it_together(tiny: HuggingFaceModel) -> None:
    sae = dictionary()
    found = explain(tiny, SITE, sae, QUESTION, by="feature", ablations=1000)
    probabilities_V = tiny.logits(QUESTION.tokens_T[None])[0, -1].softmax(dim=0)
    first = found.attribution.predictions()[0]
    assert (first.token, first.rank) == (int(probabilities_V.argmax()), 1)
    assert first.probability == pytest.approx(probabilities_V.max().item(), rel=1e-4)
    plain = found.as_json(tiny.tokenizer)
    assert plain["complete"]
    assert plain["compared"] == len(plain["contributions"]) == found.of_attribution.compared
    assert plain["tokens"][1] == "h"
    assert plain["left_out_positions"][0] == 0
    assert plain["logit_difference"] == pytest.approx(sum(plain["parts"].values()))
    assert plain["baseline"]["text"] == "b"
    without = explain(tiny, SITE, sae, QUESTION, ablations=0)
    assert {one["ablation"] for one in without.as_json(tiny.tokenizer)["contributions"]} == {None}


@dataclass(frozen=True)
class WordTokenizer:
    """Words are tokens; a text's first word carries no space, as with SentencePiece."""

    bos_id: int | None = 99
    separator_id = None
    vocabulary = 100

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [[len(word) + 50 * (number > 0) for number, word in enumerate(text.split())] for text in texts]

    def decode(self, ids: list[int]) -> str:
        return " ".join("x" * (id % 50) for id in ids)


def test_a_question_is_read_in_the_tokens_that_follow_the_prompt() -> None:
    question = Question.read(WordTokenizer(), "aa bbb", " cccc", " d")  # pyright: ignore
    assert question == Question((99, 2, 53), target=54, baseline=51)
    assert Question.read(ByteTokenizer(), "ab", "c") == Question((97, 98), target=99)
    assert Question.read(ByteTokenizer(), "ab", "cd", "ef", first_token=True) == Question((97, 98), 99, 101)


@pytest.mark.parametrize(
    ("prompt", "target", "baseline", "error", "message"),
    [
        ("", "a", None, DataError, "the prompt is empty"),
        ("a", "", None, ConfigError, "the target is empty"),
        (
            "a",
            "bcd",
            None,
            ConfigError,
            r"target 'bcd' is 3 tokens \('b', 'c', 'd'\).* let first-token take the first, 'b'",
        ),
        ("a", "b", "cd", ConfigError, r"baseline 'cd' is 2 tokens"),
        ("a", "b", "b", ConfigError, "are the same token, 'b'"),
    ],
)
def test_questions_that_cannot_be_asked(prompt, target, baseline, error, message):
    with pytest.raises(error, match=message):
        Question.read(ByteTokenizer(), prompt, target, baseline)


def test_a_prompt_beyond_the_context_and_a_dictionary_for_another_model(tiny: HuggingFaceModel) -> None:
    with pytest.raises(ModelError, match="129 tokens is longer than the 128 tokens"):
        attribute(tiny, SITE, dictionary(), Question((1,) * 129, target=1))
    with pytest.raises(MismatchError, match=r"width 31, and those of 'tiny' at resid_post\.2 have 32"):
        attribute(tiny, SITE, dictionary(width=31), QUESTION)
