"""Concepts and completeness over HTTP: what the commands wrote into a run folder, or which of them to run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from evaluated import completeness, concept
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.concepts import suite_names
from semascope.runs import Run
from semascope.server import Served, create_app


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("evaluated") / "mine", texts(100))


@pytest.fixture(autouse=True)
def _nothing_measured_before(run: Run) -> None:
    for file in (run.folder / "evaluation").glob("*.json"):
        file.unlink()


def get(client: TestClient, path: str) -> Any:
    answer = client.get(f"/api/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_concepts_are_told_as_they_were_measured_with_the_density_of_their_features(
    client: TestClient, run: Run
) -> None:
    written = [concept("Rivers", 3), concept("Stones", 7, exists=False, specificity=None)]
    run.write_result("concepts-mine", {"suite": "mine", "offensive": True, "concepts": written})
    run.write_result("concepts-bias", {"suite": "bias", "concepts": [concept("About race", 5)]})
    run.write_result("concepts", {"seed": 0, "concepts": []})
    told = get(client, "runs/mine/concepts")
    suites = {suite["name"]: suite for suite in told["suites"]}
    assert list(suites) == ["bias", "mine"]
    assert [one["concept"] for one in suites["mine"]["concepts"]] == ["Rivers", "Stones"]
    densities = run.features.densities()
    for one, known in zip(suites["mine"]["concepts"], written, strict=True):
        assert one["density"] == densities[known["feature"]]
        assert {name: one[name] for name in one if name != "density"} == {
            name: known[name] for name in one if name in known
        }
    # A suite says itself whether it is offensive; of one that comes along it is known.
    assert (suites["mine"]["offensive"], suites["bias"]["offensive"]) == (True, True)
    assert told["commands"] == [
        f"semascope concepts {run.folder} --suite {name}" for name in suite_names() if name != "bias"
    ]


def test_where_nothing_was_scored_the_commands_are_told(client: TestClient, run: Run) -> None:
    told = get(client, "runs/mine/concepts")
    assert told["suites"] == []
    assert f"semascope concepts {run.folder} --suite things" in told["commands"]
    assert get(client, "completeness") == {
        "kinds": [], "command": f"semascope completeness {run.folder} --names element"
    }  # fmt: skip
    assert client.get("/api/runs/other/concepts").status_code == 404


def test_completeness_is_told_of_all_runs_by_kind_the_narrowest_first(run: Run) -> None:
    run.write_result("completeness-element", completeness("element", features=64, present=2))
    run.write_result("completeness-city", completeness("city", features=64, present=0))
    wider = run.folder.parent / "wider"
    wider.mkdir()
    for part in ("run.json", "features", "dictionary"):
        (wider / part).symlink_to(run.folder / part)
    (wider / "evaluation").mkdir()
    (wider / "evaluation/completeness-element.json").write_text(
        json.dumps(completeness("element", features=128, present=3))
    )
    with TestClient(create_app(Served([wider, run.folder])), base_url="http://127.0.0.1:8000") as both:
        told = get(both, "completeness")
    assert [(kind["kind"], [one["run"] for one in kind["runs"]]) for kind in told["kinds"]] == [
        ("city", ["mine"]),
        ("element", ["mine", "wider"]),
    ]
    assert told["command"].startswith(f"semascope completeness {wider} {run.folder} ")
    narrow, wide = told["kinds"][1]["runs"]
    assert [sum(name["present"] for name in one["names"]) for one in (narrow, wide)] == [2, 3]
    assert narrow["fit"] == {"slope": 2.0, "middle": 1.0}
    # A name that never occurs counts as half an occurrence, in 10,000 tokens.
    assert [(name["count"], name["per_million"]) for name in narrow["names"][:2]] == [(0, 50.0), (10, 1000.0)]


@pytest.mark.parametrize(
    ("file", "path"), [("concepts-mine", "runs/mine/concepts"), ("completeness-city", "completeness")]
)
def test_a_file_that_cannot_be_read_says_what_to_run(client: TestClient, run: Run, file: str, path: str) -> None:
    run.write_result(file, {"concepts": [{"concept": "Rivers"}]})
    answer = client.get(f"/api/{path}")
    assert answer.status_code == 500
    assert f"semascope {file.split('-')[0]}" in answer.json()["detail"]
