"""A run: one folder from a model and text to a dictionary that can be read.

This is the façade that the command line and a notebook use. Every method does one stage, reuses what an earlier call
finished, and goes on with what it left unfinished.

    runs/mine/
      run.json           what it is: configuration as asked for and as resolved, versions
      activations/       harvested activations, when they are kept (see `activations.store`)
      checkpoints/       exact resume, until the dictionary is saved (see `training.checkpoints`)
      metrics.jsonl      one line an interval of training
      dictionary/        cfg.json + sae_weights.safetensors, readable by SAELens
      evaluation/        reconstruction.json, concepts.json
      features/          the feature index
      report.html        the run at a glance
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semascope import progress
from semascope.activations import ActivationStore, LiveBatches, OutlierFilter, StoredBatches, StoreWriter, harvest
from semascope.concepts import EMBEDDED_SUITE, ConceptScore, score_concepts
from semascope.config import RunConfig, differences
from semascope.errors import ConfigError, DamagedError, DataError, MismatchError
from semascope.evaluation import evaluate_reconstruction
from semascope.features import FeatureIndex, IndexBuilder
from semascope.files import read_json, write_json
from semascope.models import LanguageModel, load_model, load_tokenizer
from semascope.records import ActivationBatch, Site, TokenBatch
from semascope.report import write_report
from semascope.sae import SavedDictionary, SparseAutoencoder, hook_name, load_dictionary, save_dictionary
from semascope.text import Corpus, Tokenizer, pack, pieces
from semascope.training import read_metrics, train

# Large enough for the matrix products to run at their full rate, small enough to stay in the caches of a laptop.
TOKENS_PER_FORWARD = 1024


class Run:
    """A run folder. `Run.begin` starts one or goes on with it, `Run.open` only reads."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        self.site = Site.parse(config.site)

    @classmethod
    def begin(cls, folder: Path | str, config: RunConfig) -> Run:
        """Start a run in a new folder, or go on with the one that is there.

        Raises MismatchError when the folder holds a run of another configuration.
        """
        folder = Path(folder)
        config = config.model_copy(update={"training": config.training.resolved()})
        Site.parse(config.site)
        # A run that failed before it made anything, by a misspelt model for example, may be corrected.
        started = folder.exists() and any(path.name != "run.json" for path in folder.iterdir())
        if started and (folder / "run.json").exists():
            run = cls.open(folder)
            if run.config != config:
                raise MismatchError(
                    f"{folder} holds a run of other settings ({', '.join(differences(run.config, config))}): "
                    "choose another folder, or delete that one"
                )
            return run
        if started:
            raise ConfigError(f"{folder} is not empty and holds no run: choose another folder")
        versions = {name: version(name) for name in ("semascope", "torch", "transformers", "duckdb")}
        write_json(
            folder / "run.json",
            {
                "format": 1,
                "config": config.model_dump(mode="json"),
                "versions": {**versions, "python": platform.python_version()},
            },
        )
        return cls(folder, config)

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open an existing run. Raises DamagedError when the folder holds none."""
        file = Path(folder) / "run.json"
        if not file.is_file():
            raise DamagedError(
                f"{folder} holds no run.json: it is no run; 'semascope train' and 'semascope demo' make one"
            )
        try:
            return cls(Path(folder), RunConfig.model_validate(read_json(file).get("config")))
        except ValidationError as error:
            raise DamagedError(f"{file} does not describe a run: {error}") from error

    @cached_property
    def model(self) -> LanguageModel:
        """The language model, loaded when first needed."""
        return load_model(**self.config.model.model_dump())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, without loading the model."""
        config = self.config.model
        return load_tokenizer(config.name, revision=config.revision, trust_remote_code=config.trust_remote_code)

    @cached_property
    def corpus(self) -> Corpus:
        """The text, with its held-out part."""
        return Corpus(self.config.corpus)

    @property
    def dictionary(self) -> SparseAutoencoder:
        """The trained dictionary, for raw activations."""
        return self._saved.autoencoder

    @cached_property
    def features(self) -> FeatureIndex:
        """The feature index. Raises DamagedError when there is none yet."""
        if not (self.folder / "features").exists():
            raise DamagedError(f"{self.folder} has no feature index yet: run 'semascope index {self.folder}'")
        return FeatureIndex.open(self.folder / "features")

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The lines of ``metrics.jsonl``."""
        return read_metrics(self.folder / "metrics.jsonl")

    def result(self, name: str) -> dict[str, Any] | None:
        """What ``evaluation/NAME.json`` says, or None when that was not measured yet."""
        file = self.folder / "evaluation" / f"{name}.json"
        return read_json(file) if file.exists() else None

    # --- the stages -------------------------------------------------------------------------------------------------

    def harvest(self) -> ActivationStore | None:
        """Run the model over the text and keep the activations, if this run keeps them.

        Raises DataError when the text ends before enough activations are there.
        """
        if not self.config.stored:
            return None
        folder, wanted = self.folder / "activations", self.config.harvest_tokens
        if ActivationStore.is_complete(folder):
            store = ActivationStore(folder)
            progress.message(f"Reusing {len(store):,} activations in {folder}")
            return store
        with StoreWriter(folder, origin=self._origin, width=self.model.width(self.site)) as writer:
            rows = writer.manifest.rows
            windows = self._windows(held_out=False, skip=writer.manifest.windows)
            with progress.task(f"Harvest {self.site}", total=wanted, unit="tokens", done=rows) as shown:
                for text, activations in harvest(self.model, self.site, windows, writer.outliers):
                    writer.add(text, activations)
                    rows += len(activations)
                    shown.advance(len(activations))
                    if rows >= wanted:
                        break
            if rows < wanted:
                raise DataError(
                    f"the text gave {rows:,} activations, and {wanted:,} were asked for: give more text, or train on "
                    f"--tokens {rows * self.config.passes}"
                )
        return ActivationStore(folder)

    def train(self) -> SparseAutoencoder:
        """Train the dictionary (harvesting first, if need be) and save it folded, for raw activations."""
        if (self.folder / "dictionary" / "cfg.json").exists():
            progress.message(f"Reusing the dictionary in {self.folder / 'dictionary'}")
            return self.dictionary
        config, store = self.config.training, self.harvest()
        if store is not None:
            store.verify()
            stream = StoredBatches(store, batch=config.batch_tokens, seed=config.seed)
        else:
            stream = LiveBatches(
                self.model, self.site, lambda skip: self._windows(held_out=False, skip=skip),
                tokens=config.tokens, batch=config.batch_tokens, buffer_tokens=config.buffer_tokens, seed=config.seed,
            )  # fmt: skip
        width = store.width if store is not None else self.model.width(self.site)
        trained = train(stream, config, width=width, folder=self.folder, device=self.model.device)
        outliers = stream.outliers
        save_dictionary(
            trained.folded(stream.scale),
            self.folder / "dictionary",
            {
                "model_name": self.config.model.name,
                "model_revision": self.model.revision,
                "hook_name": hook_name(self.site),
                "site": str(self.site),
                "context_size": self.config.corpus.context_tokens,
                "prepend_bos": self.tokenizer.bos_id is not None,
                "corpus": self.config.corpus.model_dump(mode="json"),
                "activation_scale": stream.scale,
                "recent_medians": outliers.recent_medians,
                "left_out": asdict(outliers.counts),
                "training": config.model_dump(mode="json"),
                "dead_fraction": self.metrics[-1]["dead_fraction"],
                "dead_counted_over_tokens": config.dead_after_tokens,
                "semascope_version": version("semascope"),
            },
        )
        # The settings of a run never change, so there is nothing left to resume.
        shutil.rmtree(self.folder / "checkpoints")
        return self.dictionary

    def evaluate(self) -> dict[str, Any]:
        """Measure the dictionary on held-out text: ``evaluation/reconstruction.json``."""
        if found := self.result("reconstruction"):
            progress.message("Reusing evaluation/reconstruction.json")
            return found
        config, metadata = self.config.evaluation, self._saved.metadata
        batches = self._windows(held_out=True)
        n_batches = max(1, config.tokens // (self.config.corpus.context_tokens * self._windows_per_batch))
        report = evaluate_reconstruction(
            self.model,
            self.site,
            self.dictionary.to(self.model.device),
            list(islice(batches, n_batches)),
            ce_tokens=config.ce_tokens,
            recent_medians=metadata["recent_medians"],
            seed=config.seed,
        )
        return self._write_result(
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
        labelled = [document for document in self.corpus.held_out() if document.labels]
        scores: list[ConceptScore] = []
        if labelled:
            scores = score_concepts(
                self.model,
                self.site,
                self.dictionary.to(self.model.device),
                labelled,
                EMBEDDED_SUITE,
                texts_each=config.concept_texts,
                recent_medians=self._saved.metadata["recent_medians"],
                seed=config.seed,
            )
        return self._write_result("concepts", {"seed": config.seed, "concepts": [score.as_json() for score in scores]})

    def index(self) -> FeatureIndex:
        """Build the feature index over the training text, from kept activations if there are any."""
        if (self.folder / "features" / "index.json").exists():
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
            in_residual_stream = self.site.kind != "mlp_in"
            builder.finish(
                dictionary.W_dec_FO.detach(),
                promoted=self.model.promoted if in_residual_stream else None,
                token_text=lambda token: pieces([token], tokenizer)[0].text,
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

    def report(self) -> Path:
        """Write ``report.html`` from what has been measured so far."""
        path = self.folder / "report.html"
        concepts = self.result("concepts")
        write_report(
            path,
            title=f"{self.config.model.name}, {self.site}",
            card=self.card(),
            metrics=self.metrics,
            evaluation=self.result("reconstruction"),
            concepts=concepts["concepts"] if concepts else [],
            index=self.features,
            tokenizer=self.tokenizer,
        )
        return path

    def card(self) -> dict[str, str]:
        """What the run is, as labels and values for people."""
        training, corpus, metadata = self.config.training, self.config.corpus, self._saved.metadata
        left_out = metadata["left_out"]
        unsaid = {"variant"} if len(training.variant.prefixes) > 1 else {"variant", "prefixes"}
        harvested = f" ({self.config.passes} passes over {self.config.harvest_tokens:,})" if self.config.stored else ""
        return {
            "Model": ", ".join(filter(None, [self.config.model.name, metadata["model_revision"]])),
            "Site": f"{self.site} (hook {hook_name(self.site)})",
            "Dictionary": f"{training.features:,} features, {training.variant.variant}",
            "Settings": ", ".join(f"{k} {v}" for k, v in training.variant.model_dump(exclude=unsaid).items()),
            "Trained on": f"{training.tokens:,} tokens{harvested}, batches of {training.batch_tokens:,}",
            "Learning rate": f"{training.learning_rate:.2g}, decayed over the last {training.decay_fraction:.0%}",
            "Text": f"{corpus.source}, windows of {corpus.context_tokens} tokens, "
            f"{corpus.held_out_fraction:.0%} of the documents held out",
            "Left out of training": f"{left_out['first_position']:,} first positions and {left_out['massive']:,} "
            f"massive activations, of {left_out['tokens']:,} tokens",
            "Seed": str(training.seed),
            "Made with": f"semascope {metadata['semascope_version']}",
        }

    # --- what the stages share --------------------------------------------------------------------------------------

    @cached_property
    def _saved(self) -> SavedDictionary:
        if not (self.folder / "dictionary").exists():
            raise DamagedError(f"{self.folder} has no dictionary yet: run the command that trains it again")
        return load_dictionary(self.folder / "dictionary")

    @property
    def _windows_per_batch(self) -> int:
        return max(1, TOKENS_PER_FORWARD // self.config.corpus.context_tokens)

    @property
    def _origin(self) -> dict[str, Any]:
        """What decides the activations of this run."""
        return {
            "model": self.config.model.model_dump(mode="json"),
            "site": str(self.site),
            "corpus": self.config.corpus.model_dump(mode="json"),
        }

    def _windows(self, *, held_out: bool, skip: int = 0) -> Iterator[TokenBatch]:
        documents = self.corpus.held_out() if held_out else self.corpus.training()
        per_batch = self._windows_per_batch
        batches = pack(
            documents,
            self.tokenizer,
            context_tokens=self.config.corpus.context_tokens,
            windows_per_batch=per_batch,
        )
        return islice(batches, skip // per_batch, None)

    def _activations_to_index(self) -> Iterator[tuple[TokenBatch | None, ActivationBatch]]:
        if self.config.stored:
            yield from ActivationStore(self.folder / "activations").batches()
        else:
            outliers = OutlierFilter(self._saved.metadata["recent_medians"])
            yield from harvest(self.model, self.site, self._windows(held_out=False), outliers)

    def _write_result(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        write_json(self.folder / "evaluation" / f"{name}.json", content)
        return content
