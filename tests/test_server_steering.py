"""Steering over HTTP: two texts as they are written, what is refused, and that nobody's text is not written on."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browser import serving
from starlette.testclient import TestClient
from tiny_runs import texts, tiny_run

from semascope.records import Intervention
from semascope.runs import Run
from semascope.steering import Calibration, Level, Row, Sampling, SavedSteering, Steering, Written
from semascope.steering import texts as written_texts
from semascope.steering.calibration import Asked

HOLD: dict[str, Any] = {"feature": 3, "strength": 4}
ASKED: dict[str, Any] = {"prompt": "the river of Z\u00fcrich", "interventions": [HOLD], "max_tokens": 12, "samples": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny_run(tmp_path_factory.mktemp("steered") / "mine", texts(100))


def steered(client: TestClient, **changes: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/runs/mine/steer", json=ASKED | changes)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_default_and_steered_texts_come_side_by_side(client: TestClient, run: Run) -> None:
    events = steered(client)
    sampling = Sampling(12, 0.7, samples=2)
    expected = written_texts(
        run.steering.generate(ASKED["prompt"], [], [Intervention(3, "clamp", 4)], sampling=sampling)
    )
    found = {
        Row(0, steered, sample): "".join(
            one["text"] for one in events if (one["steered"], one["sample"]) == (steered, sample)
        )
        for steered, sample in itertools.product((False, True), range(2))
    }
    assert found == expected
    assert found[Row(0, 0, 0)] != found[Row(0, 1, 0)]
    assert sum(one["ended"] is not None for one in events) == 4
    # Both are written at the same time: neither waits for the other's end.
    assert {one["steered"] for one in events[:4]} == {False, True}


def test_the_seed_and_the_start_of_an_intervention_count(client: TestClient) -> None:
    assert steered(client, seed=1) == steered(client, seed=1) != steered(client, seed=2)
    from_reply = steered(client, interventions=[HOLD | {"start": "reply"}])
    assert from_reply != steered(client)


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"interventions": [{"feature": 64, "strength": 1}]}, 404, "no feature 64"),
        ({"interventions": [{"feature": -1, "strength": 1}]}, 404, "no feature -1"),
        ({"interventions": []}, 422, "interventions"),
        ({"interventions": [HOLD] * 9}, 422, "interventions"),
        ({"interventions": [HOLD | {"strength": "much"}]}, 422, "valid number"),
        ({"interventions": [HOLD | {"strength": float("nan")}]}, 422, "finite number"),
        ({"interventions": [HOLD | {"strength": 1e300}]}, 422, "strength"),
        ({"interventions": [HOLD | {"op": "double"}]}, 422, "op"),
        ({"interventions": [HOLD | {"start": 10**400}]}, 422, "start"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"max_tokens": 257}, 422, "max_tokens"),
        ({"samples": 5}, 422, "samples"),
        ({"temperature": -1}, 422, "temperature"),
        ({"prompt": "x" * 5000}, 422, "shorten the prompt"),
        ({"prompt": "x" * 20_001}, 422, "prompt"),
        ({"chat": True}, 422, "chat"),
    ],
)
def test_what_cannot_be_written_is_told(client: TestClient, changes: Any, status: int, said: str) -> None:
    content = json.dumps(ASKED | changes)
    answer = client.post("/api/runs/mine/steer", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


def test_the_model_stops_when_the_browser_goes_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text without an end, of which a line is read; another text has its turn meanwhile."""
    stopped = threading.Event()

    def endless(*_: Any, **__: Any) -> Iterator[Written]:
        try:
            while True:
                yield Written(Row(0, 0, 0), "x", (1,))
        finally:
            stopped.set()

    monkeypatch.setattr(Steering, "generate", endless)
    with serving(run.folder) as address:
        with httpx.stream("POST", f"{address}/api/runs/mine/steer", json=ASKED, timeout=60) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["text"] == "x"
            assert httpx.post(f"{address}/api/runs/mine/lens", json={"text": "abc"}, timeout=60).status_code == 200
            assert not stopped.is_set()
        assert stopped.wait(20)


def test_a_calibration_is_told_where_there_is_one(run: Run, client: TestClient) -> None:
    assert client.get("/api/runs/mine/features/3/calibration").json() is None
    assert client.get("/api/runs/mine/features/64/calibration").status_code == 404
    assert client.get("/api/runs/mine/steering").json() == {"chat": False, "calibrated": []}
    unmeasured, measured = (math.nan, math.nan), (0.1, 0.4)
    level = Level(
        strength=2.0, of_norm=0.3, echo=0.9, echo_controls=measured, log_odds=1.0, log_odds_controls=measured,
        kl=0.5, kl_controls=unmeasured, surprise=2.5, repetition=0.0, acceptable=True,
    )  # fmt: skip
    untouched = {"echo": 0.1, "surprise": math.nan, "repetition": 0.0}
    about = Asked("rivers", **untouched)
    SavedSteering(run.folder / "steering", 64).add_calibration(
        Calibration(3, 20.0, 2.0, 2.0, None, untouched, about, (level,), (4, 5))
    )
    told = client.get("/api/runs/mine/features/3/calibration").json()
    assert (told["maximum"], told["recommended"], told["untouched"]["surprise"]) == (20.0, 2.0, None)
    assert told["levels"] == [
        {
            "strength": 2.0, "echo": 0.9, "echo_controls": [0.1, 0.4], "kl": 0.5, "surprise": 2.5, "repetition": 0.0,
            "acceptable": True,
        }
    ]  # fmt: skip
    assert client.get("/api/runs/mine/steering").json()["calibrated"] == [3]
    (run.folder / "steering/calibration/3.json").write_text("{}")
    damaged = client.get("/api/runs/mine/features/3/calibration")
    assert (damaged.status_code, "calibrate it again" in damaged.json()["detail"]) == (500, True)
