"""Concepts: a planted feature is found, scored on texts that did not choose it, beside honest baselines."""

import random
from pathlib import Path

import pytest
import torch
from digits import DIGITS, MODEL, SITE, dictionary_with_a_digit_feature, documents, reader

from semascope.activations import OutlierFilter
from semascope.concepts import EMBEDDED_SUITE, Concept, TextReader, read_suite, score_concepts, suite_names
from semascope.concepts.auc import auc, auc_interval, chance_of
from semascope.errors import DataError
from semascope.records import Document


def test_auc_counts_ties_half_and_equals_its_definition() -> None:
    positive, negative = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert auc(positive, negative).tolist() == pytest.approx([(3 + 1.5) / 6, 0.5])
    generator = torch.Generator().manual_seed(0)
    p, q = (
        torch.randint(5, (40, 70), generator=generator).float(),
        torch.randint(5, (30, 70), generator=generator).float(),
    )
    expected = [
        sum((a > b) + 0.5 * (a == b) for a in p[:, f].tolist() for b in q[:, f].tolist()) / 1200 for f in range(70)
    ]
    assert auc(p, q).tolist() == pytest.approx(expected)


def test_the_auc_interval_holds_the_auc_and_shrinks_with_more_texts() -> None:
    generator = torch.Generator().manual_seed(0)

    def width(n: int) -> float:
        positive, negative = torch.randn(n, generator=generator) + 1, torch.randn(n, generator=generator)
        low, high = auc_interval(positive, negative, seed=0, resamples=300)
        assert low < auc(positive[:, None], negative[:, None]).item() < high
        return high - low

    assert width(200) < 0.6 * width(20)


