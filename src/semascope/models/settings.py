"""Where a model runs and with what precision, as asked for and as this machine allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from semascope.errors import ConfigError
from semascope.hardware import has_bfloat16_matrix_units

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
PrecisionName = Literal["auto", "full", "fast"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The device, the type of the weights, and how precisely a float32 model computes on a CPU."""

    device: torch.device
    dtype: torch.dtype
    precision: Literal["full", "fast"]


def resolve(device: str, dtype: DtypeName, precision: PrecisionName) -> Settings:
    """Decide what "auto" means on this machine. Raises ConfigError for what it cannot do.

    Automatic are: the first GPU, if there is one; bfloat16 on a GPU and float32 on a CPU; and "fast" for a float32
    model where the CPU multiplies bfloat16 matrices in hardware.
    """
    chosen_device = _device(device)
    chosen_dtype = _dtype(dtype, chosen_device)
    return Settings(chosen_device, chosen_dtype, _precision(precision, chosen_device, chosen_dtype))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"'{name}' is not a device: expected 'auto', 'cpu', 'cuda' or 'cuda:1'") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{name}' was asked for, and PyTorch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices: choose 'cpu' or 'auto', or install a PyTorch with CUDA and its driver"
        )
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name not in get_args(DtypeName):
        raise ConfigError(f"'{name}' is not a type of weights: expected one of {', '.join(get_args(DtypeName))}")
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _precision(name: str, device: torch.device, dtype: torch.dtype) -> Literal["full", "fast"]:
    if name not in get_args(PrecisionName):
        raise ConfigError(f"'{name}' is not a precision: expected one of {', '.join(get_args(PrecisionName))}")
    possible = device.type == "cpu" and dtype == torch.float32 and has_bfloat16_matrix_units()
    if name == "fast" and not possible:
        raise ConfigError(
            "precision 'fast' is for float32 models on a CPU with bfloat16 matrix units (AMX), and this is not one: "
            "choose 'auto' or 'full', or the dtype 'bfloat16'"
        )
    return "fast" if possible and name != "full" else "full"
