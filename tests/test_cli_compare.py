"""`semascope compare` on two runs of the tiny model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from semascope.cli.main import app
from semascope.files import read_json, write_json
from semascope.runs import Run, RunFolder, compare_runs, find_compared


def compare(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "160", "TERM": "dumb"})


@pytest.fixture
def folders(two_runs: tuple[Run, Run]) -> tuple[Path, Path]:
    narrow, wide = two_runs
    return narrow.folder, wide.folder


def test_two_runs_are_told_in_short_and_as_json(folders: tuple[Path, Path]) -> None:
    told = compare(*folders)
    assert told.exit_code == 0, told.output
    assert {"Each other's best counterpart", "Split into several", "Best cosines"} <= set(
        re.findall("Each other's best counterpart|Split into several|Best cosines", told.output)
    )
    found = json.loads(compare(*folders, "--threshold", "0.5", "--json").stdout)
    expected = compare_runs(RunFolder.open(folders[0]), RunFolder.open(folders[1])).at(0.5)
    assert found["same_text"] is True
    assert found["threshold"] == 0.5
    assert found["run"]["shared"] == found["other"]["shared"] == len(expected.shared())
    assert found["other"]["first"]["alone"] == expected.turned.alone()[:10].tolist()
    assert sum(found["other"]["cosines"]) == found["other"]["firing"]


def test_one_feature_is_told_with_its_children(folders: tuple[Path, Path]) -> None:
    narrow, wide = (RunFolder.open(folder) for folder in folders)
    expected = compare_runs(narrow, wide)
    parent = int(expected.n_children().argmax())
    told = compare(*folders, "--feature", parent)
    children = [one.feature for one in expected.family(parent).children]
    assert "Its children in wide" in told.output
    listed = [int(one) for one in re.findall(r"^ *#(\d+)", told.output.split("Its children")[1], flags=re.MULTILINE)]
    assert listed[: len(children)] == children
    found = json.loads(compare(*folders, "-f", parent, "--json").stdout)
    assert [one["feature"] for one in found["children"]] == children
    assert found["counterparts"][0]["feature"] == expected.here.best_F[parent]
    refused = compare(*folders, "--feature", 16)
    assert refused.exit_code == 2
    assert "has features 0 to 15" in refused.output


def test_what_cannot_be_compared_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    told = compare(folders[0], folders[0])
    assert told.exit_code == 2
    assert "given twice" in told.output.replace("\n", " ")
    described = read_json(folders[1] / "run.json")
    write_json(tmp_path / "run.json", {**described, "config": {**described["config"], "site": "resid_post.0"}})
    told = compare(folders[0], tmp_path)
    assert told.exit_code == 2
    assert "different sites, resid_post.1 and resid_post.0" in told.output.replace("\n", " ")


def test_a_dictionary_that_was_trained_again_is_compared_again(two_runs: tuple[Run, Run]) -> None:
    narrow, wide = two_runs
    compare_runs(narrow, wide)
    weights = wide.folder / "dictionary" / "sae_weights.safetensors"
    before = weights.read_bytes()
    try:
        weights.write_bytes(before[:-4] + bytes(4))
        assert find_compared(narrow, wide) is None
    finally:
        weights.write_bytes(before)
    assert find_compared(narrow, wide) is not None
