"""A run: one folder from a model and text to a dictionary that can be read.

This is the façade that the command line and a notebook use. Every method does one stage, reuses what an earlier call
finished, and goes on with what it left unfinished.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from semascope import progress
from semascope.activations import ActivationStore, OutlierFilter, harvest
from semascope.concepts import EMBEDDED_SUITE, ConceptScore, score_concepts
from semascope.errors import DataError, UnavailableError
from semascope.evaluation import evaluate_reconstruction
from semascope.features import FeatureIndex, FeatureMap, IndexBuilder, make_map
from semascope.records import ActivationBatch, TokenBatch
from semascope.report import write_report
from semascope.runs.card import card
from semascope.runs.folder import RunFolder
from semascope.runs.together import alone, train_together
from semascope.sae import SparseAutoencoder
from semascope.text import token_text


class Run(RunFolder):
    """A run folder and its stages. `Run.begin` starts one or goes on with it, `Run.open` only reads."""

    def harvest(self) -> ActivationStore | None:
        """Run the model over the text and keep the activations, if this run keeps them.

        Raises DataError when the text ends before enough activations are there.
        """
        if not self.config.stored:
            return None
        return self.source.store(self.activations_folder, self.config.harvest_tokens)

    def train(self) -> SparseAutoencoder:
        """Train the dictionary (harvesting first, if need be) and save it folded, for raw activations.

        Raises UnavailableError while another process trains it.
        """
        team = self.source.team
        with alone(self.folder, team):
            if team.agree(self.trained):
                progress.message(f"Reusing the dictionary in {self.folder / 'dictionary'}")
            else:
                train_together({"dictionary": self}, self.harvest(), self.folder / "checkpoints")
        return self.dictionary

    def evaluate(self) -> dict[str, Any]:
        """Measure the dictionary on held-out text: ``evaluation/reconstruction.json``."""
        if found := self.result("reconstruction"):
            progress.message("Reusing evaluation/reconstruction.json")
            return found
        config, metadata = self.config.evaluation, self.saved.metadata
        batches = self.source.windows(held_out=True)
        n_batches = max(1, config.tokens // (self.config.corpus.context_tokens * self.source.windows_per_batch))
        report = evaluate_reconstruction(
            self.model,
            self.site,
            self.dictionary.to(self.model.device),
            list(islice(batches, n_batches)),
            ce_tokens=config.ce_tokens,
            output_site=self.output_site if self.config.output_site else None,
            recent_medians=metadata["recent_medians"],
            seed=config.seed,
        )
        return self.write_result(
            "reconstruction",
            report.as_json()
            | {name: metadata[name] for name in ("dead_fraction", "dead_counted_over_tokens")}
            | {"model": self.config.model.name, "site": str(self.site), "semascope_version": version("semascope")},
        )

    def score_concepts(self) -> dict[str, Any]:
        """Ask what the dictionary knows, by labelled held-out texts: ``evaluation/concepts.json``.

        The list of concepts is empty when the text carries no labels for any of them.
        """
        if found := self.result("concepts"):
            progress.message("Reusing evaluation/concepts.json")
            return found
        config = self.config.evaluation
        labelled = self.corpus.labelled()
        scores: list[ConceptScore] = []
        if labelled:
            scores = score_concepts(
                self.reader,
                labelled,
                EMBEDDED_SUITE,
                texts_each=config.concept_texts,
                seed=config.seed,
            )
        return self.write_result("concepts", {"seed": config.seed, "concepts": [score.as_json() for score in scores]})

    def index(self) -> FeatureIndex:
        """Build the feature index over the training text, from kept activations if there are any."""
        if FeatureIndex.is_complete(self.folder / "features"):
            progress.message(f"Reusing the feature index in {self.folder / 'features'}")
            return self.features
        wanted, tokenizer = self.config.index_tokens, self.tokenizer
        dictionary = self.dictionary.to(self.model.device)
        if self.config.stored:
            wanted = min(wanted, self.config.harvest_tokens)
        with IndexBuilder(self.folder / "features", n_features=dictionary.features) as builder:
            with progress.task("Index", total=wanted, unit="tokens") as shown:
                rows = 0
                for text, activations in self._activations_to_index():
                    if text is not None:
                        builder.add_windows(text)
                    codes = dictionary.encode(activations.values_ND.to(self.model.device).float())
                    builder.add(codes, activations.tokens_N, activations.windows_N, activations.positions_N)
                    rows += len(activations)
                    shown.advance(len(activations))
                    if rows >= wanted:
                        break
            builder.finish(
                dictionary.W_dec_FO.detach(),
                promoted=self.model.promoted if self.output_site.writes_residual else None,
                token_text=lambda token: token_text(token, tokenizer),
                decode=tokenizer.decode,
                sources=self._document_sources(),
                provenance={
                    "dictionary": str(self.folder / "dictionary"),
                    "model": self.config.model.model_dump(mode="json"),
                    "site": str(self.site),
                    "corpus": self.config.corpus.model_dump(mode="json"),
                    "semascope_version": version("semascope"),
                },
            )
        self.__dict__.pop("features", None)
        return self.features

    def map(self) -> FeatureMap:
        """Lay the features out on a map beside the index, building that first if need be."""
        index = self.index()
        if FeatureMap.exists(index):
            progress.message(f"Reusing the map in {index.folder}")
            return FeatureMap.read(index)
        return make_map(index, self.dictionary.W_dec_FO, seed=self.config.evaluation.seed)

    def report(self) -> Path:
        """Write ``report.html`` from what has been measured so far."""
        path = self.folder / "report.html"
        concepts = self.result("concepts")
        write_report(
            path,
            title=f"{self.config.model.name}, {self.site}",
            card=card(self),
            metrics=self.metrics,
            evaluation=self.result("reconstruction"),
            concepts=concepts["concepts"] if concepts else [],
            index=self.features,
            tokenizer=self.tokenizer,
        )
        return path

    def _document_sources(self) -> Iterator[str]:
        """The source of each document in the order of the pass over the text, which is read once more."""
        try:
            for document in self.corpus.training():
                yield document.source
        except (DataError, UnavailableError) as error:
            progress.message(f"The text cannot be read again ({error}): the index does not tell its sources apart")
            yield from repeat("unknown source")

    def _activations_to_index(self) -> Iterator[tuple[TokenBatch | None, ActivationBatch]]:
        if self.config.stored:
            yield from ActivationStore(self.activations_folder).batches(self.site)
        else:
            outliers = OutlierFilter(self.saved.metadata["recent_medians"][0])
            yield from harvest(self.model, [self.site], self.source.windows(), outliers)
