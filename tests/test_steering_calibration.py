"""Calibration: features that steer are told from those that do not, and what is measured is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semascope.concepts import ConceptProbe, TextReader
from semascope.errors import ConfigError, DamagedError, DataError
from semascope.features import FeatureIndex, IndexBuilder
from semascope.models import load_model
from semascope.records import Codes, Document, Intervention, Site, TokenBatch
from semascope.sae import L1Config, build
from semascope.steering import CalibrationSettings, Sampling, SavedSteering, Steering, calibrate, feature_scores
from semascope.steering.measures import on_text, on_writing
from semascope.steering.prompts import neutral_prompts

SITE = Site(3)  # The last block: what is added there goes straight to the logits.
LETTERS = "abcdefghijklmnop"
ANY_DAMAGE = {"most_kl": 50.0, "most_surprise": 50.0, "most_repetition": 1.0}
SETTINGS = CalibrationSettings(strengths=(0.2, 2.0), texts=8, tokens=8, controls=5, temperature=0.05, **ANY_DAMAGE)


@pytest.fixture
def steering() -> Steering:
    """Feature i stands for letter i: it points at the letter's unembedding, and fires where it was read."""
    model = load_model("tiny", device="cpu", precision="full")
    dictionary = build(L1Config(coefficient=1.0), width=32, features=len(LETTERS))
    letters_F1 = torch.tensor([list(letter.encode()) for letter in LETTERS])
    # Windows of any text that end with a letter, as often with each.
    text_NT = torch.randint(32, 127, (1024, 24), generator=torch.Generator().manual_seed(1))
    letters_N = torch.arange(len(text_NT)) % len(LETTERS)
    text_NT[:, 12:] = letters_F1[letters_N]
    read_ND = model.activations(text_NT, SITE)[:, -6:].flatten(0, 1)
    target_NF = torch.nn.functional.one_hot(letters_N.repeat_interleave(6), len(LETTERS)).float()
    with_one_NE = torch.cat([read_ND, torch.ones(len(read_ND), 1)], dim=1)
    fitted_EF = torch.linalg.lstsq(with_one_NE, target_NF).solution
    said_FD = model._wrapped.lm_head.weight[letters_F1[:, 0]].detach()
    with torch.no_grad():
        dictionary.W_dec_FO.copy_(torch.nn.functional.normalize(said_FD, dim=1))
        dictionary.W_enc_FD.copy_(20 * fitted_EF[:-1].T)
        dictionary.b_enc_F.copy_(20 * fitted_EF[-1])
    return Steering(model, SITE, dictionary, torch.full((len(LETTERS),), 20.0))


@pytest.fixture
def index(steering: Steering, tmp_path: Path) -> FeatureIndex:
    """Every feature fires once, on its letter; the last never."""
    n = len(LETTERS) - 1
    tokens_1T = torch.tensor([list(LETTERS[:n].encode())])
    with IndexBuilder(tmp_path / "features", n_features=n + 1) as builder:
        for window in range(n):
            builder.add_windows(TokenBatch(tokens_1T, torch.zeros_like(tokens_1T), window))
        codes = Codes(torch.arange(n + 1), torch.arange(n), torch.full((n,), 20.0), n + 1)
        builder.add(codes, tokens_1T[0], torch.arange(n), torch.arange(n))
        directions_FD = steering.dictionary.W_dec_FO.detach()
        builder.finish(directions_FD, promoted=steering.model.promoted, token_text=chr, provenance={})
    return FeatureIndex.open(tmp_path / "features")


@pytest.fixture(scope="module")
def windows_WT() -> torch.Tensor:
    return torch.randint(97, 122, (3, 12), generator=torch.Generator().manual_seed(0))


def test_no_intervention_has_no_effect_and_no_damage(steering, windows_WT) -> None:
    nothing = on_text(steering, windows_WT, [[], [Intervention(3, "scale", 1.0)]], [100])
    assert nothing.kl_VW.abs().max() < 1e-5
    assert nothing.log_odds_VW.abs().max() < 1e-4


def test_adding_a_direction_makes_its_own_tokens_likelier(steering, windows_WT) -> None:
    found = on_text(steering, windows_WT, [[Intervention(3, "add", x)] for x in (0.05, 0.2, 1.0)], [ord("d")])
    assert found.kl_VW.shape == (3, 3)
    for rising_V in (found.kl_VW.mean(1), found.log_odds_VW.mean(1)):
        assert rising_V[0] > 0
        assert (rising_V.diff() > 0).all()


