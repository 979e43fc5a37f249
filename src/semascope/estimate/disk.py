"""What a run leaves on the disk, and what it needs there meanwhile, in bytes."""

from __future__ import annotations

from semascope.config import RunConfig
from semascope.estimate.step import FLOAT, HALF

INT = 4
# Bytes that the index has after compression for an activation, for a token's place in its window, and for a feature
# (statistics, sources, words, company): those of one index, of 8 million activations of 8,192 features (docs/LOG.md).
INDEX_ACTIVATION, INDEX_TOKEN, INDEX_FEATURE = 8.2, 2.8, 1500.0


def disk_space(
    config: RunConfig, *, features: int, widths: tuple[int, int], stored_width: int, entries: float
) -> dict[str, float]:
    """``activations`` that are kept; ``checkpoint``, of which two exist while one is written, and none in the end;
    ``dictionary``; ``index``, where activations lie twice until it is finished.
    """
    context, training = config.corpus.context_tokens, config.training
    # Activation, token, window and position of each; tokens and documents of the windows.
    row = stored_width * HALF + 3 * INT + 2 * INT * context / (context - 1)
    weights = features * (sum(widths) + 1) * FLOAT
    pool = 0 if config.stored else max(min(training.buffer_tokens, training.tokens), training.batch_tokens)
    indexed = min(config.index_tokens, config.harvest_tokens) if config.stored else config.index_tokens
    return {
        "activations": config.harvest_tokens * row if config.stored else 0.0,
        "checkpoint": 3 * weights + pool * stored_width * FLOAT,
        "dictionary": float(weights),
        "index": indexed * (entries * INDEX_ACTIVATION + INDEX_TOKEN) + features * INDEX_FEATURE,
    }
