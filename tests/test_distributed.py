"""Several processes on one training: what one process computes, whoever of them ends or goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PlantedStream, train_many, train_one
from dictionaries import CONFIGS
from ranks import WIDTH, Job, columns_of, environment, launch
from test_runs import corpus
from torch import Tensor
from typer.testing import CliRunner

from semascope.cli.main import app
from semascope.errors import ConfigError
from semascope.files import read_json, read_tensors
from semascope.kernels import Pattern
from semascope.runs import Run
from semascope.sae import BatchTopKConfig, L1Config, TopKConfig, VariantConfig
from semascope.sae.candidates import _largest
from semascope.sae.initial import fill_with_directions
from semascope.team import ALONE, Team, part_of
from semascope.training import Trainer, TrainingConfig, read_metrics, train
from semascope.training.distributed import joined

__all__ = ["corpus"]

STEPS = 50
VARIANTS: dict[str, VariantConfig] = {
    **CONFIGS,
    "matryoshka": BatchTopKConfig(k=2, auxiliary_k=8, prefixes=(0.25, 0.5, 1.0)),
    "matryoshka-l1": L1Config(coefficient=1.5, prefixes=(0.25, 1.0)),
    "transcoder": TopKConfig(k=4, auxiliary_k=6),
    "transcoder-jumprelu": CONFIGS["jumprelu"],
    # More active features than a process has.
    "wide-topk": TopKConfig(k=40, auxiliary_k=64),
}


def settings(variant: VariantConfig, **changes: Any) -> TrainingConfig:
    """64 features, some of which are dead most of the time."""
    content = {
        "variant": variant, "features": 64, "tokens": 256 * STEPS, "batch_tokens": 256, "learning_rate": 1e-3,
        "dead_after_tokens": 256, "precision": "full",
    }  # fmt: skip
    return TrainingConfig.model_validate(content | changes)


SETTINGS = {name: settings(variant) for name, variant in VARIANTS.items()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dictionaries of every variant, trained by one process."""
    folder = tmp_path_factory.mktemp("alone")
    trainers = {name: Trainer(config, columns_of(name), folder=folder / name) for name, config in SETTINGS.items()}
    train(PlantedStream(), trainers, folder / "checkpoints")
    for name, trainer in trainers.items():
        torch.save(trainer.autoencoder.state_dict(), folder / name / "state.pt")
    return folder


