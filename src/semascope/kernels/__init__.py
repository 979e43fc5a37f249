"""Sparse linear algebra for codes. `reference` is the truth, `cpu` its fast twin; `backend` picks one by device."""

from semascope.kernels.autograd import Pick, decode, decode_with_sizes, encode, feature_sums, of_entries
from semascope.kernels.backend import Precision, kernels_for
from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Above, BatchTopK, Selection, TopK

__all__ = [
    "Above",
    "BatchTopK",
    "Pattern",
    "Pick",
    "Precision",
    "Selection",
    "TopK",
    "decode",
    "decode_with_sizes",
    "encode",
    "feature_sums",
    "kernels_for",
    "of_entries",
]
