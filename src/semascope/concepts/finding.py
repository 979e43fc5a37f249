"""Features looked for by texts: labelled ones, a few prompts, or a direction between two kinds of text.

P prompts, F features, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semascope.concepts.ranking import LEAST_TEXTS, Ranking, rank
from semascope.concepts.reading import TextReader
from semascope.errors import DataError
from semascope.records import Document
from semascope.text import one_window_each, token_text


def find_by_texts(
    reader: TextReader,
    documents: Sequence[Document],
    label: str,
    *,
    top: int = 10,
    texts_each: int = 200,
    context_tokens: int = 64,
    directions_FD: Tensor | None = None,
    seed: int = 0,
) -> Ranking:
    """Rank features by how well they tell the texts with a label from the others.

    Up to ``texts_each`` texts of each kind, cut to ``context_tokens``, are split into two halves by ``seed``: one
    ranks, the other scores. With ``directions_FD`` features are ranked by how near their directions are to the
    difference of means. Raises DataError when there are fewer than ``LEAST_TEXTS`` of a kind.
    """
    sides = [
        [one for one in documents if label in one.labels],
        [one for one in documents if label not in one.labels],
    ]
    if min(map(len, sides)) < LEAST_TEXTS:
        raise DataError(
            f"there are {len(sides[0])} texts with '{label}' and {len(sides[1])} without, and at least {LEAST_TEXTS} "
            "of each are needed: half of them choose, the others score. For fewer texts, give them as prompts"
        )
    pooled, [n, _] = reader.pool_kinds(
        sides, texts_each=texts_each, context_tokens=context_tokens, seed=seed, with_untrained=True
    )
    rows_S = torch.arange(len(pooled.maxima_SF))
    if directions_FD is not None:
        directions_FD = directions_FD.detach().float().cpu()
    return rank(pooled, rows_S[:n], rows_S[n:], seed=seed, top=top, directions_FD=directions_FD)


@dataclass(frozen=True)
class PromptFeature:
    """A feature that fires on every one of some prompts.

    ``strength``: its weakest peak over the prompts, in multiples of its maximum; ``elsewhere``: its strongest over the
    prompts that it should not fire on. ``activation`` and ``token``: its peak in the first prompt, and where.
    """

    feature: int
    strength: float
    elsewhere: float
    activation: float
    token: str


def find_by_prompts(
    reader: TextReader,
    prompts: Sequence[str],
    minus: Sequence[str],
    maxima_F: Tensor,
    *,
    top: int = 10,
) -> list[PromptFeature]:
    """Features that fire on all ``prompts``, and on none of ``minus``: by the difference of their strengths there.

    ``maxima_F``: each feature's largest activation in the index; a feature that is stronger in a prompt is taken at
    that. Raises DataError for a prompt that is empty or has a single token, which no dictionary reads, and
    ModelError for one beyond the model's context.
    """
    tokenizer = reader.model.tokenizer
    documents = [Document(text, "the prompts") for text in (*prompts, *minus)]
    # One more than the model can take, so that it says so of a prompt that is too long.
    texts = [ids for _, ids in one_window_each(documents, tokenizer, context_tokens=reader.model.context_limit + 1)]
    peaks_PF = torch.zeros(len(texts), reader.autoencoder.features)
    places_F = torch.zeros(reader.autoencoder.features, dtype=torch.int64)
    read_P = torch.zeros(len(texts), dtype=torch.int64)
    for read in reader.read(texts):
        read_P += read.texts_N.bincount(minlength=len(texts))
        rows_K, features_K = read.codes.row_ids().cpu(), read.codes.feature_ids.cpu()
        values_K = read.codes.values.float().cpu()
        texts_K = read.texts_N[rows_K]
        flat_K = texts_K * peaks_PF.shape[1] + features_K
        peaks_PF.view(-1).scatter_reduce_(0, flat_K, values_K, "amax")
        first_K = (texts_K == 0) & (values_K == peaks_PF[0, features_K])
        places_F[features_K[first_K]] = read.positions_N[rows_K[first_K]]
    if empty := [one.text for one, n in zip(documents, read_P.tolist(), strict=True) if not n]:
        raise DataError(
            f"the prompt {empty[0]!r} has no token that the dictionary reads (it never reads the first): give a longer "
            "one"
        )
    strengths_PF = peaks_PF / torch.maximum(maxima_F.float(), peaks_PF.amax(dim=0)).clamp_min(1e-30)
    weakest_F = strengths_PF[: len(prompts)].amin(dim=0)
    elsewhere_F = strengths_PF[len(prompts) :].amax(dim=0) if minus else torch.zeros_like(weakest_F)
    order = (weakest_F - elsewhere_F).argsort(descending=True, stable=True)
    return [
        PromptFeature(
            feature,
            strength=weakest_F[feature].item(),
            elsewhere=elsewhere_F[feature].item(),
            activation=peaks_PF[0, feature].item(),
            token=token_text(texts[0][int(places_F[feature])], tokenizer),
        )
        for feature in order[:top].tolist()
        if weakest_F[feature] > elsewhere_F[feature]
    ]