def same_as(alone: Path, folder: Path, names: Mapping[str, Any] = SETTINGS) -> None:
    """Parameters within 1e-5, and metrics as close as their digits."""
    for name in names:
        found = read_tensors(folder / name / "whole.safetensors")
        expected: dict[str, Tensor] = torch.load(alone / name / "state.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-5, rtol=0, msg=lambda m: f"{name}, {key}: {m}")  # noqa: B023
        lines, others = (read_metrics(kept / name / "metrics.jsonl") for kept in (alone, folder))
        for line, other in zip(lines, others, strict=True):
            assert other == pytest.approx(line | {"tokens_per_second": other["tokens_per_second"]}, rel=1e-3, abs=1e-5)


slow = pytest.mark.slow
NAMED = ["topk", "batchtopk", "l1"]


@pytest.mark.parametrize(
    ("size", "data_parallel", "names"),
    [
        (2, 1, NAMED),
        (2, 2, NAMED),
        *(pytest.param(*shape, [*VARIANTS], marks=slow) for shape in [(2, 1), (3, 1), (2, 2), (4, 2), (3, 3)]),
    ],
)
def test_many_processes_train_what_one_does(
    size: int, data_parallel: int, names: list[str], alone: Path, tmp_path: Path
) -> None:
    chosen = {name: SETTINGS[name] for name in names}
    assert launch(size, Job(tmp_path, chosen, data_parallel=data_parallel)) == [(0, "")] * size
    same_as(alone, tmp_path, chosen)
    # The tests see features die, or there would be no auxiliary loss to agree on.
    assert any(line["dead_fraction"] for line in read_metrics(tmp_path / "topk/metrics.jsonl"))


def test_a_checkpoint_of_three_goes_on_with_two_and_with_one(alone: Path, tmp_path: Path) -> None:
    chosen = {name: SETTINGS[name] for name in ("topk", "batchtopk", "l1", "gated", "kl")}
    ended = launch(3, Job(tmp_path, chosen, ends="interrupted", after=17))
    assert [code for code, _ in ended] == [130] * 3
    [kept] = (tmp_path / "checkpoints").iterdir()
    assert kept.name == "step-00000010"
    assert len(list((kept / "topk").glob("weights-*-of-00003.safetensors"))) == 3
    assert read_json(kept / "state.json")["features"]["topk"] == [[0, 21], [21, 42], [42, 64]]
    ended = launch(2, Job(tmp_path, chosen, ends="interrupted", after=38))
    assert [code for code, _ in ended] == [130] * 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000030"]
    resumed = train_many(PlantedStream(), chosen, width=WIDTH, folder=tmp_path)
    for name, autoencoder in resumed.items():
        expected = torch.load(alone / name / "state.pt", weights_only=True)
        for key, tensor in autoencoder.state_dict().items():
            torch.testing.assert_close(tensor, expected[key], atol=1e-5, rtol=0)
    # One process's checkpoint is that of one part, which many read as well.
    assert (tmp_path / "checkpoints/step-00000050/topk/weights.safetensors").exists()
    assert launch(2, Job(tmp_path, chosen)) == [(0, "")] * 2
    same_as(alone, tmp_path, chosen)


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=slow)])
def test_a_killed_process_ends_all_and_the_checkpoint_goes_on(victim: int, alone: Path, tmp_path: Path) -> None:
    chosen = {"topk": SETTINGS["topk"]}
    ended = launch(3, Job(tmp_path, chosen, ends="killed", after=33, victim=victim))
    assert [code for code, _ in ended] == [-9 if rank == victim else 2 for rank in range(3)]
    said = [text for rank, (_, text) in enumerate(ended) if rank != victim]
    assert all("another process of this training ended" in text for text in said)
    assert all("goes on from step 30, the last checkpoint" in text for text in said)
    assert launch(2, Job(tmp_path, chosen)) == [(0, "")] * 2
    same_as(alone, tmp_path, chosen)


@slow
def test_a_process_that_does_not_answer_ends_the_others(tmp_path: Path) -> None:
    job = Job(tmp_path, {"topk": SETTINGS["topk"]}, ends="hung", after=23, patience=1.0)
    [(code, text), _] = launch(2, job)
    assert code == 2
    assert "another process of this training does not answer since" in text
    assert "from step 20" in text


def test_what_cannot_be_divided_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = launch(3, Job(tmp_path, {"few": settings(TopKConfig(k=1), features=2)}))
    # All find it out for themselves, unless the first to end takes the others along.
    assert all(code == 2 for code, _ in ended)
    assert any("2 features cannot be divided among 3 processes" in text for _, text in ended)
    with joined() as team:
        assert team is ALONE
    for name, value in environment(0, 3, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="3 processes cannot see a batch in 2 parts"), joined(data_parallel=2):
        pass


def test_other_commands_are_not_for_torchrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    ended = CliRunner().invoke(app, ["index", str(tmp_path)])
    assert ended.exit_code == 2
    assert "start 'semascope index' by itself" in ended.output
    with pytest.raises(ConfigError, match="a device of its own, not cuda:1"), joined(device="cuda:1"):
        pass


class Recorded(Team):
    """One of three, that has been told what the others have to say."""

    feature_parts = 3

    def __init__(self, part: int, said: Tensor) -> None:
        self.feature_part, self._said = part, said

    def gather_features(self, values: Tensor) -> Tensor:
        assert torch.equal(values, self._said[self.feature_part])
        return self._said


