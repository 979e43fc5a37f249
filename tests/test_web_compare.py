"""The page Compare, and counterparts on a feature's page, in a real Chromium."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PHONE, Open, serving, violations, width
from playwright.sync_api import expect

from semascope.features import Comparison
from semascope.runs import Run, RunFolder, compare_runs

AT = 0.3


@pytest.fixture(scope="module")
def comparison(two_runs: tuple[Run, Run]) -> Comparison:
    """With a threshold at which something splits; what is beyond chance in a few dimensions is nearly the same."""
    return compare_runs(*two_runs).at(AT)


@pytest.fixture(scope="module")
def address(two_runs: tuple[Run, Run], comparison: Comparison) -> Iterator[str]:
    assert comparison.same_text
    with serving(*(run.folder for run in two_runs)) as address:
        yield address


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_is_accessible_and_fits_a_phone(open_page: Open, theme: str) -> None:
    for path, said in {f"/compare?threshold={AT}": "best counterpart it is", "/feature/3": "In wide"}.items():
        page = open_page(path, color_scheme=theme, bypass_csp=True)
        expect(page.locator("main")).to_contain_text(said)
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], path
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
        assert width(page) <= PHONE["width"], path


def test_a_feature_is_shown_above_its_children(open_page: Open, comparison: Comparison) -> None:
    parent = int(comparison.split()[0])
    children = comparison.family(parent).children
    page = open_page(f"/compare?with=wide&threshold={AT}&feature={parent}")
    family = page.get_by_role("region", name="Family")
    shown = family.get_by_role("list", name="In wide").get_by_role("article")
    expect(shown).to_have_count(min(8, len(children)))
    expect(shown.first).to_contain_text(f"wide {children[0].feature}")
    expect(shown.first).to_contain_text(f"cosine {children[0].cosine:.2f}")
    expect(shown.first.get_by_role("button", name="show the document")).not_to_have_count(0)
    shown.first.get_by_role("link", name=f"wide {children[0].feature}").click()
    expect(page).to_have_url(re.compile(f"#/wide/feature/{children[0].feature}$"))
    expect(page.get_by_role("complementary")).to_contain_text("In mine")


def test_lists_are_chosen_and_walked_with_the_keyboard(open_page: Open, comparison: Comparison) -> None:
    only_wide = comparison.at(0.9).turned.alone()
    page = open_page("/compare?with=wide&threshold=0.90")
    kind = page.get_by_role("button", name=f"{len(only_wide)} of wide are not in mine")
    kind.focus()
    page.keyboard.press("Enter")
    expect(kind).to_have_attribute("aria-pressed", "true")
    rows = page.get_by_role("list", name="Features").get_by_role("listitem")
    expect(rows.first).to_contain_text(f"{only_wide[0]}")
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"list=alone-there.*feature={only_wide[1]}$"))
    family = page.get_by_role("region", name="Family")
    expect(family).to_contain_text(f"wide {only_wide[1]}")
    page.reload()
    expect(family).to_contain_text(f"wide {only_wide[1]}")
    expect(kind).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Swap the two dictionaries").click()
    expect(page).to_have_url(re.compile(r"#/wide/compare\?with=mine$"))
    expect(page.get_by_role("combobox", name="Second run")).to_have_value("mine")


def test_a_cosine_decides_what_is_a_counterpart(open_page: Open, comparison: Comparison) -> None:
    beyond_chance = comparison.at(comparison.chance)
    page = open_page("/compare?list=shared")
    expect(page.locator("main")).to_contain_text(f"99 % of random directions stay below {comparison.chance:.2f}")
    page.get_by_role("slider").fill("1")
    expect(page).to_have_url(re.compile("threshold=1.00"))
    shared = page.get_by_role("button", name="best counterpart")
    expect(shared).to_contain_text("0")
    expect(page.locator("main")).to_contain_text("No features of this kind")
    page.get_by_role("button", name="Beyond chance").click()
    expect(shared).to_contain_text(f"{len(beyond_chance.shared())}")


def test_what_is_missing_is_said_with_what_to_do(open_page: Open, two_runs: tuple[Run, Run], tmp_path: Path) -> None:
    mine, wide = two_runs
    with serving(mine.folder) as alone:
        page = open_page("/compare", at=alone)
        expect(page.locator("main")).to_contain_text("Only one run is served")
        page.goto(f"{alone}/#/mine/feature/3")
        expect(page.get_by_role("complementary")).to_contain_text("Neighbours")
        page.context.close()
    fresh = tmp_path / "mine"
    shutil.copytree(mine.folder, fresh)
    shutil.rmtree(fresh / "features" / "counterparts")
    with serving(fresh, wide.folder) as uncompared:
        page = open_page("/feature/3", at=uncompared)
        page.get_by_role("link", name="how to").click()
        expect(page.locator("main")).to_contain_text(f"semascope compare {fresh} {wide.folder}")
        compare_runs(RunFolder.open(fresh), wide)
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("main")).to_contain_text("Best cosines")
        page.context.close()