def test_what_was_written_is_read_by_the_untouched_model(steering) -> None:
    prompts = [steering.tokens(text) for text in ("first", "other", "a longer one")]
    ops = [[], [Intervention(3, "clamp", 40.0)]]
    found = on_writing(steering, 3, prompts, ops, Sampling(max_tokens=9, temperature=0))
    # Nothing but the letter is written then: 7 runs of which one is new.
    torch.testing.assert_close(found.repetition_VP[1], torch.full((3,), 6 / 7))
    text_BT = torch.tensor([[*prompts[2], *[ord("d")] * 9]])
    x_TD = steering.model.activations(text_BT, SITE)[0, len(prompts[2]) :]
    torch.testing.assert_close(found.echo_VP[1, 2], steering.dictionary.encode(x_TD).to_dense()[:, 3].max() / 20)
    log_p_TV = steering.model.logits(text_BT)[0, len(prompts[2]) - 1 : -1].log_softmax(1)
    torch.testing.assert_close(found.surprise_VP[1, 2], -log_p_TV[:, ord("d")].mean())


def test_a_feature_that_says_what_it_reads_steers(steering, index, windows_WT, tmp_path: Path) -> None:
    found = calibrate(steering, index, 3, windows_WT, SETTINGS)
    assert found.recommended == found.chosen == 2.0
    assert found.tested is not None
    assert found.tested.effect > found.tested.controls[1]
    weak, strong = found.levels
    assert strong.kl > weak.kl > 0
    assert strong.log_odds > weak.log_odds
    assert len(set(found.controls) - {3, 15}) == 5
    assert calibrate(steering, index, 3, windows_WT, SETTINGS) == found
    saved = SavedSteering(tmp_path / "steering", 16)
    assert saved.calibration(3) is None
    saved.add_calibration(found)
    assert (saved.calibration(3) or {})["recommended"] == 2.0


def test_a_feature_that_says_something_else_does_not_steer(steering, index, windows_WT) -> None:
    with torch.no_grad():
        steering.dictionary.W_dec_FO[3] = steering.dictionary.W_dec_FO[15]
    assert calibrate(steering, index, 3, windows_WT, SETTINGS).recommended is None


def test_asking_in_the_prompt_is_measured_without_an_intervention(steering, index, windows_WT) -> None:
    found = calibrate(steering, index, 3, windows_WT, SETTINGS)
    assert found.asked.about == "d"
    prompts = neutral_prompts(steering, SETTINGS.texts, about="lions")
    assert all("lions" in bytes(prompt).decode() for prompt in prompts)
    sampling = Sampling(SETTINGS.tokens, SETTINGS.temperature, seed=SETTINGS.seed)
    expected = on_writing(steering, 3, prompts, [[]], sampling).echo_VP.mean()
    about_lions = calibrate(steering, index, 3, windows_WT, SETTINGS, about="lions")
    assert about_lions.asked.echo == pytest.approx(float(expected))
    assert about_lions.untouched == found.untouched


def letter_probe(steering: Steering, letter: str) -> ConceptProbe:
    """Of texts that end with the letter again and again, told from others that so end with another one."""
    prompts = [bytes(prompt).decode() for prompt in neutral_prompts(steering, 24)]
    others = LETTERS.replace(letter, "")
    documents = [
        Document(prompt + (letter if has else others[n % len(others)]) * (24 + k), "test", frozenset(["it"] * has))
        for n, prompt in enumerate(prompts)
        for k in range(2)
        for has in (False, True)
    ]
    return ConceptProbe.train(
        TextReader(steering.model, SITE, steering.dictionary), documents, f"the letter {letter}",
        has=lambda one: "it" in one.labels, lacks=lambda one: "it" not in one.labels,
    )  # fmt: skip


def test_a_probe_scores_texts_from_without_to_with(steering) -> None:
    probe = letter_probe(steering, "d")
    assert probe.auc > 0.9
    assert (probe.positives, probe.negatives) == (24, 24)
    reader = TextReader(steering.model, SITE, steering.dictionary)
    texts = [b"One may say that " + letter * 25 for letter in (b"h", b"d")]
    without, with_it = probe.score(reader.pool([list(text) for text in texts]).means_SD).tolist()
    assert without < 0.5 < with_it


