"""Trains with sparsify: its `Trainer.fit`, to which a stand-in for the language model hands stored activations.

Its decoder runs in plain PyTorch, its way for the CPU. The recipe is that of its README and of `TrainConfig`: 32
sequences of 2048 tokens a batch, signum with schedule-free averaging, a learning rate of 5e-3 / √(features / 2¹⁴), no
AuxK, no normalisation.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import Batches, Case, Dictionary, Trained
from torch import Tensor, nn

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # sparsify reads it when it is imported
from sparsify import SparseCoder, SparseCoderConfig, TrainConfig, Trainer

SITE = "site"
# Rows of a micro-batch: the dense pre-activations of the default batch would not fit into memory.
MICRO_BATCH = 4096


class Replay(nn.Module):
    """A language model for sparsify's eyes: its only module puts out the next batch of activations."""

    def __init__(self, batches: Batches, width: int) -> None:
        super().__init__()
        self.batches = batches
        self.width = width
        self.site = nn.Identity()
        self.device = torch.device("cpu")
        # sparsify calls the model once with these to see how wide the module is.
        self.dummy_inputs: dict[str, Tensor] = {}

    @property
    def base_model(self) -> Replay:
        return self

    def forward(self, input_ids: Tensor | None = None) -> Tensor:
        return self.site(torch.zeros(1, 1, self.width) if input_ids is None else next(self.batches)[None])


def optimizer_settings(case: Case) -> dict[str, Any]:
    """The default optimizer or, for "topk-adam", Gao et al.'s, which its Adam follows, with their AuxK."""
    if case.variant == "topk":
        return {"optimizer": "signum"}
    # 1000 steps of warm-up is the default; a short training is not to consist of it.
    return {"optimizer": "adam", "auxk_alpha": 1 / 32, "lr_warmup_steps": min(1000, case.steps // 10)}


def fit(case: Case, batches: Batches) -> Trained:
    # The trainer looks at the tokens only to count them: one sequence a batch.
    tokens = [{"input_ids": torch.zeros(case.batch, dtype=torch.long)}] * case.steps
    settings = optimizer_settings(case)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            TrainConfig(
                SparseCoderConfig(num_latents=case.features, k=case.l0),
                batch_size=1,
                micro_acc_steps=max(1, case.batch // MICRO_BATCH),
                hookpoints=[SITE],
                init_seeds=[case.seed],
                save_dir=folder,
                save_every=case.steps + 2,  # only at the end
                log_to_wandb=False,
                **settings,
            ),
            tokens,
            Replay(batches, case.width),
        )
        iter(batches)
        try:
            trainer.fit()
        finally:
            # `fit` lowers the precision of float32 products for the whole process.
            torch.set_float32_matmul_precision("highest")
        seconds = batches.seconds()
        # What it saves are the averaged weights.
        coder = SparseCoder.load_from_disk(Path(folder) / "unnamed" / SITE)

    found = Dictionary(
        W_enc_FD=coder.encoder.weight.data,
        b_enc_F=coder.encoder.bias.data,
        W_dec_FD=coder.W_dec.data,
        b_dec_D=coder.b_dec.data,
        centred=True,
        k=case.l0,
    )
    return Trained(lambda x_BD: coder(x_BD).sae_out, found, seconds, settings)
