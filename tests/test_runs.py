"""A whole run on the tiny model: every stage, reuse, interruption, and what a person may get wrong."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

import semascope
from semascope import activations
from semascope.config import EvaluationConfig, ModelConfig, RunConfig
from semascope.errors import ConfigError, DamagedError, DataError, MismatchError, SiteError
from semascope.files import LOCK_FILE, read_json
from semascope.records import Codes
from semascope.runs import Run
from semascope.sae import TopKConfig
from semascope.text import CorpusConfig
from semascope.training import TrainingConfig

WORDS = ["the", "of", "river", "city", "stone", "light", "house", "green", "seven", "under", "paper", "music"]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 labelled texts; half of them are made of digits."""
    generator = random.Random(0)
    file = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    with file.open("w") as out:
        for i in range(400):
            words = generator.choices(WORDS, k=12) if i % 2 else [str(generator.randrange(10**6)) for _ in range(9)]
            out.write(json.dumps({"text": " ".join(words), "labels": ["code"] if i % 2 else ["prose"]}) + "\n")
    return file


def settings(texts: Path, **changes: Any) -> RunConfig:
    content = {
        "model": ModelConfig(name="tiny", precision="full"),
        "site": "resid_post.1",
        "corpus": CorpusConfig(source=str(texts), context_tokens=32, held_out_fraction=0.25),
        "training": TrainingConfig(
            variant=TopKConfig(k=4, auxiliary_k=8), features=64, tokens=16_000, batch_tokens=200, buffer_tokens=3000
        ),
        "evaluation": EvaluationConfig(tokens=2048, ce_tokens=1024, concept_texts=30),
        "index_tokens": 4_000,
    }
    return RunConfig.model_validate(content | changes)


