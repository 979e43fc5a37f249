"""Texts through the model and the dictionary: token by token, or one row of numbers a text.

S texts, T positions, N tokens, D width, F features.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from semascope import progress
from semascope.activations import OutlierFilter
from semascope.errors import DataError
from semascope.models import LanguageModel
from semascope.records import Codes, Document, Site
from semascope.sae import SparseAutoencoder, untrained_like
from semascope.text import one_window_each

TEXTS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ReadTokens:
    """The tokens of some texts that a dictionary reads.

    ``texts_N`` and ``positions_N`` int64, on the CPU: where each token stands. ``x_ND`` raw activations and their
    ``codes``, on the model's device. ``tokens``: how many tokens the texts have, with those left out.
    """

    texts_N: Tensor
    positions_N: Tensor
    x_ND: Tensor
    codes: Codes
    tokens: int


@dataclass(frozen=True, slots=True)
class Pooled:
    """One row a text: the maximum over its tokens of each feature's activation [S, F], and the mean of the raw
    activations [S, D].

    ``untrained_SF``: the maxima of the features of an untrained dictionary, where one read along.
    """

    maxima_SF: Tensor
    means_SD: Tensor
    untrained_SF: Tensor | None = None


@dataclass(frozen=True)
class TextReader:
    """A model, read at a site by a dictionary (folded, for raw activations, on the model's device).

    ``recent_medians``: the state of the training's outlier filter, so that the same activations are left out.
    """

    model: LanguageModel
    site: Site
    autoencoder: SparseAutoencoder
    recent_medians: Sequence[float] | None = None

    def read(self, texts: Sequence[Sequence[int]]) -> Iterator[ReadTokens]:
        """Run token sequences of any lengths, some at a time; outliers are left out, as in training."""
        outliers = OutlierFilter() if self.recent_medians is None else OutlierFilter(self.recent_medians)
        # Texts of like length share a batch. Padding on the right cannot reach earlier tokens through causal attention.
        order = sorted(range(len(texts)), key=lambda s: len(texts[s]))
        for start in range(0, len(order), TEXTS_AT_ONCE):
            chosen = order[start : start + TEXTS_AT_ONCE]
            lengths_B = torch.tensor([len(texts[s]) for s in chosen])
            length = int(lengths_B.max())
            tokens_BT = torch.tensor([list(texts[s]) + [texts[s][-1]] * (length - len(texts[s])) for s in chosen])
            x_BTD = self.model.activations(tokens_BT.to(self.model.device), self.site).float()
            keep_BT = outliers.keep(x_BTD).cpu() & (torch.arange(length) < lengths_B[:, None])
            rows_N, positions_N = keep_BT.nonzero(as_tuple=True)
            x_ND = x_BTD[keep_BT.to(x_BTD.device)]
            codes = self.autoencoder.encode(x_ND)
            yield ReadTokens(torch.tensor(chosen)[rows_N], positions_N, x_ND, codes, int(lengths_B.sum()))

    def peaks(self, texts: Sequence[Sequence[int]], features: Sequence[int]) -> Tensor:
        """[S, n]: the strongest activation of some features in each token sequence; 0 where they do not fire."""
        ids_n = torch.tensor(list(features), device=self.model.device)
        found_Sn = torch.zeros(len(texts), len(features))
        with progress.task("Read texts", total=sum(map(len, texts)), unit="tokens") as shown:
            for read in self.read(texts):
                values_Nn = read.codes.columns(ids_n).float().cpu()
                found_Sn.scatter_reduce_(0, read.texts_N[:, None].expand_as(values_Nn), values_Nn, "amax")
                shown.advance(read.tokens)
        return found_Sn

    def untrained(self, texts: Sequence[Sequence[int]]) -> SparseAutoencoder:
        """A dictionary that learned nothing, for such texts: about the mean of some of them, and as sparse there.

        Raises DataError when the dictionary reads no token of any of them.
        """
        sample = texts[:: -(-len(texts) // TEXTS_AT_ONCE)]
        some = next((one for part in (sample, texts) for one in self.read(part) if len(one.x_ND)), None)
        if some is None:
            raise DataError(
                f"none of {len(texts)} texts has a token that the dictionary reads (it never reads the first): give "
                "longer ones"
            )
        l0 = len(some.codes.values) / len(some.x_ND)
        return untrained_like(self.autoencoder, some.x_ND.mean(dim=0), l0)

    def pool(
        self,
        texts: Sequence[Sequence[int]],
        places: Sequence[range] | None = None,
        *,
        untrained: SparseAutoencoder | None = None,
    ) -> Pooled:
        """One row a token sequence; with ``places``, of its tokens there. ``untrained`` reads the same activations."""
        dictionaries = [self.autoencoder] if untrained is None else [self.autoencoder, untrained]
        maxima = [torch.zeros(len(texts), one.features) for one in dictionaries]
        sums_SD = torch.zeros(len(texts), self.autoencoder.width)
        counts_S = torch.zeros(len(texts))
        with progress.task("Read labelled texts", total=sum(map(len, texts)), unit="tokens") as shown:
            for read in self.read(texts):
                inside_N = torch.ones(len(read.texts_N), dtype=torch.bool)
                if places is not None:
                    start_S, stop_S = (torch.tensor([getattr(one, end) for one in places]) for end in ("start", "stop"))
                    inside_N = (read.positions_N >= start_S[read.texts_N]) & (read.positions_N < stop_S[read.texts_N])
                codes = [read.codes, *(one.encode(read.x_ND) for one in dictionaries[1:])]
                for one, maxima_SF in zip(codes, maxima, strict=True):
                    rows_K = one.row_ids().cpu()
                    flat_K = read.texts_N[rows_K] * one.n_features + one.feature_ids.cpu()
                    values_K = one.values.float().cpu() * inside_N[rows_K]
                    maxima_SF.view(-1).scatter_reduce_(0, flat_K, values_K, "amax")
                sums_SD.index_add_(0, read.texts_N[inside_N], read.x_ND.cpu()[inside_N])
                counts_S += read.texts_N[inside_N].bincount(minlength=len(texts))
                shown.advance(read.tokens)
        return Pooled(maxima[0], sums_SD / counts_S.clamp_min(1)[:, None], *maxima[1:])

    def pool_kinds(
        self, kinds: Sequence[Sequence[Document]], *, texts_each: int, context_tokens: int, seed: int,
        with_untrained: bool = False,
    ) -> tuple[Pooled, list[int]]:  # fmt: skip
        """What `pool` says of up to ``texts_each`` documents of each kind, cut to ``context_tokens``.

        The kinds come one after another, each in random order; returns how many there are of each, too.
        """
        generator = random.Random(seed)
        drawn = [generator.sample(kind, min(texts_each, len(kind))) for kind in kinds]
        windows = one_window_each(list(chain(*drawn)), self.model.tokenizer, context_tokens=context_tokens)
        texts = [ids for _, ids in windows]
        pooled = self.pool(texts, untrained=self.untrained(texts) if with_untrained else None)
        return pooled, [len(kind) for kind in drawn]
