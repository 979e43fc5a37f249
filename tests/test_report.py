"""The report: what it shows, that it shows it safely, and that it needs nothing but itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from semascope.errors import InputError
from semascope.features.build import IndexBuilder
from semascope.features.index import FeatureIndex
from semascope.records import Codes, TokenBatch
from semascope.report import page as page_module
from semascope.report import write_report
from semascope.report.blocks import visible, visible_token
from semascope.report.numbers import percent, significant
from semascope.text import ByteTokenizer, pieces

TOKENIZER = ByteTokenizer()
ATTACK = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
TEXTS = [
    f"Before {ATTACK} after.",
    "Café au lait,\n\tsaid the waiter in Zürich; and the river ran on past it.",
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
]
N_FEATURES, N_DEAD, WINDOW = 40, 10, 80
EVALUATION = {
    "explained_variance": 0.789,
    "explained_variance_interval": [0.781, 0.794],
    "l0": 32.04,
    "ce_clean": 3.123,
    "ce_spliced": 3.287,
    "ce_mean_ablated": 7.91,
    "ce_recovered": 0.9658,
    "ce_recovered_interval": [0.9631, 0.9683],
    "tokens": 262_144,
    "ce_tokens": 65_536,
    "dead_fraction": 0.0117,
    "dead_counted_over_tokens": 10_000_000,
}
METRICS = [
    {"step": s, "tokens": 1024 * s, "loss": 100 / s, "explained_variance": 1 - 1 / s, "l0": 32.0}
    for s in range(10, 9000)
]


def concept(name: str, feature: int, label: str = "city") -> dict[str, Any]:
    return {
        "concept": name,
        "label": label,
        "feature": feature,
        "auc": 0.951,
        "interval": [0.9, 0.99],
        "probe_auc": 0.97,
        "untrained_auc": 0.72,
        "random_feature_auc": 0.52,
        "positives": 80,
        "negatives": 79,
    }


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureIndex]:
    """Feature 0 fires on '<', feature 1 on the first byte of 'é', the last ten never, and others on one byte each."""
    folder = tmp_path_factory.mktemp("index") / "features"
    encoded = [(ids + [TOKENIZER.separator_id] * WINDOW)[:WINDOW] for ids in TOKENIZER.encode(TEXTS)]
    tokens_BT = torch.tensor(encoded)
    documents_BT = torch.arange(len(TEXTS))[:, None].expand_as(tokens_BT)
    tokens_N = tokens_BT.flatten()
    dense_NF = torch.zeros(len(tokens_N), N_FEATURES)
    dense_NF[:, 0] = (tokens_N == ord("<")).float() * torch.linspace(2, 1, len(tokens_N))
    dense_NF[:, 1] = (tokens_N == "é".encode()[0]).float() * 4
    for feature in range(2, N_FEATURES - N_DEAD):
        dense_NF[:, feature] = (tokens_N == ord("aeiounrst"[feature % 9])).float() * (1 + feature / 10)
    generator = torch.Generator().manual_seed(0)
    W_dec_FD = torch.randn(N_FEATURES, 8, generator=generator)
    unembedding_DV = torch.randn(8, TOKENIZER.vocabulary, generator=generator)
    unembedding_DV[:, ord("<")] = 10 * W_dec_FD[0]  # feature 0 promotes the character that must be escaped
    with IndexBuilder(folder, n_features=N_FEATURES) as builder:
        builder.add_windows(TokenBatch(tokens_BT, documents_BT, 0))
        places = torch.arange(len(tokens_N))
        builder.add(Codes.from_dense(dense_NF), tokens_N, places // WINDOW, places % WINDOW)
        builder.finish(
            W_dec_FD,
            promoted=lambda directions_nD: directions_nD @ unembedding_DV,
            token_text=lambda token: pieces([token], TOKENIZER)[0].text,
            provenance={},
        )
    with FeatureIndex.open(folder) as opened:
        yield opened


class Element:
    """An element with what is inside it."""

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes, self.inside = tag, attributes, list[Element | str]()

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.inside)

    def all(self, tag: str, cls: str | None = None) -> list[Element]:
        found: list[Element] = []
        for part in self.inside:
            if isinstance(part, Element):
                if part.tag == tag and (cls is None or cls in part.attributes.get("class", "").split()):
                    found.append(part)
                found += part.all(tag, cls)
        return found


VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Parser(HTMLParser):
    """Builds the tree; fails where an element is closed by another's end tag."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def parse(path: Path) -> Element:
    parser = Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open == [parser.root], "an element was left open"
    return parser.root


