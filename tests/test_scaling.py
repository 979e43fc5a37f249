"""Scaling laws: synthetic losses give their law back, and a study on the tiny model from plan to prediction."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_runs import corpus
from typer.testing import CliRunner

from semascope.cli.main import app
from semascope.config import ModelConfig
from semascope.errors import ConfigError, DamagedError, MismatchError
from semascope.files import read_json
from semascope.sae import L1Config, TopKConfig
from semascope.scaling import Law, LawAtL0, Plan, Point, ScalingConfig, Study, Value, training_flops
from semascope.scaling.fits import fit_joint
from semascope.scaling.frontier import law_at_l0
from semascope.scaling.measure import measure
from semascope.text import CorpusConfig
from semascope.training import Trainer

__all__ = ["corpus"]

WIDTH, BATCH = 576, 512
BUDGETS = tuple(1e12 * 4**i for i in range(5))
DOUBLINGS = tuple(2**i for i in range(6, 17))


def point(features: int, tokens: float, loss: float, **changes: Any) -> Point:
    content: dict[str, Any] = {
        "run": "none", "budget": 1.0, "flops": 1.0, "features": features, "tokens": round(tokens),
        "steps": round(tokens / BATCH), "learning_rate": 1e-3, "rate_factor": 1.0, "asked_l0": 32.0, "loss": loss,
        "explained_variance": 1 - loss, "normalized_mse": loss, "l0": 32.0, "dead_fraction": 0.0,
        "dead_counted_over_tokens": 1000,
    }  # fmt: skip
    return Point.model_validate(content | changes)


def grid(
    *, budgets: Sequence[float] = BUDGETS, widths: Sequence[int] = DOUBLINGS, noise: float = 0.003, seed: int = 0,
    floor: float = 0.08,
) -> list[Point]:  # fmt: skip
    """Losses ``floor + 3 n^−0.35 + 20 T^−0.35``, more beside the best learning rate ``2.2e-3 · (n / 1024)^−0.4``.

    The least of a budget C is at ``n ∝ C^0.5``, and falls towards the floor as ``C^−0.175``.
    """
    generator = np.random.default_rng(seed)
    points: list[Point] = []
    for budget in budgets:
        for features in widths:
            tokens = budget / training_flops(WIDTH, features, 1)
            if tokens < 60 * BATCH:
                continue
            best = 2.2e-3 * (features / 1024) ** -0.4
            for factor in (0.5, 1.0, 2.0):
                rate = 1.2 * best * factor
                loss = floor + 3 * features**-0.35 + 20 * tokens**-0.35
                loss *= math.exp(0.05 * math.log(rate / best) ** 2 + noise * generator.standard_normal())
                rated = {"learning_rate": rate, "rate_factor": factor, "budget": budget}
                points.append(point(features, tokens, loss, dead_fraction=0.01 * (budget / 1e12) ** -0.3, **rated))
    return points


def fitted(points: Sequence[Point], budgets: Sequence[float] = BUDGETS) -> LawAtL0:
    return law_at_l0(points, asked_l0=32.0, budgets=budgets, width=WIDTH, batch_tokens=BATCH)


def holds(value: Value | None, truth: float, *, within: float) -> bool:
    """Whether the truth is in the interval, and the interval is narrow enough to say something."""
    assert value is not None
    assert value.interval is not None
    low, high = value.interval
    return low <= truth <= high and high - low < within


@pytest.fixture(scope="module")
def synthetic() -> LawAtL0:
    return fitted(grid())


def test_losses_drawn_from_a_law_give_its_exponents_back(synthetic: LawAtL0) -> None:
    assert [fit.problem for fit in (synthetic.loss, synthetic.features, synthetic.learning_rate)] == [None] * 3
    assert holds(synthetic.features.exponent, 0.5, within=0.1)
    assert holds(synthetic.steps.exponent, 0.5, within=0.1)
    assert holds(synthetic.learning_rate.exponent, -0.4, within=0.2)
    assert holds(synthetic.loss.exponent, -0.175, within=0.12)
    assert holds(synthetic.loss.floor, 0.08, within=0.12)
    assert synthetic.dead_fraction.exponent is not None
    assert synthetic.dead_fraction.exponent.value == pytest.approx(-0.3, abs=0.02)
    # 3 · 0.35 n^−0.35 = 20 · 0.35 T^−0.35 at the optimum of 1.6e13 FLOP, where n T = 2.31e9.
    optimum = synthetic.optima[2]
    assert optimum.features is not None
    assert optimum.features.value == pytest.approx(
        (1.6e13 / training_flops(WIDTH, 1, 1) * (3 / 20) ** (1 / 0.35)) ** 0.5, rel=0.05
    )
    assert optimum.learning_rate is not None
    assert optimum.learning_rate.value == pytest.approx(2.2e-3 * (optimum.features.value / 1024) ** -0.4, rel=0.1)
    assert synthetic.loss.at(1.6e13).value == pytest.approx(optimum.loss.value if optimum.loss else 0, rel=0.01)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of the exponent of features, which needs no slow fit, for 20 draws of the noise."""
    budgets = BUDGETS[:3]  # too few for the law with a floor
    laws = [fitted(grid(budgets=budgets, noise=0.005, seed=seed), budgets) for seed in range(20)]
    assert sum(holds(law.features.exponent, 0.5, within=0.5) for law in laws) >= 17