def test_pooling_is_the_same_in_a_batch_of_other_lengths_as_alone() -> None:
    autoencoder = dictionary_with_a_digit_feature()
    texts = [MODEL.tokenizer.encode([text])[0] for text in ("abc 123", "a much longer text about nothing, 42", "xy")]
    pooled = TextReader(MODEL, SITE, autoencoder).pool(texts)
    assert pooled.untrained_SF is None
    for row, ids in enumerate(texts):
        x = MODEL.activations(torch.tensor([ids]), SITE)
        kept = x[OutlierFilter([x[:, 1:].norm(dim=2).median().item()] * 64).keep(x)]
        torch.testing.assert_close(
            pooled.maxima_SF[row], autoencoder.encode(kept).to_dense().amax(dim=0), rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(pooled.means_SD[row], kept.mean(dim=0), rtol=1e-4, atol=1e-5)


def test_a_planted_feature_is_found_and_beats_random_ones() -> None:
    [score] = score_concepts(reader(), documents(), [DIGITS])
    assert score.feature == 7
    assert score.auc > 0.95
    assert score.interval[0] <= score.auc <= score.interval[1]
    assert score.probe_auc > 0.9
    assert score.untrained_auc < score.interval[0]
    assert abs(score.random_feature_auc - 0.5) < 0.25
    assert (score.positives, score.negatives) == (30, 30)


def test_an_untrained_dictionary_reads_along_and_finds_no_feature_of_its_own() -> None:
    texts = MODEL.tokenizer.encode([one.text for one in documents()])
    trained = reader()
    untrained = trained.untrained(texts)
    pooled = trained.pool(texts, untrained=untrained)
    assert pooled.untrained_SF is not None
    torch.testing.assert_close(pooled.untrained_SF, TextReader(MODEL, SITE, untrained).pool(texts).maxima_SF)
    torch.testing.assert_close(untrained.W_enc_FD.norm(dim=1), torch.ones(20))
    every = torch.cat([read.codes.to_dense() for read in trained.read(texts)])
    assert untrained.config.target_l0() == pytest.approx((every > 0).sum(dim=1).float().mean().item(), abs=0.7)
    # A dictionary of random directions is not better than another one, however well it tells something.
    [score] = score_concepts(TextReader(MODEL, SITE, trained.untrained(texts[::2])), documents(), [DIGITS])
    assert not score.exists


def test_texts_of_a_single_token_cannot_be_compared() -> None:
    with pytest.raises(DataError, match="none of 40 texts has a token that the dictionary reads"):
        reader().untrained([[5]] * 40)
    only_one = [[5]] * 39 + [[5, 6, 7]]
    assert reader().untrained(only_one).features == 20


def test_with_shuffled_labels_nothing_is_found() -> None:
    labels = [document.labels for document in documents()]
    random.Random(1).shuffle(labels)
    shuffled = [Document(d.text, d.source, given) for d, given in zip(documents(), labels, strict=True)]
    [score] = score_concepts(reader(), shuffled, [DIGITS])
    assert score.auc < 0.8
    assert score.interval[0] < 0.5


def test_concepts_are_told_apart_among_the_texts_that_they_name() -> None:
    concept = Concept("SQL", "sql", among="security")
    in_source = Concept("Cities", "city", among="encyclopedia")

    def text(*labels: str, source: str = "x") -> Document:
        return Document("text", source, frozenset(labels))

    assert concept.is_positive(text("sql", "security"))
    assert not concept.is_positive(text("sql"))
    assert concept.is_negative(text("security"))
    assert not concept.is_negative(text("cooking"))
    assert in_source.is_negative(text("river", source="encyclopedia"))
    assert not in_source.is_negative(text("river"))


def test_concepts_without_enough_texts_are_left_out_and_none_at_all_is_an_error() -> None:
    scores = score_concepts(reader(), documents(), [DIGITS, *EMBEDDED_SUITE])
    assert [score.concept for score in scores] == ["Digits"]
    with pytest.raises(DataError, match="none of the concepts person, city"):
        score_concepts(reader(), documents(), EMBEDDED_SUITE)


def test_chance_is_the_mann_whitney_test_and_keeps_its_level() -> None:
    assert chance_of(torch.ones(5), torch.ones(7)) == 1
    scores = torch.randn(2000, 40, generator=torch.Generator().manual_seed(0)).round(decimals=1).relu()
    share = sum(chance_of(row[:20], row[20:]) <= 0.05 for row in scores) / len(scores)
    assert 0.035 < share < 0.065
    from scipy.stats import mannwhitneyu

    expected = mannwhitneyu(
        scores[0, :15].numpy(), scores[0, 15:].numpy(), alternative="greater", method="asymptotic", use_continuity=False
    )
    assert chance_of(scores[0, :15], scores[0, 15:]) == pytest.approx(expected.pvalue)


def test_a_planted_feature_exists_and_among_shuffled_labels_none_does() -> None:
    [planted] = score_concepts(reader(), documents(), [DIGITS])
    assert planted.exists
    assert planted.p_value < 0.001
    labels = [document.labels for document in documents()]
    random.Random(1).shuffle(labels)
    shuffled = [Document(d.text, d.source, given) for d, given in zip(documents(), labels, strict=True)]
    [nothing] = score_concepts(reader(), shuffled, [DIGITS])
    assert not nothing.exists


def test_specificity_is_against_the_sisters() -> None:
    concept = Concept("Digits", "digits", sisters=("letters",))
    [score] = score_concepts(reader(), documents(), [concept])
    assert score.specificity is not None
    assert score.specificity > 0.95
    assert score.sister_texts == 15  # the half of the letters that did not choose the feature
    [without] = score_concepts(reader(), documents(), [DIGITS])
    assert without.specificity is None
    assert (without.feature, without.auc) == (score.feature, score.auc)


def test_every_suite_that_comes_along_can_be_read() -> None:
    assert {"demo", "things", "security", "languages"} <= set(suite_names())
    assert all(read_suite(name).concepts for name in suite_names())
    assert read_suite("demo").concepts == EMBEDDED_SUITE


def test_a_suite_of_ones_own_brings_texts(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("concepts:\n  - {name: Secrecy, label: secrecy, texts: [Tell nobody., Burn this letter.]}\n")
    suite = read_suite(str(file))
    assert suite.name == "mine"
    assert [(d.text, d.labels) for d in suite.documents()] == [
        ("Tell nobody.", {"secrecy"}),
        ("Burn this letter.", {"secrecy"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("concepts: [", "is not YAML"),
        ("concepts: []", "at least 1 item"),
        ("concepts: [{name: A}]", r"concepts.0.label: Field required"),
        ("concepts: [{name: A, label: a, colour: red}]", r"concepts.0.colour"),
        ("concepts: [{name: A, label: a}, {name: A, label: b}]", "more than one concept named A"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_damaged_suite_is_named_with_its_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_suite(str(file))
    known = "ai-risk, bias, character, danger, demo, emotions, languages, morality, security, things"
    with pytest.raises(DataError, match=f"there is no suite 'nothing': choose one of {known}, or give a YAML file"):
        read_suite("nothing")
