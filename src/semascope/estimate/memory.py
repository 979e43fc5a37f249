"""The most memory that one process holds, stage by stage, and what it consists of.

Counted are the large things; what is small or hard to count has a constant, which is an assumption. With them the peaks
of four small trainings on a CPU were estimated within 18 % (docs/LOG.md); on a GPU none was compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from semascope.activations.store import SHARD_BYTES
from semascope.activations.streams import SAMPLE
from semascope.config import RunConfig
from semascope.estimate.step import FLOAT, HALF, StepShape
from semascope.evaluation.reconstruction import LOGITS_AT_ONCE
from semascope.features.decoder import CHUNK_ELEMENTS
from semascope.kernels.cpu_encode import BLOCK_ENTRIES
from semascope.kernels.memory import MOST_FREE_BYTES

MIB = 1 << 20
# Assumed: interpreter and libraries; the text with its tokenizer, and what the C library keeps back of freed memory.
LIBRARIES, TEXT = 600 * MIB, 200 * MIB
# A CUDA context with the libraries' own memory there. Assumed.
CUDA_CONTEXT = 600 * MIB
# Tensors of the width of a batch that a step holds at a time: inputs, targets, reconstruction, error, gradients.
BATCHES_AT_ONCE = 8
# What a forward pass holds of a token, in widths of the residual stream. Assumed.
WIDTHS_OF_A_PASS = 30
# Logits, log-probabilities and their differences that an evaluation holds at a time.
LOGITS_TENSORS = 5
# What the index lets its database hold.
DATABASE = 1e9


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a process has of the model: bytes of all weights, of those up to the site, and of its logits a token."""

    model: float
    model_to_site: float
    vocabulary: int
    residual_width: int
    item: int


def stage_memory(
    config: RunConfig, sizes: Sizes, step: StepShape, *, stored_width: int, tokens_per_pass: int, on_gpu: bool
) -> dict[str, dict[str, float]]:
    """By stage, the parts of what the first process holds at its peak, in bytes; on a GPU, of the GPU's memory.

    Features are divided in training alone: the first process saves, evaluates and indexes the whole dictionary. It
    assembles it in the memory of the host.
    """
    training = config.training
    per_feature = (step.width + step.output_width + 1) * FLOAT
    skip = step.width * step.output_width * FLOAT if config.skip else 0
    weights, whole = step.features * per_feature + skip, training.features * per_feature + skip
    gradients = step.touched * (step.width + step.output_width) * FLOAT
    rows = step.batch * (step.width + step.output_width) * FLOAT
    always = {"context": float(CUDA_CONTEXT)} if on_gpu else {"libraries": float(LIBRARIES), "text": float(TEXT)}
    # Weights are mapped from their file: on a CPU those that are not used take no memory.
    reading = {"model": sizes.model if on_gpu else sizes.model_to_site}
    forward = tokens_per_pass * (WIDTHS_OF_A_PASS * sizes.residual_width + stored_width) * sizes.item
    store = config.harvest_tokens * stored_width * HALF if config.stored else 0.0
    harvest = {"forward pass": float(forward)}
    if config.stored:
        harvest["shard"] = 2.0 * min(store, SHARD_BYTES)
        # Pages of the store that have been read; the system takes them back when it needs them.
        buffer = {} if on_gpu else {"store, mapped": store}
    else:
        pool = max(min(training.buffer_tokens, training.tokens), training.batch_tokens)
        buffer = {"buffer": float(pool * stored_width * FLOAT)}
    sample = 2.0 * min(SAMPLE, training.tokens) * stored_width * FLOAT
    block = min(float(BLOCK_ENTRIES), step.batch * step.features) * (HALF + FLOAT if step.fast else FLOAT)
    recycled = min(gradients, MOST_FREE_BYTES)
    train = {
        "weights": weights,
        "moments": 2 * weights,
        "gradients": gradients,
        "activations": max(BATCHES_AT_ONCE * rows / 2 + block, sample) + (0.0 if config.stored else forward),
        **buffer,
    }
    # The saved dictionary is a copy, and its encoder is turned over.
    save = {"weights": weights, "saved copy": whole, "turned over": whole / 2, "kept for reuse": recycled, **buffer}
    if whole > weights:
        save = {"weights": weights, **buffer} if on_gpu else save | {"whole dictionary": whole}
    logits = min(LOGITS_AT_ONCE, config.evaluation.ce_tokens * sizes.vocabulary)
    evaluate = {
        "weights": whole,
        "logits": float(LOGITS_TENSORS * FLOAT * logits),
        "forward pass": forward,
        "kept for reuse": 0.0 if on_gpu else recycled,
        **({} if on_gpu else buffer if config.stored else {}),
    }
    index = {
        "weights": whole if on_gpu else 2 * whole,
        "activations": float(DATABASE + 4 * CHUNK_ELEMENTS * FLOAT),
    }
    everywhere = {"model": sizes.model}
    return {
        "harvest": {**always, **reading, **harvest},
        "train": {**always, **reading, **train},
        "save": {**always, **reading, **save},
        "evaluate": {**always, **everywhere, **evaluate},
        "index": {**always, **everywhere, **index},
    }
