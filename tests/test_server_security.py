"""Who the server talks to, what its answers let a browser do, and that no request breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.runs import Run
from semascope.server import Access, Served, create_app

HOME = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("guarded") / "mine", texts(100), features=32)


@pytest.fixture
def app(run: Run, tmp_path: Path) -> FastAPI:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>The page</title>")
    (tmp_path / "assets/main-1a2b.js").write_text("export {}")
    return create_app(Served([run.folder]), page=tmp_path)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url=HOME, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9", "localhost", "[::1]:8000", "LOCALHOST:8000"])
def test_this_machine_is_answered_by_each_of_its_names(client: TestClient, host: str) -> None:
    assert client.get("/api/runs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "", "[::1", "10.0.0.1"]
)
@pytest.mark.parametrize("path", ["/api/runs", "/", "/assets/main-1a2b.js"])
def test_another_name_is_refused(client: TestClient, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "no address of this server" in answer.json()["detail"]


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://localhost:3000", "https://127.0.0.1:8000.evil.example", "null", "http://["],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_page_of_another_origin_is_refused(client: TestClient, origin: str, method: str) -> None:
    answer = client.request(method, "/api/runs/mine/features/1/star", headers={"Origin": origin})
    assert answer.status_code == 403
    assert not client.get("/api/runs/mine/features/1").json()["starred"]
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_itself_may_ask(client: TestClient) -> None:
    own = {"Origin": HOME, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert client.put("/api/runs/mine/features/2/star", headers=own).status_code == 200


def test_data_is_no_script_or_image_of_another_site_and_links_lead_to_the_page_alone(client: TestClient) -> None:
    for site in ("cross-site", "same-site"):
        embedded = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        assert client.get("/api/runs", headers=embedded).status_code == 403
        assert client.get("/assets/main-1a2b.js", headers=embedded).status_code == 403
        followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert client.get("/api/runs", headers=followed).status_code == 403
        assert client.get("/", headers=followed).status_code == 200


def test_answers_of_every_kind_carry_the_headers(client: TestClient) -> None:
    for path in ("/", "/api/runs", "/api/nothing", "/api/runs/mine/features/x", "/assets/main-1a2b.js", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert not re.search(r"unsafe|http:|https:|\*", policy)
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["referrer-policy"] == "no-referrer"
    assert client.get("/api/runs").headers["cache-control"] == "no-store"
    assert client.get("/", headers={"Host": "evil.example"}).headers["x-frame-options"] == "DENY"


def test_the_page_is_served_with_its_files(client: TestClient) -> None:
    assert "The page" in client.get("/").text
    assert client.get("/").headers["cache-control"] == "no-cache"
    script = client.get("/assets/main-1a2b.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    assert client.get("/assets/main-old.js").status_code == 404
    away = client.get("/runs/mine")
    assert (away.status_code, away.headers["location"]) == (307, "/")
    for path in ("/../../../../etc/passwd", "/%2e%2e/%2e%2e/pyproject.toml", "/%00.js", "/assets", f"/{'x' * 5000}"):
        assert client.get(path).status_code in (307, 404)


def test_a_page_that_was_not_built_says_how(run: Run, tmp_path: Path) -> None:
    with TestClient(create_app(Served([run.folder]), page=tmp_path / "none"), base_url=HOME) as client:
        answer = client.get("/")
        assert answer.status_code == 404
        assert "make web" in answer.text
        assert client.get("/api/runs").status_code == 200


def test_elsewhere_than_on_this_machine_a_token_is_needed(run: Run) -> None:
    assert Access.bound_to("127.0.0.1").token is None
    access = Access.bound_to("0.0.0.0")
    assert access.token != Access.bound_to("0.0.0.0").token
    app = create_app(Served([run.folder]), access)
    with TestClient(app, base_url="http://box.example:8000", follow_redirects=False) as client:
        for path in ("/", "/api/runs", f"/api/runs?token={access.token}x", "/api/runs?token=", "/api/runs?token=é"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert "semascope serve" in answer.json()["detail"]
        assert client.put(f"/api/runs/mine/features/1/star?token={access.token}").status_code == 401
        bearer = {"Authorization": f"Bearer {access.token}"}
        assert client.get("/api/runs", headers=bearer).status_code == 200
        assert client.get("/api/runs", headers={"Authorization": "Bearer no"}).status_code == 401
        first = client.get(f"/%2Fevil.example/?a=b&token={access.token}")
        assert (first.status_code, first.headers["location"]) == (303, "/evil.example/?a=b")
        cookie = first.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert client.get("/api/runs").status_code == 200  # the cookie
        crossing = {"Origin": "http://evil.example"}
        assert client.put("/api/runs/mine/features/1/star", headers=crossing).status_code == 403


def test_a_request_that_is_too_large_is_refused_also_when_it_does_not_say_so(client: TestClient) -> None:
    chunks = (b"x" * 65_536 for _ in range(10))
    answer = client.post("/api/runs/mine/lens", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


# What a client may send is generated from the schema; every second feature exists.
@pytest.mark.filterwarnings("ignore")
def test_no_request_that_the_schema_allows_breaks_the_server(app: FastAPI) -> None:
    own = {"Host": "127.0.0.1"}
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=own)
    tried: set[str] = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def hold(case: Any) -> None:
            case.path_parameters |= {"run": "mine"} if "run" in case.path_parameters else {}
            if isinstance(feature := case.path_parameters.get("feature"), int):
                case.path_parameters["feature"] = feature % 64
            answer = case.call(headers=own)
            assert answer.status_code < 500, answer.text
            case.validate_response(answer, checks=[status_code_conformance, response_schema_conformance])

        hold()
        tried.add(operation.label)
    assert len(tried) > 15
