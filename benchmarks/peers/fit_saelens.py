"""Trains with SAELens: its `SAETrainer.fit`, which any iterator of activations can feed.

The recipe is that of SAELens' guide (docs/training_saes.md) and its config's defaults: batch 4096, Adam (0.9, 0.999),
activations scaled to a mean norm of √D, a learning rate that falls to zero over the last fifth of the steps.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from common import Batches, Case, Dictionary, Trained, from_gated, level
from sae_lens import (
    SAE,
    BatchTopKTrainingSAEConfig,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAEConfig,
    TopKTrainingSAEConfig,
    TrainingSAE,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.sae import TrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer

# The config's default; the guide's L1 example has its own, taken for the other L1 penalty too.
LEARNING_RATE = {"standard": 5e-5, "gated": 5e-5}
DEFAULT_LEARNING_RATE = 3e-4
# The guide's coefficient in every example with a penalty.
COEFFICIENT = 5.0
# What moves the share of active features, and whether raising it raises or lowers the bar.
BAR = {
    "standard": ("b_enc", -1),
    "jumprelu": ("threshold", 1),
    "jumprelu-quadratic": ("threshold", 1),
    "gated": ("b_gate", -1),
}


def config(case: Case) -> TrainingSAEConfig:
    """The architecture as the guide's example for it sets it up."""
    common: dict[str, Any] = {
        "d_in": case.width,
        "d_sae": case.features,
        "normalize_activations": "expected_average_only_in" if case.ready_BD is None else "none",
    }
    coefficient = COEFFICIENT if case.sparsity is None else case.sparsity
    match case.variant:
        case "topk":
            return TopKTrainingSAEConfig(k=case.l0, **common)
        case "batchtopk":
            return BatchTopKTrainingSAEConfig(k=case.l0, **common)
        case "matryoshka":
            widths = [case.features // 4, case.features // 2, case.features]
            return MatryoshkaBatchTopKTrainingSAEConfig(k=case.l0, matryoshka_widths=widths, **common)
        case "jumprelu":
            # What the guide recommends: Anthropic's recipe of January 2025.
            return JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="tanh",
                l0_coefficient=coefficient,
                l0_warm_up_steps=case.steps,
                jumprelu_tanh_scale=4.0,
                jumprelu_bandwidth=2.0,
                jumprelu_init_threshold=0.1,
                pre_act_loss_coefficient=3e-6,
                **common,
            )
        case "jumprelu-quadratic":
            # The guide's only recipe that can be asked for an L0, Gemma Scope 2's.
            return JumpReLUTrainingSAEConfig(
                jumprelu_sparsity_loss_mode="quadratic",
                target_l0=case.l0,
                l0_coefficient=coefficient,
                jumprelu_bandwidth=0.01,
                jumprelu_init_threshold=0.01,
                **common,
            )
        case "gated":
            return GatedTrainingSAEConfig(l1_coefficient=coefficient, l1_warm_up_steps=case.steps // 20, **common)
        case _:
            return StandardTrainingSAEConfig(l1_coefficient=coefficient, l1_warm_up_steps=case.steps // 20, **common)


def fit(case: Case, batches: Batches) -> Trained:
    torch.manual_seed(case.seed)
    sae = TrainingSAE.from_dict(config(case).to_dict())
    if case.ready_BD is not None and case.variant in BAR:
        name, sign = BAR[case.variant]
        getattr(sae, name).data.fill_(sign * level(case.ready_BD @ sae.W_enc.data, case.l0))

    rate = LEARNING_RATE.get(case.variant, DEFAULT_LEARNING_RATE)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=case.steps * case.batch,
            train_batch_size_samples=case.batch,
            lr=rate,
            lr_end=rate / 10,
            lr_decay_steps=case.steps // 5,
        ),
        sae,
        batches,
    )
    if sae.cfg.normalize_activations != "none":
        # As `fit` would do it; before it, so that it is not timed. A short training does not need 1000 batches.
        trainer.activation_scaler.estimate_scaling_factor(case.width, batches, min(1000, case.steps))
    iter(batches)
    trainer.fit()
    seconds = batches.seconds()

    # What a user keeps: the model for inference, in which batchtopk has become a threshold.
    with tempfile.TemporaryDirectory() as folder:
        sae.save_inference_model(folder)
        inference = SAE.load_from_disk(folder)
    settings = {"lr": rate, **sae.cfg.get_training_architecture_details()}
    return Trained(inference, dictionary(inference), seconds, settings)


def dictionary(sae: SAE[Any]) -> Dictionary:
    """The weights of a saved SAE, which takes activations as they come from the model."""
    W_enc_FD = sae.W_enc.data.T
    match sae.cfg.architecture():
        case "gated":
            encoder = from_gated(W_enc_FD, sae.r_mag.data, sae.b_gate.data, sae.b_mag.data)
        case "jumprelu":
            encoder = {"W_enc_FD": W_enc_FD, "b_enc_F": sae.b_enc.data, "threshold_F": sae.threshold.data}
        case _:
            encoder = {"W_enc_FD": W_enc_FD, "b_enc_F": sae.b_enc.data}
    return Dictionary(
        **encoder,
        W_dec_FD=sae.W_dec.data,
        b_dec_D=sae.b_dec.data,
        centred=sae.cfg.apply_b_dec_to_input,
        k=getattr(sae.cfg, "k", None),
    )
