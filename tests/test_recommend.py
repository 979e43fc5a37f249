"""From a budget to a run: a law with known numbers, hardware with known rates, and the commands on the tiny model."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_runs import corpus
from typer.testing import CliRunner

from semascope.cli.commands import variant_words
from semascope.cli.main import app
from semascope.cli.variants import variant_settings
from semascope.config import ModelConfig, RunConfig
from semascope.errors import ConfigError
from semascope.estimate import Hardware, known_gpu
from semascope.files import read_json
from semascope.models.skeleton import Skeleton
from semascope.sae import (
    VARIANTS,
    AnyVariant,
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    KLConfig,
    L1Config,
    TopKConfig,
)
from semascope.scaling import Budget, Fit, Law, LawAtL0, Value, recommend
from semascope.text import CorpusConfig

__all__ = ["corpus"]

WIDTH, BATCH, LARGEST = 32, 64, 1e9
# Nothing but the encoder's product takes time, a second for 1e6 operations; the start takes 10.
SLOW = Hardware("a slow one", 1e12, 1e6, *(1e30,) * 7, disk=1e30, start=10.0, processes=1)


def power(y: str, at_largest: float, exponent: float, x: str = "compute", unit: float = LARGEST) -> Fit:
    """Known exactly but for ten per cent up and down."""
    return Fit(
        x=x, y=y, points=4, x_unit=unit, x_range=(unit / 64, unit), scale=Value(value=at_largest, interval=None),
        exponent=Value(value=exponent, interval=None),
        draws=[(0.0, at_largest * (0.9 + i / 500), exponent) for i in range(101)],
    )  # fmt: skip


def laws(l0: float = 2.0, /, **changes: Any) -> LawAtL0:
    """64 features at 1e9 FLOP, as the square root of it; a learning rate of 1e-3 there, as 1 / features."""
    content: dict[str, Any] = {
        "loss": power("loss", 0.3, -0.1), "loss_without_floor": power("loss", 0.3, -0.1),
        "features": power("features", 64, 0.5), "steps": power("steps", 600, 0.5),
        "learning_rate": power("learning rate", 1e-3, -1, "features", 64),
        "unexplained": power("unexplained variance", 0.3, -0.1), "dead_fraction": power("dead fraction", 0.01, 0.0),
    }  # fmt: skip
    return LawAtL0(asked_l0=l0, optima=[], **(content | changes))


def law_of(*at: LawAtL0, **changes: Any) -> Law:
    content: dict[str, Any] = {
        "model": ModelConfig(name="tiny"), "model_revision": None, "site": "resid_post.1", "width": WIDTH,
        "corpus": CorpusConfig(context_tokens=32), "variant": TopKConfig(k=2, auxiliary_k=8),
        "loss": "unexplained variance", "budgets": [LARGEST / 64, LARGEST], "batch_tokens": BATCH,
        "stored_tokens": 10**6, "held_out_tokens": 10**4, "flops_formula": "", "points": [], "missing": 0,
        "laws": list(at) or [laws()], "versions": {},
    }  # fmt: skip
    return Law.model_validate(content | changes)


@pytest.fixture(scope="module")
def tiny_skeleton() -> Skeleton:
    return Skeleton.load("tiny")


def base(**changes: Any) -> RunConfig:
    content: dict[str, Any] = {"model": ModelConfig(name="tiny"), "site": "resid_post.1"}
    return RunConfig.model_validate(content | {"corpus": CorpusConfig(context_tokens=32)} | changes)


def slow(_: RunConfig) -> Hardware:
    return SLOW


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("1e17", Budget(1e17, None)),
        ("2.5E+12", Budget(2.5e12, None)),
        ("90s", Budget(None, 90)),
        ("30min", Budget(None, 1800)),
        ("1.5 h", Budget(None, 5400)),
        ("1d", Budget(None, 86_400)),
        ("8xH100:24h", Budget(None, 86_400, "h100", 8)),
        ("l4:30min", Budget(None, 1800, "l4")),
        ("2xrtx4090:1e20", Budget(1e20, None, "rtx4090", 2)),
        ("here:30min", Budget(None, 1800)),
    ],
)
def test_budgets_are_compute_or_time_on_some_hardware(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget
    assert budget.measured == (text in {"90s", "30min", "1.5 h", "1d", "here:30min"})


def test_hardware_may_stand_beside_the_budget_but_not_twice() -> None:
    assert Budget.parse("24h", "8xH100") == Budget.parse("8xH100:24h")
    with pytest.raises(ConfigError, match="names its hardware"):
        Budget.parse("8xH100:24h", "l4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no budget: expected FLOP"),
        ("much", "is no budget"),
        ("0", "is no budget"),
        ("-3h", "is no budget"),
        ("inf", "is no budget"),
        ("1e999", "is no budget"),
        ("3weeks", "is no budget"),
        ("1.2.3h", "is no budget"),
        ("8xH100:", "is no budget"),
        ("8xabacus:24h", "no figures for the hardware 'abacus'"),
        ("0xh100:24h", "0 GPUs cannot be"),
        ("2xhere:24h", "measured with one process"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Budget.parse(text)


# --- recommendations --------------------------------------------------------------------------------------------------


def test_compute_buys_what_the_law_says(tiny_skeleton: Skeleton) -> None:
    """At 2.5e8 FLOP, a quarter of the largest: 32 features, and 2.5e8 / (12 · 32 · 32) tokens in batches of 64."""
    found = recommend(law_of(), Budget(2.5e8, None), base(training={"seed": 7}), tiny_skeleton, slow)
    training = found.config.training
    assert (training.features, training.batch_tokens, training.seed) == (32, BATCH, 7)
    assert training.tokens == round(2.5e8 / (12 * WIDTH * 32) / BATCH) * BATCH
    assert training.learning_rate == 2e-3
    assert training.variant == TopKConfig(k=2, auxiliary_k=8)
    said = found.prediction
    assert said.extrapolated is None
    assert said.explained_variance.value == pytest.approx(1 - 0.3 * 4**0.1)
    for value, at in ((said.features, 32), (said.loss, 0.3 * 4**0.1), (said.dead_fraction, 0.01)):
        assert value.interval == pytest.approx((0.905 * at, 1.095 * at))
    # All time but the start goes into the product, 2 of the 12 operations that the field counts.
    assert found.estimate.total_seconds == pytest.approx(10 + 2.5e8 / 6 / 1e6, rel=0.01)
    assert json.loads(json.dumps(found.as_json()))["estimate"]["fits"] is True


def test_time_buys_the_compute_whose_run_ends_in_time(tiny_skeleton: Skeleton) -> None:
    found = recommend(law_of(), Budget(None, 10 + 1e9 / 6 / 1e6), base(), tiny_skeleton, slow)
    assert found.prediction.flops == pytest.approx(1e9, rel=0.01)
    assert found.config.training.features == pytest.approx(64, abs=1)
    longer = recommend(law_of(), Budget(None, 10 + 1e11 / 6 / 1e6), base(), tiny_skeleton, slow)
    assert longer.prediction.extrapolated == pytest.approx(100, rel=0.01)
    assert longer.config.training.features == pytest.approx(640, rel=0.01)


def test_the_machine_is_measured_only_where_it_is_meant_and_at_sizes_of_the_law(tiny_skeleton: Skeleton) -> None:
    sizes = list[int]()

    def measure(config: RunConfig) -> Hardware:
        sizes.append(config.training.features)
        return SLOW

    recommend(law_of(), Budget.parse("60s"), base(), tiny_skeleton, measure)
    assert sizes == [64]
    day = recommend(law_of(), Budget.parse("h100:24h"), base(), tiny_skeleton, measure)
    days = recommend(law_of(), Budget.parse("8xh100:24h"), base(), tiny_skeleton, measure)
    assert sizes == [64]
    assert day.estimate.hardware == "h100"
    assert days.estimate.processes == 8
    assert days.estimate.total_seconds == pytest.approx(86_400, rel=0.02)


def test_more_processes_buy_more_where_the_product_is_what_takes_time(
    tiny_skeleton: Skeleton, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(name: str) -> Hardware:
        return SLOW if name == "slow" else known_gpu(name)

    monkeypatch.setattr("semascope.scaling.recommendation.known_gpu", known)
    eight = recommend(law_of(), Budget(None, 1000, "slow", 8), base(), tiny_skeleton, slow)
    assert eight.prediction.flops == pytest.approx(8 * 6e6 * 990, rel=0.02)


def test_another_model_gets_tokens_for_its_own_width() -> None:
    wide = Skeleton.of(
        "wide", {"model_type": "llama", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 3,
                 "num_attention_heads": 2, "vocab_size": 100},
    )  # fmt: skip
    found = recommend(law_of(), Budget(LARGEST, None), base(), wide, slow)
    assert found.config.training.features == 64
    assert found.config.training.tokens == pytest.approx(1e9 / (12 * 64 * 64), abs=BATCH)


def test_one_of_several_l0s_has_to_be_chosen(tiny_skeleton: Skeleton) -> None:
    law = law_of(laws(2.0), laws(4.0, features=power("features", 128, 0.5)), variant=BatchTopKConfig(k=2))
    found = recommend(law, Budget(LARGEST, None), base(), tiny_skeleton, slow, l0=4)
    assert found.config.training.features == 128
    assert found.config.training.variant == BatchTopKConfig(k=4)
    with pytest.raises(ConfigError, match="L0 2, 4: choose one"):
        recommend(law, Budget(LARGEST, None), base(), tiny_skeleton, slow)


def test_a_budget_that_buys_nothing_says_what_would(tiny_skeleton: Skeleton) -> None:
    with pytest.raises(ConfigError, match="a budget of 1e05 FLOP buys no dictionary: by the law 1 features") as error:
        recommend(law_of(), Budget(1e5, None), base(), tiny_skeleton, slow)
    least = re.search(r"The least that makes sense is (\S+) FLOP", str(error.value))
    assert least
    # 8 features from (8 / 64)² · 1e9 FLOP on, and 50 steps for as many.
    assert float(least[1]) == pytest.approx((7.5 / 64) ** 2 * 1e9, rel=0.1)
    recommend(law_of(), Budget(1.1 * float(least[1]), None), base(), tiny_skeleton, slow)
    with pytest.raises(ConfigError, match=r"5 s are too few: the least dictionary .* takes \d+ s on a slow one"):
        recommend(law_of(), Budget(None, 5), base(), tiny_skeleton, slow)


@pytest.mark.parametrize("name", ["features", "learning_rate"])
def test_a_law_without_a_fit_says_why(name: str, tiny_skeleton: Skeleton) -> None:
    changes: dict[str, Any] = {name: Fit(x="compute", y=name, points=1, problem="one budget is too few")}
    broken = laws(**changes)
    with pytest.raises(ConfigError, match=f"there is no law of {name} against compute: one budget is too few"):
        recommend(law_of(broken), Budget(LARGEST, None), base(), tiny_skeleton, slow)


def test_what_does_not_fit_says_so(tiny_skeleton: Skeleton) -> None:
    found = recommend(law_of(), Budget(1e21, None, "l4"), base(), tiny_skeleton, slow)
    assert not found.estimate.fits
    assert "features ≤" in found.estimate.advice


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variant",
    [
        *(config() for config in VARIANTS.values()),
        TopKConfig(k=7, auxiliary_k=8),
        BatchTopKConfig(k=7, prefixes=(0.5, 1.0)),
        JumpReLUConfig(l0=9, bandwidth=0.1),
        GatedConfig(l0=None, coefficient=3.0),
        L1Config(l0=12),
        KLConfig(l0=None, rho=0.02),
    ],
    ids=repr,
)
def test_the_options_of_a_variant_make_it_again(variant: AnyVariant) -> None:
    words = variant_words(variant)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    l0 = next((int(value) for name, value in pairs if name == "--l0"), None)
    options = [value for name, value in pairs if name == "--option"]
    assert type(variant).model_validate(variant_settings(words[1], l0=l0, options=options)) == variant


def semascope_(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "160", "TERM": "dumb"})
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def law(corpus: Path, tmp_path: Path) -> Path:
    """Written to a folder, of the text at hand."""
    (tmp_path / "law").mkdir()
    text = CorpusConfig(source=str(corpus), context_tokens=32, held_out_fraction=0.25, seed=3)
    law_of(corpus=text, model=ModelConfig(name="tiny", precision="full")).write(tmp_path / "law")
    return tmp_path / "law"


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[Hardware]:
    """What measuring this machine finds; the first of them."""
    found = [SLOW]

    def measured(*_: object, **__: object) -> Hardware:
        return found[0]

    monkeypatch.setattr("semascope.estimate.measure_here", measured)
    return found


def auto(corpus: Path, law: Path, out: Path, budget: str, *more: str) -> tuple[int, str]:
    return semascope_(
        "train", "tiny", "--data", str(corpus), "--layer", "1", "--context", "32", "--held-out", "0.25", "--precision",
        "full", "--out", str(out), "--auto", budget, "--law", str(law), *more,
    )  # fmt: skip


@pytest.mark.usefixtures("rates")
def test_what_is_recommended_is_what_its_command_and_auto_train(
    corpus: Path, law: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown = semascope_("recommend", "--budget", "3e7", "--law", str(law))
    assert code == 0, shown
    assert "tiny at resid_post.1, 3e07 FLOP" in shown
    assert "Features 11 by the law 11 (10–12)" in shown
    assert "✓ fits" in shown
    assert "extrapolation" not in shown
    code, given = semascope_("recommend", "--budget", "3e7", "--law", str(law), "--json")
    found = json.loads(given)
    assert shown.endswith(found["command"])
    words = shlex.split(found["command"])
    code, output = semascope_(*words[1:])
    assert code == 0, output
    trained = read_json(tmp_path / "runs/recommended/run.json")["config"]
    asked = found["config"]
    assert trained["training"] == asked["training"] | {
        name: trained["training"][name] for name in ("precision", "dead_after_tokens")
    }
    assert {name: trained[name] for name in ("model", "site", "corpus", "passes")} == {
        name: asked[name] for name in ("model", "site", "corpus", "passes")
    }
    code, output = auto(corpus, law, tmp_path / "auto", "3e7", "--seed", "3")
    assert code == 0, output
    assert read_json(tmp_path / "auto/run.json")["config"] == trained


def test_a_run_that_was_begun_for_a_time_goes_on_with_its_sizes(
    corpus: Path, law: Path, rates: list[Hardware], tmp_path: Path
) -> None:
    code, output = auto(corpus, law, tmp_path / "run", "15s")
    assert code == 0, output
    assert read_json(tmp_path / "run/run.json")["config"]["training"]["features"] == 11
    rates[0] = known_gpu("l4")
    code, output = auto(corpus, law, tmp_path / "run", "15s")
    assert code == 0, output
    assert "Reusing the dictionary" in output
    code, output = auto(corpus, law, tmp_path / "run", "15s", "--passes", "2")
    assert code == 2
    assert "passes" in output


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--features", "64"], "--auto and --features exclude each other, for the law decides that"),
        (["--learning-rate", "1e-3"], "--auto and --learning-rate exclude each other"),
        (["--variant", "topk"], "--auto and --variant exclude each other"),
        (["--to", "mlp_out.1"], "--auto and --to exclude each other, for the law knows nothing of that"),
        (["--seed", "0,1"], "give one --layer, --l0 and --seed"),
        (["--l0", "16"], "the law knows dictionaries of L0 2"),
        (["--layer", "2"], "the law is of tiny at resid_post.1, and tiny at resid_post.2 was asked for"),
        (["--auto", "much"], "'much' is no budget"),
        (["--auto", "1e3"], "buys no dictionary"),
        (["--auto", "8xh100:24h"], "one of 8 processes, and 1 were started"),
        (["--auto", "l4:2000d"], "does not fit"),
        (["--law", "nowhere"], "there is no law at nowhere"),
    ],
)
def test_what_auto_cannot_do_is_said_and_nothing_is_begun(
    more: list[str], message: str, corpus: Path, law: Path, tmp_path: Path
) -> None:
    code, output = auto(corpus, law, tmp_path / "run", "3e7", *more)
    assert code == 2
    assert message in output
    assert not (tmp_path / "run").exists()


def test_auto_and_law_belong_together(corpus: Path, law: Path, tmp_path: Path) -> None:
    words = ["train", "tiny", "--data", str(corpus), "--layer", "1", "--out", str(tmp_path / "run")]
    assert "--law and --borrow belong to --auto" in semascope_(*words, "--law", str(law))[1]
    assert "--auto needs the law of this model" in semascope_(*words, "--auto", "3e7")[1]


def test_processes_that_would_each_measure_are_refused(
    corpus: Path, law: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    code, output = auto(corpus, law, tmp_path / "run", "15s")
    assert code == 2
    assert "2 processes would measure '15s' each for itself: give FLOP, or a time on GPUs such as 2xH100:24h" in output


@pytest.mark.usefixtures("rates")
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "smollm2-135m"], "the law is of tiny at resid_post.1, and smollm2-135m at resid_post.1"),
        (["--layer", "2"], "and tiny at resid_post.2 was asked for"),
        (["--layer", "9", "--borrow"], "layer from 0 to 3"),
        (["--hardware", "abacus"], "no figures for the hardware 'abacus'"),
        (["--budget", "l4:1h", "--hardware", "h100"], "names its hardware"),
        (["--budget", "5s"], "5 s are too few"),
        (["--l0", "5"], "the law knows dictionaries of L0 2"),
    ],
)
def test_what_cannot_be_recommended_is_said(more: list[str], message: str, law: Path) -> None:
    code, output = semascope_("recommend", "--budget", "3e7", "--law", str(law), *more)
    assert code == 2
    assert message in output


def test_a_borrowed_law_and_an_extrapolation_are_told(law: Path) -> None:
    arguments = ["--budget", "8xh100:24h", "--law", str(law), "--model", "smollm2-135m", "--layer", "15", "--borrow"]
    code, output = semascope_("recommend", *arguments)
    assert code == 0, output
    assert re.search(r"An extrapolation: the budget is \S+ times the largest that was trained", output)
    assert "8 processes of h100 (arithmetic from its data sheet)" in output
    assert "torchrun --nproc-per-node 8 -m semascope train smollm2-135m" in output