def written(path: Path, index: FeatureIndex, **changes: Any) -> Element:
    arguments: dict[str, Any] = {
        "title": "tiny/model, resid_post.1",
        "card": {"Model": "tiny/model", "Seed": "3", "Made with": "semascope 0.1.0"},
        "metrics": METRICS,
        "evaluation": EVALUATION,
        "concepts": [concept("Cities", 1), concept("French", 1, "french"), concept("Code", N_FEATURES - 1)],
    }
    write_report(path, **(arguments | changes), index=index, tokenizer=TOKENIZER)
    return parse(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, index: FeatureIndex) -> Path:
    """A whole report, for the tests that only read it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    written(path, index)
    return path


def walk(element: Element) -> Iterator[Element]:
    for part in element.inside:
        if isinstance(part, Element):
            yield part
            yield from walk(part)


def test_the_headline_figures_are_those_of_the_evaluation(path: Path) -> None:
    tiles = parse(path).all("div", "tile")
    figures = {tile.all("h2")[0].text: tile.all("p", "figure")[0].text.replace("\u202f", " ") for tile in tiles}
    assert figures == {
        "Explained variance": "78.9 %",
        "Cross-entropy recovered": "96.6 %",
        "L0": "32.0",
        "Dead features": "1.2 %",
    }
    assert tiles[1].all("p", "interval")[0].text.replace("\u202f", " ") == "96.3 % to 96.8 %"


def test_concepts_are_rows_that_lead_to_their_features(path: Path) -> None:
    report = parse(path)
    rows = report.all("tbody")[0].all("tr")
    assert [row.all("th")[0].text for row in rows] == ["Cities", "French", "Code"]
    texts = [cell.text for cell in rows[0].all("td") if "wide" not in cell.attributes.get("class", "")]
    assert texts == ["1", "0.951 0.90–0.99", "0.970", "0.720", "80 / 79"]
    anchors = {element.attributes.get("id") for element in walk(report)}
    for row in rows:
        assert row.all("a")[0].attributes["href"].removeprefix("#") in anchors


def test_features_of_concepts_come_first_and_the_others_are_alive(tmp_path: Path, index: FeatureIndex) -> None:
    report = written(tmp_path / "report.html", index, n_features=12)
    blocks = report.all("article", "feature")
    features = [int(block.attributes["id"].removeprefix("feature-")) for block in blocks]
    assert features[:2] == [1, N_FEATURES - 1]
    assert len(features) == len(set(features)) == 12
    assert features[2:] == sorted(features[2:])
    assert max(features[2:]) < N_FEATURES - N_DEAD
    assert "Cities · French" in blocks[0].all("h3")[0].text
    assert "never fired" in blocks[1].text


def test_the_sample_follows_the_seed(tmp_path: Path, index: FeatureIndex) -> None:
    def features(seed: int) -> list[str]:
        report = written(tmp_path / "report.html", index, metrics=[], n_features=10, seed=seed)
        return [block.attributes["id"] for block in report.all("article", "feature")]

    assert features(0) == features(0) != features(1)


def test_every_alive_feature_is_shown_when_there_are_fewer_than_wanted(tmp_path: Path, index: FeatureIndex) -> None:
    report = written(tmp_path / "report.html", index, concepts=[], n_features=1000)
    assert len(report.all("article", "feature")) == N_FEATURES - N_DEAD


def test_emphasis_is_by_character_and_scaled_to_the_maximum(path: Path) -> None:
    block = parse(path).all("article", "feature")[0]
    (mark,) = block.all("mark")
    assert (mark.text, mark.attributes["class"], mark.attributes["title"]) == ("é", "l10", "4.00")
    context = block.all("ol", "contexts")[0].all("p")[0].text
    assert context.replace("\u200b", "") == "Café au lait,↵⇥"


def test_what_comes_from_outside_is_text_and_never_markup(tmp_path: Path, index: FeatureIndex) -> None:
    report = written(
        tmp_path / "report.html",
        index,
        title=f"{ATTACK}, resid_post.1",
        card={f"Model {ATTACK}": ATTACK, "Seed": ATTACK},
        concepts=[concept(f"Concept {ATTACK}", 0, ATTACK)],
    )
    tags = {element.tag for element in walk(report)}
    assert not tags & {"script", "img", "iframe", "object", "link"}
    assert not [name for element in walk(report) for name in element.attributes if name.startswith("on")]
    assert report.all("h1")[0].text == f"{ATTACK}, resid_post.1"
    assert report.all("dd")[0].text == ATTACK
    assert ATTACK in report.all("footer")[0].text
    block = report.all("article", "feature")[0]
    assert ATTACK in block.all("h3")[0].text
    assert f"“{ATTACK}”" in block.text
    assert any("<script>alert" in context.text for context in block.all("ol", "contexts"))
    listed = [[item.all("bdi")[0].text for item in tokens.all("li")] for tokens in block.all("ul", "tokens")]
    assert listed[0] == ["<"]
    assert listed[1][0] == "<"


def test_it_needs_nothing_but_itself(path: Path) -> None:
    report = parse(path)
    for element in walk(report):
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert element.attributes.get(name, "#").startswith("#"), (element.tag, name)
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"url\((?!['\"]?#)|@import|@font-face|//", source)
    assert "default-src 'none'" in source


def test_ids_are_unique_and_references_lead_somewhere(path: Path) -> None:
    ids = [element.attributes["id"] for element in walk(parse(path)) if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="|url\()#([^")]+)', path.read_text(encoding="utf-8"))
    assert set(references) <= set(ids)


def test_figures_take_their_colours_from_the_page(path: Path) -> None:
    figures = [figure for figure in parse(path).all("figure") if figure.all("text")]  # those with axes
    assert len(figures) == 4
    for figure in figures:
        styles = " ".join(element.attributes.get("style", "") for element in walk(figure))
        assert "currentColor" in styles
        assert "var(--series)" in styles
        assert not re.search(r"#[0-9a-f]{6}", styles)


def test_long_trainings_and_many_features_stay_small(tmp_path: Path, index: FeatureIndex) -> None:
    path = tmp_path / "report.html"
    written(path, index, metrics=METRICS * 5)
    assert path.stat().st_size < 500_000


def test_what_was_not_measured_is_left_out(tmp_path: Path, index: FeatureIndex) -> None:
    report = written(tmp_path / "report.html", index, card={}, metrics=[], evaluation=None, concepts=[], n_features=0)
    sections = {section.attributes.get("id") for section in report.all("section")}
    assert not sections & {"run", "training", "concepts"}
    assert not report.all("div", "tile")
    assert not report.all("article")
    assert "has not been evaluated" in report.text


def test_an_evaluation_without_dead_features_says_so(tmp_path: Path, index: FeatureIndex) -> None:
    evaluation = EVALUATION | {"dead_fraction": None, "dead_counted_over_tokens": None}
    tiles = written(tmp_path / "report.html", index, evaluation=evaluation).all("div", "tile")
    assert "not counted" in tiles[3].text


def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path, index: FeatureIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(InputError, match="no feature 40"):
        written(path, index, concepts=[concept("Cities", N_FEATURES)])
    with pytest.raises(InputError, match="n_features is -1"):
        written(path, index, n_features=-1)

    def full_disk(self: Path, *_: object, **__: object) -> None:
        self.write_bytes(b"half")
        raise OSError("stopped")

    monkeypatch.setattr(page_module.Path, "write_text", full_disk)
    with pytest.raises(OSError, match="stopped"):
        write_report(
            path, title="", card={}, metrics=[], evaluation=None, concepts=[], index=index, tokenizer=TOKENIZER
        )
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "old"


def test_the_same_run_gives_the_same_bytes(path: Path, tmp_path: Path, index: FeatureIndex) -> None:
    written(tmp_path / "again.html", index)
    assert (tmp_path / "again.html").read_bytes() == path.read_bytes()


def luminance(colour: tuple[float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast_meets_wcag_aa(theme: str) -> None:
    css = (Path(page_module.__file__).parent / "style.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)[theme == "dark"]
    variables = dict(re.findall(r"--([a-z-]+): ([^;]+);", block))

    def colour(name: str) -> tuple[float, float, float]:
        red, green, blue = (int(variables[name][place : place + 2], 16) / 255 for place in (1, 3, 5))
        return red, green, blue

    for ground in ("paper", "raised"):
        for text in ("ink", "muted", "link"):
            assert contrast(colour(text), colour(ground)) >= 4.5, (text, ground)
        for mark in ("series", "line"):
            assert contrast(colour(mark), colour(ground)) >= 3, (mark, ground)
        share = float(variables["heat-share"].removesuffix("%")) / 100
        pairs = zip(colour("heat"), colour(ground), strict=True)
        red, green, blue = (share * heat + (1 - share) * under for heat, under in pairs)
        assert contrast(colour("ink"), (red, green, blue)) >= 4.5, ground


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.00012, "0.000120"), (-1.234, "−1.23"), (32, "32.0"), (99.96, "100"), (12345.6, "12,346"),
     (float("nan"), "undefined")],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, shown: str) -> None:
    assert significant(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0.0 %"), (0.789, "78.9 %"), (1, "100.0 %"), (0.000045, "0.0045 %"), (-0.02, "−2.0 %")]
)
def test_small_shares_keep_two_digits(share: float, shown: str) -> None:
    assert percent(share).replace("\u202f", " ") == shown


def test_signs_stand_for_what_cannot_be_seen() -> None:
    assert visible("a\r\nb\tc\x00") == "a↵\u200bb⇥c␀"
    assert visible_token("  <b> ") == "<i>␣</i><i>␣</i>&lt;b&gt;<i>␣</i>"
    assert visible_token(" ") == "<i>␣</i>"