def test_the_concept_is_scored_beside_the_features_own_echo(steering, index, windows_WT) -> None:
    probe = letter_probe(steering, "d")
    settings = replace(SETTINGS, controls=9)
    found = calibrate(steering, index, 3, windows_WT, settings, probe=probe)
    assert found.on_concept is not None
    assert found.on_concept.recommended == found.on_concept.chosen == 2.0
    assert found.on_concept.scores[1] > found.on_concept.controls[1][1]
    assert found.on_concept.scores[1] > found.on_concept.scores[0]
    assert found.on_concept.name == found.asked.about == "the letter d"
    # What was measured without the probe is what it was.
    without = calibrate(steering, index, 3, windows_WT, settings, about="the letter d")
    assert without.on_concept is None
    assert replace(found, on_concept=None) == without


def test_a_feature_that_echoes_itself_does_not_steer_towards_another_concept(steering, index, windows_WT) -> None:
    found = calibrate(steering, index, 3, windows_WT, SETTINGS, probe=letter_probe(steering, "k"))
    assert found.recommended == 2.0
    assert found.on_concept is not None
    assert found.on_concept.recommended is None
    prompts = neutral_prompts(steering, SETTINGS.texts)
    sampling = Sampling(SETTINGS.tokens, SETTINGS.temperature, seed=SETTINGS.seed)
    alone = on_writing(steering, 3, prompts, [[]], sampling)
    assert alone.concept_VP.isnan().all()


def test_a_probe_needs_texts_of_both_kinds(steering) -> None:
    reader = TextReader(steering.model, SITE, steering.dictionary)
    documents = [Document(f"text {n}", "test", frozenset({"it"})) for n in range(20)]
    with pytest.raises(DataError, match="20 texts about it and 0 others, and at least 8"):
        ConceptProbe.train(
            reader, documents, "it", has=lambda one: "it" in one.labels, lacks=lambda one: "it" not in one.labels
        )


def test_bounds_on_damage_are_kept(steering, index, windows_WT) -> None:
    bounds = CalibrationSettings(strengths=(2.0,), texts=4, tokens=6, controls=2, most_kl=1e-6)
    found = calibrate(steering, index, 3, windows_WT, bounds)
    assert not found.levels[0].acceptable
    assert found.recommended is found.chosen is found.tested is None


def test_what_cannot_be_calibrated_says_why(steering, index, windows_WT) -> None:
    for strengths in ((), (0.0,), (float("nan"),)):
        with pytest.raises(ConfigError, match="finite numbers other than 0"):
            CalibrationSettings(strengths=strengths)
    with pytest.raises(ConfigError, match="at least 4 texts"):
        CalibrationSettings(texts=1)
    with pytest.raises(ConfigError, match="24 neutral prompts"):
        CalibrationSettings(texts=25)
    with pytest.raises(ConfigError, match="no feature 99"):
        calibrate(steering, index, 99, windows_WT, SETTINGS)


def test_scores_tell_what_turns_a_feature_on_and_what_it_says(steering, index, tmp_path: Path) -> None:
    scores = {feature: (read, said) for feature, read, said in feature_scores(steering, index, range(15))}
    assert all(read == 1.0 for read, _ in scores.values())  # Each fires on the letter that it promotes.
    tokens_1T = torch.tensor([steering.tokens("From my experience,")])
    x_D = steering.model.activations(tokens_1T, SITE)[0, -1]
    amount = 10 * float(steering.dictionary.encode(x_D[None]).values.max())
    op = Intervention(4, "add", amount, in_maxima=False, start=tokens_1T.shape[1] - 1)
    p_V = steering.logits(tokens_1T, steering.edits([[op]]))[0, -1].softmax(0)
    own = steering.model.promoted(steering.dictionary.W_dec_FO[4:5].detach())[0].topk(20).indices
    ranks = p_V.argsort(descending=True).argsort()[own]
    assert scores[4][1] == pytest.approx(float(p_V[own].max() * (1 - ranks.min() / 257)), rel=1e-4)

    saved = SavedSteering(tmp_path / "steering", 16)
    assert all(scores_F.isnan().all() for scores_F in saved.scores())
    saved.add_scores([(4, *scores[4])])
    saved.add_scores([(5, 0.5, 0.25)])
    input_F, output_F = saved.scores()
    assert output_F[4] == pytest.approx(scores[4][1])
    assert (float(input_F[5]), float(output_F[5])) == (0.5, 0.25)
    assert input_F.isnan().sum() == 14
    with pytest.raises(DamagedError, match="scores of 17 features"):
        SavedSteering(tmp_path / "steering", 17).scores()
