"""Many dictionaries from one pass, and transcoders: on the tiny model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_runs import corpus, settings

from semascope.config import RunConfig
from semascope.errors import ConfigError, DamagedError
from semascope.runs import Run, together
from semascope.sae import GatedConfig, TopKConfig
from semascope.sweeps import Sweep
from semascope.training import Trainer, TrainingConfig

__all__ = ["corpus"]


def training(**changes: Any) -> TrainingConfig:
    content = {
        "variant": TopKConfig(k=4, auxiliary_k=8), "features": 64, "tokens": 8_000, "batch_tokens": 200,
        "buffer_tokens": 3000,
    }  # fmt: skip
    return TrainingConfig.model_validate(content | changes)


def family(texts: Path, **changes: Any) -> list[RunConfig]:
    """Two sites, two sizes, two variants."""
    return [
        settings(texts, **{"training": training(), "site": "resid_post.0"} | changes),
        settings(texts, **{"training": training(features=96), "site": "resid_post.1"} | changes),
        settings(texts, **{"training": training(variant=GatedConfig(l0=4)), "site": "resid_post.1"} | changes),
    ]


@pytest.mark.parametrize("passes", [1, 2])
def test_a_sweep_runs_the_model_once_and_leaves_complete_runs(
    passes: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = Sweep.begin(tmp_path / "sweep", family(corpus, passes=passes))
    model = sweep.runs[0].model
    whole, harvested = type(model).activations_at, []

    def counted(self: Any, tokens: torch.Tensor, sites: Any) -> Any:
        harvested.append((tokens.numel(), len(sites)))
        return whole(self, tokens, sites)

    monkeypatch.setattr(type(model), "activations_at", counted)
    sweep.train()
    assert {sites for _, sites in harvested} == {2}
    assert sum(tokens for tokens, _ in harvested) < 8_000 / passes * 1.3
    assert not (tmp_path / "sweep/checkpoints").exists()
    for run in sweep.runs:
        opened = Run.open(run.folder)
        assert opened.dictionary.features == run.config.training.features
        assert 0.1 < opened.evaluate()["explained_variance"] < 1
        assert opened.index().n_features == run.config.training.features
    # Nothing is trained twice, and a further dictionary joins the others.
    before = (sweep.runs[0].folder / "dictionary/cfg.json").stat().st_mtime_ns
    wider = settings(corpus, training=training(features=80), site="resid_post.1", passes=passes)
    Sweep.begin(tmp_path / "sweep", [*family(corpus, passes=passes), wider]).train()
    assert (sweep.runs[0].folder / "dictionary/cfg.json").stat().st_mtime_ns == before
    assert len(list((tmp_path / "sweep").glob("*/dictionary"))) == 4


def test_a_dictionary_of_a_sweep_is_the_one_of_a_run_by_itself(corpus: Path, tmp_path: Path) -> None:
    configs = [settings(corpus, training=training(features=features), passes=2) for features in (64, 96)]
    alone = Run.begin(tmp_path / "alone", configs[1])
    alone.train()
    sweep = Sweep.begin(tmp_path / "sweep", configs)
    sweep.train()
    for name, tensor in alone.dictionary.state_dict().items():
        assert torch.equal(tensor, sweep.runs[1].dictionary.state_dict()[name]), name


@pytest.mark.parametrize("kept", [True, False])
def test_trainings_of_several_lengths_on_one_stream_are_those_of_runs_by_themselves(
    kept: bool, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when they are interrupted, once between the ends of two of them and once while one is saved."""
    tokens = {64: 8_000, 80: 5_000, 96: 2_600}  # 40, 25 and 13 steps: not all end with an interval

    def configs(folder: Path) -> Sweep:
        made = [
            settings(corpus, training=training(features=features, tokens=count), keep_activations=kept)
            for features, count in tokens.items()
        ]
        return Sweep.begin(folder, made)

    whole = configs(tmp_path / "whole")
    whole.train()
    assert [run.metrics[-1]["step"] for run in whole.runs] == [40, 25, 13]
    if kept:  # All see the rows of one store in one order, so that each is what it would be alone.
        alone = Run.begin(tmp_path / "alone", whole.runs[1].config, activations="../whole/activations")
        alone.train()
        of_sweep = whole.runs[1].dictionary.state_dict()
        assert all(torch.equal(tensor, of_sweep[name]) for name, tensor in alone.dictionary.state_dict().items())

    monkeypatch.setattr("semascope.training.checkpoints.LEAST_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("semascope.training.checkpoints.SHARE_OF_TIME", 1e9)
    save, step = together.save, Trainer.step

    def interrupted_save(run: Run, *given: Any) -> None:
        if run.config.training.features == 80:
            raise KeyboardInterrupt
        save(run, *given)

    def interrupted_step(self: Trainer, batch: torch.Tensor, done: int) -> None:
        if done == 23:
            raise KeyboardInterrupt
        step(self, batch, done)

    for owner, method, replacement in ((Trainer, "step", interrupted_step), (together, "save", interrupted_save)):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, replacement)
            with pytest.raises(KeyboardInterrupt):
                configs(tmp_path / "parts").train()
    assert sorted(path.parent.name.split("-")[2] for path in (tmp_path / "parts").glob("*/dictionary")) == ["f96"]
    resumed = configs(tmp_path / "parts")
    resumed.train()
    for one, other in zip(whole.runs, resumed.runs, strict=True):
        assert other.metrics[-1]["step"] == one.metrics[-1]["step"]
        other_state = other.dictionary.state_dict()
        assert all(torch.equal(tensor, other_state[name]) for name, tensor in one.dictionary.state_dict().items())


