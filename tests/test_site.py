"""The static copy of a run: what is written, what is refused, and how it reads in a Chromium without our server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import build_page, serving_files, violations
from playwright.sync_api import Browser, Page, expect
from tiny_runs import texts, tiny_run

from semascope.errors import ConfigError, InputError, UnavailableError
from semascope.runs import Run
from semascope.server import Served, ServedRun, SiteSize, export_site

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    documents = [*texts(100), *[f"{HOSTILE} {number}" for number in range(60)]]
    made = tiny_run(tmp_path_factory.mktemp("exported") / "mine", documents, evaluated=True)
    made.map()
    return made


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[ServedRun]:
    served = Served([run.folder])
    [one] = served
    hostile, other = _chosen(run)[:2]
    one.catalog.write(hostile, "label", HOSTILE)
    one.catalog.write(other, "label", "Old rivers")
    one.catalog.write(other, "note", "for me alone")
    one.catalog.add_list("private")
    one.catalog.list_feature("private", other)
    yield one
    served.close()


def _chosen(run: Run) -> list[int]:
    """A feature that fires on hostile text, and others."""
    [hostile] = [one.feature for one in run.features.list(search="<", limit=1)]
    return [hostile, *[feature for feature in run.features.select().tolist() if feature != hostile][:12]]


@pytest.fixture(scope="module")
def site(run: Run, served: ServedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    build_page()
    folder = tmp_path_factory.mktemp("copy") / "site"
    size = export_site(served, folder, _chosen(run))
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert size == SiteSize(13, len(files), sum(file.stat().st_size for file in files))
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serving_files(site) as address:
        yield f"{address}/"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of which no console has seen an error, and that asked nobody but its own host."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script("localStorage.semascope ??= JSON.stringify({ toured: true })")
    page = context.new_page()
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda one: errors.append(one.url) if not one.url.startswith("http://127.0.0.1") else None)
    yield page
    context.close()
    assert errors == []


def test_what_is_for_oneself_stays(site: Path, run: Run) -> None:
    everything = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.json"))
    assert "Old rivers" in everything
    assert "for me alone" not in everything
    assert "private" not in everything
    listed = json.loads((site / "api/runs/mine/features.json").read_text())
    assert [one["feature"] for one in listed["features"]] == sorted(_chosen(run))


@pytest.mark.usefixtures("site")  # which builds the page
def test_an_earlier_copy_is_replaced_and_nothing_else(served: ServedRun, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    export_site(served, folder, [1, 2, 3])
    assert export_site(served, folder, [2]).n_features == 1
    assert [file.name for file in (folder / "api/runs/mine/features").glob("*.json")] == ["2.json"]
    (folder / "CNAME").write_text("example.org")
    with pytest.raises(ConfigError, match="CNAME"):
        export_site(served, folder, [3])
    assert (folder / "api/runs/mine/features/2.json").exists()
    with pytest.raises(ConfigError, match="another folder"):
        export_site(served, served.run.folder, [3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


def test_what_cannot_be_exported_is_told(served: ServedRun, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds 0 to 63"):
        export_site(served, tmp_path / "site", [64])
    with pytest.raises(InputError, match="choose some"):
        export_site(served, tmp_path / "site", [])
    with pytest.raises(InputError, match="at most 10,000"):
        export_site(served, tmp_path / "site", range(10_001))
    with pytest.raises(UnavailableError, match="make web"):
        export_site(served, tmp_path / "site", [1], page=tmp_path)
    assert not (tmp_path / "site").exists()


def test_the_copy_is_listed_searched_and_read(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_contain_text("What tiny represents")
    expect(page.get_by_text("A copy to read, with 13 of them")).to_be_visible()
    assert page.get_by_role("navigation", name="Pages").inner_text().split("\n") == ["Overview", "Features", "Map"]
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Features").click()
    expect(page.get_by_role("status")).to_contain_text("13 features")
    page.get_by_role("searchbox").press_sequentially("RIV")
    expect(page.get_by_role("status")).to_contain_text("1 feature")
    page.get_by_role("searchbox").press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Old rivers")
    expect(page).to_have_url(re.compile(r"/#/mine/feature/\d+$"))
    contexts = page.get_by_role("region", name="Contexts")
    expect(contexts.get_by_role("listitem").first).to_be_visible()
    page.keyboard.press("i")
    expect(contexts.get_by_role("heading", level=3).first).to_be_visible()
    page.reload()
    expect(contexts.get_by_role("heading", level=3).first).to_be_visible()
    for name in ("Edit", "Star", "Write a label"):
        assert page.get_by_role("button", name=name, exact=True).count() == 0
    assert page.get_by_role("textbox").count() == 0
    assert page.get_by_role("link", name="Steer", exact=True).count() == 0


def test_links_lead_only_to_features_that_are_there(page: Page, address: str, run: Run) -> None:
    chosen = set(_chosen(run))
    page.goto(f"{address}#/mine/feature/{_chosen(run)[1]}")
    neighbours = page.locator("aside section").filter(has=page.get_by_role("heading", name=re.compile("^Neighbours")))
    expect(neighbours.locator(".line")).to_have_count(10)
    linked, around = (
        {int(str(link.get_attribute("href")).rsplit("/", 1)[1]) for link in part.get_by_role("link").all()}
        for part in (neighbours, page.get_by_role("group", name="Features around this one"))
    )
    assert around
    assert around < chosen
    statistics = run.features.statistics(_chosen(run)[1])
    assert linked == {one.feature for one in statistics.neighbours} & chosen
    page.goto(f"{address}#/mine/feature/{max(chosen)}")
    page.keyboard.press("n")
    expect(page).to_have_url(f"{address}#/mine/feature/{min(chosen)}")
    missing = min(set(range(64)) - chosen)
    page.goto(f"{address}#/mine/feature/{missing}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Feature {missing} is not in this copy")


def test_hostile_text_is_text(page: Page, address: str, run: Run) -> None:
    page.goto(f"{address}#/mine/feature/{_chosen(run)[0]}")
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.get_by_role("region", name="Contexts")).to_contain_text(re.compile("<script>|</script>|<img src"))
    assert page.locator("main script, main img").count() == 0
    assert page.title() != "owned"


def test_a_script_in_the_page_would_not_run(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        refused = page.evaluate("""() => new Promise((resolve) => {
            addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective))
            const script = document.createElement('script')
            script.textContent = 'window.ran = true'
            document.head.append(script)
        })""")
        assert refused == "script-src-elem"
        assert not page.evaluate("'ran' in window")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_copy_is_accessible_and_fits_a_phone(browser: Browser, address: str, run: Run, theme: str) -> None:
    context = browser.new_context(color_scheme=theme, bypass_csp=True, viewport={"width": 390, "height": 844})
    context.add_init_script("localStorage.semascope ??= JSON.stringify({ toured: true })")
    page = context.new_page()
    pages = {"": "A copy", "/features": "13", f"/feature/{_chosen(run)[1]}": "Neighbours", "/map": "in view"}
    for path, said in pages.items():
        page.goto(f"{address}#/mine{path}")
        expect(page.locator("main")).to_contain_text(said)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert violations(page) == [], path
    context.close()