@pytest.fixture(scope="session")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with every stage done, its activations kept."""
    run = Run.begin(tmp_path_factory.mktemp("runs") / "finished", settings(corpus, passes=2))
    run.train()
    run.evaluate()
    run.score_concepts()
    run.index()
    run.report()
    return run


def test_a_run_leaves_the_folder_that_is_promised(finished: Run) -> None:
    files = {"run.json", "metrics.jsonl", "report.html"}
    folders = {"activations", "dictionary", "evaluation", "features"}
    assert {path.name for path in finished.folder.iterdir()} - {LOCK_FILE} == files | folders
    described = read_json(finished.folder / "run.json")
    assert described["config"]["training"]["learning_rate"] > 0  # resolved, not left open
    assert {"semascope", "torch", "transformers"} <= described["versions"].keys()


def test_the_dictionary_says_what_it_was_made_from(finished: Run) -> None:
    metadata = read_json(finished.folder / "dictionary/cfg.json")["metadata"]
    assert metadata["model_name"] == "tiny"
    assert metadata["hook_name"] == "blocks.1.hook_resid_post"
    assert metadata["context_size"] == 32
    assert metadata["left_out"]["first_position"] > 0
    assert metadata["training"]["variant"] == finished.config.training.variant.model_dump(mode="json")


def test_the_dictionary_takes_raw_activations(finished: Run) -> None:
    evaluation = finished.result("reconstruction")
    assert evaluation is not None
    assert 0.4 < evaluation["explained_variance"] < 1
    assert 0 < evaluation["l0"] <= 4
    assert {
        "dead_fraction",
        "dead_counted_over_tokens",
        "ce_recovered",
        "seed",
        "tokens",
        "ce_tokens",
    } <= evaluation.keys()


def test_the_index_holds_what_the_dictionary_encodes(finished: Run) -> None:
    store = activations.ActivationStore(finished.folder / "activations")
    index = finished.features
    _, batch = next(store.batches(finished.site))
    codes = finished.dictionary.encode(batch.values_ND)
    active = Codes(codes.row_offsets, codes.feature_ids, (codes.values > 0).float(), 64).to_dense().sum(dim=0)
    assert [index.statistics(feature).n_active for feature in range(64)] == active.int().tolist()
    feature = int(active.argmax())
    top = index.top(feature, 1)[0]
    strongest = codes.to_dense()[:, feature].argmax()
    assert top.value == pytest.approx(codes.to_dense()[strongest, feature].item(), rel=1e-5)
    assert (top.window, top.position) == (int(batch.windows_N[strongest]), int(batch.positions_N[strongest]))


def test_concepts_are_scored_where_the_text_has_labels(finished: Run) -> None:
    result = finished.result("concepts")
    assert result is not None
    [score] = result["concepts"]
    assert score["concept"] == "Program code"
    assert score["auc"] > 0.9


def test_finished_stages_are_reused(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Run.begin(finished.folder, finished.config)
    monkeypatch.setattr("semascope.source.load_model", lambda **_: pytest.fail("the model was loaded again"))
    monkeypatch.setattr("semascope.runs.together.train", lambda *_, **__: pytest.fail("it was trained again"))
    again.train()
    assert again.evaluate() == finished.result("reconstruction")
    again.score_concepts()
    assert again.index().n_features == 64


@pytest.mark.parametrize("stored", [True, False])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    stored: bool, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(corpus, passes=2 if stored else 1)
    whole = Run.begin(tmp_path / "whole", config)
    whole.train()

    monkeypatch.setattr("semascope.training.checkpoints.LEAST_SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr("semascope.training.checkpoints.SHARE_OF_TIME", 1e9)
    monkeypatch.setattr("semascope.activations.store.SHARD_BYTES", 100_000)
    calls = 0
    encode = semascope.source.harvest if stored else None

    def interrupted_harvest(*arguments: Any) -> Any:
        nonlocal calls
        assert encode is not None
        for item in encode(*arguments):
            calls += 1
            if calls == 5:
                raise KeyboardInterrupt
            yield item

    if stored:
        monkeypatch.setattr("semascope.source.harvest", interrupted_harvest)
        with pytest.raises(KeyboardInterrupt):
            Run.begin(tmp_path / "parts", config).train()
    loss = semascope.sae.TopKAutoencoder.loss
    steps = 0

    def interrupted_loss(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 33:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(semascope.sae.TopKAutoencoder, "loss", interrupted_loss)
    with pytest.raises(KeyboardInterrupt):
        Run.begin(tmp_path / "parts", config).train()
    resumed = Run.begin(tmp_path / "parts", config)
    resumed.train()
    for name, parameter in whole.dictionary.named_parameters():
        assert torch.equal(parameter, dict(resumed.dictionary.named_parameters())[name]), name


def test_a_run_without_kept_activations_is_indexed_from_the_model(corpus: Path, tmp_path: Path) -> None:
    run = Run.begin(tmp_path / "live", settings(corpus))
    run.train()
    assert not (tmp_path / "live/activations").exists()
    assert run.index().n_tokens >= 4_000


# --- what a person may get wrong --------------------------------------------------------------------------------------


def test_a_folder_of_another_run_is_refused_and_the_difference_named(finished: Run, corpus: Path) -> None:
    other = settings(corpus, passes=2, site="mlp_out.1")
    with pytest.raises(MismatchError, match=r"other settings \(site\)"):
        Run.begin(finished.folder, other)


def test_a_run_that_failed_before_it_made_anything_can_be_corrected(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SiteError):
        Run.begin(tmp_path / "run", settings(corpus, site="resid_post.99")).train()
    assert Run.begin(tmp_path / "run", settings(corpus)).site.layer == 1


def test_text_shorter_than_a_window_is_said(tmp_path: Path) -> None:
    file = tmp_path / "short.jsonl"
    file.write_text("\n".join(json.dumps({"text": f"n{i}"}) for i in range(9)))
    short = CorpusConfig(source=str(file), context_tokens=64, held_out_fraction=0.2)
    config = settings(file, corpus=short)
    with pytest.raises(DataError, match="less than one window of 64"):
        Run.begin(tmp_path / "run", config).train()


def test_a_folder_with_something_else_in_it_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        Run.begin(tmp_path, settings(corpus))
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_stages_out_of_order_say_what_to_do(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="is no run"):
        Run.open(tmp_path / "nothing")
    run = Run.begin(tmp_path / "fresh", settings(corpus))
    with pytest.raises(DamagedError, match="no dictionary yet"):
        run.evaluate()
    with pytest.raises(DamagedError, match="no feature index yet: run 'semascope index"):
        _ = run.features


def test_a_site_that_the_model_does_not_have(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"'resid_middle\.1' is not a site"):
        Run.begin(tmp_path / "a", settings(corpus, site="resid_middle.1"))
    with pytest.raises(SiteError, match="99"):
        Run.begin(tmp_path / "b", settings(corpus, site="resid_post.99")).train()


@pytest.mark.parametrize("passes", [1, 2])
def test_too_little_text_says_how_much_there_is(passes: int, corpus: Path, tmp_path: Path) -> None:
    training = settings(corpus).training.model_copy(update={"tokens": 10_000_000})
    with pytest.raises(DataError, match=r"ended after|the text gave"):
        Run.begin(tmp_path / "run", settings(corpus, training=training, passes=passes)).train()


def test_a_dictionary_of_another_width_is_refused(finished: Run) -> None:
    with pytest.raises(MismatchError, match="another model or site"):
        finished.dictionary.encode(torch.zeros(2, 33))
