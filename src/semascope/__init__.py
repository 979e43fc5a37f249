"""Semascope: see what a language model represents.

Take a model and text, learn a dictionary of features from the model's activations with a sparse autoencoder, then
read, search and test the features. Everything that is public is listed here; a run (`Run`) is the way in.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semascope.activations import ActivationStore
    from semascope.concepts import Concept
    from semascope.config import EvaluationConfig, ModelConfig, RunConfig
    from semascope.errors import SemascopeError
    from semascope.features import FeatureIndex
    from semascope.models import LanguageModel, load_model
    from semascope.records import Codes, Intervention, Site
    from semascope.runs import Run
    from semascope.sae import L1Config, SparseAutoencoder, TopKConfig, load_dictionary, save_dictionary
    from semascope.steering import Steering
    from semascope.text import Corpus, CorpusConfig
    from semascope.training import TrainingConfig

__version__ = "0.1.0"

# The threads of OpenMP, which PyTorch brings, wait for work by spinning for a tenth of a second, on processors that our
# own loops' threads want (docs/LOG.md has what that costs). Read once, when PyTorch is imported; a user's own choice
# stays.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__all__ = [
    "ActivationStore",
    "Codes",
    "Concept",
    "Corpus",
    "CorpusConfig",
    "EvaluationConfig",
    "FeatureIndex",
    "Intervention",
    "L1Config",
    "LanguageModel",
    "ModelConfig",
    "Run",
    "RunConfig",
    "SemascopeError",
    "Site",
    "SparseAutoencoder",
    "Steering",
    "TopKConfig",
    "TrainingConfig",
    "load_dictionary",
    "load_model",
    "save_dictionary",
]

_ROOMS = (
    "errors",
    "records",
    "records",
    "text",
    "models",
    "activations",
    "sae",
    "training",
    "features",
    "concepts",
    "steering",
    "config",
    "runs",
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: PyTorch and Transformers take seconds, ``--help`` should not."""
    if name in __all__:
        for room in _ROOMS:
            if (found := getattr(import_module(f"semascope.{room}"), name, None)) is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module 'semascope' has no attribute '{name}'")
