"""The pages of concepts and of completeness, in a real Chromium."""

from __future__ import annotations

import re

import pytest
from browser import PHONE, Open, violations, width
from evaluated import completeness, concept
from playwright.sync_api import expect
from tiny_runs import texts, tiny_run

from semascope.runs import Run

CONCEPTS = [
    concept("Rivers", 3, auc=0.95, specificity=0.7),
    concept("Stones", 7, auc=0.99, specificity=None),
    concept("Light", 5, auc=0.6, specificity=0.9, exists=False),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = tiny_run(tmp_path_factory.mktemp("evaluated") / "mine", texts(100))
    made.write_result("concepts-mine", {"suite": "mine", "offensive": False, "concepts": CONCEPTS})
    made.write_result("concepts-bias", {"suite": "bias", "concepts": [concept("About race", 4)]})
    made.write_result("completeness-element", completeness("element", features=64, present=3))
    return made


def test_concepts_are_searched_filtered_and_sorted_and_lead_to_features(open_page: Open) -> None:
    page = open_page("/concepts")
    rows = page.get_by_role("region", name="Suite mine").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("0.700")
    page.get_by_role("radio", name="AUC").check()
    expect(rows.locator("th")).to_contain_text(["Stones", "Rivers", "Light"])
    page.get_by_role("radio", name="With a feature").check()
    expect(rows.locator("th")).to_contain_text(["Stones", "Rivers"])
    page.keyboard.press("/")
    page.get_by_role("searchbox").press_sequentially("riv")
    expect(rows).to_have_count(1)
    page.reload()
    expect(rows.locator("th")).to_contain_text(["Rivers"])
    expect(page.locator("main")).to_contain_text(re.compile("semascope concepts .*mine --suite things"))
    rows.first.get_by_role("link", name="3").click()
    expect(page).to_have_url(re.compile("/feature/3$"))


def test_what_offensive_texts_fire_is_hidden_until_asked_for(open_page: Open) -> None:
    page = open_page("/concepts")
    suite = page.get_by_role("region", name="Suite bias")
    expect(suite.get_by_role("link", name="4")).to_be_visible()
    expect(page.get_by_role("region", name="Suite mine").locator(".token").first).to_be_visible()
    expect(suite.locator(".token")).to_have_count(0)
    suite.get_by_role("button", name="may be offensive").click()
    expect(suite.locator(".token").first).to_be_visible()


def test_completeness_is_a_curve_and_a_table_of_names(open_page: Open) -> None:
    page = open_page("/concepts")
    page.get_by_role("main").get_by_role("link", name="Completeness").click()
    plot = page.get_by_role("region", name="Presence by frequency")
    expect(plot.get_by_role("img", name="mine has a feature for 37.5 % of 8")).to_be_visible()
    assert plot.locator("path[d*='L']").count() == 2  # the curve, and its key
    names = page.get_by_role("region", name="Names").locator("tbody tr")
    expect(names).to_have_count(8)
    expect(names.first).to_contain_text("Boron")
    expect(names.first.get_by_role("img", name="has a feature")).to_be_visible()
    page.get_by_role("searchbox").fill("argon")
    expect(names).to_have_count(1)
    expect(names.get_by_role("img", name="has none")).to_be_visible()
    names.get_by_role("link", name="0").click()
    expect(page).to_have_url(re.compile("/feature/0$"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_pages_are_accessible_and_fit_a_phone(open_page: Open, theme: str) -> None:
    for path, said in (("/concepts", "About race"), ("/completeness", "Boron")):
        page = open_page(path, color_scheme=theme, bypass_csp=True)
        expect(page.locator("main")).to_contain_text(said)
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], path
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        assert width(page) <= PHONE["width"], path


def test_where_nothing_was_measured_the_command_is_told(open_page: Open) -> None:
    nothing = {"suites": [], "least_auc": 0.8, "level": 0.05, "commands": ["semascope concepts X"]}
    page = open_page()
    page.route("**/concepts", lambda route: route.fulfill(json=nothing))
    page.route(
        "**/completeness", lambda route: route.fulfill(json={"kinds": [], "command": "semascope completeness X"})
    )
    page.keyboard.press("g")
    page.keyboard.press("k")
    expect(page.locator("main")).to_contain_text("No concept was scored yet")
    expect(page.locator("main")).to_contain_text("semascope concepts X")
    page.keyboard.press("g")
    page.keyboard.press("p")
    expect(page.locator("main")).to_contain_text("No names were looked for yet")
    expect(page.locator("main")).to_contain_text("semascope completeness X")
