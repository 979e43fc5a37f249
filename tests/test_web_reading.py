"""The page of a feature, the list and the lens in a real Chromium: surroundings, scores, the next token."""

from __future__ import annotations

import re

import pytest
from browser import Open
from playwright.sync_api import expect
from tiny_runs import texts, tiny_run

from semascope.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = tiny_run(tmp_path_factory.mktemp("read") / "mine", texts(120))
    made.map()
    made.saved_steering.add_scores([(7, 0.25, 0.5), (3, 0.5, 0.125)])
    return made


def test_one_goes_over_the_features_around_by_keyboard(open_page: Open) -> None:
    page = open_page("/feature/3")
    around = page.get_by_role("group", name="Features around this one")
    links = around.get_by_role("link")
    expect(links).to_have_count(30)
    assert around.locator("a[tabindex='0']").count() == 1
    around.locator("a[tabindex='0']").focus()
    # The first lies nearest to the middle; some arrow leads on from everywhere.
    places: list[str | None] = []
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
        places.append(page.evaluate("document.activeElement.dataset.feature"))
    assert len(set(places)) > 1
    expect(page.locator(".tip")).to_contain_text(f"Feature {places[-1]}", ignore_case=True)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/feature/{places[-1]}$"))


def test_the_list_shows_the_score_that_it_is_sorted_by(open_page: Open) -> None:
    page = open_page("/features")
    page.get_by_role("combobox", name="Order").select_option("-output-score")
    expect(page).to_have_url(re.compile("sort=-output-score"))
    rows = page.get_by_role("listitem")
    expect(rows.nth(0).get_by_title("Output score")).to_have_text("0.500")
    expect(rows.nth(1).get_by_title("Output score")).to_have_text("0.125")
    expect(rows.nth(2).get_by_title("Output score")).to_have_text("–")
    page.get_by_role("combobox", name="Order").select_option("-input-score")
    expect(rows.nth(0).get_by_title("Input score")).to_have_text("0.500")


def test_the_lens_explains_a_next_token(open_page: Open) -> None:
    page = open_page("/lens?text=the+river+of")
    page.get_by_role("radio", name="Attribution").check(force=True)
    expect(page).to_have_url(re.compile("order=attribution"))
    told = page.get_by_role("group", name="The next token")
    expect(told.get_by_role("status")).to_contain_text("as choice number 1: a logit difference of")
    expect(told.get_by_role("textbox", name="rather than")).to_be_disabled()
    told.get_by_role("textbox", name="Next token").fill("s")
    told.get_by_role("textbox", name="Next token").press("Enter")
    expect(told.get_by_role("status")).to_contain_text(re.compile(r"^s has"))
    told.get_by_role("textbox", name="rather than").fill("t")
    told.get_by_role("textbox", name="rather than").press("Enter")
    expect(page).to_have_url(re.compile("next=s&against=t"))
    expect(told.get_by_role("status")).to_contain_text(re.compile("and t"))
    value = page.locator("section").first.get_by_role("listitem").first.locator(".value").inner_text()
    page.reload()
    expect(page.locator("section").first.get_by_role("listitem").first.locator(".value")).to_have_text(value)
    likely = told.locator(".likely").get_by_role("button").nth(1)
    likely.click()
    expect(likely).to_have_attribute("aria-pressed", "true")
    expect(told.get_by_role("status")).to_contain_text("as choice number 2")
