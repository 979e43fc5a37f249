"""Where the sites are inside a model: found by structure, for any causal language model of Transformers.

The blocks are the list of as many modules as the configuration counts layers. In a block, attention is the child
whose forward pass takes an attention mask, and the MLP is what remains of the children that hold matrices. Neurons are
what the one linear layer of the MLP takes that leads back to the width of the residual stream. Names play no
part, so that a new architecture needs no entry in a table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from semascope.errors import ModelError, SiteError
from semascope.models.base import Replacement
from semascope.records import Site

Visitor = Callable[[Tensor], Tensor | None]
"""Sees an activation in passing; returns None to leave it, or the tensor to go on with."""


@dataclass(frozen=True, slots=True)
class Place:
    """A module and one end of it: its first input, or its output (the first one, where it returns several)."""

    module: nn.Module
    end: Literal["input", "output"]

    def attach(self, visit: Visitor) -> RemovableHandle:
        """Call ``visit`` with the activation on every forward pass until the handle is removed."""
        if self.end == "output":
            return self.module.register_forward_hook(_output_hook(visit))
        return self.module.register_forward_pre_hook(_input_hook(visit, self.module), with_kwargs=True)


def _output_hook(visit: Visitor) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        if not isinstance(output, tuple):
            return visit(output)
        changed = visit(output[0])
        return None if changed is None else (changed, *output[1:])

    return hook


def _input_hook(visit: Visitor, module: nn.Module) -> Callable[[nn.Module, Any, Any], Any]:
    name = next(iter(inspect.signature(module.forward).parameters))

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = visit(args[0] if args else kwargs[name])
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, name: changed})

    return hook


def replacing(replace: Replacement, site: Site, dtype: torch.dtype) -> Visitor:
    """The visitor that puts a replacement in the activation's place. ``dtype``: that of the model.

    It raises SiteError when the replacement is of another shape.
    """

    def visit(found_BTD: Tensor) -> Tensor:
        # Inside a block that computes in a lower precision, the replacement is still computed in the model's own.
        with torch.autocast(found_BTD.device.type, enabled=False):
            replaced = replace(found_BTD.to(dtype))
        if replaced.shape != found_BTD.shape:
            raise SiteError(
                f"the replacement of the activation at {site} has shape {list(replaced.shape)}: "
                f"{list(found_BTD.shape)} was expected, the shape of the activation"
            )
        return replaced.to(found_BTD.dtype)

    return visit


class Sites:
    """The places of a model's sites."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = type(model).__name__
        self._width = int(model.config.get_text_config(decoder=True).hidden_size)
        self.blocks = _find_blocks(model)

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    def width(self, site: Site) -> int:
        """The number of dimensions at a site. Raises SiteError when the model has no such site."""
        module = self.place(site).module
        return _sizes(module)[0] if site.kind == "neurons" else self._width

    def place(self, site: Site) -> Place:
        """Raises SiteError when the model has no such site."""
        if not 0 <= site.layer < self.n_layers:
            raise SiteError(
                f"there is no site {site}: {self._model} has {self.n_layers} layers, so choose a layer from 0 to "
                f"{self.n_layers - 1}, for example '{Site(self.n_layers // 2, site.kind)}'"
            )
        block = self.blocks[site.layer]
        match site.kind:
            case "resid_pre":
                return Place(block, "input")
            case "resid_post":
                return Place(block, "output")
            case "mlp_in":
                return Place(_find_mlp(block, site), "input")
            case "mlp_out":
                return Place(_without_residual(_find_mlp(block, site), site), "output")
            case "attn_out":
                return Place(_without_residual(_find_attention(block, site), site), "output")
            case "neurons":
                return Place(_find_down_projection(_find_mlp(block, site), site, self._width), "input")


def _find_blocks(model: PreTrainedModel) -> nn.ModuleList:
    n_layers = int(model.config.get_text_config(decoder=True).num_hidden_layers)
    for module in model.get_decoder().modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise ModelError(
        f"{type(model).__name__} cannot be read: its configuration counts {n_layers} layers, and no list of "
        f"{n_layers} blocks was found in it; choose a decoder-only language model"
    )


def _parameters_of(module: nn.Module) -> list[str]:
    return list(inspect.signature(module.forward).parameters)


def _holds_matrices(module: nn.Module) -> bool:
    return any(parameter.dim() >= 2 for parameter in module.parameters())


def _takes_mask(module: nn.Module) -> bool:
    return "attention_mask" in _parameters_of(module)


def _find_attention(block: nn.Module, site: Site) -> nn.Module:
    # Cross-attention takes a mask too; self-attention is always declared before it.
    for child in block.children():
        if _takes_mask(child) and _holds_matrices(child):
            return child
    raise SiteError(f"there is no site {site}: {type(block).__name__} has no attention; {_residual_instead(site)}")


def _find_mlp(block: nn.Module, site: Site) -> nn.Module:
    rest = {name: child for name, child in block.named_children() if not _takes_mask(child) and _holds_matrices(child)}
    found = [child for child in rest.values() if any(True for _ in child.children())]
    if len(found) == 1:
        return found[0]
    if found:
        problem = f"has several modules that could be the MLP ({', '.join(rest)})"
    elif rest:
        problem = f"has no MLP module: its linear layers ({', '.join(rest)}) stand in the block itself"
    else:
        problem = "has no MLP"
    raise SiteError(f"there is no site {site}: {type(block).__name__} {problem}; {_residual_instead(site)}")


def _find_down_projection(mlp: nn.Module, site: Site, width: int) -> nn.Module:
    linear = [module for module in mlp.modules() if isinstance(module, (nn.Linear, Conv1D))]
    found = [module for module in linear if _sizes(module)[1] == width]
    experts = any(parameter.dim() > 2 for parameter in mlp.parameters())
    if len(found) == 1 and not experts:
        return found[0]
    problem = "is a mixture of experts" if experts else f"has {len(found)} linear layers that could be its last"
    raise SiteError(f"there is no site {site}: {type(mlp).__name__} {problem}; {_residual_instead(site)}")


def _sizes(linear: nn.Module) -> tuple[int, int]:
    """The widths of what a linear layer takes and gives."""
    if isinstance(linear, Conv1D):
        return int(linear.nx), int(linear.nf)
    assert isinstance(linear, nn.Linear)
    return linear.in_features, linear.out_features


def _without_residual(module: nn.Module, site: Site) -> nn.Module:
    if "residual" in _parameters_of(module):
        raise SiteError(
            f"there is no site {site}: {type(module).__name__} adds the residual stream to its output itself; "
            f"{_residual_instead(site)}"
        )
    return module


def _residual_instead(site: Site) -> str:
    return f"the residual stream can be read at resid_pre.{site.layer} and resid_post.{site.layer}"
