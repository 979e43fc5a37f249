"""The page that tells why the model says a token, in a real Chromium."""

from __future__ import annotations

import re

import pytest
from browser import PHONE, Open, violations, width
from playwright.sync_api import Browser, expect
from tiny_runs import texts, tiny_run

from semascope.attribution import Question, explain
from semascope.runs import Run

ASKED = "/attribution?prompt=the+river+of+Z%C3%BCrich&target=x&baseline=y&ablations=20"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("attributed") / "mine", texts(100))


def test_a_next_token_is_explained_and_the_address_asks_again(open_page: Open, run: Run) -> None:
    question = Question.read(run.tokenizer, "the river of Zürich", "x", "y")
    medians = run.saved.metadata["recent_medians"]
    found = explain(run.model, run.site, run.dictionary, question, ablations=20, top=30, recent_medians=medians)
    page = open_page("/attribution")
    expect(page.get_by_role("heading", name="Attribution")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Prompt")).to_be_focused()
    page.keyboard.type("the river of Zürich")
    page.get_by_role("textbox", name="Target").fill("x")
    page.get_by_role("textbox", name="Baseline").fill("y")
    page.get_by_role("spinbutton", name="Ablations").fill("20")
    page.get_by_role("textbox", name="Prompt").press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text(f"{len(found.contributions)} contributions")
    expect(page).to_have_url(re.compile(r"prompt=the\+river\+of\+Z%C3%BCrich&target=x&baseline=y&ablations=20$"))
    total = found.attribution.parts.total
    difference = page.get_by_role("region", name="The logit difference")
    expect(difference).to_contain_text(f"{'−' if total < 0 else '+'}{abs(total):.2f}")

    rows = page.get_by_role("region", name="Contributions").locator("tbody tr")
    expect(rows).to_have_count(30)
    first = rows.first.inner_text()
    assert first.split()[0] == str(int(found.contributions.features_N[0]))
    value = float(found.contributions.attributions_N[0])
    assert f"+{value:.3f}" in first
    expect(rows.first.get_by_role("cell").last).not_to_have_text("–")
    correlation = found.of_attribution.pearson
    assert correlation is not None
    expect(page.locator("figure").first).to_contain_text(f"correlation {correlation:.2f}")
    ablated = rows.first.inner_text()
    page.reload()
    expect(page.locator("figure").first).to_contain_text(f"correlation {correlation:.2f}")
    expect(rows.first).to_have_text(ablated, use_inner_text=True)


def test_a_position_is_chosen_and_the_order_turned_round_with_the_keyboard(open_page: Open) -> None:
    page = open_page(ASKED)
    strip = page.get_by_role("group", name="The prompt, token by token")
    expect(strip.get_by_role("button").first).to_be_visible()
    strip.get_by_role("button").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("at=4"))
    expect(page.get_by_role("heading", name="Features at position 4")).to_be_visible()
    rows = page.get_by_role("region", name="Contributions").locator("tbody tr")
    assert 0 < rows.count() <= 4
    largest = rows.first.inner_text()
    page.get_by_role("radio", name="Against it").check()
    expect(rows.last).to_have_text(re.compile(largest.split()[0]))
    expect(page).to_have_url(re.compile("order=against"))


def test_of_several_tokens_the_first_is_offered(browser: Browser, address: str) -> None:
    """Without a watch on the console: a browser tells there of every answer that refuses."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/#/mine/attribution?prompt=the+river&target=xyz")
        expect(page.get_by_role("alert")).to_contain_text("take the first, 'x'")
        page.get_by_role("checkbox", name="First token alone").check()
        page.get_by_role("button", name="Explain").click()
        difference = page.get_by_role("region", name="The logit difference")
        expect(difference).to_contain_text("x against the mean of all tokens")
        expect(page).to_have_url(re.compile("first=true"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_a_phone(open_page: Open, theme: str) -> None:
    page = open_page(ASKED, color_scheme=theme, bypass_csp=True)
    expect(page.locator("figure").last).to_contain_text("95 %")
    assert violations(page) == []
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    assert width(page) <= PHONE["width"]