def test_an_interrupted_sweep_ends_like_an_uninterrupted_one(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Sweep.begin(tmp_path / "whole", family(corpus))
    whole.train()
    monkeypatch.setattr("semascope.training.checkpoints.LEAST_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("semascope.training.checkpoints.SHARE_OF_TIME", 1e9)
    save, saved = together.save, []

    def interrupted(run: Run, *given: Any) -> None:
        saved.append(run)
        if len(saved) == 2:  # one dictionary is saved already
            raise KeyboardInterrupt
        save(run, *given)

    with monkeypatch.context() as patch:
        patch.setattr(together, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Sweep.begin(tmp_path / "parts", family(corpus)).train()
    resumed = Sweep.begin(tmp_path / "parts", family(corpus))
    resumed.train()
    for one, other in zip(whole.runs, resumed.runs, strict=True):
        other_state = other.dictionary.state_dict()
        assert all(torch.equal(tensor, other_state[name]) for name, tensor in one.dictionary.state_dict().items())


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_predicts_one_site_from_another(skip: bool, corpus: Path, tmp_path: Path) -> None:
    config = settings(
        corpus, site="mlp_in.1", output_site="mlp_out.1", skip=skip, training=training(tokens=24_000), passes=2
    )
    run = Run.begin(tmp_path / "run", config)
    run.train()
    transcoder = run.dictionary
    assert (transcoder.W_skip_OD is not None) == skip
    evaluation = run.evaluate()
    assert evaluation["explained_variance"] > 0.15
    assert evaluation["ce_clean"] <= evaluation["ce_spliced"] + 0.01
    assert run.index().n_features == 64

    # What the evaluation says, computed from the saved dictionary alone.
    tokens = next(run.source.windows(held_out=True)).tokens_BT
    at = run.model.activations_at(tokens, [run.site, run.output_site])
    x, y = (at[site][:, 1:].reshape(-1, at[site].shape[2]) for site in (run.site, run.output_site))
    error = (transcoder.predict(x, transcoder.encode(x)) - y).square().sum()
    by_hand = 1 - (error / (y - y.mean(dim=0)).square().sum()).item()
    assert by_hand == pytest.approx(evaluation["explained_variance"], abs=0.15)


def test_what_a_sweep_cannot_share_is_named(corpus: Path, tmp_path: Path) -> None:
    configs = family(corpus)
    with pytest.raises(ConfigError, match=r"agree in training\.batch_tokens"):
        Sweep.begin(tmp_path / "a", [configs[0], settings(corpus, training=training(batch_tokens=100))])
    with pytest.raises(ConfigError, match="agree in whether activations are kept"):
        Sweep.begin(tmp_path / "a", [configs[0], settings(corpus, passes=2)])
    with pytest.raises(ConfigError, match=r"asked for twice: resid_post\.0-topk-f64-l4-s0"):
        Sweep.begin(tmp_path / "b", [configs[0], configs[0]])
    Run.begin(tmp_path / "single", configs[0])
    with pytest.raises(ConfigError, match="holds a single run"):
        Sweep.begin(tmp_path / "single", configs)
    Sweep.begin(tmp_path / "sweep", configs)
    with pytest.raises(DamagedError, match="holds 3 runs: choose one of them"):
        Run.open(tmp_path / "sweep")
    with pytest.raises(ConfigError, match="holds no run"):
        Run.begin(tmp_path / "sweep", configs[0])
    with pytest.raises(ValueError, match="belongs to a transcoder"):
        settings(corpus, skip=True)
