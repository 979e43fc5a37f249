"""Loading a model of Transformers from the hub or a folder, with one clear error for each way that can fail."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from semascope.errors import DamagedError, ModelError, SemascopeError, UnavailableError
from semascope.models.huggingface import HuggingFaceModel
from semascope.models.settings import Settings
from semascope.text.tokenizer import HuggingFaceTokenizer


def load_hub(name: str, settings: Settings, *, revision: str | None, trust_remote_code: bool) -> HuggingFaceModel:
    """Load a model by its name on the hub, at a branch, tag or commit.

    Raises ModelError when it does not exist or is no causal language model, UnavailableError without network, and
    DamagedError for broken weights.
    """
    wrapped = _weights(name, settings, name=name, revision=revision, trust_remote_code=trust_remote_code)
    tokenizer = HuggingFaceTokenizer.load(name, revision=revision, trust_remote_code=trust_remote_code)
    commit = getattr(wrapped.config, "_commit_hash", None) or revision
    return HuggingFaceModel(wrapped, tokenizer, name=name, revision=commit, precision=settings.precision)


def load_folder(
    folder: Path, settings: Settings, *, name: str, revision: str | None = None, trust_remote_code: bool = False
) -> HuggingFaceModel:
    """Load a model from a folder as written by ``save_pretrained``, and call it ``name``.

    Raises ModelError when the folder holds no causal language model, and DamagedError for broken weights.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"'{folder}' is not the folder of a model: it should hold config.json, the weights (*.safetensors) and "
            "tokenizer.json, as save_pretrained of Transformers writes them"
        )
    with without_progress_bars():
        wrapped = _weights(str(folder), settings, name=name, revision=None, trust_remote_code=trust_remote_code)
    tokenizer = HuggingFaceTokenizer.load(folder, trust_remote_code=trust_remote_code)
    return HuggingFaceModel(wrapped, tokenizer, name=name, revision=revision, precision=settings.precision)


@contextmanager
def without_progress_bars() -> Generator[None]:
    """Keep Transformers from drawing on the terminal: what takes long is reported through ``progress``."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _weights(
    source: str, settings: Settings, *, name: str, revision: str | None, trust_remote_code: bool
) -> PreTrainedModel:
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            revision=revision or "main",
            dtype=settings.dtype,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise explained(error, name, revision) from error
    wrapped, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"the weights of '{name}' are not those of a language model: {type(wrapped).__name__} needs "
            f"{len(missing)} tensors that they lack, such as '{missing[0]}'. Choose a causal language model"
        )
    return cast(PreTrainedModel, wrapped.to(settings.device))


def explained(error: Exception, name: str, revision: str | None) -> SemascopeError:
    """What an error of Transformers or the hub, while it read a model, means for whoever asked for that model."""
    causes = list(_causes(error))

    def caused_by(*kinds: type[Exception]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if caused_by(SafetensorError):
        return DamagedError(f"the weights of '{name}' are damaged ({error}): delete them and fetch them again")
    if caused_by(GatedRepoError):
        return ModelError(
            f"'{name}' asks for its terms to be accepted: do that on its page on the hub, then log in with "
            "'hf auth login' and run the same command again"
        )
    if caused_by(RevisionNotFoundError):
        return ModelError(f"'{name}' has no revision '{revision}': give a branch, a tag or a commit that it has")
    if caused_by(RepositoryNotFoundError, HFValidationError):
        return ModelError(
            f"'{name}' is no model: it is neither a folder here, nor the name of a model on the Hugging Face hub that "
            "you may read, nor one that comes with Semascope. Check the spelling, or log in with 'hf auth login' "
            "if it is private"
        )
    if caused_by(LocalEntryNotFoundError, OfflineModeIsEnabled):
        return UnavailableError(
            f"'{name}' is not a folder here, and the Hugging Face hub cannot be reached to look for it: check the "
            "network, give a folder with a model, or choose one that comes with Semascope"
        )
    if caused_by(EntryNotFoundError):
        return ModelError(f"'{name}' on the hub holds no model of Transformers ({_first_line(error)})")
    return ModelError(f"'{name}' cannot be loaded as a causal language model: {_first_line(error)}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
