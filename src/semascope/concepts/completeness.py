"""Completeness: whether a dictionary has a feature for each of many names, by how often the text names them.

As in the paper (Templeton et al., "Scaling Monosemanticity", 2024): the share of things with a feature of their own
rises as a sigmoid of the logarithm of their frequency, and further left the more features there are. A name is told
from others of its kind in the same sentences, by what fires on the name itself; half of the sentences choose the
feature, the others score it.

Names are so different from one another that among thousands of random directions there is one for nearly each that
tells it from all others. What such directions do not do is point the way of the name: that is how a feature of its own
is told from what happens to fire.

N names, S texts, F features, D width.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semascope.concepts.auc import auc, chance_of
from semascope.concepts.ranking import CHOOSE, LEVEL, SCORE
from semascope.concepts.reading import TextReader
from semascope.errors import DataError
from semascope.features import unit_rows
from semascope.records import Document
from semascope.text import Tokenizer, one_window_each

TEMPLATES = (
    "This page is about {}.", "I have read a long article on {} today.", "What do you know about {}?",
    "There is a new book on {} in the library.", "Nobody in the room had heard of {} before.",
    "She told us a story about {} last night.", "The first chapter is called {} and the second one is not.",
    "We talked about {} for an hour.", "My teacher likes {} very much.", "He wrote {} on the blackboard.",
    "The question was whether {} was the right answer.", "In the end it was all about {}.",
    "They showed pictures of {} on the wall.", "Tell me something about {} that I do not know.",
    "The word {} was on every page.", "Of all things it was {} that surprised them.",
)  # fmt: skip
OWN_AUC = 0.95
"""What a feature of a name's own must reach: one that stands for a group of names tells each from most others too."""

_FEWEST_NAMES = 8
# The 95 % point of χ² with one degree of freedom.
_CHANCE = 3.84
_NEGATIVES = 120
_DOCUMENTS_AT_ONCE = 256


@dataclass(frozen=True)
class NamePresence:
    """A name, how often the training text has it, and its best feature.

    The feature is the one whose direction is nearest to the difference between the name and others, in the sentences
    that choose. ``cosine``: how near it is to that difference in the other sentences; ``untrained_cosine``: how near
    the nearest of as many random directions is. The name is ``present`` when the feature is nearer than that, tells it
    with a held-out AUC of at least ``OWN_AUC`` and not by chance, and is not nearer to another name.
    """

    name: str
    count: int
    per_million: float
    feature: int
    auc: float
    cosine: float
    untrained_cosine: float
    present: bool


