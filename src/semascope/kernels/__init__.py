"""Sparse linear algebra for codes. `reference` is the truth, `cpu` its fast twin; `autograd` picks one by device."""

from semascope.kernels.autograd import decode, encode, feature_sums
from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Above, Selection, TopK

__all__ = ["Above", "Pattern", "Selection", "TopK", "decode", "encode", "feature_sums"]
