"""Language models: run to a site, read or replace what is there, go on."""

from __future__ import annotations

from pathlib import Path

from semascope.errors import ConfigError
from semascope.models.base import Continuation, LanguageModel, Replacement, require_width
from semascope.models.cpu import keep_freed_memory
from semascope.models.embedded import MODELS, embedded_folder, load_embedded
from semascope.models.huggingface import HuggingFaceModel
from semascope.models.loading import load_folder, load_hub
from semascope.models.settings import DtypeName, PrecisionName, resolve
from semascope.models.tiny import NAME as TINY
from semascope.models.tiny import load_tiny
from semascope.text.tokenizer import ByteTokenizer, HuggingFaceTokenizer, Tokenizer

__all__ = [
    "DEFAULT_MODEL",
    "EMBEDDED_MODELS",
    "Continuation",
    "HuggingFaceModel",
    "LanguageModel",
    "Replacement",
    "load_model",
    "load_tokenizer",
    "require_width",
]

EMBEDDED_MODELS = {model.name: model for model in MODELS}
"""The models that need no hub, by name."""

DEFAULT_MODEL = MODELS[0].name


def load_model(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: DtypeName = "auto",
    precision: PrecisionName = "auto",
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a causal language model: an embedded one, ``"tiny"``, a local folder, or a name on the Hugging Face hub.

    ``revision``: a branch, tag or commit of the hub. ``device``: "auto", "cpu", "cuda" or "cuda:1". ``dtype``: of the
    weights; "auto" is float32 on a CPU and bfloat16 on a GPU. ``precision``: "fast" lets the blocks of a
    float32 model on a CPU compute in bfloat16 around a float32 residual stream; "auto" does so where the CPU has
    matrix units for it (AMX), "full" never. ``trust_remote_code``: run Python code that comes with the model.

    Raises ModelError for a model that does not exist or cannot be read, ConfigError for settings that contradict each
    other or this machine, UnavailableError without network, and DamagedError for broken weights.
    """
    settings = resolve(device, dtype, precision)
    if settings.device.type == "cpu":
        keep_freed_memory()
    folder = Path(name).expanduser()
    if name in EMBEDDED_MODELS or name == TINY or folder.is_dir() or name.startswith((".", "/", "~")):
        if revision is not None:
            raise ConfigError(
                f"revision '{revision}' was given for '{name}', and only models of the hub have revisions"
            )
        if name in EMBEDDED_MODELS:
            return load_embedded(EMBEDDED_MODELS[name], settings)
        if name == TINY:
            return load_tiny(settings)
        return load_folder(folder, settings, name=name, trust_remote_code=trust_remote_code)
    return load_hub(name, settings, revision=revision, trust_remote_code=trust_remote_code)


def load_tokenizer(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a model alone, without its weights; names and errors as in `load_model`."""
    if name == TINY:
        return ByteTokenizer()
    if name in EMBEDDED_MODELS:
        return HuggingFaceTokenizer.load(embedded_folder(EMBEDDED_MODELS[name]))
    return HuggingFaceTokenizer.load(name, revision=revision, trust_remote_code=trust_remote_code)
