"""What a run takes, from counts with known answers; no clocks."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from semascope.config import RunConfig
from semascope.errors import ConfigError, ModelError, SiteError
from semascope.estimate import HERE, SHEETS, Estimate, Team, estimate, known_gpu, measure_here, step_shape
from semascope.estimate.hardware import CACHE_FACTOR
from semascope.estimate.step import StepShape, exchanged_bytes, step_parts, step_seconds, touched_features
from semascope.models import EMBEDDED_MODELS, HuggingFaceModel
from semascope.models.embedded import embedded_folder
from semascope.models.settings import resolve
from semascope.models.skeleton import Skeleton
from semascope.records import Site
from semascope.sae import MATRYOSHKA_PREFIXES, BatchTopKConfig, GatedConfig, L1Config, TopKConfig
from semascope.text import CorpusConfig

SIZES = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 6,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return Skeleton.of("small", SIZES)


def settings(site: str = "resid_post.2", **training: object) -> RunConfig:
    shown = {"features": 4096, "tokens": 100_000, "batch_tokens": 1000, **training}
    return RunConfig.model_validate({"site": site, "training": shown})


def shape(**changed: float) -> StepShape:
    return dataclasses.replace(StepShape(8192, 65_536, 2304, 2304, 64, 64, 65_536, fast=True), **changed)


# --- the model --------------------------------------------------------------------------------------------------------


def test_a_skeleton_counts_what_the_model_has(tiny: HuggingFaceModel) -> None:
    skeleton = Skeleton.load("tiny")
    assert skeleton.parameters == sum(p.numel() for p in tiny._wrapped.parameters())
    assert (skeleton.n_layers, skeleton.vocabulary, skeleton.context_limit) == (
        tiny.n_layers, tiny.vocabulary, tiny.context_limit,
    )  # fmt: skip
    for site in (Site(1), Site(1, "mlp_out"), Site(1, "neurons")):
        assert skeleton.width(site) == tiny.width(site)
    with pytest.raises(SiteError, match="layer from 0 to 3"):
        skeleton.width(Site(4))


def test_the_operations_of_a_token_are_those_of_its_weights_and_of_attention(skeleton: Skeleton) -> None:
    attention = 64 * 64 + 2 * 64 * 32 + 64 * 64
    mlp = 3 * 64 * 256
    assert skeleton.block_flops(2, 100) == 2 * (2 * (attention + mlp)) + 2 * 2 * 100 * 64
    assert skeleton.block_parameters(2) == 2 * (attention + mlp + 2 * 64)
    assert skeleton.unembedding_flops == 2 * 64 * 1000


def test_only_the_experts_that_a_token_is_sent_to_are_counted() -> None:
    sizes = SIZES | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    experts = Skeleton.of("mixture", sizes)
    expert, router, attention = 3 * 64 * 256, 64 * 8, 64 * 64 + 2 * 64 * 32 + 64 * 64
    assert experts.block_flops(1, 2) == 2 * (2 * expert + router + attention) + 2 * 2 * 64
    assert experts.block_parameters(1) == 8 * expert + router + attention + 2 * 64


@pytest.mark.parametrize("name", EMBEDDED_MODELS)
def test_the_sizes_of_an_embedded_model_are_known_before_it_is_fetched(name: str) -> None:
    skeleton, millions = Skeleton.load(name), {"smollm2-135m": 134.5, "gemma3-270m": 268.1}
    assert skeleton.parameters / 1e6 == pytest.approx(millions[name], abs=0.1)


def test_the_sizes_of_the_embedded_model_are_those_of_its_files() -> None:
    """The model that the tests fetch anyway."""
    model = EMBEDDED_MODELS["smollm2-135m"]
    read = json.loads((embedded_folder(model) / "config.json").read_text())
    assert {name: read[name] for name in model.sizes} == dict(model.sizes)


def test_a_cut_runs(skeleton: Skeleton) -> None:
    cut = skeleton.cut(2, resolve("cpu", "float32", "full"))
    found = cut.activations(torch.zeros(2, 8, dtype=torch.int64), Site(1))
    assert cut.n_layers == 2
    assert found.shape == (2, 8, 64)


def test_a_model_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        Skeleton.load(str(tmp_path))


# --- a step -----------------------------------------------------------------------------------------------------------


def test_a_step_on_an_h100_takes_what_the_table_in_the_architecture_says() -> None:
    """12.6 ms, of which the product 3.3 and Adam 2.8: D 2304, F 65,536, B 8192, k 64, every feature touched."""
    rates = dataclasses.replace(known_gpu("h100"), products=750e12, streamed=3.0e12, gathered=5.5e12, searched=5.5e12)
    parts = {part.name: 1e3 * part.seconds(rates) for part in step_parts(shape())}
    assert parts["product"] == pytest.approx(3.3, abs=0.05)
    assert parts["Adam"] == pytest.approx(2.8, abs=0.05)
    assert parts["decode"] == pytest.approx(1.1, abs=0.05)
    assert parts["exact values of candidates"] == pytest.approx(1.3, abs=0.05)
    assert 1e3 * step_seconds(step_parts(shape()), rates) == pytest.approx(12.6, rel=0.02)


def test_the_rates_of_an_h100_are_those_behind_that_table() -> None:
    h100 = known_gpu("h100")
    assert (h100.products, h100.streamed) == pytest.approx((750e12, 3.0e12), rel=0.02)
    assert h100.gathered == pytest.approx(5.5e12, rel=0.02)
    assert CACHE_FACTOR > 1


def test_touched_features_are_those_of_a_fair_draw() -> None:
    draws = torch.randint(1000, (200, 500), generator=torch.Generator().manual_seed(0))
    drawn = torch.tensor([len(row.unique()) for row in draws]).float().mean().item()
    assert touched_features(1000, 500) == pytest.approx(drawn, rel=0.01)
    assert touched_features(10, 1e6) == pytest.approx(10)
    assert touched_features(1e6, 10) == pytest.approx(10, rel=1e-4)


def test_work_grows_with_what_it_is_proportional_to() -> None:
    def work(**changed: float) -> dict[str, float]:
        return {p.name: p.flops + p.streamed + p.gathered + p.searched for p in step_parts(shape(**changed))}

    once, wider, more = work(), work(features=2 * 65_536, touched=2 * 65_536), work(batch=2 * 8192)
    for name in ("product", "weights to bfloat16", "selection", "Adam"):
        assert wider[name] == pytest.approx(2 * once[name])
    for name in ("product", "selection", "rows of the batch"):
        assert more[name] == pytest.approx(2 * once[name])
    assert more["Adam"] == once["Adam"]
    assert wider["rows of the batch"] == once["rows of the batch"]


# --- memory and disk --------------------------------------------------------------------------------------------------


def test_weights_moments_and_gradients_are_those_of_a_training(skeleton: Skeleton) -> None:
    found = estimate(settings(), skeleton, known_gpu("h100"))
    parameters = 4096 * (64 + 64 + 1) * 4
    train = found.memory["train"]
    assert train["weights"] == parameters
    assert train["moments"] == 2 * parameters
    assert train["gradients"] == pytest.approx(4096 * 128 * 4, rel=0.01)
    assert train["buffer"] == 100_000 * 64 * 4
    assert train["model"] == skeleton.parameters * 2


def test_processes_divide_the_dictionary_and_not_the_buffer(skeleton: Skeleton) -> None:
    one, four = (estimate(settings(), skeleton, known_gpu("h100"), Team(n)) for n in (1, 4))
    rows = estimate(settings(), skeleton, known_gpu("h100"), Team(2, 2))
    assert four.memory["train"]["moments"] == one.memory["train"]["moments"] / 4
    assert rows.memory["train"]["moments"] == one.memory["train"]["moments"] / 2
    assert four.memory["train"]["buffer"] == one.memory["train"]["buffer"]
    assert four.seconds["harvest"] < one.seconds["harvest"]


def test_kept_activations_and_the_index_need_the_disk(skeleton: Skeleton) -> None:
    kept = estimate(settings().model_copy(update={"keep_activations": True}), skeleton, known_gpu("l4"))
    passing = estimate(settings(), skeleton, known_gpu("l4"))
    assert kept.disk["activations"] == pytest.approx(100_000 * (2 * 64 + 12 + 8 * 256 / 255))
    assert passing.disk["activations"] == 0
    assert passing.disk["checkpoint"] == 3 * passing.disk["dictionary"] + 100_000 * 64 * 4


def test_an_index_has_the_size_of_one_that_was_built(skeleton: Skeleton) -> None:
    """That of docs/LOG.md. The constants come from it, so this holds the formula to them."""
    config = settings(features=8192, tokens=250_248).model_copy(update={"keep_activations": True})
    assert estimate(config, skeleton, known_gpu("l4")).disk["index"] == pytest.approx(78_386_067, rel=0.01)


def test_what_does_not_fit_says_what_would(skeleton: Skeleton) -> None:
    config = settings(features=2_000_000)
    small = dataclasses.replace(known_gpu("l4"), memory=3e9)
    found = estimate(config, skeleton, small)
    assert not found.fits
    assert f"needs {found.peak_memory / 1e9:.1f} GB a process (at 'train'); l4 has 3.0 GB: " in found.advice
    assert "2 processes of such memory, or features ≤ " in found.advice
    assert estimate(config, skeleton, small, Team(2)).fits
    largest = int(found.advice.rpartition("≤ ")[2].replace(",", ""))
    assert estimate(settings(features=largest), skeleton, small).fits
    assert not estimate(settings(features=round(1.15 * largest)), skeleton, small).fits
    hopeless = estimate(config, skeleton, dataclasses.replace(small, memory=1e8))
    assert "a smaller model" in hopeless.advice


# --- several processes ------------------------------------------------------------------------------------------------


def test_exchanges_are_those_of_the_table_in_the_architecture() -> None:
    """What `tests/test_distributed.py` counts in real exchanges."""
    step = shape(batch=1000)
    alone = exchanged_bytes(step, TopKConfig(k=64), 1, 1)
    assert set(alone.values()) == {0.0}
    four = exchanged_bytes(step, TopKConfig(k=64), 4, 1)
    assert four == {"candidates": 1000 * 4 * 64 * 3, "reconstruction": 1000 * 8 * 2304 * 3 / 4, "gradients": 0.0}
    assert exchanged_bytes(step, L1Config(), 4, 1)["candidates"] == 0
    assert exchanged_bytes(step, BatchTopKConfig(k=64), 2, 2)["candidates"] == 1000 * 4 * 64 * 3
    assert exchanged_bytes(step, GatedConfig(), 4, 1)["reconstruction"] == 2 * four["reconstruction"]
    nested = exchanged_bytes(step, BatchTopKConfig(k=64, prefixes=MATRYOSHKA_PREFIXES), 4, 1)
    assert nested["reconstruction"] == 5 * four["reconstruction"]
    rows = exchanged_bytes(step, TopKConfig(k=64), 1, 2)["gradients"]
    assert rows == 8 * 65_536 * (2 * 2304 + 1) / 2 + 6 * 65_536 / 2


def test_beyond_a_machine_the_network_carries(skeleton: Skeleton) -> None:
    near, far = (estimate(settings(), skeleton, known_gpu("h100"), Team(n)) for n in (8, 9))
    assert far.exchange_seconds / near.exchange_seconds > 8


# --- hardware, and what people get wrong ------------------------------------------------------------------------------


def test_measuring_here_gives_rates_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that ticks once whenever somebody looks: every piece of work takes a second."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    seconds = iter(range(10_000))
    config = settings("resid_post.1", features=64, batch_tokens=100, tokens=1000)
    config = config.model_copy(update={"corpus": CorpusConfig(context_tokens=64)})
    tiny = Skeleton.load("tiny")
    found = measure_here(config, tiny, start=3.0, clock=lambda: float(next(seconds)))
    own = step_shape(config, tiny, fast=False)
    assert found.measured
    assert found.start == 3.0
    assert found.gathered == 100 * 32 * 32 * 4
    assert found.model == tiny.block_flops(2, 64) * 1024
    assert found.step_factor == pytest.approx(
        1 / step_seconds(step_parts(own), dataclasses.replace(found, step_factor=1))
    )


@pytest.mark.parametrize("name", SHEETS)
def test_what_is_reached_is_less_than_what_the_sheet_says(name: str) -> None:
    sheet, reached = SHEETS[name], known_gpu(name)
    assert reached.products < 1e12 * sheet.bfloat16
    assert reached.streamed < 1e9 * sheet.bandwidth
    assert reached.link < 1e9 * sheet.link
    assert sheet.float32 <= sheet.tf32 <= sheet.bfloat16


def test_unknown_hardware_names_what_is_known() -> None:
    with pytest.raises(ConfigError, match=f"'abacus'.*{HERE}.*h100"):
        known_gpu("abacus")


@pytest.mark.parametrize(
    ("config", "team", "error", "message"),
    [
        (settings("resid_post.6"), Team(), SiteError, "layer from 0 to 5"),
        (settings(features=2), Team(3), ConfigError, "2 features cannot be divided among 3"),
        (settings(batch_tokens=3), Team(1, 4), ConfigError, "3 tokens of a batch cannot be divided among 4"),
        (settings(tokens=10), Team(), ConfigError, "do not make one batch"),
    ],
)
def test_nonsense_is_refused(
    skeleton: Skeleton, config: RunConfig, team: Team, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        estimate(config, skeleton, known_gpu("h100"), team)


def test_an_estimate_is_json(skeleton: Skeleton) -> None:
    found: Estimate = estimate(settings(), skeleton, known_gpu("a100_80g"))
    read = json.loads(json.dumps(found.as_json()))
    assert read["total_seconds"] == found.total_seconds == sum(s for n, s in found.seconds.items() if n != "index")
    assert read["peak_memory"] == max(sum(m.values()) for n, m in found.memory.items() if n != "index")
    assert read["fits"] is True


def test_the_tables_of_the_scale_document_are_those_of_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python benchmarks/scale.py` prints what belongs between the marks."""
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import scale

    document = (root / "docs/SCALE.md").read_text(encoding="utf-8")
    between = document.partition("<!-- formulas: begin -->")[2].partition("<!-- formulas: end -->")[0]
    assert between.strip() == "\n".join(scale.lines())
