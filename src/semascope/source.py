"""Where activations come from: a language model, a text, and the sites at which the model is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from semascope import progress
from semascope.activations import ActivationStore, LiveBatches, StoredBatches, StoreWriter, harvest
from semascope.config import ModelConfig
from semascope.errors import DataError, MismatchError
from semascope.models import LanguageModel, load_model, load_tokenizer
from semascope.records import Site, TokenBatch
from semascope.team import ALONE, Team
from semascope.text import Corpus, CorpusConfig, Tokenizer, pack
from semascope.training import TrainingConfig

# Large enough for the matrix products to run at their full rate, small enough to stay in the caches of a laptop.
TOKENS_PER_FORWARD = 1024


class ActivationSource:
    """The activations of a model on a text, at one site or at several in one pass.

    ``model``, ``tokenizer`` and ``corpus`` are loaded when first needed. The processes of a ``team`` share the work,
    and all see the same activations in the same order.
    """

    def __init__(self, model: ModelConfig, corpus: CorpusConfig, sites: Sequence[Site], team: Team = ALONE) -> None:
        self.team = team
        self._model_config, self._corpus_config = model, corpus
        self.sites = tuple(dict.fromkeys(sites))

    @cached_property
    def model(self) -> LanguageModel:
        """The language model."""
        return load_model(**self._model_config.model_dump())

    @cached_property
    def exact_model(self) -> LanguageModel:
        """The language model in full precision, for comparing passes that hardly differ."""
        exact = self._model_config.exact()
        return self.model if exact == self._model_config else load_model(**exact.model_dump())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, without loading the model."""
        config = self._model_config
        return load_tokenizer(config.name, revision=config.revision, trust_remote_code=config.trust_remote_code)

    @cached_property
    def corpus(self) -> Corpus:
        """The text, with its held-out part."""
        return Corpus(self._corpus_config)

    @property
    def windows_per_batch(self) -> int:
        """How many windows of text go through the model at once."""
        return max(1, TOKENS_PER_FORWARD // self._corpus_config.context_tokens)

    def windows(self, *, held_out: bool = False, skip: int = 0) -> Iterator[TokenBatch]:
        """The token windows of the training text, or of the held-out one, after the first ``skip``."""
        batches = pack(
            self.corpus.held_out() if held_out else self.corpus.training(),
            self.tokenizer,
            context_tokens=self._corpus_config.context_tokens,
            windows_per_batch=self.windows_per_batch,
        )
        return islice(batches, skip // self.windows_per_batch, None)

    def store(self, folder: Path, tokens: int, *, held_out: bool = False) -> ActivationStore:
        """The activations of the first ``tokens`` tokens on disk: those that are there, or harvested now.

        ``held_out``: of the text that nothing is trained on. Raises DataError when the text ends before.
        """
        origin = self._origin | ({"held_out": True} if held_out else {})
        if self.team.agree(ActivationStore.is_complete(folder)):
            store = ActivationStore(folder)
            if store.manifest.origin != origin or not set(self.sites) <= store.columns.keys():
                raise MismatchError(
                    f"{folder} holds activations of {store.manifest.origin} at {', '.join(map(str, store.columns))}, "
                    f"and {origin} at {self} was asked for: choose another folder, or delete that one"
                )
            progress.message(f"Reusing {len(store):,} activations in {folder}")
            return store
        widths = {site: self.model.width(site) for site in self.sites}
        writer = StoreWriter(folder, origin=origin, widths=widths, writes=self.team.first)
        self.team.wait()  # All have read how far an earlier harvest came, before this one goes on.
        with writer:
            rows = writer.manifest.rows
            windows = self.windows(held_out=held_out, skip=writer.manifest.windows)
            name = f"Harvest {self}{', held out' if held_out else ''}"
            with progress.task(name, total=tokens, unit="tokens", done=rows) as shown:
                for text, activations in harvest(self.model, self.sites, windows, writer.outliers, self.team):
                    writer.add(text, activations)
                    rows += len(activations)
                    shown.advance(len(activations))
                    if rows >= tokens:
                        break
            if rows < tokens:
                instead = "hold out a larger part" if held_out else f"train on {rows / tokens:.0%} of the tokens"
                raise DataError(
                    f"the {'held-out ' if held_out else ''}text gave {rows:,} activations, and {tokens:,} were asked "
                    f"for: give more text, or {instead}"
                )
        self.team.wait()
        return ActivationStore(folder)

    def batches(self, config: TrainingConfig, store: ActivationStore | None) -> StoredBatches | LiveBatches:
        """What a training of these settings learns from: the store, or the model as it runs."""
        if store is not None:
            store.verify(part=self.team.rank, parts=self.team.size)
            return StoredBatches(store, batch=config.batch_tokens, seed=config.seed)
        return LiveBatches(
            self.model, self.sites, lambda skip: self.windows(skip=skip),
            tokens=config.tokens, batch=config.batch_tokens, buffer_tokens=config.buffer_tokens, seed=config.seed,
            team=self.team,
        )  # fmt: skip

    def __str__(self) -> str:
        return ", ".join(map(str, self.sites))

    @property
    def _origin(self) -> dict[str, Any]:
        """What decides the activations, beside the sites."""
        return {
            "model": self._model_config.model_dump(mode="json"),
            "corpus": self._corpus_config.model_dump(mode="json"),
        }
