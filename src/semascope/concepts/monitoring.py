"""Watching a stream of texts: which of them rules flag, and where; texts come and go, nothing grows.

T tokens of a text, n features that the rules name, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from semascope.concepts.reading import TEXTS_AT_ONCE, TextReader
from semascope.concepts.rules import Rule
from semascope.records import Condition
from semascope.text import pieces


@dataclass(frozen=True)
class Span:
    """A run of tokens on which a feature exceeds its threshold.

    ``start`` and ``stop`` are characters of the text; None where the tokenizer changes the text that it reads.
    """

    feature: int
    peak: float
    text: str
    start: int | None
    stop: int | None


@dataclass(frozen=True)
class Flag:
    """A rule that flags a text. ``score``: how many times its threshold was reached, above 1; ``spans``: where."""

    rule: str
    score: float
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Watched:
    """A text that was read: its number in the stream, the score of every rule, and what flags it.

    A score is the largest activation in multiples of the threshold, of the condition that decides. ``mean_D``: the mean
    raw activation, for a probe.
    """

    number: int
    scores: Mapping[str, float]
    flags: tuple[Flag, ...]
    mean_D: Tensor


class Monitor:
    """Reads texts of any length in windows that overlap by a quarter, so that each token has others before it."""

    def __init__(
        self,
        reader: TextReader,
        rules: Sequence[Rule],
        maxima_F: Tensor,
        *,
        context_tokens: int = 128,
        texts_at_once: int = TEXTS_AT_ONCE,
    ) -> None:
        """``maxima_F``: each feature's maximum in the index, for thresholds that count in it."""
        self._texts_at_once = texts_at_once
        self._reader, self.rules = reader, tuple(rules)
        self._features = sorted({condition.feature for rule in rules for condition in rule.conditions})
        self._column = {feature: column for column, feature in enumerate(self._features)}
        self._maxima_F = maxima_F
        bos = reader.model.tokenizer.bos_id
        self._bos = [] if bos is None else [bos]
        self._room = min(context_tokens, reader.model.context_limit) - len(self._bos)

    def watch(self, texts: Iterable[str]) -> Iterator[Watched]:
        """Each text as it comes, some read together. A text without a token is read as one that nothing flags."""
        coming = enumerate(texts)
        while together := list(islice(coming, self._texts_at_once)):
            yield from self._read([number for number, _ in together], [text for _, text in together])

    def _read(self, numbers: Sequence[int], texts: Sequence[str]) -> Iterator[Watched]:
        encoded = self._reader.model.tokenizer.encode(list(texts))
        windows = [(row, *window) for row, ids in enumerate(encoded) for window in self._windows(len(ids))]
        values = [torch.zeros(len(ids), len(self._features)) for ids in encoded]
        sums_SD = torch.zeros(len(texts), self._reader.autoencoder.width)
        counts_S = torch.zeros(len(texts))
        features_n = torch.tensor(self._features, device=self._reader.model.device)
        rows_W, starts_W, skips_W = (torch.tensor([one[i] for one in windows], dtype=torch.int64) for i in range(3))
        sequences = [self._bos + list(encoded[row][start : start + self._room]) for row, start, _ in windows]
        for read in self._reader.read(sequences):
            places_N = read.positions_N - len(self._bos)
            fresh_N = places_N >= skips_W[read.texts_N]
            rows_N, places_N = rows_W[read.texts_N][fresh_N], (starts_W[read.texts_N] + places_N)[fresh_N]
            values_Nn = read.codes.columns(features_n).float().cpu()[fresh_N]
            for row in rows_N.unique().tolist():
                values[row][places_N[rows_N == row]] = values_Nn[rows_N == row]
            sums_SD.index_add_(0, rows_N, read.x_ND.cpu()[fresh_N])
            counts_S += rows_N.bincount(minlength=len(texts))
        means_SD = sums_SD / counts_S.clamp_min(1)[:, None]
        for row, number in enumerate(numbers):
            yield self._watched(number, texts[row], encoded[row], values[row], means_SD[row])

    def _windows(self, tokens: int) -> Iterator[tuple[int, int]]:
        """Where each window of a text starts, and how many of its tokens are there for context only."""
        overlap = self._room // 4
        start = 0
        while start < tokens and (start == 0 or start + overlap < tokens):
            yield start, overlap if start else 0
            start += self._room - overlap

    def _watched(self, number: int, text: str, ids: Sequence[int], values_Tn: Tensor, mean_D: Tensor) -> Watched:
        scores: dict[str, float] = {}
        flags: list[Flag] = []
        for rule in self.rules:
            reached = [self._reached(condition, values_Tn) for condition in rule.conditions]
            scores[rule.name] = min(reached) if rule.needs_all else max(reached)
            if scores[rule.name] > 1:
                spans = [span for one in rule.conditions for span in self._spans(one, text, ids, values_Tn)]
                flags.append(Flag(rule.name, scores[rule.name], tuple(spans)))
        return Watched(number, scores, tuple(flags), mean_D)

    def _threshold(self, condition: Condition) -> float:
        above = condition.above
        return above * float(self._maxima_F[condition.feature]) if condition.in_maxima else above

    def _reached(self, condition: Condition, values_Tn: Tensor) -> float:
        values_T = values_Tn[:, self._column[condition.feature]]
        # A threshold of zero is exceeded by whatever fires.
        threshold = max(self._threshold(condition), 1e-6)
        return values_T.max().item() / threshold if len(values_T) else 0.0

    def _spans(self, condition: Condition, text: str, ids: Sequence[int], values_Tn: Tensor) -> Iterator[Span]:
        values_T = values_Tn[:, self._column[condition.feature]]
        above = (values_T > self._threshold(condition)).tolist()
        if not any(above):
            return
        shown = pieces(ids, self._reader.model.tokenizer)
        read = "".join(piece.text for piece in shown)
        offset = 0 if read == text else None
        character = 0
        run: list[tuple[int, int, int]] = []  # token start, token stop, first character
        for piece in [*shown, None]:
            if piece is not None and any(above[piece.start : piece.stop]):
                run.append((piece.start, piece.stop, character))
            elif run:
                first, stop = run[0], character
                yield Span(
                    condition.feature,
                    peak=values_T[first[0] : run[-1][1]].max().item(),
                    text=read[first[2] : stop],
                    start=None if offset is None else first[2],
                    stop=None if offset is None else stop,
                )
                run = []
            character += len(piece.text) if piece is not None else 0
