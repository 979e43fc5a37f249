"""The demo on the real embedded model and text, at a quarter of its size: the main job, end to end."""

from pathlib import Path

import pytest

from semascope import recipes
from semascope.runs import Run


@pytest.mark.slow
@pytest.mark.usefixtures("all_threads")
def test_a_small_demo_on_the_real_model_gives_readable_features(tmp_path: Path) -> None:
    """A fifth of the tokens and half of the features: less than the demo's figures, far more than chance."""
    demo = recipes.demo()
    config = demo.model_copy(
        update={
            "training": demo.training.model_copy(update={"features": 2048, "tokens": 160_000}),
            "evaluation": demo.evaluation.model_copy(update={"tokens": 8_192, "ce_tokens": 2_048, "concept_texts": 40}),
        }
    )
    run = Run.begin(tmp_path / "demo", config)
    run.train()
    evaluation = run.evaluate()
    assert evaluation["explained_variance"] > 0.55
    assert 30 < evaluation["l0"] <= 32
    assert evaluation["dead_fraction"] < 0.01
    assert evaluation["ce_recovered"] > 0.7
    assert evaluation["ce_clean"] < evaluation["ce_spliced"] < evaluation["ce_mean_ablated"]

    scores = {score["label"]: score for score in run.score_concepts()["concepts"]}
    assert set(scores) == {"person", "city", "security", "sql-injection", "code", "french"}
    for label, score in scores.items():
        assert score["auc"] > 0.75, label
        assert abs(score["random_feature_auc"] - 0.5) < 0.15, label

    index = run.index()
    assert index.n_alive > 1900
    # The feature that tells Python code from other text is at its strongest in code.
    code = index.page(scores["code"]["feature"])
    shown = ["".join(index.token_texts[token] for token in example.tokens) for example in code.top[:10]]
    assert sum(any(sign in text for sign in ("_", "=", "()", "({")) for text in shown) >= 7
    assert any(feature.top_tokens for feature in index.list(search="city"))
    report = run.report().read_text(encoding="utf-8")
    assert "Famous people" in report
    assert "http-equiv" in report
