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

import math
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semascope import progress
from semascope.activations import ActivationStore, LiveBatches, OutlierFilter, StoredBatches, harvest, massive_norm
from semascope.concepts import EMBEDDED_SUITE, ConceptScore, score_concepts
from semascope.config import RunConfig, differences
from semascope.errors import ConfigError, DamagedError, MismatchError
from semascope.evaluation import evaluate_reconstruction
from semascope.features import FeatureIndex, IndexBuilder
from semascope.files import read_json, write_json
from semascope.models import LanguageModel
from semascope.records import ActivationBatch, TokenBatch
from semascope.report import write_report
from semascope.sae import SavedDictionary, SparseAutoencoder, hook_name, load_dictionary, save_dictionary
from semascope.source import ActivationSource
from semascope.steering import Steering
from semascope.team import ALONE, Team
from semascope.text import Corpus, Tokenizer, token_text
from semascope.training import Columns, Trainer, read_metrics, train, whole


class Run:
    """A run folder. `Run.begin` starts one or goes on with it, `Run.open` only reads."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        *,
        activations: str = "activations",
        source: ActivationSource | None = None,
    ) -> None:
        self.folder, self.config = folder, config
        self.site, *rest = config.sites
        self.output_site = rest[0] if rest else self.site
        self.activations_folder = folder / activations
        self.source = source or ActivationSource(config.model, config.corpus, config.sites)

    @classmethod
    def begin(
        cls,
        folder: Path | str,
        config: RunConfig,
        *,
        activations: str = "activations",
        source: ActivationSource | None = None,
        team: Team = ALONE,
    ) -> Run:
        """Start a run in a new folder, or go on with the one that is there.

        ``activations``: where they are kept, as seen from the folder; ``source``: where they come from. Both are for
        runs that share them (see `sweeps`). ``team``: the processes that train it together. Raises MismatchError when
        the folder holds a run of another configuration.
        """
        folder = Path(folder)
        config = config.model_copy(update={"training": config.training.resolved(config.model.device)})
        source = source or ActivationSource(config.model, config.corpus, config.sites, team)
        if not team.first:  # The first process looks at what is there.
            return cls(folder, config, activations=activations, source=source)
        # A run that failed before it made anything, by a misspelt model for example, may be corrected.
        started = folder.exists() and any(path.name != "run.json" for path in folder.iterdir())
        if started and (folder / "run.json").exists():
            run = cls.open(folder, source=source)
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
                "activations": activations,
                "config": config.model_dump(mode="json"),
                "versions": {**versions, "python": platform.python_version()},
            },
        )
        return cls(folder, config, activations=activations, source=source)

    @classmethod
    def open(cls, folder: Path | str, *, source: ActivationSource | None = None) -> Run:
        """Open an existing run. Raises DamagedError when the folder holds none."""
        file = Path(folder) / "run.json"
        if not file.is_file():
            if runs := sorted(found.parent for found in Path(folder).glob("*/run.json")):
                raise DamagedError(f"{folder} holds {len(runs)} runs: choose one of them, for example {runs[0]}")
            raise DamagedError(
                f"{folder} holds no run.json: it is no run; 'semascope train' and 'semascope demo' make one"
            )
        described = read_json(file)
        try:
            config = RunConfig.model_validate(described.get("config"))
            return cls(Path(folder), config, activations=described.get("activations", "activations"), source=source)
        except ValidationError as error:
            raise DamagedError(f"{file} does not describe a run: {error}") from error

    @property
    def model(self) -> LanguageModel:
        """The language model, loaded when first needed."""
        return self.source.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, without loading the model."""
        return self.source.tokenizer

    @property
    def corpus(self) -> Corpus:
        """The text, with its held-out part."""
        return self.source.corpus

    @property
    def trained(self) -> bool:
        """Whether its dictionary is there."""
        return (self.folder / "dictionary" / "cfg.json").exists()

    @cached_property
    def saved(self) -> SavedDictionary:
        """The trained dictionary with what was noted of its training. Raises DamagedError when there is none yet."""
        if not (self.folder / "dictionary").exists():
            raise DamagedError(f"{self.folder} has no dictionary yet: run the command that trains it again")
        return load_dictionary(self.folder / "dictionary")

    @property
    def dictionary(self) -> SparseAutoencoder:
        """The trained dictionary, for raw activations."""
        return self.saved.autoencoder

    @cached_property
    def features(self) -> FeatureIndex:
        """The feature index. Raises DamagedError when there is none yet."""
        if not (self.folder / "features").exists():
            raise DamagedError(f"{self.folder} has no feature index yet: run 'semascope index {self.folder}'")
        return FeatureIndex.open(self.folder / "features")

    @cached_property
    def steering(self) -> Steering:
        """The model with features that can be turned up and down, in multiples of their maxima in the index."""
        medians = self.saved.metadata.get("recent_medians")
        return Steering(
            self.model,
            self.site,
            self.dictionary,
            self.features.maxima(),
            output_site=self.output_site,
            massive_above=massive_norm(medians[0]) if medians else math.inf,
        )

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
        return self.source.store(self.activations_folder, self.config.harvest_tokens)

    def train(self) -> SparseAutoencoder:
        """Train the dictionary (harvesting first, if need be) and save it folded, for raw activations."""
        if self.source.team.agree(self.trained):
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
                recent_medians=self.saved.metadata["recent_medians"][0],
                seed=config.seed,
            )
        return self._write_result("concepts", {"seed": config.seed, "concepts": [score.as_json() for score in scores]})

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
        training, corpus, metadata = self.config.training, self.config.corpus, self.saved.metadata
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

    def _activations_to_index(self) -> Iterator[tuple[TokenBatch | None, ActivationBatch]]:
        if self.config.stored:
            yield from ActivationStore(self.activations_folder).batches(self.site)
        else:
            outliers = OutlierFilter(self.saved.metadata["recent_medians"][0])
            yield from harvest(self.model, [self.site], self.source.windows(), outliers)

    def save(self, trained: SparseAutoencoder, stream: StoredBatches | LiveBatches) -> None:
        """Save a dictionary that was trained on scaled activations, folded, with what it was made from."""
        config, scales = self.config, stream.scales
        medians = dict(zip(stream.columns, stream.outliers.recent_medians, strict=True))
        output = {"output_site": str(self.output_site), "hook_name_out": hook_name(self.output_site)}
        save_dictionary(
            trained.folded(scales[self.site], scales[self.output_site]),
            self.folder / "dictionary",
            {
                "model_name": config.model.name,
                "model_revision": self.model.revision,
                "hook_name": hook_name(self.site),
                "site": str(self.site),
                **(output if config.output_site else {}),
                "context_size": config.corpus.context_tokens,
                "prepend_bos": self.tokenizer.bos_id is not None,
                "corpus": config.corpus.model_dump(mode="json"),
                "activation_scale": scales[self.site],
                "recent_medians": [medians[site] for site in config.sites],
                "left_out": asdict(stream.outliers.counts),
                "training": config.training.model_dump(mode="json"),
                "dead_fraction": self.metrics[-1]["dead_fraction"],
                "dead_counted_over_tokens": config.training.dead_after_tokens,
                "semascope_version": version("semascope"),
            },
        )

    def _write_result(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        write_json(self.folder / "evaluation" / f"{name}.json", content)
        return content


def train_together(runs: Mapping[str, Run], store: ActivationStore | None, checkpoints_folder: Path) -> None:
    """Train the dictionaries of runs, by name, on the same activations, and save each when its steps are done.

    The runs share source and batches; ``store`` holds the activations of all, or the model gives them. The first
    process of a team saves.
    """
    longest = max(runs.values(), key=lambda run: run.config.training.tokens)
    team = longest.source.team
    stream = longest.source.batches(longest.config.training, store)

    def trainer(run: Run) -> Trainer:
        outputs = stream.columns[run.output_site] if run.config.output_site else None
        columns = Columns(stream.columns[run.site], outputs, run.config.skip)
        return Trainer(run.config.training, columns, folder=run.folder, device=longest.model.device, team=team)

    trainers = {name: trainer(run) for name, run in runs.items()}

    def save(name: str) -> None:
        if team.first:
            runs[name].save(whole(name, trainers[name], checkpoints_folder), stream)
        del trainers[name]

    train(stream, trainers, checkpoints_folder, save)
    if team.first:
        # The settings of a run never change, so there is nothing left to resume.
        shutil.rmtree(checkpoints_folder)
    team.wait()
