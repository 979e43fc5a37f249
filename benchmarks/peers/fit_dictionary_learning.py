"""Trains with dictionary_learning: its `trainSAE`, which any iterable of activations can feed.

The recipe is that of the demonstration its README points to (dictionary_learning_demo/demo_config.py): batch 2048,
learning rate 3e-4 with 1000 steps of warm-up, falling to zero from 80 % of the steps on, 5000 steps of warm-up for a
penalty, activations scaled to a mean squared norm of 1; everything else as the trainers have it.
"""

from __future__ import annotations

from typing import Any

import torch
from common import Batches, Case, Dictionary, Trained, from_gated, level
from dictionary_learning.trainers import (
    BatchTopKTrainer,
    GatedSAETrainer,
    JumpReluTrainer,
    StandardTrainer,
    TopKTrainer,
)
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.training import trainSAE
from torch import nn

TRAINERS = {
    "topk": TopKTrainer,
    "batchtopk": BatchTopKTrainer,
    "matryoshka": MatryoshkaBatchTopKTrainer,
    "jumprelu": JumpReluTrainer,
    "gated": GatedSAETrainer,
    "standard": StandardTrainer,
}
# The demonstration sweeps six penalties; these are the sparsest.
PENALTY = {"standard": 0.06, "gated": 0.08}
GROUPS = [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2 + 1 / 32]


def config(case: Case) -> dict[str, Any]:
    """The trainer's arguments. Warm-ups are shortened where they would be a large part of a short training."""
    sparsity_warmup = {"sparsity_warmup_steps": min(5000, case.steps // 4)}
    selection = {"k": case.l0, "threshold_start_step": min(1000, case.steps // 2)}
    match case.variant:
        case "topk" | "batchtopk":
            own = selection
        case "matryoshka":
            own = {**selection, "group_fractions": GROUPS}
        case "jumprelu":
            penalty = 1.0 if case.sparsity is None else case.sparsity
            own = {"target_l0": case.l0, "sparsity_penalty": penalty, **sparsity_warmup}
        case _:
            penalty = PENALTY[case.variant] if case.sparsity is None else case.sparsity
            own = {"l1_penalty": penalty, **sparsity_warmup}
    return {
        "steps": case.steps,
        "activation_dim": case.width,
        "dict_size": case.features,
        "layer": 0,
        "lm_name": "",
        "lr": 3e-4,
        "warmup_steps": min(1000, case.steps // 10),
        "decay_start": int(case.steps * 0.8),
        "seed": case.seed,
        "device": "cpu",
        **own,
    }


def fit(case: Case, batches: Batches) -> Trained:
    torch.manual_seed(case.seed)  # JumpReluTrainer ignores its seed
    trainers: list[Any] = []

    def build(**arguments: Any) -> Any:
        # `trainSAE` returns nothing: what it builds is kept here.
        trainers.append(TRAINERS[case.variant](**arguments))
        if case.ready_BD is not None:
            activate(trainers[0].ae, case)
        return trainers[0]

    settings = config(case)
    # It normalises over 100 batches in an iteration of their own; the clock of `batches` starts again with the next.
    trainSAE(
        batches,
        [{"trainer": build, **settings}],
        steps=case.steps,
        normalize_activations=case.ready_BD is None,
        device="cpu",
    )
    seconds = batches.seconds()
    ae = trainers[0].ae.requires_grad_(False)
    return Trained(ae, dictionary(ae, case), seconds, settings)


def activate(ae: nn.Module, case: Case) -> None:
    """Set the bar so that about l0 features are active, where the variant has one."""
    match case.variant:
        case "standard":
            ae.encoder.bias.data.fill_(-level(case.ready_BD @ ae.encoder.weight.data.T, case.l0))
        case "gated":
            ae.gate_bias.data.fill_(-level(case.ready_BD @ ae.encoder.weight.data.T, case.l0))
        case "jumprelu":
            ae.threshold.data.fill_(level(case.ready_BD @ ae.W_enc.data, case.l0))
        case _:
            pass


def dictionary(ae: nn.Module, case: Case) -> Dictionary:
    """The weights in one layout. `trainSAE` has already folded the normalisation into the biases and thresholds."""
    match case.variant:
        case "topk" | "batchtopk":
            shared = {"W_enc_FD": ae.encoder.weight, "b_enc_F": ae.encoder.bias}
            shared |= {"W_dec_FD": ae.decoder.weight.T, "b_dec_D": ae.b_dec}
        case "matryoshka" | "jumprelu":
            shared = {"W_enc_FD": ae.W_enc.T, "b_enc_F": ae.b_enc, "W_dec_FD": ae.W_dec, "b_dec_D": ae.b_dec}
        case "gated":
            shared = from_gated(ae.encoder.weight, ae.r_mag, ae.gate_bias, ae.mag_bias)
            shared |= {"W_dec_FD": ae.decoder.weight.T, "b_dec_D": ae.decoder_bias}
        case _:
            shared = {"W_enc_FD": ae.encoder.weight, "b_enc_F": ae.encoder.bias}
            shared |= {"W_dec_FD": ae.decoder.weight.T, "b_dec_D": ae.bias}
    match case.variant:
        case "topk":
            return Dictionary(**shared, centred=True, k=case.l0)
        case "batchtopk" | "matryoshka":
            threshold_F = torch.full((case.features,), float(ae.threshold))
            return Dictionary(**shared, centred=True, threshold_F=threshold_F)
        case "jumprelu":
            return Dictionary(**shared, centred=False, threshold_F=ae.threshold)
        case _:
            return Dictionary(**shared, centred=True)
