"""Monitoring: what rules flag and where, the same however a text is cut into windows; precision and recall by hand."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from digits import documents, reader

from semascope.concepts import Monitor, Rule, check_rules, read_rules, train_probes
from semascope.concepts.checking import Probe
from semascope.errors import ConfigError, DataError
from semascope.records import Condition, Document

DIGITS = Rule("Digits", "digits", (Condition(7, 0.5, in_maxima=False),))


def monitor(*rules: Rule, context_tokens: int = 32, at_once: int = 4) -> Monitor:
    maxima = torch.full((20,), 2.0)
    return Monitor(reader(), rules or (DIGITS,), maxima, context_tokens=context_tokens, texts_at_once=at_once)


def test_spans_are_where_the_feature_fires() -> None:
    [quiet, loud] = monitor().watch(["abc def", "ab 12 cd 345x"])
    assert (quiet.flags, quiet.number) == ((), 0)
    [flag] = loud.flags
    assert [(span.text, span.start, span.stop) for span in flag.spans] == [("12", 3, 5), ("345", 9, 12)]
    assert flag.score == pytest.approx(0.99 / 0.5, abs=0.05)
    assert flag.spans[0].peak == pytest.approx(0.99, abs=0.02)


def test_long_texts_are_read_to_their_end_and_each_token_once() -> None:
    letters = "".join(random.Random(0).choices("abcdefghij ", k=200))
    text = letters[:31] + "1" + letters[31:100] + "22" + letters[100:] + "9"
    for context_tokens in (8, 32, 128):
        [watched] = monitor(context_tokens=context_tokens).watch([text])
        found = [(span.text, span.start) for span in watched.flags[0].spans]
        assert found == [("1", 31), ("22", 101), ("9", 203)], context_tokens


def test_conditions_are_joined_by_any_or_all_and_count_in_maxima_where_asked() -> None:
    both = (Condition(7, 0.5, in_maxima=False), Condition(0, 0.5, in_maxima=False))
    rules = (Rule("any", "x", both), Rule("all", "x", both, needs_all=True), Rule("high", "x", (Condition(7, 0.6),)))
    texts = ["xa", "x1", "xa1", "xj"]
    found = [[flag.rule for flag in one.flags] for one in monitor(*rules).watch(texts)]
    assert found == [["any"], ["any"], ["any", "all"], []]  # 0.6 times the maximum of 2 is more than 0.99


def test_the_stream_is_read_a_few_texts_at_a_time() -> None:
    taken = 0

    def stream() -> Iterator[str]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield f"text {i}" if i % 2 else ""

    coming = monitor().watch(stream())
    first = [next(coming).number for _ in range(5)]
    assert first == [0, 1, 2, 3, 4]
    assert taken == 8


def test_precision_and_recall_are_those_of_counting() -> None:
    # Every text with digits is flagged, and a third of the others is made to look like them.
    texts = [
        Document(one.text.replace("a", "5") if i % 6 == 0 else one.text, "x", one.labels)
        for i, one in enumerate(documents(120))
    ]
    [check] = check_rules(monitor(), texts)
    assert (check.positives, check.negatives) == (30, 30)
    rule = check.by_rule
    assert rule.recall == 1
    assert rule.precision == pytest.approx(30 / rule.flagged)
    assert 30 < rule.flagged < 50
    assert rule.precision is not None
    assert rule.precision_interval[0] < rule.precision < rule.precision_interval[1]
    assert check.by_probe.auc > 0.9
    assert check_rules(monitor(), texts) == [check]


def test_a_rule_that_flags_nothing_has_no_precision() -> None:
    [check] = check_rules(monitor(Rule("never", "digits", (Condition(7, 99.0),))), documents())
    assert (check.by_rule.flagged, check.by_rule.precision, check.by_rule.recall) == (0, None, 0)


def test_the_threshold_of_a_probe_is_that_of_the_best_f1() -> None:
    means = torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]])
    probe = Probe.train(means, torch.tensor([True, True, False, True, False]))
    assert (probe.score(means) > 0).tolist() == [True, True, True, True, False]  # F1 6/7 against 4/5 with two
    assert train_probes(monitor(), documents()).keys() == {"Digits"}


def test_too_few_labelled_texts_are_named() -> None:
    with pytest.raises(DataError, match="rule 'Digits': 30 texts have the label 'digits' and 0 do not"):
        check_rules(monitor(), documents()[1::2])
    with pytest.raises(DataError, match="0 texts have the label 'sql'"):
        check_rules(monitor(Rule("SQL", "sql", DIGITS.conditions)), documents())


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        "rules:\n  - {name: A, any: [{feature: 1, above: 12}, {feature: 2, above: 0.3x}]}\n"
        "  - {name: B, label: b, all: [{feature: 3, above: 0}]}\n"
    )
    assert read_rules(file, 20) == (
        Rule("A", "A", (Condition(1, 12.0, in_maxima=False), Condition(2, 0.3))),
        Rule("B", "b", (Condition(3, 0.0, in_maxima=False),), needs_all=True),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rules: [", "is not YAML"),
        ("rules: []", "rules: List should have at least 1 item"),
        ("rules: [{name: A}]", "expected conditions under 'any' or under 'all'"),
        ("rules: [{name: A, any: [{feature: 1}]}]", r"rules.0.any.0.above: Field required"),
        ("rules: [{name: A, any: [{feature: 20, above: 1}]}]", "no feature 20, the dictionary has features 0 to 19"),
        ("rules: [{name: A, any: [{feature: 1, above: loud}]}]", "'loud' is no threshold"),
        ("rules: [{name: A, any: [{feature: 1, above: .nan}]}]", "'nan' is no threshold"),
        ("rules: [{name: A, any: [{feature: 1, above: -1}]}]", "below zero"),
        (
            "rules: [{name: A, any: [{feature: 1, above: 1}]}, {name: A, any: [{feature: 1, above: 1}]}]",
            "more than one",
        ),
    ],
)
def test_damaged_rules_are_named_with_their_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_rules(file, 20)
    with pytest.raises(ConfigError, match="does not exist"):
        read_rules(tmp_path / "none.yaml", 20)
