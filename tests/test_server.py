"""The HTTP API over a small run: what it tells, what it keeps, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import HTTPException, Request
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.errors import DamagedError, ModelError
from semascope.runs import Run
from semascope.server import Served, create_app
from semascope.server.schema import schema
from semascope.server.work import MOST_WAITING, ModelWorker

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


def test_a_feature_is_told_with_its_contexts(client: TestClient, run: Run) -> None:
    [feature] = [one.feature for one in run.features.list(sort="-maximum", limit=1)]
    told = get(client, f"/mine/features/{feature}")
    statistics = run.features.statistics(feature)
    assert (told["n_active"], told["maximum"]) == (statistics.n_active, statistics.maximum)
    assert sum(told["histogram"]) == statistics.n_active
    assert [one["feature"] for one in told["neighbours"]] == [one.feature for one in statistics.neighbours]
    contexts = get(client, f"/mine/features/{feature}/contexts", n=5, width="narrow")
    for shown in contexts:
        assert shown["tokens"][shown["peak"]]["value"] == shown["value"] == max(one["value"] for one in shown["tokens"])
    assert contexts[0]["value"] == statistics.maximum
    intervals = get(client, f"/mine/features/{feature}/intervals", intervals=4, per_interval=2)
    assert [one["low"] for one in intervals] == pytest.approx([statistics.maximum * i / 4 for i in range(4)])
    assert sum(one["share"] for one in get(client, f"/mine/features/{feature}/sources")) == pytest.approx(1)
    place = {"feature": feature, "window": contexts[0]["window"], "position": contexts[0]["position"]}
    document = get(client, f"/mine/documents/{contexts[0]['document']}", **place)
    assert document["tokens"][document["at"]]["value"] == statistics.maximum
    assert sum(len(one["tokens"]) for one in document["tokens"]) <= document["n_tokens"]


def test_the_map_is_told_once_and_told_to_be_made(client: TestClient, run: Run) -> None:
    shutil.rmtree(run.folder / "features" / "map", ignore_errors=True)
    missing = client.get("/api/runs/mine/map")
    assert missing.status_code == 404
    assert f"semascope index {run.folder} --map" in missing.json()["detail"]
    made = run.map()
    answer = client.get("/api/runs/mine/map")
    told = answer.json()
    assert told["feature"] == made.features_n.tolist()
    assert np.stack([told["x"], told["y"]], axis=1) == pytest.approx(made.positions_n2, abs=1e-4)
    assert told["density"] == run.features.densities()[made.features_n].round(8).tolist()
    assert [one["name"] for one in told["regions"]] == [one.name for one in made.regions]
    kept = {"If-None-Match": answer.headers["etag"]}
    assert client.get("/api/runs/mine/map", headers=kept).status_code == 304
    shutil.rmtree(run.folder / "features" / "map")
    run.map()
    assert client.get("/api/runs/mine/map", headers=kept).status_code == 200
    client.put("/api/runs/mine/features/5/label", json={"text": "Old rivers"})
    assert get(client, "/mine/map/names")["labels"] == {"5": "Old rivers"}
    assert get(client, "/mine/map/found", search="old riv")[0] == 5


@pytest.mark.parametrize("width", ["narrow", "wide"])
def test_characters_of_several_tokens_are_shown_whole(client: TestClient, run: Run, width: str) -> None:
    shown = [
        (context, "".join(token["text"] for token in context["tokens"]))
        for feature in range(run.features.n_features)
        for context in get(client, f"/mine/features/{feature}/contexts", width=width)
    ]
    assert any("ü" in text for _, text in shown)
    # But where the peak lies on a part of a character that the edge cut off.
    assert all("\ufffd" not in text for context, text in shown if 0 < context["peak"] < len(context["tokens"]) - 1)
    assert all(context["tokens"][context["peak"]]["value"] == context["value"] for context, _ in shown)


def test_hostile_text_comes_back_as_data(client: TestClient, run: Run) -> None:
    features = [one.feature for one in run.features.list(search="<", limit=100)] or range(64)
    answers = [client.get(f"/api/runs/mine/features/{feature}/contexts?width=wide") for feature in features]
    texts_shown = ["".join(one["text"] for one in context["tokens"]) for a in answers for context in a.json()]
    assert any("<script>alert('x')</script>" in text for text in texts_shown)
    assert all(answer.headers["content-type"] == "application/json" for answer in answers)
    assert all(answer.headers["x-content-type-options"] == "nosniff" for answer in answers)
    assert client.put("/api/runs/mine/features/1/label", json={"text": HOSTILE}).json()["label"]["text"] == HOSTILE
    assert get(client, "/mine/features/1")["label"]["text"] == HOSTILE


def test_what_is_added_is_kept_found_and_seen_by_everybody(client: TestClient, run: Run) -> None:
    assert client.put("/api/runs/mine/features/5/label", json={"text": " Old rivers "}).json()["label"]["text"] == (
        "Old rivers"
    )
    client.put("/api/runs/mine/features/6/note", json={"text": "like the old ones"})
    client.put("/api/runs/mine/features/6/star")
    client.post("/api/runs/mine/lists", json={"name": "for the talk"})
    client.put("/api/runs/mine/lists/for the talk/features/6")
    with TestClient(create_app(Served([run.folder])), base_url="http://localhost:1") as other:
        assert [one["feature"] for one in get(other, "/mine/features", search="OLD")["features"]][:2] == [5, 6]
        assert [one["feature"] for one in get(other, "/mine/features", labelled=True)["features"]] == [5]
        assert get(other, "/mine/features", starred=False)["total"] == 63
        assert [one["feature"] for one in get(other, "/mine/features", on_list="for the talk")["features"]] == [6]
        assert get(other, "/mine/features", labelled=True, starred=True)["total"] == 0
        told = get(other, "/mine/features/6")
        assert (told["note"]["text"], told["starred"], told["lists"]) == ("like the old ones", True, ["for the talk"])
        other.delete("/api/runs/mine/features/6/star")
    assert get(client, "/mine/features/6")["starred"] is False
    assert get(client, "/mine")["n_labelled"] == 1
    assert client.delete("/api/runs/mine/features/5/label").json()["label"] is None
    assert client.delete("/api/runs/mine/features/6/note").json()["note"] is None
    assert client.delete("/api/runs/mine/lists/for the talk/features/6").json()["lists"] == []
    assert client.delete("/api/runs/mine/lists/for the talk").json() == []


def test_the_lens_tells_what_the_dictionary_sees(client: TestClient) -> None:
    text = "the river of Zürich"
    lens = client.post("/api/runs/mine/lens", json={"text": text, "features_per_token": 4, "features": 3}).json()
    assert "".join(token["text"] for token in lens["tokens"]) == text
    assert [len(token["tokens"]) for token in lens["tokens"]][-5] == 2  # ü
    assert lens["n_first"] == 3
    totals = [feature["total"] for feature in lens["features"][:3]]
    assert totals == sorted(totals, reverse=True)
    values = {
        (feature["feature"], place): value
        for feature in lens["features"]
        for place, value in zip(feature["at"], feature["values"], strict=True)
    }
    for place, token in enumerate(lens["tokens"]):
        assert token["features"]
        for one in token["features"]:
            assert values[one["feature"], place] == one["value"] > 0
    first = lens["features"][0]
    tried = client.post(f"/api/runs/mine/features/{first['feature']}/try", json={"text": text}).json()
    seen = {place: token["value"] for place, token in enumerate(tried["tokens"]) if token["value"]}
    assert seen == pytest.approx(dict(zip(first["at"], first["values"], strict=True)))


def test_rare_features_come_first_when_rarity_is_asked_for(client: TestClient) -> None:
    lens = client.post("/api/runs/mine/lens", json={"text": "the stone house", "order": "rarity"}).json()
    weighted = [one["total"] * one["rarity"] for one in lens["features"][: lens["n_first"]]]
    assert weighted == pytest.approx(sorted(weighted, reverse=True))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/other", None, 404, "no run 'other'"),
        ("GET", "/mine/features/64", None, 404, "holds 0 to 63"),
        ("GET", "/mine/features/-1", None, 404, "no feature -1"),
        ("GET", "/mine/features/x", None, 422, "feature"),
        ("GET", "/mine/features?limit=0", None, 422, "limit"),
        ("GET", "/mine/features?limit=1000", None, 422, "limit"),
        ("GET", "/mine/features?sort=name", None, 422, "sort"),
        ("GET", "/mine/features?min_density=nan", None, 422, "min_density"),
        ("GET", "/mine/features?ids=64", None, 404, "no feature 64"),
        ("GET", "/mine/features?on_list=none", None, 404, "no list 'none'"),
        ("GET", f"/mine/features?search={'x' * 201}", None, 422, "search"),
        ("GET", "/mine/features/1/contexts?width=huge", None, 422, "width"),
        ("GET", "/mine/documents/100000", None, 404, "no document 100000"),
        ("PUT", "/mine/features/1/label", {"text": " "}, 422, "text"),
        ("PUT", "/mine/features/1/label", {"text": "x" * 501}, 422, "text"),
        ("PUT", "/mine/features/1/label", {"text": "\ud800"}, 422, "text"),
        ("PUT", "/mine/features/1/label", {}, 422, "text"),
        ("PUT", "/mine/features/99/star", None, 404, "no feature 99"),
        ("POST", "/mine/lists", {"name": "a/b"}, 422, "name"),
        ("POST", "/mine/lists", {"name": ".."}, 422, "name"),
        ("PUT", "/mine/lists/none/features/1", None, 404, "no list 'none'"),
        ("DELETE", "/mine/lists/none", None, 404, "no list 'none'"),
        ("POST", "/mine/lens", {"text": ""}, 422, "text"),
        ("POST", "/mine/lens", {"text": "x" * 1025}, 422, "at most 1,024"),
        ("POST", "/mine/lens", {"text": "x" * 20_001}, 422, "text"),
        ("POST", "/mine/lens", {"text": "x" * 300_000}, 413, "bytes"),
        ("POST", "/mine/features/1/try", {"text": 5}, 422, "text"),
        ("GET", "/mine/nothing", None, 404, "nothing at /api/runs/mine/nothing"),
        ("DELETE", "/mine", None, 405, "Not Allowed"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    client: TestClient, method: str, path: str, body: Any, status: int, said: str
) -> None:
    content = None if body is None else json.dumps(body)
    answer = client.request(method, f"/api/runs{path}", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


def test_a_body_that_is_no_json_is_refused(client: TestClient) -> None:
    answer = client.put("/api/runs/mine/features/1/label", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "JSON" in answer.json()["detail"]


def test_answers_of_the_index_are_not_sent_twice(client: TestClient) -> None:
    answer = client.get("/api/runs/mine/features/1/contexts")
    again = client.get("/api/runs/mine/features/1/contexts", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "etag" not in client.get("/api/runs/mine/features/1").headers  # labels change


def test_runs_of_the_same_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(run.folder)
    with TestClient(create_app(Served([run.folder, tmp_path / "mine"])), base_url="http://127.0.0.1") as client:
        assert [one["name"] for one in get(client, "")] == ["mine", "mine-2"]


def test_a_run_without_an_index_is_refused(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("features"))
    with pytest.raises(DamagedError, match="semascope index"):
        Served([tmp_path / "bare"])


def test_only_so_much_waits_for_the_model(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first text holds the model until all the others have been answered or refused."""
    refused = threading.Event()
    begun: list[str] = []

    def slow(_: Any, text: str, **limits: int) -> tuple[int, ...]:
        assert limits
        begun.append(text)
        assert refused.wait(60)
        return tuple(text.encode())

    monkeypatch.setattr("semascope.server.lens.text_tokens", slow)

    def post(number: int) -> int:
        status = client.post("/api/runs/mine/lens", json={"text": f"text {number}"}).status_code
        if status == 429:
            refused.set()
        return status

    with ThreadPoolExecutor(MOST_WAITING + 1) as threads:
        statuses = sorted(threads.map(post, range(MOST_WAITING + 1)))
    assert statuses == [*[200] * MOST_WAITING, 429]
    assert len(begun) == MOST_WAITING


def test_a_text_whose_client_went_away_is_not_read() -> None:
    """The first piece of work holds the thread until the second one's client is gone."""

    async def scene() -> list[str]:
        done: list[str] = []
        gone = threading.Event()

        async def stays() -> dict[str, Any]:
            return await asyncio.Future()

        async def leaves() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        worker = ModelWorker()
        scope = {"type": "http", "headers": []}
        first = asyncio.create_task(worker.run(Request(scope, stays), lambda: done.append(f"first {gone.wait(60)}")))
        await asyncio.sleep(0)  # the first goes first
        with pytest.raises(HTTPException):
            await worker.run(Request(scope, leaves), lambda: done.append("second"))
        gone.set()
        await first
        await worker.run(Request(scope, stays), lambda: done.append("third"))
        worker.close()
        return done

    assert asyncio.run(scene()) == ["first True", "third"]


def test_an_error_of_the_model_is_told_to_its_client_alone(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semascope.server.lens.read", lambda *_: (_ for _ in ()).throw(ModelError("too long: shorten")))
    answer = client.post("/api/runs/mine/lens", json={"text": "abc"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "too long: shorten")
    monkeypatch.undo()
    assert client.post("/api/runs/mine/lens", json={"text": "abc"}).status_code == 200
