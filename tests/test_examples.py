"""The examples do what they say, on data small enough for a unit test."""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import texts, tiny_run
from torch import Tensor

from semascope.attribution import Question, explain
from semascope.errors import MismatchError
from semascope.models import load_model
from semascope.records import Site
from semascope.sae import TopKConfig, build

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    """An example as a module; the folder is no package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


edges = example("edge_detectors")


def drawings(count: int = 6, side: int = 128, straight_edges: int = 40) -> list[np.ndarray]:
    """Pictures of straight edges: half-planes of random direction and grey, one over the other."""
    generator = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    pictures = [np.zeros((side, side)) for _ in range(count)]
    for picture in pictures:
        for _ in range(straight_edges):
            angle = generator.uniform(0, 2 * math.pi)
            through = generator.uniform(0, side, size=2)
            beyond = (places - through) @ [math.sin(angle), math.cos(angle)] > 0
            picture[beyond] += generator.normal()
    return pictures


def orientedness(filters_FD: Tensor) -> Tensor:
    """[F]: how far a filter's slopes all run in one direction, from 0 (as much in all) to 1: those of a straight edge.

    The difference of the eigenvalues of ``Σ ∇ ∇ᵀ`` over their sum, which is the energy of the filter's spectrum, higher
    frequencies weighted more, by orientation; without the edges of the patch themselves.
    """
    images_FYX = filters_FD.view(-1, edges.SIDE, edges.SIDE)
    down_FYX, right_FYX = images_FYX.diff(dim=1)[:, :, :-1], images_FYX.diff(dim=2)[:, :-1]
    yy, xx, xy = ((a * b).sum(dim=(1, 2)) for a, b in ((down_FYX,) * 2, (right_FYX,) * 2, (down_FYX, right_FYX)))
    return torch.hypot(yy - xx, 2 * xy) / (yy + xx)


@pytest.fixture(scope="module")
def patches_ND() -> Tensor:
    return edges.patches([edges.whitened(drawing) for drawing in drawings()], 2000)


def test_patches_are_prepared_as_in_the_exercise(patches_ND: Tensor) -> None:
    assert patches_ND.shape == (2000, 64)
    low, high = patches_ND.aminmax()
    assert (low.item(), high.item()) == pytest.approx((0.3, 0.7))  # some values are beyond three standard deviations
    assert 3 * patches_ND.std().item() == pytest.approx(0.2, rel=0.1)
    assert (patches_ND.mean(dim=1) - 0.5).abs().median() < 1e-9  # but for what is cut off, none is brighter


def test_the_kl_dictionary_finds_edges(patches_ND: Tensor, tmp_path: Path) -> None:
    untrained = edges.learn(patches_ND, units=16, iterations=0)
    learned = edges.learn(patches_ND, units=16, iterations=150)
    assert learned.cost < 0.5 * untrained.cost
    assert untrained.mean_activations_F.min() > 0.3
    assert torch.allclose(learned.mean_activations_F, torch.tensor(edges.RHO).double(), atol=0.002)
    assert learned.unexplained < 0.5

    # The control has the same spectrum and no edges: a quarter of it is beyond its upper quartile by definition.
    noise = np.random.default_rng(1).normal(size=(256, 256))
    control_F = orientedness(edges.patches([edges.whitened(noise)], 500) - 0.5)
    found_F = orientedness(learned.filters_FD)
    assert (found_F > control_F.quantile(0.75)).double().mean() > 0.5

    edges.draw(learned.filters_FD, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert len(drawn.convert("L").getcolors() or []) > 100


def test_the_attribution_study_writes_its_tables_and_its_picture(tmp_path: Path) -> None:
    study = example("attribution_study")
    model = load_model("tiny", device="cpu", precision="full")
    autoencoder = build(TopKConfig(k=4), width=32, features=24)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    prompt = study.Prompt("a kind", "one|two", "a", "b")
    question = Question.read(model.tokenizer, prompt.text, prompt.target, prompt.baseline)
    explained = [explain(model, Site(2), autoencoder, question, by=by) for by in ("place", "feature")]
    studied = [study.Studied(prompt, *explained)]
    text = study.markdown(studied, model.tokenizer, None)
    assert f"| 1 | {len(explained[0].contributions)} places | {explained[0].of_attribution.pearson:.2f} (" in text
    assert "one\\|two" in text
    study.draw(studied, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as drawn:
        assert len(drawn.convert("RGB").getcolors(1 << 20) or []) > 10


def test_the_concept_study_goes_on_and_hides_what_may_hurt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    study = example("concept_study")
    run = tiny_run(tmp_path / "run", texts(), features=24)
    for name, offensive in (("open", "false"), ("hidden", "true")):
        own = [f"{words} {name}" for words in texts(12, seed=3)]
        (tmp_path / f"{name}.yaml").write_text(
            f"concepts:\n  - {{name: The {name} one, label: a, texts: {json.dumps(own)}}}\n"
            f"  - {{name: Other, label: b, texts: {json.dumps(texts(12, seed=4))}}}\noffensive: {offensive}\n"
        )
    names = [f"{tmp_path / name}.yaml:a" for name in ("open", "hidden")]
    small = study.Settings(texts_each=8, context_tokens=24, of_norm=(0.2, 0.4), texts=4, tokens=4, controls=2)
    file = tmp_path / "study.json"
    kept = study.study(run, file, None, small, names[:1])
    assert list(kept["concepts"]) == names[:1]
    first = json.loads(json.dumps(kept["concepts"][names[0]]))
    kept = study.study(run, file, None, small, names)
    assert kept["concepts"][names[0]] == first
    assert [one["written"] is None for one in kept["concepts"].values()] == [False, True]
    with pytest.raises(MismatchError, match="other settings"):
        study.study(run, file, None, study.Settings(), names)
    study.write(kept, tmp_path)
    written = (tmp_path / "study.md").read_text()
    assert "| The open one | " in written
    assert written.count("- by itself:") == 1
    rows = (tmp_path / "steering.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 2
    assert (tmp_path / "steering.svg").read_text().startswith("<?xml")
