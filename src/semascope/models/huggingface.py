"""Any decoder-only language model of Transformers, read and changed at its sites."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from semascope.errors import ModelError, SiteError
from semascope.models import cpu
from semascope.models.base import Continuation, Replacement, Score, Sensitivity
from semascope.models.continuation import CachedContinuation
from semascope.models.outline import Outline
from semascope.models.sites import replacing
from semascope.records import Site
from semascope.text.tokenizer import Tokenizer


class _AllRead(Exception):  # noqa: N818  # it ends a forward pass that has done its work
    """Every site that was asked for has been read."""


class HuggingFaceModel(Outline):
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
        super().__init__(wrapped.eval().requires_grad_(False))
        self.name = name
        self.revision = revision
        self.tokenizer = tokenizer
        self._dtype = wrapped.dtype
        if precision == "fast":
            cpu.compute_in_bfloat16(self._sites.blocks)
        self._refuse_a_model_that_looks_ahead()

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
        rows_per_pass = self._rows_per_pass(n_rows, n_positions)
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
        return CachedContinuation(
            self._wrapped, self._sites, self._dtype, check=self._checked, last_only=self._last_only
        )

    def sensitivity(self, tokens_BT: Tensor, site: Site, score: Score) -> Sensitivity:
        tokens_BT = self._checked(tokens_BT)
        leaves: list[Tensor] = []

        def visit(found_BTD: Tensor) -> Tensor:
            leaves.append(found_BTD.detach().to(self._dtype, copy=True).requires_grad_())
            # A copy, because some models add to it in place.
            return leaves[-1].to(found_BTD.dtype, copy=True)

        # No weight asks for a gradient, so the graph begins at the site.
        with torch.enable_grad(), self._sites.place(site).attach(visit):
            logits_BTV = self._run(tokens_BT)
            [gradient_BTD] = torch.autograd.grad(score(logits_BTV), leaves)
        [activation_BTD] = leaves
        return Sensitivity(logits_BTV.detach(), activation_BTD.detach(), gradient_BTD)

    def branch(self, tokens_T: Tensor, site: Site, instead_NTD: Tensor) -> Tensor:
        tokens_1T = self._checked(tokens_T[None])
        expected = [tokens_T.shape[0], self.width(site)]
        if instead_NTD.dim() != 3 or list(instead_NTD.shape[1:]) != expected:
            raise SiteError(
                f"activations of shape {list(instead_NTD.shape)} cannot stand at {site} of a window of "
                f"{len(tokens_T)} tokens: {['N', *expected]} was expected"
            )
        once = site.kind in ("resid_pre", "resid_post") and self._takes_more_rows
        place = self._sites.place(site)
        logits_NV = torch.empty(len(instead_NTD), self.vocabulary, dtype=self.dtype, device=self.device)
        rows_per_pass = self._rows_per_pass(len(instead_NTD), len(tokens_T))
        for first in range(0, len(instead_NTD), rows_per_pass):
            rows = slice(first, first + rows_per_pass)
            part_BTD = instead_NTD[rows].to(self.device)
            tokens_BT = tokens_1T if once else tokens_1T.expand(len(part_BTD), -1)

            def visit(found_BTD: Tensor, part_BTD: Tensor = part_BTD) -> Tensor:
                return part_BTD.to(found_BTD.dtype, copy=True)

            with torch.inference_mode(), place.attach(visit):
                logits_NV[rows] = self._run(tokens_BT, last_only=True)[:, -1]
        return logits_NV

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

    def _run(self, tokens_BT: Tensor, *, last_only: bool = False) -> Tensor:
        # No attention mask: windows have no padding, and without a mask the fast causal kernels can be used.
        return self._wrapped(tokens_BT, use_cache=False, **(self._last_only if last_only else {})).logits

    def _rows_per_pass(self, n_rows: int, n_positions: int) -> int:
        return max(1, cpu.TOKENS_PER_PASS // n_positions) if self.device.type == "cpu" else n_rows

    @cached_property
    def _last_only(self) -> dict[str, Any]:
        """Options that unembed the last position alone, where the model has them: unembedding all of a long window can
        cost more than running it through a small model."""
        return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self._wrapped.forward).parameters else {}

    @cached_property
    def _takes_more_rows(self) -> bool:
        """Whether more rows may leave a block than came in, which is not so where each row has its own positions."""
        with torch.inference_mode(), self._sites.place(Site(0)).attach(lambda found_BTD: torch.cat([found_BTD] * 2)):
            try:
                return self._run(torch.zeros(1, 2, dtype=torch.int64, device=self.device)).shape[0] == 2
            except RuntimeError:
                return False

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