def test_of_equal_candidates_those_of_lower_features_stay_and_no_more_than_k() -> None:
    generator = torch.Generator().manual_seed(0)
    pre_BF = torch.randint(0, 3, (500, 9), generator=generator).float()
    said = torch.stack(pre_BF.split(3, dim=1))
    kept: list[Tensor] = []
    for part, own_BC in enumerate(said):
        pattern = Pattern.from_counts(torch.full((500,), 3), torch.arange(3).repeat(500), 3)
        found, values_K = _largest(Recorded(part, said), 4, pattern, own_BC, 3)
        mask_BC = torch.zeros_like(own_BC, dtype=torch.bool)
        mask_BC[found.row_ids, found.feature_ids] = True
        assert torch.equal(own_BC[mask_BC], values_K)
        kept.append(mask_BC)
    expected = pre_BF.sort(dim=1, descending=True, stable=True).indices[:, :4].sort(dim=1).values
    assert torch.equal(torch.cat(kept, dim=1).nonzero()[:, 1].view(500, 4), expected)


def test_parts_cover_everything_once() -> None:
    for length, parts in [(7, 3), (64, 3), (2, 2), (3, 5)]:
        bounds = [part_of(length, part, parts) for part in range(parts)]
        assert [i for first, last in bounds for i in range(first, last)] == list(range(length))


@pytest.mark.parametrize(("features", "width"), [(40, 7), (8191, 1), (8192, 5), (12_289, 13)])
def test_a_part_of_the_random_directions_is_that_of_one_draw(features: int, width: int) -> None:
    whole = torch.randn(features, width, generator=torch.Generator().manual_seed(3))
    whole /= whole.norm(dim=1, keepdim=True)
    for held in (slice(0, features), slice(features // 3, features // 2 + 1), slice(features - 1, features)):
        found = torch.empty(held.stop - held.start, width)
        fill_with_directions(found, torch.Generator().manual_seed(3), features=features, held=held)
        assert torch.equal(found, whole[held])


def torchrun(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``torchrun … -m semascope …``."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(size), "-m", "semascope", *arguments]
    surroundings = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("passes", [pytest.param("1", marks=slow), "2"])
def test_torchrun_leaves_the_run_of_one_process(passes: str, corpus: Path, tmp_path: Path) -> None:
    """Harvest from the model or through a store, two dictionaries of different sizes, evaluation."""
    arguments = (
        "train", "tiny", "--data", str(corpus), "--layer", "1", "--variant", "topk,batchtopk", "--features", "64",
        "--l0", "4", "--tokens", "12000", "--batch", "200", "--context", "32", "--precision", "full",
        "--passes", passes,
    )  # fmt: skip
    ended = torchrun(2, *arguments, "--out", str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("2 dictionaries on one pass") == 1
    assert "2 processes: features in 2 parts, rows in 1" in ended.stdout
    one = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "one")])
    assert one.exit_code == 0, one.output
    for folder in (tmp_path / "one").glob("resid*"):
        runs = Run.open(folder), Run.open(tmp_path / "two" / folder.name)
        assert {path.name for path in runs[0].folder.iterdir()} == {path.name for path in runs[1].folder.iterdir()}
        others = runs[1].dictionary.state_dict()
        for key, tensor in runs[0].dictionary.state_dict().items():
            torch.testing.assert_close(others[key], tensor, atol=1e-4, rtol=1e-4)
        one_says, two_say = (run.evaluate()["explained_variance"] for run in runs)
        assert one_says == pytest.approx(two_say, abs=1e-3)
    assert not (tmp_path / "two/checkpoints").exists()


def test_one_dictionary_is_what_it_was_before_there_were_teams(alone: Path, tmp_path: Path) -> None:
    trained = train_one(PlantedStream(), SETTINGS["topk"], width=WIDTH, folder=tmp_path)
    expected = torch.load(alone / "topk/state.pt", weights_only=True)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in trained.state_dict().items())