@dataclass(frozen=True)
class Sigmoid:
    """The fitted share of names that are present: 1 / (1 + exp(−slope · (log10 frequency − middle)))."""

    slope: float
    middle: float

    def at(self, per_million: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share at some frequencies, in occurrences a million tokens."""
        return 1 / (1 + np.exp(-self.slope * (np.log10(per_million) - self.middle)))


@dataclass(frozen=True)
class Completeness:
    """What is present of the names of a kind, in a dictionary of so many features.

    No ``fit`` where presence does not rise with frequency.
    """

    kind: str
    features: int
    tokens: int
    names: tuple[NamePresence, ...]
    fit: Sigmoid | None

    @property
    def share(self) -> float:
        """Of all names, those with a feature."""
        return sum(one.present for one in self.names) / len(self.names)

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {**asdict(self), "share": self.share}


def count_names(
    documents: Iterable[Document], names: Sequence[str], tokenizer: Tokenizer, tokens: int
) -> tuple[dict[str, int], int]:
    """How often each name stands in the first ``tokens`` tokens of a text, as a whole word; and how many were read."""
    pattern = re.compile(
        r"(?<!\w)(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + r")(?!\w)", re.I
    )
    spelt = {name.lower(): name for name in names}
    counts, read = dict.fromkeys(names, 0), 0
    coming = iter(documents)
    while read < tokens and (together := list(islice(coming, _DOCUMENTS_AT_ONCE))):
        for document, ids in zip(together, tokenizer.encode([one.text for one in together]), strict=True):
            if read >= tokens:
                break
            read += len(ids)
            for found in pattern.findall(document.text):
                counts[spelt[found.lower()]] += 1
    return counts, read


def measure_completeness(
    reader: TextReader, kind: str, counts: dict[str, int], tokens: int, *, seed: int = 0
) -> Completeness:
    """Look for a feature for each name of ``counts``, which stand so often in so many tokens of training text.

    Raises DataError for fewer than 8 names.
    """
    names = list(counts)
    if len(names) < _FEWEST_NAMES:
        raise DataError(f"{len(names)} names were given, and a curve needs at least {_FEWEST_NAMES}")
    texts = [Document(template.format(name), kind) for name in names for template in TEMPLATES]
    windows = [ids for _, ids in one_window_each(texts, reader.model.tokenizer, context_tokens=64)]
    pooled = reader.pool(windows, _places(windows, reader.model.tokenizer))
    features_tried = int((pooled.maxima_SF > 0).any(dim=0).sum())
    own_FD, random_FD = (
        unit_rows(one.reading_directions_FD).cpu() for one in (reader.autoencoder, reader.untrained(windows))
    )
    generator = random.Random(seed)
    found: list[NamePresence] = []
    for number, name in enumerate(names):
        sides = _draw_sides(number, len(names), generator)
        feature = int((own_FD @ _direction(pooled.means_SD, *(rows[CHOOSE] for rows in sides))).argmax())
        with_P, without_Q = (rows[SCORE] for rows in sides)
        direction_D = _direction(pooled.means_SD, with_P, without_Q)
        cosine, nearest = (own_FD[feature] @ direction_D).item(), (random_FD @ direction_D).max().item()
        activations_S1 = pooled.maxima_SF[:, feature, None]
        own_auc = auc(activations_S1[with_P], activations_S1[without_Q]).item()
        p_value = features_tried * chance_of(activations_S1[with_P, 0], activations_S1[without_Q, 0])
        tells = own_auc >= OWN_AUC and p_value <= LEVEL and cosine > nearest
        per_million = 1e6 * counts[name] / tokens
        found.append(NamePresence(name, counts[name], per_million, feature, own_auc, cosine, nearest, tells))
    owner = {one.feature: one.name for one in sorted(found, key=lambda one: one.cosine)}
    found = [replace(one, present=one.present and owner[one.feature] == one.name) for one in found]
    frequencies = np.array([frequency(one.count, tokens) for one in found])
    present = np.array([one.present for one in found])
    return Completeness(kind, reader.autoencoder.features, tokens, tuple(found), fit_sigmoid(frequencies, present))


def _draw_sides(number: int, n_names: int, generator: random.Random) -> tuple[Tensor, Tensor]:
    """The rows of a name's sentences, and of some with other names, both in random order."""
    n = len(TEMPLATES)
    with_it = list(range(number * n, (number + 1) * n))
    others = [row for row in range(n_names * n) if row // n != number]
    negatives = generator.sample(others, min(_NEGATIVES, len(others)))
    generator.shuffle(with_it)
    return torch.tensor(with_it), torch.tensor(negatives)


def _direction(means_SD: Tensor, with_P: Tensor, without_Q: Tensor) -> Tensor:
    """[D], of length 1: from the mean of the texts without a name to that of the texts with it."""
    return torch.nn.functional.normalize(means_SD[with_P].mean(dim=0) - means_SD[without_Q].mean(dim=0), dim=0)


def _places(windows: Sequence[Sequence[int]], tokenizer: Tokenizer) -> list[range]:
    """Where the name stands in each window, with the space before it: between the tokens of its template."""
    around = [template.split("{}") for template in TEMPLATES]
    before = [len(ids) for ids in tokenizer.encode([prefix.rstrip() for prefix, _ in around])]
    after = [len(ids) for ids in tokenizer.encode([suffix for _, suffix in around])]
    bos = 0 if tokenizer.bos_id is None else 1
    n = len(TEMPLATES)
    return [range(bos + before[row % n], len(ids) - after[row % n]) for row, ids in enumerate(windows)]


def frequency(count: int, tokens: int) -> float:
    """Occurrences a million tokens, half of one for a name that never occurs, so that it has a logarithm."""
    return 1e6 * max(count, 0.5) / tokens


def fit_sigmoid(per_million: NDArray[np.float64], present: NDArray[np.bool_]) -> Sigmoid | None:
    """The logistic regression of presence on log10 frequency, by maximum likelihood.

    A weak prior on the slope (standard deviation 5) keeps it finite where the two are perfectly apart. None where
    presence does not rise with frequency: the likelihood ratio against one share for all is within chance (5 %).
    """
    from scipy.optimize import minimize  # a second to import, and other commands do not need it

    x = np.log10(per_million)
    if present.all() or not present.any() or np.ptp(x) == 0:
        return None
    centre, sign = x.mean(), np.where(present, 1.0, -1.0)

    def loss(parameters: NDArray[np.float64]) -> float:
        intercept, slope = parameters
        return float(np.logaddexp(0, -sign * (intercept + slope * (x - centre))).sum() + slope**2 / 50)

    found = minimize(loss, np.zeros(2))
    intercept, slope = found.x
    share = present.mean()
    loss_without = -len(x) * (share * np.log(share) + (1 - share) * np.log(1 - share))
    rises = slope > 0 and 2 * (loss_without - found.fun) > _CHANCE
    return Sigmoid(float(slope), float(centre - intercept / slope)) if rises else None
