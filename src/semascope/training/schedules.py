"""How the learning rate changes over a training."""

from __future__ import annotations


def learning_rate(fraction: float, *, peak: float, decay_fraction: float) -> float:
    """Constant at ``peak``, then linear to 0 over the last ``decay_fraction`` of training (``fraction`` is done)."""
    remaining = 1.0 - fraction
    return peak * min(1.0, remaining / decay_fraction) if decay_fraction else peak
