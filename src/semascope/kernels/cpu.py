"""The kernels on the CPU, from operators that PyTorch runs through MKL: twins of `reference`.

Nothing of size B x F exists beyond one chunk of rows. What each costs beside the encoder's matrix product is measured
by `benchmarks/kernels.py` and kept in docs/LOG.md.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from semascope.kernels.pattern import Pattern
from semascope.kernels.selection import Selected, Selection

# 64 MiB of float32 pre-activations: fewer rows would pay more for packing the weights again in every product (at
# 16,384 features chunks of 512 rows cost 266 ms a batch, of 2,048 rows 236 ms), more would only cost memory.
CHUNK_ENTRIES = 1 << 24


def encode(x_BD: Tensor, W_FD: Tensor, b_F: Tensor, selections: Sequence[Selection]) -> list[tuple[Pattern, Tensor]]:
    """See `reference.encode`; in chunks of rows that share one buffer."""
    n_rows, n_features = x_BD.shape[0], W_FD.shape[0]
    rows = max(1, min(n_rows, CHUNK_ENTRIES // n_features))
    buffer = _chunk_buffer(rows, n_features, x_BD.dtype)
    kept: list[list[Selected]] = [[] for _ in selections]
    for chunk_BD in x_BD.split(rows):
        pre_BF = torch.addmm(b_F, chunk_BD, W_FD.T, out=buffer[: chunk_BD.shape[0]])
        for chunks, selection in zip(kept, selections, strict=True):
            chunks.append(selection.select(pre_BF))
    return [Pattern.joined(chunks, n_features) for chunks in kept]


_kept = threading.local()


def _chunk_buffer(rows: int, n_features: int, dtype: torch.dtype) -> Tensor:
    """Memory for one chunk, kept from call to call: fresh pages of this size cost as much as a search through them."""
    buffer: Tensor | None = getattr(_kept, "buffer", None)
    if buffer is None or buffer.dtype != dtype or buffer.numel() < rows * n_features:
        buffer = _kept.buffer = torch.empty(rows * n_features, dtype=dtype)
    return buffer[: rows * n_features].view(rows, n_features)


def decode(pattern: Pattern, values_K: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.decode`."""
    return _weighted_sums(pattern.feature_ids, pattern.row_offsets, values_K, W_FD)


def code_gradient(pattern: Pattern, grad_BD: Tensor, W_FD: Tensor) -> Tensor:
    """See `reference.code_gradient`."""
    size = (pattern.n_rows, pattern.n_features)
    with warnings.catch_warnings():
        # PyTorch calls its CSR tensors beta; a person who trains a dictionary can do nothing about that.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        places = torch.sparse_csr_tensor(
            pattern.row_offsets, pattern.feature_ids, grad_BD.new_zeros(pattern.feature_ids.shape[0]), size,
            check_invariants=False,
        )  # fmt: skip
    return torch.sparse.sampled_addmm(places, grad_BD, W_FD.T, beta=0.0).values()


def weight_gradient(pattern: Pattern, values_K: Tensor, dense_BD: Tensor) -> Tensor:
    """See `reference.weight_gradient`."""
    by_feature = pattern.transposed
    return _weighted_sums(by_feature.row_ids, by_feature.offsets, values_K[by_feature.order], dense_BD)


def _weighted_sums(ids_K: Tensor, offsets: Tensor, values_K: Tensor, rows_ND: Tensor) -> Tensor:
    """For each group of entries ``offsets[i]:offsets[i+1]``, the sum of ``value · rows[id]``; zero for an empty one."""
    return torch.nn.functional.embedding_bag(
        ids_K, rows_ND, offsets, mode="sum", per_sample_weights=values_K, include_last_offset=True
    )