def test_an_optimum_at_the_edge_is_reported_with_what_to_add() -> None:
    law = fitted(grid(widths=[64, 128, 256, 512]))
    assert {optimum.edge for optimum in law.optima[1:]} == {"high"}
    assert law.optima[-1].features is None
    assert "the loss still falls at the largest width, 512: add 1024 and 2048 to --features" in str(law.optima[3].note)
    assert law.features.problem is not None
    assert law.features.exponent is None
    with pytest.raises(
        ConfigError, match=r"there is no law of features against compute: \d budgets have their optimum"
    ):
        law.features.at(1e13)
    low = fitted(grid(budgets=[1e12], widths=[4096, 8192, 16384, 32768, 2048]), [1e12]).optima[0]
    assert low.edge is None or low.edge == "low"


def test_the_best_learning_rate_at_the_edge_is_reported() -> None:
    slow = [p for p in grid() if p.rate_factor < 2]
    as_three = [
        *slow,
        *(p.model_copy(update={"rate_factor": 0.25, "loss": p.loss * 1.2}) for p in slow if p.rate_factor == 0.5),
    ]
    law = fitted(as_three)
    assert all("the highest learning rate is the best" in str(optimum.note) for optimum in law.optima)
    assert law.learning_rate.problem is not None
    assert law.features.problem is None


def test_a_floor_that_the_budgets_cannot_tell_is_not_drawn() -> None:
    budgets = [1e12, 1.5e12, 2e12, 3e12]
    law = fitted(grid(budgets=budgets, noise=0.02), budgets)
    assert law.loss.problem is not None
    assert "may be anything" in law.loss.problem


def test_the_law_in_features_and_l0_gives_its_exponents_back() -> None:
    generator = np.random.default_rng(0)
    points = [
        point(
            n, 1e6,
            float(np.exp(-0.5 - 0.1 * math.log(k) - 0.3 * math.log(n) + 0.02 * math.log(k) * math.log(n))
                  + np.exp(-2 - 0.4 * math.log(k))) * math.exp(0.002 * generator.standard_normal()),
            asked_l0=float(k),
        )
        for n in DOUBLINGS for k in (8, 16, 32, 64)
    ]  # fmt: skip
    joint = fit_joint(points, seed=0)
    truth = {"alpha": -0.5, "beta_k": -0.1, "beta_n": -0.3, "gamma": 0.02, "zeta": -2.0, "eta": -0.4}
    for name, value in truth.items():
        low, high = joint.parameters[name].interval or (0.0, 0.0)
        assert abs(joint.parameters[name].value - value) < high - low < 0.2, name
    assert joint.problem is None
    # Trainings that were shorter do not count, and one L0 is not enough.
    assert fit_joint([*points, point(64, 1e5, 9.0, asked_l0=8.0)], seed=0).parameters == joint.parameters
    assert "needs two L0s" in str(fit_joint([p for p in points if p.asked_l0 == 8], seed=0).problem)


