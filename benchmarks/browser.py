"""How soon pages are usable in a real Chromium, and how often a map of 100,000 points is drawn while it moves.

    python benchmarks/browser.py runs/demo

Prints one JSON object. Pages: milliseconds from the request for the first byte, with nothing in the browser's cache,
until what the page is for is there to be read. Map: milliseconds between two frames while the map is zoomed in
and out, a step in every frame; 16.7 is 60 frames a second. Chromium draws without a GPU here: the map asks for none.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright
from server import serving

# Where a page is, and words that are there when it is usable.
PAGES = {"overview": ("", "What "), "features": ("/features", " features"), "feature": ("/feature/3", "Where it fires"),
         "map": ("/map", "in view"), "steer": ("/steer", "Write")}  # fmt: skip
TOURED = "localStorage.semascope ??= JSON.stringify({ toured: true })"
MOVING = """async () => {
  const surface = document.querySelector('[role=application]')
  const times = []
  for (let i = 0; i < 180; i++) {
    const options = { clientX: 400 + i, clientY: 400, bubbles: true, cancelable: true }
    surface.dispatchEvent(new WheelEvent('wheel', { ...options, deltaY: i % 60 < 30 ? -30 : 30 }))
    times.push(await new Promise(requestAnimationFrame))
  }
  return times.slice(1).map((time, i) => time - times[i])
}"""


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    return {name: round(float(np.percentile(values, q)), 1) for name, q in (("median", 50), ("p95", 95), ("max", 100))}


def first_pages(browser: Browser, address: str, run: str, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds until each page is usable, each time in a browser that has seen nothing yet."""
    found: dict[str, dict[str, float]] = {}
    for name, (path, words) in PAGES.items():
        taken: list[float] = []
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            context.add_init_script(TOURED)
            page = context.new_page()
            start = time.perf_counter()
            page.goto(f"{address}#/{run}{path}", wait_until="commit")
            page.locator("main").get_by_text(words).first.wait_for()
            taken.append(1e3 * (time.perf_counter() - start))
            context.close()
        found[name] = quantiles(taken)
    return found


def frames(browser: Browser, address: str, run: str, points: int) -> dict[str, float]:
    """Milliseconds between frames while a map of so many points moves."""
    generator = random.Random(0)

    def place() -> float:
        return round(max(-1.0, min(1.0, generator.gauss(0, 0.35))), 4)

    content: dict[str, Any] = {
        "feature": list(range(points)),
        "x": [place() for _ in range(points)],
        "y": [place() for _ in range(points)],
        "density": [10 ** -generator.uniform(1, 5) for _ in range(points)],
        "regions": [],
    }
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_init_script(TOURED)
    page = context.new_page()
    page.route("**/map", lambda route: route.fulfill(json=content))
    page.goto(f"{address}#/{run}/map")
    page.get_by_text("in view").first.wait_for()
    page.wait_for_load_state("networkidle")
    taken = page.evaluate(MOVING)
    context.close()
    return quantiles(taken) | {"share within 17 ms": round(float(np.mean(np.array(taken) < 17.0)), 3)}


def main() -> None:
    """Read the run, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--points", type=int, default=100_000)
    options = parser.parse_args()
    with serving(options.run) as client, sync_playwright() as playwright:
        address = str(client.base_url).removesuffix("api/")
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        name = client.get("runs").raise_for_status().json()[0]["name"]
        measured = {
            "pages": first_pages(browser, address, name, options.repeats),
            f"frames of {options.points:,} points": frames(browser, address, name, options.points),
        }
        browser.close()
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
