import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from semascope.errors import DataError
from semascope.records import Document
from semascope.text import Corpus, CorpusConfig, is_held_out, shuffled


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text number {n}"}) + "\n" for n in range(1000)))
    return str(path)


def texts(documents: object) -> list[str]:
    return [document.text for document in documents]  # type: ignore[attr-defined]


def test_the_parts_are_disjoint_and_complete(source: str) -> None:
    corpus = Corpus(CorpusConfig(source=source, held_out_fraction=0.2))
    training, held_out = set(texts(corpus.training())), set(texts(corpus.held_out()))
    assert not training & held_out
    assert len(training | held_out) == 1000
    assert 150 < len(held_out) < 250


def test_the_split_does_not_depend_on_the_seed_but_the_order_does(source: str) -> None:
    one, other = (Corpus(CorpusConfig(source=source, seed=seed)) for seed in (1, 2))
    assert set(texts(one.held_out())) == set(texts(other.held_out()))
    assert texts(one.training()) != texts(other.training())


def test_a_stream_starts_from_scratch_with_the_same_order(source: str) -> None:
    corpus = Corpus(CorpusConfig(source=source))
    interrupted = corpus.training()
    next(interrupted)
    assert texts(corpus.training()) == texts(corpus.training())


def test_a_larger_fraction_holds_out_more_of_the_same() -> None:
    documents = [Document(str(n), "test") for n in range(500)]
    few = {document.text for document in documents if is_held_out(document, 0.1)}
    many = {document.text for document in documents if is_held_out(document, 0.3)}
    assert few < many


def test_the_same_text_is_on_the_same_side_wherever_it_comes_from() -> None:
    for n in range(50):
        here, there = Document(f"a  b {n}", "here"), Document(f"a b\n{n} ", "there")
        assert is_held_out(here, 0.5) == is_held_out(there, 0.5)


def test_what_fits_into_the_buffer_is_shuffled_completely() -> None:
    documents = [Document(str(n), "test") for n in range(100, 200)]
    firsts = {next(shuffled(documents, seed=seed)).text for seed in range(200)}
    assert len(firsts) > 70
    assert sorted(texts(shuffled(documents, seed=0))) == texts(documents)


def test_the_buffer_is_bounded_in_characters() -> None:
    read = 0

    def stream():
        nonlocal read
        for n in range(1000):
            read += 1
            yield Document(f"{n:010d}", "test")

    mixed = shuffled(stream(), seed=0, buffer_characters=500)
    assert next(mixed).text
    assert read == 51
    rest = texts(mixed)
    assert len(rest) == 999
    assert rest != sorted(rest)


@pytest.mark.parametrize(("fraction", "part"), [(1e-9, "held_out"), (1 - 1e-9, "training")])
def test_an_empty_part_is_an_error(source: str, fraction: float, part: str) -> None:
    corpus = Corpus(CorpusConfig(source=source, held_out_fraction=fraction))
    with pytest.raises(DataError, match=r"no document .* held_out_fraction"):
        list(getattr(corpus, part)())


@pytest.mark.parametrize(
    "wrong",
    [
        {"held_out_fraction": 0.0},
        {"held_out_fraction": 1.0},
        {"held_out_fraction": float("nan")},
        {"context_tokens": 1},
        {"seed": -1},
        {"source": ""},
        {"field": ""},
        {"shuffle": True},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CorpusConfig(**wrong)  # type: ignore[arg-type]