def asked(texts: Path, **changes: Any) -> ScalingConfig:
    content: dict[str, Any] = {
        "model": ModelConfig(name="tiny", precision="full"), "site": "resid_post.1",
        "corpus": CorpusConfig(source=str(texts), context_tokens=32, held_out_fraction=0.25),
        "variant": TopKConfig(k=2, auxiliary_k=8), "budgets": (3.2e7, 6.4e7), "features": (8, 16, 32, 64),
        "rate_factors": (2.0,), "stored_tokens": 6000, "batch_tokens": 128, "held_out_tokens": 1000,
    }  # fmt: skip
    return ScalingConfig.model_validate(content | changes)


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semascope.scaling.plan.LEAST_STEPS", 5)


def test_every_dictionary_of_a_budget_costs_what_the_budget_says(corpus: Path) -> None:
    plan = Plan.of(asked(corpus, rate_factors=(1.0, 2.0), features=None, stored_tokens=10**6, budgets=(4e8, 1e8)), 32)
    assert plan.budgets == [1e8, 4e8]
    widths = {1e8: [16, 32, 64, 128, 256], 4e8: [16, 32, 64, 128, 256, 512]}
    for budget in plan.budgets:
        cells = plan.of_budget(budget)
        assert sorted({cell.config.training.features for cell in cells}) == widths[budget]
        for cell in cells:
            training = cell.config.training
            assert training_flops(32, training.features, training.tokens) == pytest.approx(budget, rel=0.05)
            assert training.tokens % 128 == 0
            assert cell.config.harvest_tokens <= 10**6
            default = training.variant.default_learning_rate(features=training.features, steps=training.steps)
            assert training.learning_rate == pytest.approx(cell.rate_factor * default)
    assert plan.engine_flops() < sum(cell.budget for cell in plan.cells) / 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": (1e5,)}, r"a budget of 1e05 FLOP at width 32 trains .*4 are needed: choose other budgets"),
        ({"budgets": (1e15,)}, "needs more than 6,000 activations shown 4 times"),
        ({"features": (16, 32, 64)}, "3 of the widths 16, 32, 64 are among them, and 4 are needed"),
        ({"budgets": (3.2e7, 3.2e7)}, "the budgets 3.2e.07, 3.2e.07 name one twice"),
        ({"budgets": (-1.0,)}, "must all be numbers above 0"),
        ({"rate_factors": (1.0, math.inf)}, "the learning rates 1, inf must all be numbers above 0"),
        ({"budgets": ()}, "at least 1 item"),
    ],
)  # fmt: skip
def test_budgets_that_buy_no_grid_are_refused(changes: dict[str, Any], message: str, corpus: Path) -> None:
    with pytest.raises(ValueError, match=message):
        Plan.of(asked(corpus, **changes), 32)


