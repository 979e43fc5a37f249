"""The browser application in a real Chromium, with the server and a small run behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from urllib.parse import parse_qs, urlsplit

import pytest
from browser import PHONE, Open, build_page, serving, violations, width
from playwright.sync_api import Browser, Route, expect
from tiny_runs import texts, tiny_run

from semascope.runs import Run
from semascope.steering import Row, Steering, Written

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
PAGES = {
    "": "What tiny represents",
    "/features": "64 features",
    "/feature/3": "Fires together",
    "/steer?features=3*2,5*-1&prompt=the+river": "Not calibrated",
    "/map": "in view",
    "/lens?text=the+river&beside=the+stone&token=2": "What differs",
    "/lens?text=the+river&order=attribution": "as choice number",
}
VIEWS = {
    "/feature/3?view=intervals&breaks=1": "Where it fires",
    "/feature/3?width=narrow": "Where it fires",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    documents = [*texts(100), *[f"{HOSTILE} {number}" for number in range(60)]]
    made = tiny_run(tmp_path_factory.mktemp("served") / "mine", documents, evaluated=True)
    made.map()
    return made


def test_the_client_is_that_of_the_schema() -> None:
    """Fails when web/src/api/schema.ts is stale: python web/build.py client."""
    build_page().run("client", "--check")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible(open_page: Open, theme: str) -> None:
    for path, said in PAGES.items():
        page = open_page(path, color_scheme=theme, bypass_csp=True)
        expect(page.locator("main")).to_contain_text(said)
        page.wait_for_load_state("networkidle")
        assert violations(page) == [], path


def test_every_page_fits_a_phone(open_page: Open) -> None:
    for path, said in (PAGES | VIEWS).items():
        page = open_page(path, viewport=PHONE)
        expect(page.locator("main")).to_contain_text(said)
        page.wait_for_load_state("networkidle")
        assert width(page) <= PHONE["width"], path


def test_search_answers_while_typing_and_its_address_can_be_shared(open_page: Open) -> None:
    page = open_page("/features")
    expect(page.get_by_role("status")).to_contain_text("64 features")
    page.get_by_role("searchbox").press_sequentially("ü")
    expect(page.get_by_role("status")).not_to_contain_text("64 features")
    expect(page).to_have_url(re.compile("search=%C3%BC"))
    found = page.get_by_role("status").inner_text()
    rows = page.get_by_role("listitem").all_inner_texts()
    page.reload()
    expect(page.get_by_role("status")).to_contain_text(found)
    assert page.get_by_role("listitem").all_inner_texts() == rows
    page.get_by_role("searchbox").fill("no such word")
    expect(page.locator("main")).to_contain_text("No feature answers to that")


def test_what_is_written_survives_a_restart(open_page: Open, run: Run) -> None:
    with serving(run.folder) as first:
        page = open_page("/feature/5", at=first)
        page.get_by_role("button", name="Write a label").click()
        page.get_by_role("textbox", name="Label of feature 5").fill(HOSTILE)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        page.get_by_role("button", name="Star").click()
        expect(page.get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
        page.get_by_text("Lists").click()
        page.get_by_role("textbox", name="Name of a new list").fill("worth a look")
        page.get_by_role("button", name="Add").click()
        expect(page.get_by_text("Lists: worth a look")).to_be_visible()
        page.get_by_text("Write a note").click()
        page.get_by_role("textbox", name="Note on feature 5").fill("seen twice")
        page.get_by_role("heading", level=1).click()
        expect(page.get_by_text("Kept", exact=True)).to_be_visible()
        page.context.close()
    with serving(run.folder) as second:
        page = open_page("/feature/5", at=second)
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        expect(page.get_by_role("textbox", name="Note on feature 5")).to_have_value("seen twice")
        expect(page.get_by_text("Lists: worth a look")).to_be_visible()
        page.goto(f"{second}/#/mine/features?only=starred")
        expect(page.get_by_role("status")).to_contain_text("1 feature")
        expect(page.get_by_role("listitem")).to_contain_text(HOSTILE)
        page.get_by_role("searchbox").fill("twice")
        expect(page).to_have_url(re.compile("search=twice"))
        expect(page.get_by_role("listitem")).to_contain_text(HOSTILE)
        page.context.close()


def test_everything_is_done_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    expect(page.get_by_role("heading", level=1)).to_contain_text("What tiny represents")
    page.keyboard.press("g")
    page.keyboard.press("f")
    expect(page.get_by_role("status")).to_contain_text("64 features")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("listitem").nth(1).get_by_role("link")).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator("[data-row='63'] a")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/feature/0$"))
    expect(page.get_by_role("region", name="Contexts").get_by_role("listitem").first).to_be_visible()
    page.keyboard.press("n")
    expect(page).to_have_url(re.compile("/feature/1$"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Edit the label")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("i")
    expect(page).to_have_url(re.compile("view=intervals"))
    page.keyboard.press("e")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("by keyboard")


def test_a_token_tells_its_value_on_hover_and_on_focus(open_page: Open) -> None:
    page = open_page("/feature/2")
    first = page.get_by_role("region", name="Contexts").get_by_role("listitem").first
    value = first.get_by_role("button").inner_text().split(":")[0]
    strongest = first.locator("[tabindex='0']")
    strongest.hover()
    hint = page.get_by_role("tooltip")
    expect(hint).to_contain_text(value)
    page.mouse.move(0, 0)
    expect(hint).to_be_hidden()
    strongest.focus()
    expect(hint).to_contain_text(value)
    page.keyboard.press("Escape")
    expect(hint).to_be_hidden()


def test_text_of_the_corpus_is_text(open_page: Open, run: Run) -> None:
    feature = run.features.list(search="<", limit=1)[0].feature
    page = open_page(f"/feature/{feature}?width=wide")
    page.get_by_role("region", name="Contexts").get_by_role("button", name="show the document").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("<script>document.title = 'owned'</script>")
    assert "owned" not in page.title()
    assert page.locator("main script, main img, dialog script, dialog img").count() == 0


def test_a_text_of_ones_own_is_read(open_page: Open) -> None:
    page = open_page("/feature/4")
    page.get_by_role("textbox", name="Try your own text").fill("the stone house of Zürich under the green river")
    tried = page.get_by_role("region", name="Try your own text")
    expect(tried).to_contain_text("in the indexed text")
    expect(tried).to_contain_text("the stone house of Zürich under the green river")
    expect(page).to_have_url(re.compile("text=the\\+stone"))


def test_the_lens_tells_what_the_model_represents(open_page: Open) -> None:
    page = open_page("/lens")
    page.get_by_role("textbox", name="Text").fill("the river of Zürich")
    read = page.get_by_role("group", name="The text, token by token")
    expect(read).to_have_text("the river of Zürich")
    read.get_by_role("button", name="ü").click()
    expect(page.get_by_role("heading", name="On “ü”")).to_be_visible()
    page.locator("section").last.get_by_role("listitem").first.get_by_role("button").click()
    assert read.locator(".active").count() > 0
    expect(page).to_have_url(re.compile(r"token=14&feature=\d+"))
    page.get_by_role("button", name="Two texts").click()
    page.get_by_role("textbox", name="Second text").fill("seven green stones")
    expect(page.get_by_role("heading", name="What differs")).to_be_visible()


def test_a_feature_is_steered_with_beside_the_default(open_page: Open) -> None:
    page = open_page("/feature/3")
    page.get_by_role("main").get_by_role("link", name="Steer", exact=True).click()
    expect(page).to_have_url(re.compile(r"/steer\?features=3"))
    page.get_by_role("searchbox").fill("5")
    page.get_by_role("list", name="Found features").get_by_role("button").click()
    page.get_by_role("slider", name="Strength of feature 5").press("ArrowLeft")
    page.get_by_role("textbox", name="Prompt").fill("the river")
    page.get_by_role("textbox", name="Prompt").press("Control+Enter")
    written = page.get_by_role("region", name="What the model writes")
    expect(written.get_by_text("as long as asked for")).to_have_count(2)
    first = written.inner_text()
    # The address has all of it: the same texts come again.
    expect(page).to_have_url(re.compile(r"features=3\*2%2C5\*1.75&prompt=the\+river"))
    page.reload()
    page.get_by_role("button", name="Write").click()
    expect(written.get_by_text("as long as asked for")).to_have_count(2)
    assert written.inner_text() == first


def test_what_is_being_written_can_be_stopped(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, throttle = Event(), Event()

    def without_end(*_: object, **__: object) -> Iterator[Written]:
        try:
            while True:
                for variant in (0, 1):
                    yield Written(Row(0, variant, 0), "on and ", (1,))
                throttle.wait(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(Steering, "generate", without_end)
    page = open_page("/steer?features=3*2&prompt=the+river")
    stop = page.get_by_role("main").get_by_role("button", name="Stop")
    expect(stop).to_be_disabled()
    page.get_by_role("button", name="Write").click()
    written = page.get_by_role("region", name="What the model writes")
    expect(written.get_by_text("writing …")).to_have_count(2)
    expect(written.get_by_text("on and on and").first).to_be_visible()
    assert not ended.is_set()
    stop.click()
    expect(written.get_by_text("stopped")).to_have_count(2)
    expect(stop).to_be_disabled()
    assert ended.wait(20)  # The model stops too.


def test_two_fingers_bring_the_map_nearer(open_page: Open) -> None:
    page = open_page("/map", viewport=PHONE, has_touch=True)
    box = page.get_by_role("application").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", 0)):
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}] if apart else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    # Twice as far apart is twice as near, about the middle.
    expect(page).to_have_url(re.compile(r"at=-?0\.0\d+%2C-?0\.0\d+%2C(1\.9|2\.0)"))


def test_the_map_is_gone_over_and_leads_to_features(open_page: Open, run: Run) -> None:
    page = open_page("/map")
    status, surface = page.get_by_role("status"), page.get_by_role("application")
    expect(status).to_contain_text(f"{run.features.n_alive} of {run.features.n_alive} in view")
    surface.focus()
    for key in ("+", "+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(page).to_have_url(re.compile(r"at=0\.\d+%2C-0\.\d+%2C3\.38"))
    expect(status).not_to_contain_text(f"{run.features.n_alive} of {run.features.n_alive} in view")
    near = status.inner_text()
    page.reload()
    expect(status).to_contain_text(near)
    page.keyboard.press("0")
    expect(page).to_have_url(re.compile("/map$"))
    box = surface.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)
    expect(page).to_have_url(re.compile(r"at=[^,]+%2C2\."))
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"at=-0\.\d+%2C-?0\.0000%2C2\."))
    page.get_by_role("button", name="Whole").click()
    page.get_by_role("searchbox").fill("r")
    expect(status).to_contain_text("found are in view")
    first = page.get_by_role("region", name="Features in view").get_by_role("link").first
    feature = first.inner_text().split()[0]
    # The point that the list names: it is in the middle once the address says so.
    found = run.map()
    x, y = found.positions_n2[found.features_n.tolist().index(int(feature))]
    page.goto(page.url.split("#")[0] + f"#/mine/map?at={x:.4f},{y:.4f},300")
    page.mouse.move(*middle)
    expect(page.locator(".tip")).to_contain_text(f"Feature {feature}", ignore_case=True)
    page.mouse.click(*middle)
    expect(page).to_have_url(re.compile(f"/feature/{feature}$"))


def test_a_million_rows_scroll(open_page: Open) -> None:
    page = open_page("/features")
    [template] = page.request.get(page.url.split("#")[0] + "api/runs/mine/features?limit=1").json()["features"]

    def answer(route: Route) -> None:
        asked = parse_qs(urlsplit(route.request.url).query)
        offset, limit = int(asked["offset"][0]), int(asked["limit"][0])
        rows = range(offset, min(offset + limit, 1_000_000))
        route.fulfill(json={"total": 1_000_000, "features": [{**template, "feature": row} for row in rows]})

    page.route(re.compile("/features[?]"), answer)
    page.get_by_role("combobox", name="Order").select_option("-density")
    expect(page.get_by_role("status")).to_contain_text("1,000,000 features")
    page.get_by_role("searchbox").press("ArrowDown")
    page.keyboard.press("End")
    expect(page.get_by_role("listitem").filter(has_text="999999")).to_be_in_viewport()
    page.keyboard.press("ArrowUp")
    expect(page.locator("[data-row='999998'] a")).to_be_focused()
    page.keyboard.press("Home")
    page.mouse.move(600, 500)
    page.mouse.wheel(0, 420)
    # Ten rows of 42 pixels further, although the scroll bar is a fifth as long as the rows.
    expect(page.locator("[data-row='10']")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("[data-row='8']")).not_to_be_in_viewport()


def test_the_tour_is_for_the_first_visit_and_colours_are_kept(open_page: Open) -> None:
    page = open_page(toured=False, color_scheme="light")
    tour = page.get_by_role("complementary", name="Tour")
    expect(tour).to_contain_text("1 of")
    tour.get_by_role("button", name="Skip").click()
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours").click()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(tour).to_be_hidden()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(int(part) for part in re.findall(r"\d+", dark)[:3]) < 100


def test_a_server_that_is_gone_is_told_with_what_to_do(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/api/**", lambda route: route.abort())
        page.goto(f"{address}/#/mine")
        expect(page.get_by_role("alert")).to_contain_text("semascope serve")
        page.unroute("**/api/**")
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("What tiny represents")
        page.goto(f"{address}/#/other/features")
        expect(page.get_by_role("heading", level=1)).to_contain_text("No run named “other”")
        page.goto(f"{address}/#/mine/feature/64")
        expect(page.get_by_role("heading", level=1)).to_contain_text("0 to 63")


def test_a_feature_can_be_taken_along(open_page: Open) -> None:
    page = open_page("/feature/3", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy", exact=True).click()
    page.get_by_role("button", name="JSON").click()
    expect(page.get_by_text("JSON copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["feature"] == 3
    page.get_by_text("Copy", exact=True).click()
    page.get_by_role("button", name="HTML").click()
    expect(page.get_by_text("HTML copied")).to_be_visible()
    assert "<figure" in page.evaluate("navigator.clipboard.readText()")
    page.get_by_text("Copy", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
