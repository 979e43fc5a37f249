"""The benchmark of quality: what surrounds the trainings, without any training."""

import math
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from peers.common import Dictionary  # noqa: E402
from quality_peers import PeerCase, Peers, as_autoencoder, cases_of  # noqa: E402
from quality_table import OURS, mean_and_interval, table  # noqa: E402
from sparsity_search import Search, close  # noqa: E402


@pytest.mark.parametrize("start", [0.05, 0.3, 50.0])
@pytest.mark.parametrize("steepness", [0.4, 1.0, 3.0])
def test_a_weight_is_found_from_either_side(start: float, steepness: float) -> None:
    def l0(weight: float) -> float:
        # Levels off at the number of features, and falls to nothing in the end.
        return 1000 / (1 + (weight / 0.02) ** steepness) * math.exp(-weight / 40)

    search = Search(l0)
    weight = search.weight_for(32, start=start, trials=20)
    assert close(l0(weight), 32)
    assert len(search.tried) <= 12


def test_a_search_ends_where_no_weight_changes_anything() -> None:
    search = Search(lambda _: 900.0)
    search.weight_for(32, start=1.0, trials=20)
    assert max(search.tried) == pytest.approx(1024)
    assert len(search.tried) <= 5


def test_a_search_that_gets_nowhere_ends_with_the_nearest() -> None:
    search = Search(lambda weight: 500.0 if weight < 1 else 0.0)
    assert search.tried[search.weight_for(32, start=0.1, trials=6)] == 500.0  # On a logarithmic scale, where 0 is far.
    assert len(search.tried) == 6


def random_dictionary(activation: str, *, centred: bool) -> Dictionary:
    generator = torch.Generator().manual_seed(0)
    W_enc_FD, W_dec_FD = torch.randn(2, 24, 8, generator=generator)
    b_enc_F, threshold_F = torch.randn(2, 24, generator=generator)
    b_dec_D = torch.randn(8, generator=generator)
    return Dictionary(
        W_enc_FD,
        b_enc_F,
        W_dec_FD,
        b_dec_D,
        centred,
        threshold_F=threshold_F if activation == "jumprelu" else None,
        k=3 if activation == "topk" else None,
    )


@pytest.mark.parametrize("activation", ["topk", "jumprelu", "relu"])
@pytest.mark.parametrize("centred", [True, False])
def test_a_peers_dictionary_computes_the_same_as_one_of_ours(activation: str, centred: bool) -> None:
    found = random_dictionary(activation, centred=centred)
    x_BD = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    autoencoder = as_autoencoder(found)
    codes = autoencoder.encode(x_BD)
    torch.testing.assert_close(codes.to_dense(), found.encode(x_BD))
    torch.testing.assert_close(autoencoder.predict(x_BD, codes), found.reconstruct(x_BD))


def test_every_peer_of_a_variant_stands_beside_ours() -> None:
    assert {case.peer for case in cases_of("l1", ["saelens", "sparsify", "dictionary_learning"], 2048)} == {
        "saelens",
        "dictionary_learning",
    }
    assert [(case.variant, case.batch) for case in cases_of("topk", ["sparsify"], 2048)] == [
        ("topk", 65_536),
        ("topk", 2048),
        ("topk-adam", 2048),
    ]


def test_a_weight_is_searched_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[float | None] = []

    def train(self: Peers, case: PeerCase, seed: int, weight: float | None) -> dict[str, object]:
        del self, case, seed
        trained.append(weight)
        return {"l0": 1600 / (weight or 5.0), "settings": {"l1_coefficient": 5.0}}

    monkeypatch.setattr(Peers, "_report", train)
    peers = Peers(tmp_path, tmp_path / "activations.safetensors", tokens=100_000, features=64, l0=32)
    weight, trainings = peers.weight(PeerCase("saelens", "gated", 4096))
    assert weight == pytest.approx(50, rel=0.1)
    assert trainings == len(trained) - 1
    assert peers.weight(PeerCase("saelens", "gated", 4096)) == (weight, trainings)  # From its file.
    assert trainings == len(trained) - 1
    assert peers.weight(PeerCase("saelens", "topk", 4096)) == (None, 0)


def test_where_no_weight_gives_the_l0_the_recipes_own_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peers, "_report", lambda *_: {"l0": 500.0, "settings": {"l1_penalty": 0.06}})
    peers = Peers(tmp_path, tmp_path / "activations.safetensors", tokens=100_000, features=64, l0=32)
    weight, trainings = peers.weight(PeerCase("dictionary_learning", "standard", 2048))
    assert weight is None
    assert trainings > 2


def test_the_table_has_means_intervals_and_ratios() -> None:
    def result(by: str, seed: int, speed: float, explained: float) -> dict[str, object]:
        figures = {"l0": 32.0, "l0_asked": 32, "ce_recovered": 0.9, "dead_fraction": 0.0, "searched": False}
        return {"variant": "topk", "by": by, "batch": 2048, "seed": seed, "tokens_per_second": speed,
                "explained_variance": explained, **figures}  # fmt: skip

    assert mean_and_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.303 / 3**0.5))
    results = [result(by, seed, speed, 0.7 + 0.1 * (by == OURS) + seed / 100)
               for by, speed in ((OURS, 9000.0), ("peer 1.0", 2000.0)) for seed in range(3)]  # fmt: skip
    ours, theirs = table(results).splitlines()[2:]
    assert "0.810 ± 0.025" in ours
    assert theirs.endswith("| 4.5× | +0.100 |")
