"""Dictionaries on disk: SAELens' files, read and written, and what damaged ones are called."""

from pathlib import Path

import pytest
import torch
from dictionaries import FEATURES, WIDTH, activations, fresh

from semascope.errors import DamagedError, FormatError
from semascope.files import read_json, read_tensors, write_json, write_tensors
from semascope.records import Site
from semascope.sae import hook_name, load_dictionary, save_dictionary
from semascope.sae.format import SAELENS_VERSION


def test_the_file_format_is_saelens_key_by_key(tmp_path: Path) -> None:
    save_dictionary(fresh("topk"), tmp_path / "d", {"hook_name": hook_name(Site(15))})
    config = read_json(tmp_path / "d" / "cfg.json")
    assert config == {
        "architecture": "topk",
        "k": 4,
        "rescale_acts_by_decoder_norm": False,
        "d_in": WIDTH,
        "d_sae": FEATURES,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"hook_name": "blocks.15.hook_resid_post", "sae_lens_version": SAELENS_VERSION},
    }
    shapes = {
        name: tuple(tensor.shape) for name, tensor in read_tensors(tmp_path / "d/sae_weights.safetensors").items()
    }
    assert shapes == {
        "W_enc": (WIDTH, FEATURES), "b_enc": (FEATURES,), "W_dec": (FEATURES, WIDTH), "b_dec": (WIDTH,),
    }  # fmt: skip


def test_damaged_and_foreign_dictionaries_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with pytest.raises(DamagedError, match=r"holds no cfg\.json"):
        load_dictionary(tmp_path)
    save_dictionary(fresh("topk"), folder, {})
    weights, config = folder / "sae_weights.safetensors", read_json(folder / "cfg.json")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=r"sae_weights\.safetensors is damaged"):
        load_dictionary(folder)
    weights.write_bytes(whole)
    write_json(folder / "cfg.json", {**config, "d_sae": FEATURES + 1})
    with pytest.raises(DamagedError, match=r"W_enc \(12, 40\).*\(12, 41\)"):
        load_dictionary(folder)
    write_json(folder / "cfg.json", {**config, "architecture": "temporal"})
    with pytest.raises(FormatError, match="'temporal'"):
        load_dictionary(folder)


@pytest.mark.parametrize(
    ("name", "kind", "architecture"),
    [
        ("l1", "autoencoder", "standard"),
        ("l1", "transcoder", "transcoder"),
        ("l1", "skip", "skip_transcoder"),
        ("jumprelu", "autoencoder", "jumprelu"),
        ("jumprelu", "skip", "jumprelu_skip_transcoder"),
        ("batchtopk", "transcoder", "jumprelu_transcoder"),
        ("gated", "autoencoder", "gated"),
        ("kl", "transcoder", "kl_transcoder"),
    ],
)
def test_architectures_have_saelens_names(name: str, kind: str, architecture: str, tmp_path: Path) -> None:
    save_dictionary(fresh(name, kind), tmp_path / "d", {})
    assert read_json(tmp_path / "d" / "cfg.json")["architecture"] == architecture


def test_a_jumprelu_that_does_not_subtract_its_bias_is_read_as_it_is(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "W_enc": torch.randn(WIDTH, FEATURES, generator=generator),
        "b_enc": torch.randn(FEATURES, generator=generator),
        "W_dec": torch.randn(FEATURES, WIDTH, generator=generator),
        "b_dec": torch.randn(WIDTH, generator=generator),
        "threshold": torch.rand(FEATURES, generator=generator),
    }
    (tmp_path / "d").mkdir()
    write_tensors(tmp_path / "d" / "sae_weights.safetensors", tensors)
    write_json(
        tmp_path / "d" / "cfg.json",
        {"architecture": "jumprelu", "d_in": WIDTH, "d_sae": FEATURES, "apply_b_dec_to_input": False},
    )
    x = activations()
    pre = x @ tensors["W_enc"] + tensors["b_enc"]
    found = load_dictionary(tmp_path / "d").autoencoder.encode(x).to_dense()
    torch.testing.assert_close(found, pre * (pre > tensors["threshold"]))
