"""What a run is on disk: its configuration, and what the stages left, to be read.

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
import os
import platform
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from semascope.activations import massive_norm
from semascope.concepts import TextReader
from semascope.config import RunConfig, differences
from semascope.errors import ConfigError, DamagedError, MismatchError
from semascope.features import FeatureIndex
from semascope.files import LOCK_FILE, read_json, read_rows, write_json
from semascope.models import LanguageModel
from semascope.sae import SavedDictionary, SparseAutoencoder, load_dictionary
from semascope.source import ActivationSource
from semascope.steering import SavedSteering, Steering
from semascope.team import ALONE, Team
from semascope.text import Corpus, Tokenizer
from semascope.training import read_metrics


class RunFolder:
    """A run folder: where it is, what was asked for, and what is there already."""

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
        # Of a sweep: beside the run's folder, and told to people as such.
        self.activations_folder = Path(os.path.normpath(folder / activations))
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
    ) -> Self:
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
        started = folder.exists() and any(path.name not in {"run.json", LOCK_FILE} for path in folder.iterdir())
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
    def open(cls, folder: Path | str, *, source: ActivationSource | None = None) -> Self:
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

    def directions(self, features: Sequence[int]) -> NDArray[np.float32]:
        """The decoder directions of some features, [n, O], without reading the whole dictionary."""
        return read_rows(self.folder / "dictionary" / "sae_weights.safetensors", "W_dec", features).float().numpy()

    @cached_property
    def features(self) -> FeatureIndex:
        """The feature index. Raises DamagedError when there is none yet."""
        if not (self.folder / "features").exists():
            raise DamagedError(f"{self.folder} has no feature index yet: run 'semascope index {self.folder}'")
        return FeatureIndex.open(self.folder / "features")

    @cached_property
    def reader(self) -> TextReader:
        """The model and the dictionary, to read texts with."""
        medians = self.saved.metadata.get("recent_medians")
        return TextReader(self.model, self.site, self.dictionary.to(self.model.device), medians[0] if medians else None)

    @property
    def saved_steering(self) -> SavedSteering:
        """What was measured of steering with the features of the index."""
        return SavedSteering(self.folder / "steering", self.features.n_features)

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

    def write_result(self, name: str, content: dict[str, Any]) -> dict[str, Any]:
        """Write ``evaluation/NAME.json``, and return what is in it now."""
        write_json(self.folder / "evaluation" / f"{name}.json", content)
        return content
