"""Attribution over HTTP: what the library finds, as it is found; what is refused; and that nobody's work goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browser import serving
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.attribution import Question, explain
from semascope.errors import MismatchError, ModelError
from semascope.runs import Run
from semascope.server import attribution as routes
from semascope.source import ActivationSource

ASKED: dict[str, Any] = {"prompt": "the river of Zürich", "target": "x", "baseline": "y", "ablations": 12, "top": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("attributed") / "mine", texts(100))


def attributed(client: TestClient, **changes: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/runs/mine/attribute", json=ASKED | changes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_the_answer_is_that_of_the_library(client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "POSITIONS_AT_ONCE", 50)
    first, *ablated, last = attributed(client)
    question = Question.read(run.tokenizer, ASKED["prompt"], "x", "y")
    medians = run.saved.metadata["recent_medians"]
    found = explain(run.model, run.site, run.dictionary, question, ablations=12, top=3, recent_medians=medians)
    expected = found.as_json(run.tokenizer)

    told = first["attributed"]
    for name in ("tokens", "left_out_positions", "target", "baseline", "predictions"):
        assert told[name] == expected[name], name
    assert told["logit_difference"] == pytest.approx(expected["logit_difference"], abs=1e-4)
    assert told["parts"] == pytest.approx(expected["parts"], abs=1e-4)
    assert sum(told["parts"].values()) == pytest.approx(told["logit_difference"], abs=1e-4)
    assert len(told["contributions"]) == len(expected["contributions"]) > 20
    for one, known in zip(told["contributions"], expected["contributions"], strict=True):
        assert (one["feature"], one["position"]) == (known["feature"], known["position"])
        assert one["attribution"] == pytest.approx(known["attribution"], abs=1e-5)
    assert told["compared"] == found.ablated.compared_M.tolist()

    # As they are made: a few at a time, those with the largest attributions first.
    numbers = [[one["contribution"] for one in event["ablated"]] for event in ablated]
    assert numbers[0] == [0, 1]
    assert sorted(number for some in numbers for number in some) == sorted({0, 1, 2, *told["compared"]})
    for event in ablated:
        for one in event["ablated"]:
            known = expected["contributions"][one["contribution"]]["ablation"]
            assert one["effect"] == pytest.approx(known, abs=1e-4)
    agreement = last["agreement"]
    assert agreement["attribution"]["pearson"] == pytest.approx(found.of_attribution.pearson, abs=1e-2)
    assert agreement["activation"]["pearson"] == pytest.approx(found.of_activation.pearson, abs=1e-2)


def test_without_a_baseline_and_without_ablation_one_line_tells_all(client: TestClient) -> None:
    [only] = attributed(client, baseline=None, ablations=0)
    assert only["attributed"]["baseline"] is None
    assert only["attributed"]["compared"] == []
    assert (only["ablated"], only["agreement"]) == (None, None)


def test_of_several_tokens_the_first_is_offered_and_taken(client: TestClient) -> None:
    refused = client.post("/api/runs/mine/attribute", json=ASKED | {"target": "xyz"})
    assert refused.status_code == 422
    assert "3 tokens ('x', 'y', 'z')" in refused.json()["detail"]
    assert "take the first, 'x'" in refused.json()["detail"]
    taken = attributed(client, target="xyz", first_token=True, ablations=0)
    assert taken == attributed(client, ablations=0)


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"prompt": ""}, 422, "prompt"),
        ({"prompt": "x" * 200}, 422, "longer than the 128 tokens"),
        ({"prompt": "x" * 600}, 422, "at most 512"),
        ({"prompt": "x" * 20_001}, 422, "prompt"),
        ({"target": ""}, 422, "target"),
        ({"baseline": "no token"}, 422, "baseline 'no token' is 8 tokens"),
        ({"baseline": "x"}, 422, "the same token"),
        ({"ablations": 2001}, 422, "ablations"),
        ({"ablations": -1}, 422, "ablations"),
        ({"top": 201}, 422, "top"),
        ({"seed": 2**31}, 422, "seed"),
    ],
)
def test_questions_that_cannot_be_asked(client: TestClient, changes: Any, status: int, said: str) -> None:
    answer = client.post("/api/runs/mine/attribute", json=ASKED | changes)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert client.post("/api/runs/other/attribute", json=ASKED).status_code == 404


def test_a_run_whose_model_cannot_be_used_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status in ((ModelError("there is no model here"), 422), (MismatchError("of another width"), 409)):

        def unusable(_: ActivationSource, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(ActivationSource, "exact_model", property(unusable))
        answer = client.post("/api/runs/mine/attribute", json=ASKED)
        assert (answer.status_code, answer.json()["detail"]) == (status, str(error))


def test_the_work_stops_when_the_browser_goes_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ablations without an end, of which one is read; another text has its turn meanwhile."""
    stopped = threading.Event()
    question = Question.read(run.tokenizer, ASKED["prompt"], "x")
    known = explain(run.model, run.site, run.dictionary, question, ablations=1)

    def endless(*_: Any, **__: Any) -> Iterator[Any]:
        try:
            while True:
                yield known
        finally:
            stopped.set()

    monkeypatch.setattr(routes, "explaining", endless)
    with serving(run.folder) as address:
        with httpx.stream("POST", f"{address}/api/runs/mine/attribute", json=ASKED, timeout=60) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["attributed"]
            assert json.loads(next(lines))["ablated"] == []
            assert httpx.post(f"{address}/api/runs/mine/lens", json={"text": "abc"}, timeout=60).status_code == 200
            assert not stopped.is_set()
        assert stopped.wait(20)
