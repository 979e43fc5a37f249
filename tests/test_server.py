"""The HTTP API over a small run: what it tells, what it keeps, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.runs import Run
from semascope.server import Served, create_app
from semascope.server.schema import schema

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>alert('x')</script> <img src=x onerror=alert(1)> &amp; \u202e ```"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    documents = [*texts(150), *[f"{HOSTILE} {number}" for number in range(50)]]
    return tiny_run(tmp_path_factory.mktemp("served") / "mine", documents, evaluated=True)


@pytest.fixture
def client(run: Run) -> Iterator[TestClient]:
    (run.folder / "catalog.sqlite").unlink(missing_ok=True)
    with TestClient(create_app(Served([run.folder])), base_url="http://127.0.0.1:8000") as client:
        yield client


def get(client: TestClient, path: str, **query: Any) -> Any:
    response = client.get(f"/api/runs{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_schema_in_the_repository_is_that_of_the_server() -> None:
    assert (ROOT / "web/openapi.json").read_text(encoding="utf-8") == schema(), (
        "web/openapi.json is stale: python -m semascope.server.schema > web/openapi.json"
    )


def test_a_run_is_told_as_a_whole(client: TestClient, run: Run) -> None:
    [listed] = get(client, "")
    assert (listed["name"], listed["model"], listed["n_features"]) == ("mine", "tiny", 64)
    told = get(client, "/mine")
    assert told["evaluation"]["l0"] == pytest.approx(run.result("reconstruction")["l0"])  # pyright: ignore
    assert sum(told["density"]["counts"]) + told["density"]["n_dead"] == 64
    assert len(told["density"]["edges"]) == len(told["density"]["counts"]) + 1
    assert {curve["name"] for curve in told["training"]} >= {"loss", "l0", "explained_variance"}
    assert told["card"]["Site"].startswith("resid_post.1")


def test_features_are_listed_in_order_and_counted(client: TestClient, run: Run) -> None:
    page = get(client, "/mine/features", sort="-density", alive=True, limit=5, offset=2)
    expected = run.features.list(sort="-density", limit=5, offset=2)
    assert [one["feature"] for one in page["features"]] == [one.feature for one in expected]
    assert page["total"] == run.features.n_alive
    assert page["features"][0]["top_tokens"][0]["text"] == expected[0].top_tokens[0].text
    middle = expected[2].density
    rarer = get(client, "/mine/features", max_density=middle, alive=True)
    assert rarer["total"] == sum(0 < density <= middle for density in run.features.densities())
    assert [one["feature"] for one in get(client, "/mine/features", ids=[7, 3])["features"]] == [3, 7]
