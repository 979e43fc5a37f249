"""What a peer's trainer is asked for, what it trains on and what it leaves, in the same terms for every peer."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

# A peer and the module that runs it; each is imported only when it is asked for, which takes seconds.
PEERS = {name: f"fit_{name}" for name in ("saelens", "sparsify", "dictionary_learning")}
# What each module can run, and the batch of the peer's own recipe.
VARIANTS = {
    "saelens": ("topk", "batchtopk", "matryoshka", "jumprelu", "jumprelu-quadratic", "gated", "standard"),
    "sparsify": ("topk", "topk-adam"),
    "dictionary_learning": ("topk", "batchtopk", "matryoshka", "jumprelu", "gated", "standard"),
}
BATCH = {"saelens": 4096, "sparsify": 65_536, "dictionary_learning": 2048}
PACKAGE = {"saelens": "sae-lens", "sparsify": "eai-sparsify", "dictionary_learning": "dictionary-learning"}


@dataclass(frozen=True)
class Case:
    """One training: a variant, its sizes, and what departs from the peer's recipe."""

    variant: str
    width: int
    features: int
    l0: int
    batch: int
    steps: int
    seed: int = 0
    # The weight of the L1 or L0 penalty, in place of the recipe's.
    sparsity: float | None = None
    # Activations on which about l0 features a token are active from the start. They are already of unit variance, so
    # that nothing is normalised. For timing only.
    ready_BD: Tensor | None = None


class Batches(Iterator[Tensor]):
    """An endless stream of activations [B, D]. Its clock starts when a training loop asks for an iterator."""

    def __iter__(self) -> Batches:
        self._started = time.perf_counter()
        return self

    def seconds(self) -> float:
        """Seconds since the training loop began."""
        return time.perf_counter() - self._started


@dataclass(frozen=True)
class Dictionary:
    """x̂ = activation((x − centre) · W_encᵀ + b_enc) · W_dec + b_dec for activations as they come from the model.

    ``k`` keeps the k largest pre-activations of a row, ``threshold_F`` those above their feature's threshold; what is
    kept goes through a ReLU. The centre is b_dec where ``centred``, else zero.
    """

    W_enc_FD: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor
    b_dec_D: Tensor
    centred: bool
    threshold_F: Tensor | None = None
    k: int | None = None

    @property
    def activation(self) -> str:
        return "topk" if self.k is not None else "relu" if self.threshold_F is None else "jumprelu"

    @torch.no_grad()
    def encode(self, x_BD: Tensor) -> Tensor:
        pre_BF = (x_BD - self.b_dec_D if self.centred else x_BD) @ self.W_enc_FD.T + self.b_enc_F
        if self.k is not None:
            top = pre_BF.topk(self.k, dim=-1)
            pre_BF = torch.full_like(pre_BF, -torch.inf).scatter(-1, top.indices, top.values)
        if self.threshold_F is not None:
            pre_BF = torch.where(pre_BF > self.threshold_F, pre_BF, -torch.inf)
        return pre_BF.relu()

    @torch.no_grad()
    def reconstruct(self, x_BD: Tensor) -> Tensor:
        return self.encode(x_BD) @ self.W_dec_FD + self.b_dec_D

    def l0(self, x_BD: Tensor) -> float:
        """Active features a row, on average."""
        return (self.encode(x_BD) > 0).sum(-1, dtype=torch.float32).mean().item()

    def save(self, file: Path) -> None:
        tensors = {"W_enc": self.W_enc_FD, "b_enc": self.b_enc_F, "W_dec": self.W_dec_FD, "b_dec": self.b_dec_D}
        if self.threshold_F is not None:
            tensors["threshold"] = self.threshold_F
        metadata = {"activation": self.activation, "centred": str(self.centred).lower()}
        if self.k is not None:
            metadata["k"] = str(self.k)
        save_file({name: t.detach().float().contiguous() for name, t in tensors.items()}, file, metadata)

    @staticmethod
    def load(file: Path) -> Dictionary:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
            found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        return Dictionary(
            W_enc_FD=found["W_enc"],
            b_enc_F=found["b_enc"],
            W_dec_FD=found["W_dec"],
            b_dec_D=found["b_dec"],
            centred=metadata["centred"] == "true",
            threshold_F=found.get("threshold"),
            k=int(metadata["k"]) if "k" in metadata else None,
        )


@dataclass(frozen=True)
class Trained:
    """What a peer leaves: its own forward on activations as they come, the same as plain weights, and the time."""

    forward: Callable[[Tensor], Tensor]
    dictionary: Dictionary
    seconds: float
    settings: dict[str, Any]


def fit(peer: str, case: Case, batches: Batches) -> Trained:
    """Train with the peer's own training loop. What it prints goes to stderr, so that stdout stays JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module(PEERS[peer]).fit(case, batches)


def version(peer: str) -> str:
    return importlib.metadata.version(PACKAGE[peer])


def level(pre_BF: Tensor, l0: int) -> float:
    """The value that ``l0`` pre-activations a row exceed on average."""
    return pre_BF.flatten().kthvalue(pre_BF.numel() - l0 * len(pre_BF)).values.item()


def from_gated(W_enc_FD: Tensor, r_mag_F: Tensor, b_gate_F: Tensor, b_mag_F: Tensor) -> dict[str, Tensor]:
    """A gated encoder with tied weights as the JumpReLU encoder it equals (Rajamanoharan et al. 2024, appendix E).

    The gate opens where W_enc·x > −b_gate, the magnitude is exp(r_mag)·W_enc·x + b_mag: the gate is a threshold on it.
    """
    scale_F = r_mag_F.exp()
    return {
        "W_enc_FD": W_enc_FD * scale_F[:, None],
        "b_enc_F": b_mag_F,
        "threshold_F": b_mag_F - scale_F * b_gate_F,
    }