def test_a_study_goes_on_where_it_was_interrupted_and_fits_what_is_there(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, trained = Trainer.step, list[int]()

    def interrupted(self: Trainer, batch: torch.Tensor, done: int) -> None:
        if self.config.features == 8 and self.config.steps > 100 and done == 60:
            raise KeyboardInterrupt
        step(self, batch, done)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Study.begin(tmp_path / "study", asked(corpus)).train()
    opened = Study.open(tmp_path / "study")
    assert [p.features for p in opened.points()] == [8, 16, 32, 64]
    part = opened.fit()
    assert part.missing == 4
    assert part.laws[0].optima[1].note == "0 widths are trained, and 4 are needed"
    assert "1 budgets have their optimum" in str(part.laws[0].features.problem) or part.laws[0].optima[0].edge

    def counted(self: Trainer, batch: torch.Tensor, done: int) -> None:
        trained.append(self.config.features)
        step(self, batch, done)

    monkeypatch.setattr(Trainer, "step", counted)
    study = Study.begin(tmp_path / "study", asked(corpus), command="semascope scaling …")
    study.train()
    law = study.fit()
    assert law.missing == 0
    assert len(law.points) == 8
    assert Law.read(tmp_path / "study") == law
    page = study.report(law).read_text()
    assert all(point.run in page for point in law.points)
    assert page.count('role="img"') == len(list((tmp_path / "study/figures").glob("*.png"))) == 6
    assert (tmp_path / "study/points.csv").read_text().count("\n") == 9
    assert len(read_json(tmp_path / "study/points.json")["points"]) == 8

    # Nothing is trained twice; a further width is trained alone.
    trained.clear()
    wider = Study.begin(tmp_path / "study", asked(corpus, features=(8, 16, 24, 32, 64)))
    wider.train()
    assert set(trained) == {24}
    assert len(wider.points()) == 10

    # What is measured, by hand.
    run = tmp_path / "study" / law.points[2].run
    from semascope.activations import ActivationStore
    from semascope.runs import Run

    x = torch.cat([b.values_ND for _, b in ActivationStore(tmp_path / "study/held-out").batches(study.site)])
    dictionary = Run.open(run).dictionary
    error = (dictionary.predict(x, dictionary.encode(x)) - x).square().sum()
    assert law.points[2].loss == pytest.approx((error / (x - x.mean(dim=0)).square().sum()).item(), rel=1e-4)
    assert law.points[2].explained_variance == pytest.approx(1 - law.points[2].loss)

    with pytest.raises(DamagedError, match="no scaling study"):
        Study.open(tmp_path)
    with pytest.raises(MismatchError, match="holds activations of"):
        Study.begin(tmp_path / "study", asked(corpus, site="resid_post.0", budgets=(4e7,))).train()


def test_the_law_of_l1_is_of_the_papers_loss(corpus: Path, tmp_path: Path) -> None:
    """The measured loss is what training minimises, on scaled activations."""
    variant = L1Config(l0=None, coefficient=0.5, auxiliary_coefficient=0)
    study = Study.begin(tmp_path / "study", asked(corpus, variant=variant, budgets=(3.2e7,)))
    study.train()
    law = study.fit()
    assert law.loss == "squared error and L1 penalty"
    from semascope.runs import Run

    run = Run.open(tmp_path / "study" / law.points[0].run)
    held_out = study.source.store(tmp_path / "study/held-out", 1000, held_out=True)
    x = torch.cat([b.values_ND for _, b in held_out.batches(study.site)]) * run.saved.metadata["activation_scale"]
    scaled = run.dictionary.folded(1 / run.saved.metadata["activation_scale"])
    codes = scaled.encode(x)
    by_hand = (scaled.predict(x, codes) - x).square().sum() / len(x) + 0.5 * codes.values.sum() / len(x)
    assert measure(run.saved, variant, held_out, study.site)["loss"] == pytest.approx(by_hand.item(), rel=1e-4)


def law_of(laws: LawAtL0) -> Law:
    return Law(
        model=ModelConfig(name="tiny"), model_revision=None, site="resid_post.1", width=WIDTH, corpus=CorpusConfig(),
        variant=TopKConfig(k=32), loss="unexplained variance", budgets=list(BUDGETS), batch_tokens=BATCH,
        stored_tokens=10**6, held_out_tokens=10**4, flops_formula="", points=[], missing=0, laws=[laws], versions={},
    )  # fmt: skip


def test_a_law_predicts_the_best_dictionary_and_marks_extrapolation(synthetic: LawAtL0, tmp_path: Path) -> None:
    law_of(synthetic).write(tmp_path)
    law = Law.read(tmp_path / "law.json")
    inside = law.predict(1.6e13)
    assert inside.extrapolated is None
    assert training_flops(WIDTH, inside.features.value, inside.tokens.value) == pytest.approx(1.6e13)
    assert inside.steps.value == pytest.approx(inside.tokens.value / BATCH)
    assert inside.explained_variance.value == pytest.approx(1 - inside.loss.value)
    beyond = law.predict(BUDGETS[-1] * 100)
    # One number by two names, however far from what was trained.
    assert beyond.explained_variance.value == pytest.approx(1 - beyond.loss.value)
    assert beyond.extrapolated == pytest.approx(100)
    assert beyond.features.value == pytest.approx(inside.features.value * (BUDGETS[-1] * 100 / 1.6e13) ** 0.5, rel=0.2)
    for near, far in ((inside.features, beyond.features), (inside.loss, beyond.loss)):
        assert near.interval is not None
        assert far.interval is not None
        assert near.interval[0] <= near.value <= near.interval[1]
        assert far.interval[1] / far.interval[0] > near.interval[1] / near.interval[0]
    law.require("tiny", "resid_post.1")
    with pytest.raises(MismatchError, match=r"the law is of tiny at resid_post\.1, and other"):
        law.require("other", "resid_post.1")
    with pytest.raises(ConfigError, match="the law knows dictionaries of L0 32"):
        law.predict(1e13, l0=16)
    with pytest.raises(ConfigError, match="buys nothing"):
        law.predict(math.nan)
    with pytest.raises(DamagedError, match="there is no law at"):
        Law.read(tmp_path / "nothing")
    (tmp_path / "law.json").write_text('{"format": 9}')
    with pytest.raises(DamagedError, match="is no scaling law that this version reads"):
        Law.read(tmp_path)


def test_the_commands(corpus: Path, tmp_path: Path) -> None:
    words = ["scaling", "tiny", "--data", str(corpus), "--layer", "1", "--budgets", "3.2e7", "--features",
             "8,16,32,64", "--l0", "2", "--rates", "2", "--tokens", "6k", "--batch", "128", "--measure-on", "1000",
             "--context", "32", "--held-out", "0.25", "--out", str(tmp_path / "study")]  # fmt: skip
    runner = CliRunner()
    planned = runner.invoke(app, [*words, "--plan-only"])
    assert planned.exit_code == 0, planned.output
    assert "4 dictionaries" in planned.output
    assert not (tmp_path / "study").exists()
    trained = runner.invoke(app, words)
    assert trained.exit_code == 0, trained.output
    assert "Features against compute: no law" in trained.output
    again = runner.invoke(app, ["law", str(tmp_path / "study")])
    assert again.exit_code == 0, again.output
    assert again.output.splitlines()[-3:] == trained.output.splitlines()[-3:]
    assert Law.read(tmp_path / "study").command is not None
    refused = runner.invoke(app, [*words[:7], "much", *words[8:]])
    assert refused.exit_code == 2
    assert "'much' is not a number above 0" in refused.output


def test_the_law_of_the_documentation_is_that_of_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python benchmarks/laws.py` prints what belongs between the marks of docs/SCALING.md."""
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import laws

    kept = Law.read(laws.STUDY / "law.json")
    document = (root / "docs/SCALING.md").read_text(encoding="utf-8")
    between = document.partition("<!-- law: begin -->")[2].partition("<!-- law: end -->")[0]
    assert between.strip() == "\n".join(laws.lines(kept))
    assert kept.command
    assert " ".join(kept.command.split()) in " ".join(document.replace("\\\n", " ").split())

    [old] = kept.laws
    again = law_at_l0(kept.points, asked_l0=32, budgets=kept.budgets, width=kept.width, batch_tokens=kept.batch_tokens)
    for name, fit in again.named.items():
        assert fit.exponent is not None
        assert fit.exponent.value == pytest.approx(old.named[name].exponent.value, rel=1e-3), name
