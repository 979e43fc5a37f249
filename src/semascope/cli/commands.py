"""From the settings of a run to the command that trains it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semascope.config import RunConfig
    from semascope.sae import AnyVariant

_PER_MACHINE = 8


def train_command(config: RunConfig, out: str, *, processes: int = 1) -> str:
    """``semascope train …``, or with several processes ``torchrun … -m semascope train …``, without defaults."""
    training, corpus, model = config.training, config.corpus, config.model
    words = ["train", model.name, "--data", corpus.source, "--layer", config.site, "--out", out]
    words += variant_words(training.variant)
    words += ["--features", f"{training.features}", "--tokens", f"{training.tokens}"]
    words += ["--batch", f"{training.batch_tokens}", "--learning-rate", f"{training.learning_rate:g}"]
    words += ["--passes", f"{config.passes}"] if config.passes > 1 else []
    words += ["--keep-activations"] if config.keep_activations else []
    words += ["--context", f"{corpus.context_tokens}", "--held-out", f"{corpus.held_out_fraction:g}"]
    words += ["--field", corpus.field] if corpus.field else []
    words += ["--seed", f"{training.seed}"] if training.seed else []
    words += ["--revision", model.revision] if model.revision else []
    for name in ("device", "dtype", "precision"):
        words += [f"--{name}", getattr(model, name)] if getattr(model, name) != "auto" else []
    words += ["--trust-remote-code"] if model.trust_remote_code else []
    if processes == 1:
        return shlex.join(["semascope", *words])
    machines = next(n for n in range(1, processes + 1) if processes % n == 0 and processes // n <= _PER_MACHINE)
    several = ["--nnodes", f"{machines}"] if machines > 1 else []
    started = ["torchrun", *several, "--nproc-per-node", f"{processes // machines}", "-m", "semascope"]
    return shlex.join([*started, *words])


def variant_words(variant: AnyVariant) -> list[str]:
    """The options from which `variant_settings` makes a variant."""
    l0 = variant.target_l0()
    words = ["--variant", variant.variant]
    words += [] if l0 is None else ["--l0", f"{l0:g}"]
    usual = type(variant)() if l0 is None else type(variant)().with_l0(round(l0))
    for name, value in variant.model_dump(mode="json").items():
        if value != usual.model_dump(mode="json")[name]:
            words += ["--option", f"{name}={json.dumps(value)}"]
    return words
