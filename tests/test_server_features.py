"""What the page of a feature and the list of features are told beside the index: scores, and the features around."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.attribution import Question, attribute
from semascope.errors import DamagedError
from semascope.features import around_by_cosine
from semascope.files import read_rows
from semascope.runs import Run
from semascope.server import Served, create_app


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("served") / "mine", texts(150))


@pytest.fixture
def client(run: Run) -> Iterator[TestClient]:
    (run.folder / "catalog.sqlite").unlink(missing_ok=True)
    shutil.rmtree(run.folder / "steering", ignore_errors=True)
    shutil.rmtree(run.folder / "features" / "map", ignore_errors=True)
    with TestClient(create_app(Served([run.folder])), base_url="http://127.0.0.1:8000") as client:
        yield client


def get(client: TestClient, path: str, **query: Any) -> Any:
    response = client.get(f"/api/runs/mine{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def test_features_are_sorted_by_scores_and_those_without_come_last(client: TestClient, run: Run) -> None:
    before = get(client, "/features", sort="-output-score", limit=200)
    assert [one["output_score"] for one in before["features"]] == [None] * before["total"]
    run.saved_steering.add_scores([(7, 0.25, 0.5), (3, 0.5, 0.125), (20, 0.75, 0.75)])
    for sort, first in (("-output-score", [20, 7, 3]), ("output-score", [3, 7, 20]), ("-input-score", [20, 3, 7])):
        listed = get(client, "/features", sort=sort, limit=200)["features"]
        assert [one["feature"] for one in listed[:3]] == first
        assert len(listed) == before["total"]
    told = get(client, "/features/7")
    assert (told["input_score"], told["output_score"]) == (0.25, 0.5)
    run.saved_steering.add_scores([(9, 1, 1)])
    assert get(client, "/features", sort="-output-score", limit=1)["features"][0]["feature"] == 9


def test_the_features_around_one_are_the_nearest_on_the_map(client: TestClient, run: Run) -> None:
    made = run.map()
    feature = int(made.features_n[5])
    client.put(f"/api/runs/mine/features/{feature}/label", json={"text": "in the middle"})
    told = get(client, f"/features/{feature}/around")
    distances = np.linalg.norm(made.positions_n2 - made.positions_n2[5], axis=1)
    expected = made.features_n[np.argsort(distances, kind="stable")][:31].tolist()
    assert told["by"] == "map"
    assert [one["feature"] for one in told["points"]] == expected
    assert told["points"][0] | {"density": 0} == {
        "feature": feature, "x": 0, "y": 0, "density": 0, "label": "in the middle",
    }  # fmt: skip
    reach = [np.hypot(one["x"], one["y"]) for one in told["points"]]
    assert reach == pytest.approx(np.sort(distances)[:31] / np.sort(distances)[30], abs=2e-3)


def test_without_a_map_the_neighbours_lie_around_it(client: TestClient, run: Run) -> None:
    told = get(client, "/features/4/around")
    assert told["by"] == "cosine"
    neighbours = [one.feature for one in run.features.statistics(4).neighbours]
    assert [one["feature"] for one in told["points"]] == [4, *neighbours]
    assert client.get("/api/runs/mine/features/64/around").status_code == 404


def test_directions_of_a_plane_keep_their_distances() -> None:
    angles = np.array([0.0, 0.3, -0.4])
    # The tilted plane of these directions lies somewhere in four dimensions.
    plane = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 2)))[0]
    found = around_by_cosine([5, 6, 7], np.stack([np.cos(angles), np.sin(angles)], axis=1) @ plane.T * 3)
    assert found.features_n.tolist() == [5, 6, 7]
    expected = np.sqrt(2 - 2 * np.cos(angles))
    assert np.linalg.norm(found.positions_n2, axis=1) == pytest.approx(expected / expected.max())
    between = np.linalg.norm(found.positions_n2[1] - found.positions_n2[2])
    assert between == pytest.approx(np.sqrt(2 - 2 * np.cos(0.7)) / expected.max())
    alone = around_by_cosine([5], np.ones((1, 4)))
    assert alone.positions_n2.tolist() == [[0, 0]]


def test_rows_are_read_without_the_others(run: Run) -> None:
    expected = run.dictionary.W_dec_FO.detach()[torch.tensor([9, 2, 2])]
    assert torch.equal(torch.from_numpy(run.directions([9, 2, 2])), expected)
    file = run.folder / "dictionary" / "sae_weights.safetensors"
    for name, rows in (("W_dec", [64]), ("nothing", [0])):
        with pytest.raises(DamagedError, match=name):
            read_rows(file, name, rows)


def lens(client: TestClient, status: int = 200, **asked: Any) -> Any:
    response = client.post("/api/runs/mine/lens", json={"text": "the stone house of Zürich", **asked})
    assert response.status_code == status, response.text
    return response.json()


def test_the_lens_orders_features_by_attribution_to_the_next_token(client: TestClient, run: Run) -> None:
    plain = lens(client, features=200, features_per_token=20)
    told = lens(client, order="attribution", target="!", baseline="?", features=200, features_per_token=20)
    assert (told["question"]["target"]["text"], told["question"]["baseline"]["text"]) == ("!", "?")
    # The same activations, in another order.
    values = {one["feature"]: one["total"] for one in plain["features"]}
    assert {one["feature"]: one["total"] for one in told["features"]} == pytest.approx(values)
    sizes = [abs(one["attribution"]) for one in told["features"][: told["n_first"]]]
    assert sizes == sorted(sizes, reverse=True)
    for token in told["tokens"]:
        assert [abs(one["attribution"]) for one in token["features"]] == sorted(
            (abs(one["attribution"]) for one in token["features"]), reverse=True
        )
    tokens = run.tokenizer.encode(["the stone house of Zürich"])[0]
    expected = attribute(
        run.model,
        run.site,
        run.dictionary,
        Question((run.tokenizer.separator_id or 0, *tokens), ord("!"), ord("?")),
        recent_medians=run.saved.metadata["recent_medians"],
    )
    assert told["question"]["difference"] == pytest.approx(expected.parts.total)
    summed = sum(one["attribution"] for one in told["features"])
    assert summed == pytest.approx(expected.parts.features, abs=1e-5)
    swapped = lens(client, order="attribution", target="?", baseline="!", features=200)
    assert swapped["features"][0]["attribution"] == pytest.approx(-told["features"][0]["attribution"])


def test_without_a_target_the_likeliest_token_is_explained(client: TestClient) -> None:
    question = lens(client, order="attribution")["question"]
    assert (question["target"], question["target"]["rank"]) == (question["likely"][0], 1)
    assert question["baseline"] is None
    assert lens(client)["question"] is None


def test_what_cannot_be_attributed_is_refused(client: TestClient) -> None:
    for asked, said in (
        ({"target": "!"}, "order"),
        ({"order": "attribution", "baseline": "!"}, "target"),
        ({"order": "attribution", "target": "!", "baseline": "!"}, "same token"),
        ({"order": "attribution", "target": ""}, "target"),
        ({"order": "attribution", "text": "a" * 600}, "512"),
    ):
        assert said in lens(client, 422, **asked)["detail"]
