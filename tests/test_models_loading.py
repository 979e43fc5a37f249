"""Loading models from folders, from packages and, as far as that goes without a network, from the hub."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from huggingface_hub import errors as hub_errors
from transformers import BertConfig, BertModel, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from semascope import packages
from semascope.errors import DamagedError, ModelError, SemascopeError, UnavailableError
from semascope.files import sha256
from semascope.models import DEFAULT_MODEL, EMBEDDED_MODELS, embedded, load_model, loading
from semascope.models.embedded import EmbeddedModel, load_embedded
from semascope.models.settings import resolve
from semascope.packages import Package
from semascope.records import Site

TOKENS_BT = torch.tensor([[3, 1, 4, 1, 5]])


def save_byte_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {character: id for id, character in enumerate(sorted(bytes_to_unicode().values()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary | {"<|endoftext|>": 256}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    wrapped = load_model("tiny", device="cpu", precision="full")._wrapped
    wrapped.save_pretrained(tmp_path / "model")
    save_byte_tokenizer(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_is_the_model_that_was_saved(folder):
    model = load_model(str(folder), device="cpu", precision="full")
    tiny = load_model("tiny", device="cpu", precision="full")
    assert (model.name, model.revision) == (str(folder), None)
    assert torch.equal(model.logits(TOKENS_BT), tiny.logits(TOKENS_BT))
    assert model.tokenizer.decode(model.tokenizer.encode(["déjà"])[0]) == "déjà"


def test_loading_draws_nothing_on_the_terminal(folder, capfd):
    load_model(str(folder), device="cpu")
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_a_model(tmp_path):
    for name in (str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(ModelError, match=r"is not the folder of a model: it should hold config\.json"):
            load_model(name)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_model(str(folder))


def test_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(DamagedError, match=r"the weights of .* are damaged"):
        load_model(str(folder))


def test_weights_of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 65}))
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_model(str(folder))


def test_weights_that_lack_a_part_are_not_made_up(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 5}))
    with pytest.raises(ModelError, match=r"tensors that they lack, such as 'model\.layers\.4"):
        load_model(str(folder))


def test_an_encoder_is_no_language_model(tmp_path):
    config = BertConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="Choose a causal language model"):
        load_model(str(tmp_path))


def test_a_configuration_that_is_no_language_model(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_model(str(tmp_path))


def test_no_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UnavailableError, match=r"'nobody/no-such-model' is not a folder here, and .* cannot be reached"
    ):
        load_model("nobody/no-such-model")


@pytest.mark.parametrize(
    ("cause", "expected", "message"),
    [
        (hub_errors.RepositoryNotFoundError, ModelError, "Check the spelling"),
        (hub_errors.GatedRepoError, ModelError, "hf auth login"),
        (hub_errors.RevisionNotFoundError, ModelError, "has no revision 'v9'"),
        (hub_errors.LocalEntryNotFoundError, UnavailableError, "check the network"),
    ],
)
def test_what_the_hub_refuses(monkeypatch, cause: type[Exception], expected: type[SemascopeError], message: str):
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("a long story\nin several lines") from cause.__new__(cause)

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", refuse)
    with pytest.raises(expected, match=message):
        load_model("somebody/some-model", revision="v9")


def test_an_impossible_name():
    with pytest.raises(ModelError, match="Check the spelling"):
        load_model("no such model")


def test_embedded_models_are_named_once():
    assert DEFAULT_MODEL in EMBEDDED_MODELS
    assert all(name == model.name for name, model in EMBEDDED_MODELS.items())


def write_gguf(path: Path) -> LlamaForCausalLM:
    """The tiny model as llama.cpp would write it; returns the model."""
    wrapped = load_model("tiny", device="cpu", precision="full")._wrapped
    config = wrapped.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    tokens = [*sorted(bytes_to_unicode().values())[:-1], "th", "<|endoftext|>"]
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(256)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in wrapped.state_dict().items():
        values = tensor.numpy()
        for projection, n_heads in heads.items():
            if projection in name:  # llama.cpp interleaves the two halves of each head
                values = values.reshape(n_heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        stem, _, suffix = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{suffix}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return wrapped


@pytest.fixture
def two_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[EmbeddedModel, LlamaForCausalLM]:
    """A GGUF file cut in two, each half in a wheel that is already in the cache."""
    monkeypatch.setenv("SEMASCOPE_CACHE", str(tmp_path / "cache"))
    wrapped = write_gguf(tmp_path / "whole.gguf")
    content = (tmp_path / "whole.gguf").read_bytes()
    pieces: list[tuple[Package, str]] = []
    for number, half in enumerate((content[:5000], content[5000:])):
        package = Package(f"half{number}", "1.0", "")
        wheel = packages.cached_path(package)
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"half{number}/data", half)
        pieces.append((Package(package.name, package.version, sha256(wheel)), f"half{number}/data"))
    model = EmbeddedModel(
        name="halves",
        title="Halves",
        licence="none",
        sizes={},
        pieces=tuple(pieces),
        gguf_sha256=sha256(tmp_path / "whole.gguf"),
    )
    return model, wrapped


def test_an_embedded_model_is_joined_converted_once_and_reloaded(two_pieces, monkeypatch, tmp_path, capfd):
    model, wrapped = two_pieces
    settings = resolve("cpu", "auto", "full")
    first = load_embedded(model, settings)
    monkeypatch.setattr(embedded, "_convert", None)
    second = load_embedded(model, settings)
    with torch.no_grad():
        expected = wrapped(TOKENS_BT).logits
    torch.testing.assert_close(first.logits(TOKENS_BT), expected)
    assert torch.equal(second.logits(TOKENS_BT), first.logits(TOKENS_BT))
    assert (first.name, first.revision) == ("halves", "half0 1.0")
    assert first.tokenizer.decode(first.tokenizer.encode(["the déjà vu"])[0]) == "the déjà vu"
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == ["halves"]


def test_pieces_that_do_not_make_the_whole(two_pieces, tmp_path):
    model, _ = two_pieces
    swapped = EmbeddedModel(
        name=model.name,
        title=model.title,
        licence=model.licence,
        sizes=model.sizes,
        pieces=model.pieces[::-1],
        gguf_sha256=model.gguf_sha256,
    )
    with pytest.raises(DamagedError, match="the weights of halves have SHA-256"):
        load_embedded(swapped, resolve("cpu", "auto", "full"))
    assert list((tmp_path / "cache" / "models").iterdir()) == []


ENGLISH = (
    "The Great Barrier Reef is the world's largest coral reef system, composed of over 2,900 individual reefs and 900 "
    "islands. The reef is located in the Coral Sea, off the coast of Queensland, Australia. It can be seen from outer "
    "space, and it supports a wide diversity of life."
)


@pytest.mark.slow
def test_the_default_model_speaks_english():
    model = load_model(DEFAULT_MODEL, device="cpu")
    tokens_BT = torch.tensor(model.tokenizer.encode([ENGLISH]))
    logits_TV = model.logits(tokens_BT)[0]
    assert torch.nn.functional.cross_entropy(logits_TV[:-1], tokens_BT[0, 1:]) < 3.5
    norms_T = model.activations(tokens_BT, Site(15))[0].norm(dim=1)
    assert norms_T[0] > 20 * norms_T[1:].max()
