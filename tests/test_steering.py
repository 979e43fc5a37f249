"""Interventions: their notation, what they do to activations, and the text that a model writes under them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from dictionaries import CONFIGS, KINDS, OUTPUT_WIDTH, activations, slightly_trained, target_of

from semascope.errors import ConfigError, MismatchError, ModelError
from semascope.models import HuggingFaceModel
from semascope.records import Condition, Intervention, Site
from semascope.sae import SparseAutoencoder, TopKConfig, build
from semascope.steering import (
    Edits,
    Ended,
    Row,
    Sampling,
    Steering,
    Written,
    intervention_from_json,
    intervention_json,
    intervention_text,
    parse_intervention,
    texts,
)
from semascope.steering.events import TextStream
from semascope.steering.sampling import next_tokens

GREEDY = Sampling(max_tokens=24, temperature=0)
PROMPT = "a small text of bytes"


@pytest.fixture(scope="module")
def steering(tiny: HuggingFaceModel) -> Steering:
    return Steering(tiny, Site(1), a_dictionary(), torch.full((96,), 4.0))


def a_dictionary(output_width: int | None = None) -> SparseAutoencoder:
    dictionary = build(TopKConfig(k=6), width=32, features=96, output_width=output_width)
    x = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    dictionary.initialize(x, x, torch.Generator().manual_seed(1))
    return dictionary


NOTATION = {
    "123=5x": Intervention(123, "clamp", 5),
    "123=-2.5x": Intervention(123, "clamp", -2.5),
    "123=40": Intervention(123, "clamp", 40, in_maxima=False),
    "0+=2x": Intervention(0, "add", 2),
    "0-=2": Intervention(0, "add", -2, in_maxima=False),
    "7*=0.5": Intervention(7, "scale", 0.5),
    "7=off": Intervention(7, "ablate"),
    "7=5x from 12": Intervention(7, "clamp", 5, start=12),
    "7=5x from reply": Intervention(7, "clamp", 5, start="reply"),
    "7=5x from 3 where 45>0.2x": Intervention(7, "clamp", 5, start=3, where=Condition(45, 0.2)),
    "7=off where 45>1.5": Intervention(7, "ablate", where=Condition(45, 1.5, in_maxima=False)),
}


@pytest.mark.parametrize("text", NOTATION)
def test_interventions_are_read_and_written(text: str) -> None:
    assert parse_intervention(text) == NOTATION[text]
    assert intervention_text(NOTATION[text]) == text
    assert intervention_from_json(intervention_json(NOTATION[text])) == NOTATION[text]


def test_spaces_and_a_hash_do_not_matter() -> None:
    assert parse_intervention(" #123 = 5x  where #4 > 1x ") == Intervention(123, "clamp", 5, where=Condition(4, 1.0))


@pytest.mark.parametrize("text", ["", "123", "123=", "=5x", "a=5x", "1=2=3", "123>5x", "-1=5x", "1=5x from the start"])
def test_what_is_no_intervention_says_what_is(text: str) -> None:
    with pytest.raises(ConfigError, match="FEATURE=5x"):
        parse_intervention(text)


@pytest.mark.parametrize("text", ["123=loud", "123=5xx x", "123=nan", "123=infx", "123+=off", "1=5x where 2>loud"])
def test_a_strength_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"not a number|no strength|no intervention"):
        parse_intervention(text)


@pytest.mark.parametrize(
    "content",
    [
        {"op": "clamp"},
        {"feature": "1"},
        {"feature": 1.5},
        {"feature": True},
        {"feature": 1, "strength": "5"},
        {"feature": 1, "strength": float("inf")},
        {"feature": 1, "op": "explode"},
        {"feature": 1, "start": -1},
        {"feature": 1, "start": "end"},
        {"feature": 1, "loudness": 3},
        {"feature": 1, "where": {"above": 1}},
        {"feature": 1, "where": 5},
    ],
)
def test_json_that_is_no_intervention_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        intervention_from_json(content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", CONFIGS)
def test_edits_replace_the_reconstruction_and_keep_the_error(variant: str, kind: str) -> None:
    dictionary = slightly_trained(variant, kind, steps=10)
    x_ND = activations(24, seed=9)
    y_NO = target_of(x_ND, kind)
    f_NF = dictionary.encode(x_ND).to_dense()
    busy, second, idle = (int(f) for f in (f_NF > 0).sum(0).argsort(descending=True)[[0, 1, -1]])
    maxima_F = torch.full((dictionary.features,), 2.0)
    ops = [
        Intervention(busy, "clamp", 3.0),
        Intervention(idle, "add", 0.7, in_maxima=False),
        Intervention(second, "scale", -1.5),
        Intervention(second, "add", 0.25),
    ]
    changed_NF = f_NF.clone()
    changed_NF[:, busy] = 6.0
    changed_NF[:, idle] += 0.7
    changed_NF[:, second] = f_NF[:, second] * -1.5 + 0.5

    def decoded(codes_NF: torch.Tensor) -> torch.Tensor:
        skip_NO = 0 if dictionary.W_skip_OD is None else x_ND @ dictionary.W_skip_OD.T
        return codes_NF @ dictionary.W_dec_FO + dictionary.b_dec_O + skip_NO

    with torch.no_grad():
        expected_NO = decoded(changed_NF) + (y_NO - decoded(f_NF))
    edits = Edits(dictionary, maxima_F, [ops], reply_start=0, massive_above=1e9)
    found_NO = edits.apply(x_ND[:, None], y_NO[:, None], 1)[:, 0]
    torch.testing.assert_close(found_NO, expected_NO, atol=1e-4, rtol=1e-4)


def one_feature(ops: Sequence[Intervention], x_TD: torch.Tensor, **settings: float) -> torch.Tensor:
    """At which positions something is changed."""
    dictionary = slightly_trained("topk", steps=10)
    edits = Edits(dictionary, None, [ops], reply_start=5, massive_above=settings.get("massive_above", 1e9))
    first = int(settings.get("first_position", 0))
    return (edits.apply(x_TD[None], x_TD[None], first)[0] - x_TD).abs().amax(dim=1) > 1e-4


def test_where_interventions_act() -> None:
    x_TD = activations(12, seed=9)
    add = Intervention(3, "add", 1.0, in_maxima=False)
    everywhere = one_feature([add], x_TD)
    assert everywhere.tolist() == [False] + [True] * 11  # never position 0
    assert one_feature([add], x_TD, first_position=1).all()
    later = Intervention(3, "add", 1.0, in_maxima=False, start=8)
    assert one_feature([later], x_TD).tolist() == [False] * 8 + [True] * 4
    assert one_feature([later], x_TD, first_position=4).tolist() == [False] * 4 + [True] * 8
    reply = Intervention(3, "add", 1.0, in_maxima=False, start="reply")
    assert one_feature([reply], x_TD).tolist() == [False] * 5 + [True] * 7
    norms_T = x_TD.norm(dim=1)
    moderate = one_feature([add], x_TD, massive_above=float(norms_T.median()))
    assert moderate.tolist() == ((norms_T <= norms_T.median()) & (torch.arange(12) > 0)).tolist()


def test_a_condition_looks_at_another_feature_as_it_was() -> None:
    x_TD = activations(40, seed=9)
    f_TF = slightly_trained("topk", steps=10).encode(x_TD).to_dense()
    other = int((f_TF > 0).sum(0).argmax())
    above = float(f_TF[:, other][f_TF[:, other] > 0].median())
    where = Condition(other, above, in_maxima=False)
    # The first would let the second's condition fail everywhere, if that looked at what is changed.
    ops = [Intervention(other, "ablate"), Intervention(3, "add", 5.0, in_maxima=False, where=where)]
    ablated_T, held_T = f_TF[:, other] > 0, f_TF[:, other] > above
    assert 0 < held_T.sum() < ablated_T.sum()
    expected_T = ablated_T.clone()
    expected_T[0] = False
    assert one_feature(ops, x_TD).tolist() == expected_T.tolist()
    held_T[0] = False
    assert one_feature(ops[1:], x_TD).tolist() == held_T.tolist()


def test_without_interventions_the_text_is_that_of_the_untouched_model(tiny, steering) -> None:
    prompt_BT = torch.tensor([steering.tokens(PROMPT)])
    generated_BT = tiny._wrapped.generate(
        prompt_BT, attention_mask=torch.ones_like(prompt_BT), max_new_tokens=24, do_sample=False, pad_token_id=0
    )
    events = list(steering.generate(PROMPT, sampling=GREEDY))
    written = [token for event in events if isinstance(event, Written) for token in event.tokens]
    assert written == generated_BT[0, prompt_BT.shape[1] :].tolist()
    assert events[-1] == Ended(Row(0, 0, 0), "length")
    nothing = Intervention(5, "scale", 1.0)
    beside = texts(steering.generate(PROMPT, [], [nothing], [Intervention(5, "clamp", 9)], sampling=GREEDY))
    alone = texts(events)[Row(0, 0, 0)]
    assert [beside[Row(0, variant, 0)] == alone for variant in range(3)] == [True, True, False]


@pytest.mark.parametrize("kind", ["autoencoder", "transcoder"])
def test_steering_with_the_cache_is_steering_without_it(tiny, kind) -> None:
    dictionary, site, output_site = a_dictionary(), Site(1), Site(1)
    if kind == "transcoder":
        dictionary, site, output_site = a_dictionary(32), Site(1, "mlp_in"), Site(1, "mlp_out")
    steering = Steering(tiny, site, dictionary, torch.full((96,), 4.0), output_site=output_site)
    x_ND = tiny.activations(torch.tensor([steering.tokens(PROMPT)]), site).flatten(0, 1)
    busy = int(dictionary.encode(x_ND).to_dense().sum(0).argmax())
    ops = [
        Intervention(busy, "ablate"),
        Intervention(8, "clamp", 2.0, start=10),
        Intervention(9, "add", 1.0, where=Condition(busy)),
    ]
    written = steering.tokens(PROMPT)
    for _ in range(GREEDY.max_tokens):
        edits = steering.edits([ops], reply_start=len(PROMPT))
        written.append(int(steering.logits(torch.tensor([written]), edits)[0, -1].argmax()))
    events = steering.generate(PROMPT, ops, sampling=GREEDY)
    assert steering.tokens(PROMPT) + [t for e in events if isinstance(e, Written) for t in e.tokens] == written
    assert texts(steering.generate(PROMPT, sampling=GREEDY)) != texts(steering.generate(PROMPT, ops, sampling=GREEDY))


def test_prompts_of_any_length_and_samples_write_what_each_writes_alone(steering) -> None:
    prompts = ["first", "another one", "third"]
    sampling = Sampling(max_tokens=10, temperature=1.0, samples=2, seed=5)
    ops = [Intervention(8, "clamp", 3.0)]
    together = texts(steering.generate(prompts, [], ops, sampling=sampling))
    assert len(together) == 3 * 2 * 2
    for number, prompt in enumerate(prompts):
        alone = texts(steering.generate(prompt, [], ops, sampling=sampling))
        assert alone == {Row(0, r.variant, r.sample): t for r, t in together.items() if r.prompt == number}
    assert together[Row(0, 0, 0)] != together[Row(0, 0, 1)]


def test_chance_is_paired_and_repeatable(steering) -> None:
    sampling = Sampling(max_tokens=30, temperature=1.0, seed=3)
    weak = [Intervention(8, "add", 1e-4)]
    found = texts(steering.generate(PROMPT, [], weak, sampling=sampling))
    assert found[Row(0, 0, 0)] == found[Row(0, 1, 0)]
    assert found == texts(steering.generate(PROMPT, [], weak, sampling=sampling))
    other = texts(steering.generate(PROMPT, [], weak, sampling=Sampling(max_tokens=30, temperature=1.0, seed=4)))
    assert found[Row(0, 0, 0)] != other[Row(0, 0, 0)]


def test_sampling_follows_the_distribution() -> None:
    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0])
    numbers_NV = torch.empty(20_000, 4).exponential_(generator=torch.Generator().manual_seed(0)).log()
    every = Sampling(temperature=0.5)
    shares = torch.bincount(next_tokens(logits_V.expand(20_000, 4), every, numbers_NV), minlength=4) / 20_000
    torch.testing.assert_close(shares, (logits_V / 0.5).softmax(0), atol=0.01, rtol=0)
    nucleus = Sampling(temperature=1.0, top_p=0.8)  # 0.64 + 0.24
    shares = torch.bincount(next_tokens(logits_V.expand(20_000, 4), nucleus, numbers_NV), minlength=4) / 20_000
    expected = logits_V[:2].softmax(0)
    torch.testing.assert_close(shares, torch.cat([expected, torch.zeros(2)]), atol=0.012, rtol=0)


def test_settings_of_sampling_that_cannot_be() -> None:
    for name, value in (("max_tokens", 0), ("samples", 0), ("temperature", -1.0), ("top_p", 0.0), ("top_p", 1.1)):
        with pytest.raises(ConfigError):
            Sampling(**{name: value})
    with pytest.raises(ConfigError, match="nan is no temperature"):
        Sampling(temperature=float("nan"))


def test_a_text_ends_where_the_model_ends_it(steering, tiny, monkeypatch) -> None:
    events = [e for e in steering.generate(PROMPT, sampling=GREEDY) if isinstance(e, Written)]
    last = events[3].tokens[-1]
    monkeypatch.setattr(type(tiny), "stop_ids", frozenset({last}))
    first = next(i for i, event in enumerate(events) if last in event.tokens)
    ended = list(steering.generate(PROMPT, sampling=GREEDY))
    assert ended[-1] == Ended(Row(0, 0, 0), "stop")
    assert [token for e in ended if isinstance(e, Written) for token in e.tokens] == [
        token for e in events[: first + 1] for token in e.tokens if token != last
    ]


def test_the_context_ends_a_text_and_a_prompt_beyond_it_is_refused(steering, tiny) -> None:
    limit = tiny.context_limit
    *_, last = steering.generate("x" * (limit - 3), sampling=Sampling(max_tokens=50, temperature=0))
    assert last == Ended(Row(0, 0, 0), "context")
    with pytest.raises(ModelError, match=f"{limit} tokens.*shorten the prompt"):
        steering.generate("x" * limit)


def test_an_abandoned_generation_leaves_the_model_as_it_was(steering, tiny) -> None:
    tokens_BT = torch.tensor([steering.tokens(PROMPT)])
    before = tiny.logits(tokens_BT)
    events = steering.generate(PROMPT, [Intervention(8, "clamp", 5)], sampling=GREEDY)
    next(events)
    assert torch.equal(tiny.logits(tokens_BT), before)
    del events
    assert torch.equal(tiny.logits(tokens_BT), before)


def test_what_cannot_be_done_is_said_before_anything_is_written(steering, tiny) -> None:
    with pytest.raises(ConfigError, match="no feature 96: the dictionary has features 0 to 95"):
        steering.generate(PROMPT, [Intervention(96, "ablate")])
    with pytest.raises(ConfigError, match="no feature 200"):
        steering.generate(PROMPT, [Intervention(1, "ablate", where=Condition(200))])
    with pytest.raises(ModelError, match="no chat template"):
        steering.generate(PROMPT, chat=True)
    with pytest.raises(ConfigError, match="at least one text"):
        steering.generate([])
    bare = Steering(tiny, Site(1), a_dictionary())
    with pytest.raises(ConfigError, match="not known without a feature index"):
        bare.generate(PROMPT, [Intervention(1, "clamp", 5)])
    dead = Steering(tiny, Site(1), a_dictionary(), torch.zeros(96))
    with pytest.raises(ConfigError, match="feature 1 never fires"):
        dead.generate(PROMPT, [Intervention(1, "clamp", 5)])
    next(dead.generate(PROMPT, [Intervention(1, "clamp", 5, in_maxima=False)]))
    with pytest.raises(MismatchError, match=f"width {OUTPUT_WIDTH + 3}.*'tiny' at resid_post.1 have 32"):
        Steering(tiny, Site(1), slightly_trained("topk", steps=1))
    with pytest.raises(MismatchError, match="maxima of 5 features"):
        Steering(tiny, Site(1), a_dictionary(), torch.ones(5))


def test_an_empty_prompt_begins_a_text(steering, tiny) -> None:
    assert steering.tokens("") == [tiny.tokenizer.separator_id]


def test_characters_of_several_tokens_come_whole(tiny) -> None:
    stream = TextStream(tiny.tokenizer, list(b"before"))
    ids = [*"é€".encode(), 0xFF, *b"a"]
    assert [stream.add(id)[0] for id in ids] == ["", "é", "", "", "€", "", "\ufffda"]
    assert TextStream(tiny.tokenizer, []).rest() == ("", ())
    stream.add(0xE2)
    assert stream.rest() == ("\ufffd", (0xE2,))
