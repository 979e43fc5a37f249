"""Any decoder-only language model of Transformers, read and changed at its sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from semascope.errors import ModelError, SiteError
from semascope.models import cpu
from semascope.models.base import Continuation, Replacement
from semascope.models.continuation import CachedContinuation
from semascope.models.sites import Sites, replacing
from semascope.records import Site
from semascope.text.tokenizer import Tokenizer

_CONTEXT_NAMES = ("max_position_embeddings", "max_seq_len", "max_sequence_length", "seq_length")
# Of models that declare no limit, because their positions are relative (ALiBi): what they were trained with.
_UNDECLARED_CONTEXT = 2048


class _AllRead(Exception):  # noqa: N818  # it ends a forward pass that has done its work
    """Every site that was asked for has been read."""


class HuggingFaceModel:
    """A LanguageModel around a causal language model of Transformers, which it puts into evaluation mode.

    ``precision``: "fast" lets the blocks of a float32 model on a CPU compute in bfloat16, see ``semascope.models.cpu``.
    Raises ModelError when the model is none that can be read: no blocks, or positions that see what follows them.
    """

    def __init__(
        self,
        wrapped: PreTrainedModel,
        tokenizer: Tokenizer,
        *,
        name: str,
        revision: str | None = None,
        precision: Literal["full", "fast"] = "full",
    ) -> None:
        self.name = name
        self.revision = revision
        self.tokenizer = tokenizer
        self._wrapped = wrapped.eval().requires_grad_(False)
        self._config: Any = wrapped.config.get_text_config(decoder=True)
        self._sites = Sites(wrapped)
        self._dtype = wrapped.dtype
        if precision == "fast":
            cpu.compute_in_bfloat16(self._sites.blocks)
        self._refuse_a_model_that_looks_ahead()

    @property
    def n_layers(self) -> int:
        return self._sites.n_layers

    @property
    def vocabulary(self) -> int:
        return int(self._config.vocab_size)

    @property
    def context_limit(self) -> int:
        declared = (getattr(self._config, name, None) for name in _CONTEXT_NAMES)
        return next((int(limit) for limit in declared if limit), _UNDECLARED_CONTEXT)

    @property
    def device(self) -> torch.device:
        return self._wrapped.device

    @property
    def stop_ids(self) -> frozenset[int]:
        generation: Any = self._wrapped.generation_config
        declared = getattr(generation, "eos_token_id", None)
        ends = declared if isinstance(declared, list) else [declared]
        return frozenset(id for id in (*ends, self.tokenizer.separator_id) if id is not None)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the residual stream, in which activations and logits are returned."""
        return self._dtype

    def width(self, site: Site) -> int:
        self._sites.place(site)
        return int(self._config.hidden_size)

    def activations(self, tokens_BT: Tensor, site: Site) -> Tensor:
        return self.activations_at(tokens_BT, [site])[site]

    def activations_at(self, tokens_BT: Tensor, sites: Sequence[Site]) -> dict[Site, Tensor]:
        tokens_BT = self._checked(tokens_BT)
        n_rows, n_positions = tokens_BT.shape
        # Made outside inference mode, so that training can use them like any other tensor.
        read = {
            site: torch.empty(n_rows, n_positions, self.width(site), dtype=self.dtype, device=self.device)
            for site in sites
        }
        if not read:
            return read
        rows_per_pass = n_rows
        if self.device.type == "cpu":
            rows_per_pass = max(1, cpu.TOKENS_PER_PASS // n_positions)
        for first in range(0, n_rows, rows_per_pass):
            rows = slice(first, first + rows_per_pass)
            self._read_into({site: values_BTD[rows] for site, values_BTD in read.items()}, tokens_BT[rows])
        return read

    def logits(self, tokens_BT: Tensor) -> Tensor:
        tokens_BT = self._checked(tokens_BT)
        with torch.inference_mode():
            return self._run(tokens_BT)

    def splice(self, tokens_BT: Tensor, site: Site, replace: Replacement) -> Tensor:
        tokens_BT = self._checked(tokens_BT)
        place = self._sites.place(site)
        with torch.inference_mode(), place.attach(replacing(replace, site, self._dtype)):
            return self._run(tokens_BT)

    def continuation(self) -> Continuation:
        return CachedContinuation(self._wrapped, self._sites, self._dtype, check=self._checked)

    def promoted(self, directions_ND: Tensor) -> Tensor:
        width = int(self._config.hidden_size)
        if directions_ND.dim() != 2 or directions_ND.shape[1] != width:
            raise SiteError(
                f"directions of shape {list(directions_ND.shape)} are not in the residual stream of '{self.name}': "
                f"[N, {width}] was expected"
            )
        directions_ND = directions_ND.to(self.device, self.dtype)
        # One token runs through the blocks, and what leaves the last of them is exchanged for the directions, as
        # windows of one position; the final norm and everything behind it are then the model's own.
        with_zero_N1D = torch.cat([directions_ND, directions_ND.new_zeros(1, width)]).unsqueeze(1)
        last = self._sites.place(Site(self.n_layers - 1))
        with torch.inference_mode(), last.attach(lambda _: with_zero_N1D):
            logits_NV = self._run(torch.zeros(1, 1, dtype=torch.int64, device=self.device)).squeeze(1).float()
            effect_NV = logits_NV[:-1] - logits_NV[-1]
            return effect_NV.sub_(effect_NV.mean(dim=1, keepdim=True))

    def _run(self, tokens_BT: Tensor) -> Tensor:
        # No attention mask: windows have no padding, and without a mask the fast causal kernels can be used.
        return self._wrapped(tokens_BT, use_cache=False).logits

    def _read_into(self, destinations: dict[Site, Tensor], tokens_BT: Tensor) -> None:
        waiting = set(destinations)

        def keep(site: Site) -> Callable[[Tensor], None]:
            def visit(found_BTD: Tensor) -> None:
                if found_BTD.shape != destinations[site].shape:
                    raise ModelError(
                        f"the activation of '{self.name}' at {site} has shape {list(found_BTD.shape)} where "
                        f"{list(destinations[site].shape)} was expected: choose another site"
                    )
                destinations[site].copy_(found_BTD)
                waiting.discard(site)
                if not waiting:
                    raise _AllRead

            return visit

        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            for site in destinations:
                stack.enter_context(self._sites.place(site).attach(keep(site)))
            try:
                self._run(tokens_BT)
            except _AllRead:
                return
        raise ModelError(f"'{self.name}' does not compute {', '.join(map(str, waiting))}: choose another site")

    def _checked(self, tokens_BT: Tensor, before: int = 0) -> Tensor:
        """``before``: how many positions come before these tokens."""
        if tokens_BT.dim() != 2 or tokens_BT.numel() == 0 or tokens_BT.is_floating_point():
            raise ModelError(
                f"token ids of shape {list(tokens_BT.shape)} and type {tokens_BT.dtype} cannot be run: "
                "integers of shape [windows, positions] were expected, at least one of each"
            )
        if before + tokens_BT.shape[1] > self.context_limit:
            raise ModelError(
                f"a window of {before + tokens_BT.shape[1]} tokens is longer than the {self.context_limit} tokens that "
                f"'{self.name}' can see at once: shorten the prompt or choose shorter windows"
            )
        lowest, highest = (int(end) for end in tokens_BT.aminmax())
        if lowest < 0 or highest >= self.vocabulary:
            wrong = lowest if lowest < 0 else highest
            raise ModelError(
                f"token id {wrong} is not in the vocabulary of '{self.name}' (0 to {self.vocabulary - 1}): "
                "make the tokens with the tokenizer of this model"
            )
        return tokens_BT.to(self.device, torch.int64)

    def _refuse_a_model_that_looks_ahead(self) -> None:
        """The first of two positions must not depend on the second; encoders fail here, whatever they are called."""
        tokens_BT = torch.tensor([[0, 1], [0, 2]])
        first_BD = self.activations(tokens_BT, Site(0))[:, 0].float()
        if not torch.allclose(first_BD[0], first_BD[1], rtol=1e-3, atol=1e-3 * float(first_BD.abs().max())):
            raise ModelError(
                f"'{self.name}' ({type(self._wrapped).__name__}) is an encoder: its positions see the text that "
                "follows them. Choose a causal (decoder-only) language model"
            )
