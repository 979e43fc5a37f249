"""Two runs beside each other over HTTP."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.features import Comparison
from semascope.runs import Run, compare_runs
from semascope.server import Served, create_app


@pytest.fixture(scope="module")
def compared(two_runs: tuple[Run, Run]) -> Comparison:
    return compare_runs(*two_runs)


@pytest.fixture
def client(two_runs: tuple[Run, Run], compared: Comparison) -> Iterator[TestClient]:
    assert compared.same_text
    served = Served([run.folder for run in two_runs])
    with TestClient(create_app(served), base_url="http://127.0.0.1:8000") as client:
        yield client


def get(client: TestClient, path: str, **query: Any) -> Any:
    response = client.get(f"/api/runs{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def refused(client: TestClient, path: str, status: int, **query: Any) -> str:
    response = client.get(f"/api/runs{path}", params=query)
    assert response.status_code == status, response.text
    return response.json()["detail"]


def test_two_runs_are_told_from_both_sides(client: TestClient, compared: Comparison) -> None:
    assert get(client, "/mine/comparable") == [{"name": "wide", "variant": "topk", "n_features": 64, "command": None}]
    told = get(client, "/mine/compared/wide")
    assert told["threshold"] == told["chance"] == compared.chance
    assert told["same_text"] is True
    assert told["here"]["n_features"] == 16
    assert told["there"]["n_alone"] == len(compared.turned.alone())
    turned = get(client, "/wide/compared/mine")
    assert (turned["here"], turned["there"]) == (told["there"], told["here"])
    assert get(client, "/mine/compared/wide", threshold=1)["there"]["n_alone"] == told["there"]["n_firing"]


def test_features_of_each_kind_are_listed_in_parts(client: TestClient, compared: Comparison) -> None:
    for kind in ("split", "alone", "shared"):
        expected = getattr(compared.at(0.4).turned, kind)().tolist()
        told = [
            one
            for offset in range(0, len(expected), 7)
            for one in get(client, "/wide/compared/mine/features", kind=kind, threshold=0.4, limit=7, offset=offset)[
                "features"
            ]
        ]
        assert [one["feature"] for one in told] == expected
        assert all(one["best"] == compared.there.best_F[one["feature"]] for one in told)


def test_they_can_be_listed_in_another_order(
    client: TestClient, compared: Comparison, two_runs: tuple[Run, Run]
) -> None:
    told = get(client, "/wide/compared/mine/features", kind="alone", threshold=0.9, sort="-density", limit=200)
    alone = compared.at(0.9).turned.alone().tolist()
    density_F = two_runs[1].features.densities()
    assert [one["feature"] for one in told["features"]] == sorted(alone, key=lambda one: (-density_F[one], one))


def test_a_feature_is_told_with_its_children_there(client: TestClient, compared: Comparison) -> None:
    parent = int(compared.n_children().argmax())
    client.put(f"/api/runs/wide/features/{compared.here.best_F[parent]}/label", json={"text": "Old rivers"})
    told = get(client, f"/mine/features/{parent}/counterparts/wide")
    expected = compared.family(parent).children
    assert [(one["feature"], one["share"]) for one in told["children"]] == [
        (one.feature, one.share) for one in expected
    ]
    assert told["counterparts"][0]["label"]["text"] == "Old rivers"
    assert told["children"][0]["top_tokens"]


def test_what_is_not_there_or_does_not_fit_is_a_clear_4xx(
    client: TestClient, two_runs: tuple[Run, Run], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert "no run 'none'" in refused(client, "/mine/compared/none", 404)
    assert "given twice" in refused(client, "/mine/compared/mine", 422)
    assert "0 to 15" in refused(client, "/mine/features/16/counterparts/wide", 404)
    assert "threshold" in refused(client, "/mine/compared/wide", 422, threshold="nan")
    folder = tmp_path_factory.mktemp("other")
    elsewhere = tiny_run(folder / "elsewhere", texts(), features=16, site="resid_post.0")
    copy = shutil.copytree(two_runs[0].folder, folder / "copy")
    seed = tiny_run(folder / "seed", texts(), features=16, seed=1)
    served = Served([two_runs[0].folder, elsewhere.folder, copy, seed.folder])
    with TestClient(create_app(served), base_url="http://127.0.0.1:8000") as other:
        assert "different sites" in refused(other, "/mine/compared/elsewhere", 422)
        assert "give two dictionaries" in refused(other, "/mine/compared/copy", 422)
        assert f"semascope compare {two_runs[0].folder} {seed.folder}" in refused(other, "/mine/compared/seed", 404)
        (one,) = get(other, "/mine/comparable")
        assert (one["name"], one["command"]) == ("seed", f"semascope compare {two_runs[0].folder} {seed.folder}")
